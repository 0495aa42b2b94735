"""Where a file is cut into chunks. Reads bytes only where a cut depends on content; hashes and encodes
nothing.

Tensors are cut by arithmetic from their own first byte, so the same tensor gives the same chunks in any
file, at any place, in any format. Everything between tensors, and files of no known format, is cut by
content (FastCDC).

The numbers below decide which bytes two versions share. Changing one makes every checkpoint look new once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from pyfastcdc import FastCDC

from p2pckpt.checkpoint.formats.dtypes import UNITS
from p2pckpt.checkpoint.formats.layout import FileLayout, TensorInfo
from p2pckpt.checkpoint.formats.source import ByteSource

_KIB = 1 << 10
_MIB = 1 << 20
_GIB = 1 << 30

MAX_CHUNK = 32 * _MIB
"""No chunk is longer than this many bytes; readers may refuse what claims to be."""

PIECES = ((512 * _MIB, 4 * _MIB), (2 * _GIB, 8 * _MIB))
"""Tensors shorter than the first number are cut into pieces of the second; see ``LARGEST_PIECE`` for the
rest. Ratio and speed are flat from 1 to 32 MiB; 4 MiB shares most, larger ones keep the lists of huge
models short."""
LARGEST_PIECE = 16 * _MIB

SMALL_GLUE = 64 * _KIB
"""Runs outside of tensors up to this many bytes are one chunk."""
CDC_AVERAGE = 64 * _KIB
"""Mean length aimed at by content-defined cuts in runs up to 4 GiB; minimum a quarter, maximum four times
that."""
CDC_CHUNKS = 1 << 16
"""From ``CDC_CHUNKS`` × ``CDC_AVERAGE`` bytes on, the mean doubles so that no run has many more chunks than
this…"""
CDC_LARGEST_AVERAGE = 4 * _MIB
"""…until here, which is as far as FastCDC's masks go. 1 TB of unknown bytes is then about 230,000
chunks."""
_CDC_LARGEST = 8 * _MIB
_WINDOW = 8 * _MIB


@dataclass(frozen=True, slots=True)
class Cut:
    """One chunk's place in its file."""

    offset: int
    """First byte, from the start of the file."""
    length: int
    """Bytes, 1 to ``MAX_CHUNK``."""
    dtype: str = ""
    """Canonical number type for the codec; empty outside of tensors."""
    tensor: int = -1
    """Index into the layout's ``tensors``; -1 outside of tensors."""
    data: bytes | memoryview | None = field(default=None, compare=False, repr=False)
    """The bytes, where finding the cut had to read them anyway. Holding it keeps its whole window (about 8
    MiB) alive."""


def cuts(layout: FileLayout, source: ByteSource) -> Iterator[Cut]:
    """Chunks in file order that cover ``[0, source.size)`` exactly; none for an empty file.

    ``layout`` must be what ``inspect`` made of the same source. Memory stays within a few windows whatever
    the size; errors of ``source.read`` pass through.
    """
    position = 0
    for index, tensor in enumerate(layout.tensors):
        yield from _glue(source, position, tensor.offset)
        yield from _pieces(tensor, index)
        position = tensor.offset + tensor.length
    yield from _glue(source, position, source.size)


def piece_length(length: int, dtype: str) -> int:
    """Bytes of a tensor's pieces, from its own length and type alone; whole numbers and quantisation
    blocks."""
    piece = next((size for below, size in PIECES if length < below), LARGEST_PIECE)
    unit = UNITS.get(dtype, 1)
    return piece - piece % unit


def _pieces(tensor: TensorInfo, index: int) -> Iterator[Cut]:
    """Equal pieces; the last takes the remainder too, so a tensor never ends in a sliver and 1 TB of
    tensors stays under 250,000 chunks."""
    piece = piece_length(tensor.length, tensor.dtype)
    end = tensor.offset + tensor.length
    start = tensor.offset
    while start < end:
        length = piece if end - start >= 2 * piece else end - start
        yield Cut(start, length, tensor.dtype, index)
        start += length


def _glue(source: ByteSource, start: int, end: int) -> Iterator[Cut]:
    length = end - start
    if 0 < length <= SMALL_GLUE:
        yield Cut(start, length)
    elif length > 0:
        yield from _by_content(source, start, end)


def _chunker(length: int) -> FastCDC:
    average = CDC_AVERAGE
    while average * CDC_CHUNKS < length and average < CDC_LARGEST_AVERAGE:
        average *= 2
    return FastCDC(average, min_size=average // 4, max_size=min(average * 4, _CDC_LARGEST))


def _by_content(source: ByteSource, start: int, end: int) -> Iterator[Cut]:
    """FastCDC over ``[start, end)`` as if it were cut in one go, reading it once.

    A cut depends on at most ``max_size`` bytes behind the one before, so only cuts with that much in the
    window are final; the rest is carried into the next window.
    """
    chunker = _chunker(end - start)
    window = max(_WINDOW, 2 * chunker.max_size)
    carried = b""
    while start < end:
        fresh = min(window, end - start) - len(carried)
        buffer = carried + source.read(start + len(carried), fresh)
        is_last = start + len(buffer) == end
        used = 0
        for chunk in chunker.cut_buf(buffer):
            if not is_last and len(buffer) - used < chunker.max_size:
                break
            length = int(chunk.length)
            yield Cut(start + used, length, data=memoryview(buffer)[used : used + length])
            used += length
        carried = buffer[used:]
        start += used
