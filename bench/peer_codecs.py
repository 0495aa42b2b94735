"""Compressors of numbers that others wrote, each at the settings that make this input smallest, on one core.

They get all bytes of one number type in one go: no chunks, no headers, which favours them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import blosc2  # type: ignore[import-untyped]
import zstandard
from zipnn import ZipNN  # type: ignore[import-untyped]

from p2pckpt.checkpoint.formats.dtypes import UNITS

Pack = Callable[[bytearray], bytes]
Unpack = Callable[[bytes], bytes]

_ZIPNN = {
    "BF16": "bfloat16",
    "F16": "float16",
    "F32": "float32",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
}
_ZIPNN_CHUNKS = (64 << 10, 128 << 10, 256 << 10)
"""Larger ones are stored, not compressed."""
_ZIPNN_THRESHOLDS = (0.95, 0.999)
"""What a plane must shrink to; the second leaves less on the table."""
_BLOSC_LEVELS = (1, 5)
"""Level 9 runs at 2 MB/s and gains nothing on planes of bytes."""


@dataclass(frozen=True)
class Codec:
    """One way to compress. ``pack`` may spoil its input."""

    name: str
    pack: Pack
    unpack: Unpack


def zipnn(raw: bytes, dtype: str) -> Codec:
    """ZipNN for ``dtype``. Types it does not know go through it as single bytes, or as fp32 where that is smaller."""
    names = [_ZIPNN[dtype]] if dtype in _ZIPNN else ["float8_e4m3fn", "float32", "bfloat16", "float16"]
    codecs: list[Codec] = []
    for name, chunk, threshold in product(names, _ZIPNN_CHUNKS, _ZIPNN_THRESHOLDS):
        options = {"bytearray_dtype": name, "compression_chunk": chunk, "compression_threshold": threshold}
        codecs.append(_zipnn(f"ZipNN {name}, {chunk >> 10} KiB, {threshold}", options | {"threads": 1}))
    return _smallest(codecs, raw)


def zstd(level: int) -> Codec:
    """Plain zstd, told the length beforehand."""
    compressor, decompressor = zstandard.ZstdCompressor(level=level), zstandard.ZstdDecompressor()
    return Codec(f"zstd -{level}", compressor.compress, decompressor.decompress)


def blosc(raw: bytes, dtype: str) -> Codec:
    """blosc2: zstd behind a shuffle of bytes or bits over the type's width."""
    codecs = []
    for filter_, level in product((blosc2.Filter.SHUFFLE, blosc2.Filter.BITSHUFFLE), _BLOSC_LEVELS):
        options = {
            "typesize": UNITS[dtype],
            "clevel": level,
            "codec": blosc2.Codec.ZSTD,
            "filters": [filter_],
            "nthreads": 1,
        }
        codecs.append(_blosc(f"blosc2 {filter_.name.lower()}, zstd {level}", options))
    return _smallest(codecs, raw)


def _zipnn(name: str, options: dict[str, Any]) -> Codec:
    """An instance keeps what the last input was like, so each call has its own."""
    return Codec(name, lambda raw: ZipNN(**options).compress(raw), lambda packed: ZipNN(**options).decompress(packed))


def _blosc(name: str, options: dict[str, Any]) -> Codec:
    unpack = partial(blosc2.decompress2, nthreads=1)
    return Codec(name, lambda raw: blosc2.compress2(raw, **options), unpack)


def _smallest(codecs: list[Codec], raw: bytes) -> Codec:
    """The codec that makes ``raw`` smallest, which must also give it back."""
    sizes = []
    for codec in codecs:
        packed = codec.pack(bytearray(raw))
        sizes.append(len(packed) if bytes(codec.unpack(packed)) == raw else len(raw) + 1)
    return codecs[sizes.index(min(sizes))]
