"""A compressed stretch of a file, readable like a file of its own without ever being held as a whole."""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable
from typing import Final, Protocol

from p2pckpt.checkpoint.formats.source import Peekable

MAX_INFLATED: Final = 1 << 30
"""Bytes that are decompressed on behalf of one file, all its members together: about five seconds of work."""
_STEP: Final = 1 << 16
_INPUT: Final = 512
"""Compressed bytes given to a decoder at once. Damage takes what was given with it: no reader is to see more."""
_LZMA_MEMORY: Final = 128 << 20
_ENDLESS: Final = 1 << 62
_MAGIC: Final = 16


class NotInflated(ValueError):
    """The stretch is damaged, too large, or no such stretch."""


class Budget:
    """Bytes that may still be decompressed."""

    def __init__(self, size: int = MAX_INFLATED) -> None:
        self.left = size


class _Decoder(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = ..., /) -> bytes: ...


_DECODERS: Final[dict[str, Callable[[], _Decoder]]] = {
    "deflate": lambda: zlib.decompressobj(-15),
    "zlib": lambda: zlib.decompressobj(15),
    "gzip": lambda: zlib.decompressobj(31),
    "bzip2": bz2.BZ2Decompressor,
    "xz": lambda: lzma.LZMADecompressor(memlimit=_LZMA_MEMORY),
}


def method_of(start: bytes) -> str:
    """How a file that starts so is compressed; empty for not at all. Two bytes of zlib may also be chance."""
    if start[:3] == b"\x1f\x8b\x08":
        return "gzip"
    if start[:3] == b"BZh" and start[4:10] == b"1AY&SY":
        return "bzip2"
    if start[:6] == b"\xfd7zXZ\0" or (start[:3] == b"\x5d\0\0" and start[5:13] == b"\xff" * 8):
        return "xz"
    if len(start) > 2 and start[0] == 0x78 and int.from_bytes(start[:2], "big") % 31 == 0:
        return "zlib"
    return ""


class Inflated:
    """A ``Peekable`` over what is compressed in ``source`` from ``offset`` on.

    Cheap going forward; going back starts over. ``size`` is an upper bound until the end was seen. Raises
    ``NotInflated`` where the stretch is damaged or the budget is spent.
    """

    def __init__(self, source: Peekable, method: str, offset: int, length: int, budget: Budget) -> None:
        self.size = _ENDLESS
        self._source = source
        self._method = method
        self._start, self._end = offset, offset + length
        self._budget = budget
        self._rewind()

    def _rewind(self) -> None:
        self._decoder = _DECODERS[self._method]()
        self._at = self._start
        self._window = b""
        self._window_at = 0
        self._pending = b""
        self._failure: NotInflated | None = None

    def peek(self, offset: int, length: int) -> bytes:
        """At most ``length`` bytes, fewer only at the end or before damage."""
        if offset < self._window_at:
            self._rewind()
        while self._window_at + len(self._window) < offset + length:
            more = self._more_or_failure(offset)
            if more is None:
                break
            keep = max(0, min(offset - self._window_at, len(self._window)))
            self._window = self._window[keep:] + more
            self._window_at += keep
        first = offset - self._window_at
        return self._window[first : first + length] if first >= 0 else b""

    def _more_or_failure(self, offset: int) -> bytes | None:
        """The next bytes; None at the end, and where damage follows on something that can still be had."""
        try:
            if self._failure is None:
                more = self._more()
                if more is None:
                    self.size = self._window_at + len(self._window)
                return more
        except NotInflated as exc:
            self._failure = exc
        # whoever loads it acts on what comes before the damage
        if self._failure is not None and offset >= self._window_at + len(self._window):
            raise self._failure
        return None

    def _more(self) -> bytes | None:
        """The next bytes; None at the end."""
        try:
            while True:
                if self._decoder.eof and not self._next_stream():
                    return None
                data = self._pending or self._compressed()
                starved = not data
                out = self._decoder.decompress(data, _STEP)
                self._pending = getattr(self._decoder, "unconsumed_tail", b"")
                if out:
                    self._budget.left -= len(out)
                    if self._budget.left < 0:
                        raise NotInflated("it is too large when decompressed")
                    return out
                if starved and not self._decoder.eof and getattr(self._decoder, "needs_input", True):
                    raise NotInflated("it ends too early")
        except (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError) as exc:
            raise exc if isinstance(exc, NotInflated) else NotInflated("it is damaged") from exc

    def _compressed(self) -> bytes:
        if not getattr(self._decoder, "needs_input", True):
            return b""
        length = min(_INPUT, self._end - self._at)
        data = self._source.peek(self._at, length)
        self._at += len(data)
        return data

    def _next_stream(self) -> bool:
        """Whether another stream follows this one, as ``gzip``, ``bz2`` and ``lzma`` read on there."""
        if self._method in ("deflate", "zlib"):
            return False
        rest = self._decoder.unused_data
        if len(rest) < _MAGIC:
            more = self._source.peek(self._at, min(_MAGIC, self._end - self._at))
            self._at += len(more)
            rest += more
        if method_of(rest) != self._method:
            return False
        self._decoder, self._pending = _DECODERS[self._method](), rest
        return True
