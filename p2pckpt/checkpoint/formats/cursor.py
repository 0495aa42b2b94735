"""Forward reading of a binary header with a ceiling on how far it may go."""

from __future__ import annotations

from struct import Struct

from p2pckpt.checkpoint.formats.layout import Malformed
from p2pckpt.checkpoint.formats.source import ByteSource

_WINDOW = 1 << 20
_U32 = Struct("<I")
_U64 = Struct("<Q")


class Cursor:
    """Little-endian fields read one after the other from ``start`` on.

    Every method raises ``Malformed`` where the file, or the first ``limit`` bytes of it, end too early.
    """

    def __init__(self, source: ByteSource, *, start: int, limit: int) -> None:
        self._source = source
        self._end = min(source.size, limit)
        self._buffer = b""
        self._base = start
        self._at = 0

    @property
    def offset(self) -> int:
        """Where the next field starts, from the beginning of the file."""
        return self._base + self._at

    def u32(self) -> int:
        at = self._need(4)
        return int(_U32.unpack_from(self._buffer, at)[0])

    def u64(self) -> int:
        at = self._need(8)
        return int(_U64.unpack_from(self._buffer, at)[0])

    def take(self, length: int) -> bytes:
        if length > _WINDOW:
            raise Malformed("a field in the header is too long")
        at = self._need(length)
        return self._buffer[at : at + length]

    def skip(self, length: int) -> None:
        if length < 0 or self.offset + length > self._end:
            raise Malformed("the header ends too early")
        if self._at + length <= len(self._buffer):
            self._at += length
        else:
            self._base, self._buffer, self._at = self.offset + length, b"", 0

    def _need(self, length: int) -> int:
        """Makes ``length`` bytes available, steps over them, and returns where they start in the buffer."""
        at = self._at
        if at + length > len(self._buffer):
            self._base, at = self._base + at, 0
            if self._base + length > self._end:
                raise Malformed("the header ends too early")
            self._buffer = self._source.read(self._base, min(max(_WINDOW, length), self._end - self._base))
        self._at = at + length
        return at
