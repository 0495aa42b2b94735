"""From a chunk's bytes to its sealed frame: what workers do when a version is packed, and the memory they use."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from blake3 import blake3

from p2pckpt.checkpoint.chunking import Cut
from p2pckpt.checkpoint.codec import frame as codec
from p2pckpt.checkpoint.codec.container import Buffer
from p2pckpt.checkpoint.formats.layout import TensorInfo
from p2pckpt.errors import P2pckptError
from p2pckpt.jobs.delta_base import DeltaBase
from p2pckpt.store.catalogue import Catalogue
from p2pckpt.store.layout import StoreLayout
from p2pckpt.trust.sealing import NONCE, OVERHEAD, TAG, FrameSealer

_UNIT: Final = 1 << 20
"""Raw bytes that a worker takes at a time, unless a single chunk is larger: handing over costs as much as 50 KiB."""
_FRAME_SLACK: Final = 64 + OVERHEAD
"""Bytes by which a sealed frame can be longer than its chunk."""


class Readable(Protocol):
    """A file being packed."""

    def read_into(self, offset: int, out: memoryview) -> None: ...


@dataclass(frozen=True, slots=True)
class Encoded:
    """A chunk and its frame, in memory that is used again: both last until it is given back."""

    chunk: bytes
    raw: memoryview
    frame: memoryview | None
    """None when the chunk is in the store, or another worker has it."""
    base: bytes
    """The chunk that the frame is a delta to; empty for a frame that stands alone."""


class Memory:
    """What one unit needs: room for its raw bytes and for its frames."""

    def __init__(self, length: int) -> None:
        self.length = length
        self.raw = _room(length)
        self._frames = _room(0)

    def frames(self, length: int) -> memoryview:
        """Room for frames of ``length`` bytes."""
        if len(self._frames) < length:
            self._frames = _room(length)
        return self._frames


def _room(length: int) -> memoryview:
    """Memory of which only touched pages are really there; a bytearray would touch them all."""
    return memoryview(np.empty(length, np.uint8).data)


class Memories:
    """Memory that is used again and again: fresh pages cost more than compressing does."""

    def __init__(self, limit: int) -> None:
        """``limit``: raw bytes to have room for at a time, unless a single unit needs more."""
        self._limit = limit
        self._total = 0
        self._free: list[Memory] = []

    def take(self, length: int) -> Memory | None:
        """Room for ``length`` raw bytes; None where some has to be given back first."""
        fitting = [memory for memory in self._free if memory.length >= length]
        if fitting:
            best = min(fitting, key=lambda memory: memory.length)
            self._free.remove(best)
            return best
        while self._free and self._total + length > self._limit:  # too small to be of use now
            self._total -= self._free.pop().length
        if self._total and self._total + length > self._limit:
            return None
        self._total += length
        return Memory(length)

    def give_back(self, memory: Memory) -> None:
        self._free.append(memory)


def units(cuts: Iterable[Cut]) -> Iterator[list[Cut]]:
    """Cuts in order, small ones together."""
    unit: list[Cut] = []
    size = 0
    for cut in cuts:
        if unit and size + cut.length > _UNIT:
            yield unit
            unit, size = [], 0
        unit.append(cut)
        size += cut.length
    if unit:
        yield unit


class Encoder:
    """Encodes what the store lacks. Thread-safe; every chunk is encoded once in the life of an encoder."""

    def __init__(
        self,
        layout: StoreLayout,
        catalogue: Catalogue,
        share_id: bytes,
        sealer: FrameSealer | None,
        base: DeltaBase | None,
    ) -> None:
        self._layout = layout
        self._catalogue = catalogue
        self._share_id = share_id
        self._sealer = sealer
        self._base = base
        self._claimed: set[bytes] = set()
        self._lock = threading.Lock()

    def encode(
        self, source: Readable, tensors: Sequence[TensorInfo], unit: Sequence[Cut], memory: Memory
    ) -> list[Encoded]:
        """In a worker: chunks of one file, in order."""
        room = memory.frames(sum(cut.length + _FRAME_SLACK for cut in unit))
        at = end = 0
        made: list[Encoded] = []
        for cut in unit:
            if cut.data is not None:
                raw = memoryview(cut.data)
            else:
                raw = memory.raw[at : at + cut.length]
                source.read_into(cut.offset, raw)
                at += cut.length
            chunk = blake3(raw).digest()
            if not self._claim(chunk):
                made.append(Encoded(chunk, raw, None, b""))
                continue
            parts, base = self._body(raw, cut, tensors)
            frame = self._sealed(parts, room[end:])
            end += len(frame)
            made.append(Encoded(chunk, raw, frame, base))
        return made

    def _claim(self, chunk: bytes) -> bool:
        """Whether the caller is to encode the chunk: nobody else does, and the store does not have it."""
        with self._lock:
            if chunk in self._claimed:
                return False
            self._claimed.add(chunk)
        found = self._catalogue.locate(self._share_id, chunk)
        if found is not None and not self._layout.object(found.root).exists():
            self._catalogue.forget_objects([found.root])  # deleted behind our back: pack it again
            return True
        return found is None or bool(found.delta)  # who receives this version may not have that delta's base

    def _sealed(self, parts: Sequence[Buffer], room: memoryview) -> memoryview:
        """The frame of this body, at the beginning of ``room``."""
        start = at = NONCE if self._sealer is not None else 0
        for part in parts:
            room[at : at + len(part)] = part
            at += len(part)
        if self._sealer is None:
            return room[start:at]
        frame = room[: at + TAG]
        self._sealer.seal_in_place(frame)
        return frame

    def _body(self, raw: memoryview, cut: Cut, tensors: Sequence[TensorInfo]) -> tuple[Sequence[Buffer], bytes]:
        """The frame's plain body in parts, and the chunk that it is a delta to, if any."""
        if self._base is not None and cut.tensor >= 0:
            tensor = tensors[cut.tensor]
            found = self._base.find(tensor, cut.offset - tensor.offset, cut.length)
            if found is not None:
                with contextlib.suppress(P2pckptError):  # a base that is damaged or gone serves nobody
                    delta = codec.encode_delta(raw, found.raw(), cut.dtype, alone=found.frame_length)
                    if delta is not None:
                        return [delta], found.chunk
        return codec.encode_parts(raw, cut.dtype), b""
