"""How one plane is compressed: not at all, by zstd for repetition, or by zstd as a mere Huffman coder.

Which it is, is guessed from a sample, and the result is kept only where it pays. All of it ends up as an
ordinary zstd frame or raw bytes, so decoding needs no guess.
"""

from __future__ import annotations

import threading
from enum import Enum, auto

import numpy as np
import zstandard

from p2pckpt.checkpoint.codec import huffman
from p2pckpt.checkpoint.codec.container import RAW, ZSTD, Plane
from p2pckpt.checkpoint.codec.errors import FrameError
from p2pckpt.checkpoint.codec.scratch import Bytes

MAX_WINDOW = 32 << 20
"""Largest zstd window that is decoded; a frame of one segment declares its content's size as window."""

_SMALLEST = 32
"""Planes below this many bytes are not worth zstd's own header."""
NOISE = 7.88
"""Bits a byte of the sample, from which on a plane is stored raw. 8 KiB of pure noise measure about
7.98."""
_FEW = 1.2
"""Bits a byte below which repetition is worth searching: Huffman cannot go under one."""
_MANY = 5.0
"""Bits a byte from which on chance matches are so rare that a search costs no time; then it may as well be made."""
_RUNS = 0.045
"""How much more often neighbours are equal than by chance, from which on there may be runs worth finding. Weights have
0.03 at most, optimizer states up to 0.2."""
_TRIAL = 32 << 10
"""Bytes of such a plane that are compressed all ways."""
_WORTH = 0.992
"""A plane that compresses to more than this fraction is stored raw, for faster decoding."""

_CODE_LOG, _LOCAL_LOG = 18, 13
"""Logarithms of windows. A code spans 128 KiB at most; where frequencies change along the plane, 8 KiB."""


class Kind(Enum):
    """What repeats in a plane."""

    STRINGS = auto()
    """Strings of bytes, as in text."""
    NUMBERS = auto()
    """Single bytes, with much the same frequencies everywhere."""
    ORDERED = auto()
    """Single bytes, whose frequencies change along the plane, so that no sample speaks for it: all is tried."""


class _Contexts(threading.local):
    """zstd contexts; they must not be shared between threads."""

    def __init__(self) -> None:
        self.searching = huffman.searching_coder(_CODE_LOG)
        self.huffman = huffman.literal_coder(_CODE_LOG) or self.searching
        local = huffman.searching_coder(_LOCAL_LOG)
        self.fast: huffman.Compress = zstandard.ZstdCompressor(level=1).compress
        self.general: huffman.Compress = zstandard.ZstdCompressor(level=3).compress
        self.local_rivals = tuple(dict.fromkeys((huffman.literal_coder(_LOCAL_LOG) or local, local, self.fast)))
        self.rivals = tuple(dict.fromkeys((self.huffman, self.searching, self.fast)))
        self.decompressor = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW)


_contexts = _Contexts()


def compress(plane: Bytes, kind: Kind) -> Plane:
    """``plane`` (one-dimensional, contiguous) as it is best stored; a raw body is a view of it."""
    length = len(plane)
    coders = _choose(plane, kind) if length >= _SMALLEST else ()
    if coders:
        body = min((coder(plane.data) for coder in coders), key=len)
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


def fast_length(data: Bytes) -> int:
    """Bytes that a quick search for repetition makes of ``data``."""
    return len(_contexts.fast(data.data))


def entropy(data: Bytes) -> float:
    """Bits a byte, of the bytes' frequencies alone."""
    counts = np.bincount(data, minlength=256)
    share = counts[counts > 0] / max(len(data), 1)
    return -float(np.sum(share * np.log2(share)))


def sample(rows: Bytes, *, runs: int = 16, length: int = 512) -> Bytes:
    """All of a few ``rows``, else ``runs`` of them at even distances, ``length`` rows each."""
    if len(rows) <= runs * length:
        return rows
    starts = np.linspace(0, len(rows) - length, runs, dtype=np.intp)
    return np.concatenate([rows[start : start + length] for start in starts])


def _choose(plane: Bytes, kind: Kind) -> tuple[huffman.Compress, ...]:
    """The coders to try, none for noise."""
    some = sample(plane)
    counts = np.bincount(some, minlength=256)
    share = counts[counts > 0] / len(some)
    bits = -float(np.sum(share * np.log2(share)))
    if bits > NOISE:
        return ()
    if kind is Kind.STRINGS:
        return (_contexts.general,)
    if kind is Kind.ORDERED:
        return _contexts.local_rivals
    equal_neighbours = float(np.mean(some[1:] == some[:-1]))
    if bits < _FEW:
        return (_contexts.fast,)
    if equal_neighbours - float(np.sum(share * share)) > _RUNS:
        run = sample(plane, runs=4, length=_TRIAL // 4).data
        return (min(_contexts.rivals, key=lambda coder: len(coder(run))),)
    return (_contexts.huffman if bits < _MANY else _contexts.searching,)
