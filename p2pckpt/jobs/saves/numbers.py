"""One pass over a file's numbers: are they finite, and do the bytes have the checksum they should have."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from p2pckpt.checkpoint.finite import NonFinite, first_nonfinite, is_floating, unit
from p2pckpt.jobs.packing import FileSource

_BLOCK: Final = 1 << 20
"""Bytes that are read at once, and all that is held of a file."""


class Numbers:
    """Reads in blocks through one buffer, so that memory does not grow with the file."""

    def __init__(self, checkpoint: Callable[[], None]) -> None:
        """``checkpoint`` is called once a block, and may raise."""
        self._checkpoint = checkpoint
        self._buffer = np.empty(_BLOCK, np.uint8)

    def first_nonfinite(self, source: FileSource, offset: int, length: int, dtype: str) -> NonFinite | None:
        """The first element in a run of bytes that is NaN or infinite; None too for types that know neither."""
        if not is_floating(dtype):
            return None
        seen = 0
        for block in self._blocks(source, offset, length, unit(dtype)):
            if (found := first_nonfinite(block, dtype)) is not None:
                return NonFinite(found.index + seen // unit(dtype), found.what)
            seen += len(block)
        return None

    def sum_and_test(self, source: FileSource, offset: int, length: int, dtype: str) -> tuple[int, bool]:
        """CRC-32 of a run of bytes, and whether all its elements are finite."""
        crc, finite = 0, True
        for block in self._blocks(source, offset, length, unit(dtype)):
            crc = zlib.crc32(block.data, crc)
            finite = finite and first_nonfinite(block, dtype) is None
        return crc, finite

    def _blocks(self, source: FileSource, offset: int, length: int, size: int) -> Iterator[NDArray[np.uint8]]:
        step = _BLOCK // size * size
        for start in range(0, length, step):
            self._checkpoint()
            block = self._buffer[: min(step, length - start)]
            source.read_into(offset + start, block.data)
            yield block
