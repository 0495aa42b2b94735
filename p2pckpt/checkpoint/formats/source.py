"""How the pure core is given a file's bytes: a size and positioned reads. Opening files is the caller's
work."""

from __future__ import annotations

from typing import Protocol


class ByteSource(Protocol):
    """Random access to bytes that do not change while they are looked at."""

    @property
    def size(self) -> int:
        """Length of the whole file in bytes."""
        ...

    def read(self, offset: int, length: int) -> bytes:
        """Exactly ``length`` bytes from ``offset``; raises instead of returning fewer.

        Whatever it raises passes through this package untouched: a failing disk is no finding about
        content.
        """
        ...


class BytesSource:
    """A ``ByteSource`` over bytes in memory: archives inside archives, tests, small files already read."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    @property
    def size(self) -> int:
        return len(self._data)

    def read(self, offset: int, length: int) -> bytes:
        if offset < 0 or length < 0 or offset + length > len(self._data):
            raise EOFError(f"{length} bytes at {offset} are not within {len(self._data)}")
        return self._data[offset : offset + length]


class Peekable(Protocol):
    """Bytes whose end may not be known before it is reached."""

    @property
    def size(self) -> int:
        """Length in bytes, or an upper bound of it."""
        ...

    def peek(self, offset: int, length: int) -> bytes:
        """At most ``length`` bytes from ``offset``, fewer only at the end."""
        ...


class Slice:
    """A part of a ``ByteSource``, as a source of its own; ``Peekable`` as well."""

    def __init__(self, source: ByteSource, offset: int = 0, length: int | None = None) -> None:
        self._source = source
        self._offset = offset
        self.size = source.size - offset if length is None else length

    def read(self, offset: int, length: int) -> bytes:
        if offset < 0 or length < 0 or offset + length > self.size:
            raise EOFError(f"{length} bytes at {offset} are not within {self.size}")
        return self._source.read(self._offset + offset, length)

    def peek(self, offset: int, length: int) -> bytes:
        return self.read(offset, min(length, self.size - offset)) if offset < self.size else b""
