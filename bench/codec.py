"""Frames against zstd at its usual level and against what byte-wise coding could reach at all."""

from __future__ import annotations

import time
from collections.abc import Callable

import zstandard

from bench import limits
from bench.generate import Spec, Weights
from bench.table import Row
from p2pckpt.checkpoint.codec import frame

DTYPES = ("BF16", "F32", "F16")
_CHUNK = 4 << 20
_CHUNKS = 32
_REPEATS = 3
_WORTH = 1.01
"""Times the limit that a ratio may be."""


def measure() -> list[Row]:
    """One row for each number type: 128 MiB in chunks of 4 MiB, one thread."""
    return [_measure(dtype) for dtype in DTYPES]


def _measure(dtype: str) -> Row:
    chunks = _chunks(dtype)
    frames = [frame.encode(chunk, dtype) for chunk in chunks]
    raw = sum(map(len, chunks))
    ratio = sum(map(len, frames)) / raw
    limit = limits.by_chunk(chunks, dtype) / raw
    out = memoryview(bytearray(_CHUNK))
    compressor, decompressor = zstandard.ZstdCompressor(level=3), zstandard.ZstdDecompressor()
    whole = b"".join(chunks)
    packed = compressor.compress(whole)
    speeds = _by_turns(
        raw,
        lambda: [frame.encode(chunk, dtype) for chunk in chunks],
        lambda: compressor.compress(whole),
        lambda: _decode(frames, out),
        lambda: decompressor.decompress(packed),
    )
    return Row(
        f"codec, {dtype}, one thread, pack / unpack",
        f"{ratio:.4f}, {speeds[0]:.0f} / {speeds[2]:.0f} MB/s",
        f"zstd -3: {len(packed) / raw:.4f}, {speeds[1]:.0f} / {speeds[3]:.0f} MB/s; order-0 limit {limit:.4f}",
        f"{ratio / limit:.4f}× the limit",
        f"≤{_WORTH}× the limit",
        ratio <= _WORTH * limit,
    )


def _decode(frames: list[bytes], out: memoryview) -> None:
    for each in frames:
        frame.decode_into(each, out)


def _chunks(dtype: str) -> list[bytes]:
    elements = _CHUNK // {"F32": 4}.get(dtype, 2)
    weights = Weights()
    return [b"".join(weights.blocks(Spec(str(n), dtype, (elements,), (5, n)))) for n in range(_CHUNKS)]


def _by_turns(raw: int, *works: Callable[[], object]) -> list[float]:
    """MB/s of each, the best of a few goes that take turns."""
    best = [float("inf")] * len(works)
    for _ in range(_REPEATS):
        for number, work in enumerate(works):
            begin = time.perf_counter()
            work()
            best[number] = min(best[number], time.perf_counter() - begin)
    return [raw / seconds / 1e6 for seconds in best]
