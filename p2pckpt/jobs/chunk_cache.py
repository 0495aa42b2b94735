"""Decoded chunks that were read a moment ago: slices of one tensor should not decode its chunks again and again."""

from __future__ import annotations

from collections import OrderedDict


class ChunkCache:
    """Raw bytes by BLAKE3, the least recently used given up first. One thread uses it."""

    def __init__(self, limit: int) -> None:
        """Hold at most ``limit`` bytes."""
        self._limit = limit
        self._size = 0
        self._chunks: OrderedDict[bytes, bytes] = OrderedDict()

    @property
    def size(self) -> int:
        """Bytes held."""
        return self._size

    def get(self, chunk: bytes) -> bytes | None:
        if chunk in self._chunks:
            self._chunks.move_to_end(chunk)
        return self._chunks.get(chunk)

    def put(self, chunk: bytes, raw: bytes) -> None:
        """What is larger than the limit is not kept."""
        if chunk in self._chunks or len(raw) > self._limit:
            return
        self._chunks[chunk] = raw
        self._size += len(raw)
        while self._size > self._limit:
            _, old = self._chunks.popitem(last=False)
            self._size -= len(old)
