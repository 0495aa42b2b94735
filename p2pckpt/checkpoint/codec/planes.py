"""How one plane is compressed: not at all, by zstd for repetition, or by zstd as a mere Huffman coder.

Which it is, is guessed from a sample, and the result is kept only where it pays. All of it ends up as an
ordinary zstd frame or raw bytes, so decoding needs no guess.
"""

from __future__ import annotations

import threading
from enum import Enum, auto

import numpy as np
import zstandard

from p2pckpt.checkpoint.codec.container import RAW, ZSTD, Plane
from p2pckpt.checkpoint.codec.errors import FrameError
from p2pckpt.checkpoint.codec.scratch import Bytes

MAX_WINDOW = 32 << 20
"""Largest zstd window that is decoded; a frame of one segment declares its content's size as window."""

_SAMPLE_RUNS, _SAMPLE_RUN = 16, 512
_SMALLEST = 32
"""Planes below this many bytes are not worth zstd's own header."""
NOISE = 7.88
"""Bits a byte of the sample, from which on a plane is stored raw. 8 KiB of pure noise measure about
7.98."""
_FEW = 1.2
"""Bits a byte below which repetition is worth searching: Huffman cannot go under one."""
_RUNS = 0.045
"""How much more often neighbours are equal than by chance, from which on there may be runs worth finding. Weights have
0.03 at most, optimizer states up to 0.2."""
_TRIAL = 64 << 10
"""Bytes from the middle of such a plane that are compressed both ways."""
_WORTH = 0.992
"""A plane that compresses to more than this fraction is stored raw, for faster decoding."""

_HUFFMAN = zstandard.ZstdCompressionParameters(
    strategy=zstandard.STRATEGY_FAST,
    min_match=7,
    hash_log=6,
    chain_log=6,
    search_log=1,
    target_length=0,
    window_log=18,
    write_content_size=True,
    write_checksum=False,
)
"""A match finder too small to find anything, which leaves zstd's entropy stage. On exponent planes this is
smaller and faster than every level from 1 to 9."""

_LOCAL = zstandard.ZstdCompressionParameters(
    strategy=zstandard.STRATEGY_FAST,
    min_match=7,
    hash_log=6,
    chain_log=6,
    search_log=1,
    target_length=0,
    window_log=13,
    write_content_size=True,
    write_checksum=False,
)
"""The same with a code of its own for every 8 KiB: no block is longer than the window."""


class Kind(Enum):
    """What repeats in a plane."""

    STRINGS = auto()
    """Strings of bytes, as in text."""
    NUMBERS = auto()
    """Single bytes, with much the same frequencies everywhere."""
    ORDERED = auto()
    """Single bytes, whose frequencies change along the plane."""


class _Contexts(threading.local):
    """zstd contexts; they must not be shared between threads."""

    def __init__(self) -> None:
        self.huffman = zstandard.ZstdCompressor(compression_params=_HUFFMAN)
        self.local = zstandard.ZstdCompressor(compression_params=_LOCAL)
        self.fast = zstandard.ZstdCompressor(level=1)
        self.general = zstandard.ZstdCompressor(level=3)
        self.decompressor = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW)


_contexts = _Contexts()


def compress(plane: Bytes, kind: Kind) -> Plane:
    """``plane`` (one-dimensional, contiguous) as it is best stored; a raw body is a view of it."""
    length = len(plane)
    context = _choose(plane, kind) if length >= _SMALLEST else None
    if context is not None:
        body = context.compress(plane.data)
        if len(body) <= length * _WORTH:
            return Plane(ZSTD, body)
    return Plane(RAW, plane.data)


def decompress(plane: Plane, length: int) -> Bytes:
    """The plane's ``length`` bytes; ``FrameError`` where it holds anything but exactly them."""
    body = plane.body
    if plane.codec == RAW:
        return np.frombuffer(body, np.uint8)
    if bytes(body[:4]) != zstandard.FRAME_HEADER:
        raise FrameError("A plane of the frame is no zstd frame.")
    try:
        parameters = zstandard.get_frame_parameters(body)
        # Checked first: zstandard allocates what the frame declares, whatever limit it is given.
        if parameters.content_size != length or parameters.window_size > MAX_WINDOW or parameters.dict_id:
            raise FrameError("A plane of the frame declares another size than it must have.")
        data = _contexts.decompressor.decompress(body, max_output_size=length, allow_extra_data=False)
    except zstandard.ZstdError as exc:
        raise FrameError("A plane of the frame cannot be decompressed.") from exc
    if len(data) != length:
        raise FrameError("A plane of the frame has another size than it declares.")
    return np.frombuffer(data, np.uint8)


def entropy(data: Bytes) -> float:
    """Bits a byte, of the bytes' frequencies alone."""
    counts = np.bincount(data, minlength=256)
    share = counts[counts > 0] / max(len(data), 1)
    return -float(np.sum(share * np.log2(share)))


def sample(rows: Bytes) -> Bytes:
    """Up to 8,192 of ``rows``: all of a few, else runs at even distances."""
    if len(rows) <= _SAMPLE_RUNS * _SAMPLE_RUN:
        return rows
    starts = np.linspace(0, len(rows) - _SAMPLE_RUN, _SAMPLE_RUNS, dtype=np.intp)
    return np.concatenate([rows[start : start + _SAMPLE_RUN] for start in starts])


def _choose(plane: Bytes, kind: Kind) -> zstandard.ZstdCompressor | None:
    """The compressor to try, or ``None`` for noise."""
    some = sample(plane)
    counts = np.bincount(some, minlength=256)
    share = counts[counts > 0] / len(some)
    bits = -float(np.sum(share * np.log2(share)))
    if bits > NOISE:
        return None
    if kind is Kind.STRINGS:
        return _contexts.general
    if kind is Kind.ORDERED:
        return _contexts.fast if bits < _FEW else _contexts.local
    equal_neighbours = float(np.mean(some[1:] == some[:-1]))
    if bits < _FEW:
        return _contexts.fast
    if equal_neighbours - float(np.sum(share * share)) > _RUNS:
        start = max(0, (len(plane) - _TRIAL) // 2)
        run = plane[start : start + _TRIAL].data
        return min(_contexts.huffman, _contexts.fast, key=lambda context: len(context.compress(run)))
    return _contexts.huffman
