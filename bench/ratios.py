"""How small every number type gets, and how fast: beside ZipNN, zstd and blosc2, and the order-0 limit.

Ours are chunks as publishing cuts them, each a whole frame with its header. Sealing adds ``SEAL`` bytes a frame, which
is stated beside the ratio: peers do not encrypt.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from bench import limits, peer_codecs, real
from bench.peer_codecs import Codec
from bench.real import Sample
from bench.table import Row
from p2pckpt.checkpoint.codec import frame

SEAL = 28
"""Bytes: a nonce of 12 and a tag of 16."""
_PEER, _LIMIT = 1.002, 1.01
"""Times ZipNN's ratio, times the limit."""
_MOMENTS = {"exp-avg": 0.81, "exp-avg-sq": 0.785}
_GGUF = {"Q4_1": 0.90}
"""Targets of their own, of raw; Q4_1 as its package ships it."""
_SLOW_SAMPLE = 16 << 20
"""Bytes that zstd -19 gets at most."""
_ROUNDS = 5
_TIMED = ("F32", "BF16", "F16", "F64", "F8_E4M3", "I8", "Q4_1", "Q8_0")


def measure(cache: Path, packages: Path) -> list[Row]:
    """Ratios of all samples, then speeds of one sample for each type."""
    samples = real.weights(cache, packages)
    rows = [_ratio(sample, is_weights=True) for sample in samples]
    rows += [_ratio(sample, is_weights=False) for sample in real.moments(cache)]
    return rows + [_speed(sample) for sample in samples if sample.name == "MiniLM" and sample.dtype in _TIMED]


def _ratio(sample: Sample, *, is_weights: bool) -> Row:
    chunks, dtype = sample.chunks(), sample.dtype
    whole = b"".join(chunks)
    raw = len(whole)
    ours = sum(len(frame.encode(chunk, dtype)) for chunk in chunks) / raw
    peer = len(peer_codecs.zipnn(whole, dtype).pack(bytearray(whole))) / raw
    limit, file_limit = limits.by_chunk(chunks, dtype) / raw, limits.of_all(chunks, dtype) / raw
    fast, slow = peer_codecs.zstd(3), peer_codecs.zstd(19)
    part = whole[:_SLOW_SAMPLE]
    others = {
        "zstd -3": len(fast.pack(bytearray(whole))) / raw,
        "zstd -19": len(slow.pack(bytearray(part))) / len(part),
        "blosc2": len(peer_codecs.blosc(whole, dtype).pack(bytearray(whole))) / raw,
    }
    beside = ", ".join(f"{name} {ratio:.4f}" for name, ratio in others.items())
    targets, met = [f"≤{_PEER}× ZipNN"], ours <= _PEER * peer
    if is_weights:
        targets.append(f"≤{_LIMIT}× the limit")
        met = met and ours <= _LIMIT * limit
    own = _MOMENTS.get(sample.name) or (_GGUF.get(dtype) if sample.name == "SmolLM2" else None)
    if own is not None:
        targets.append(f"≤{own}")
        met = met and ours <= own
    return Row(
        f"ratio, {sample.name} {shown(dtype)}, {raw / 1e6:.0f} MB",
        f"{ours:.4f} (sealed +{SEAL * len(chunks) / raw:.5f})",
        f"ZipNN {peer:.4f}, {beside}; limit {limit:.4f} by chunk, {file_limit:.4f} by file",
        f"{ours / peer:.4f}× ZipNN, {ours / limit:.4f}× the limit",
        ", ".join(targets),
        met,
    )


def _speed(sample: Sample) -> Row:
    chunks, dtype = sample.chunks(), sample.dtype
    whole = b"".join(chunks)
    codecs = [_ours(chunks, dtype), peer_codecs.zipnn(whole, dtype), peer_codecs.zstd(3)]
    codecs.append(peer_codecs.blosc(whole, dtype))
    packs: list[list[tuple[float, float]]] = [[] for _ in codecs]
    unpacks: list[list[tuple[float, float]]] = [[] for _ in codecs]
    for _ in range(_ROUNDS):
        for number, codec in enumerate(codecs):
            packed, used = _timed(partial(codec.pack, bytearray(whole)))
            packs[number].append(used)
            unpacks[number].append(_timed(partial(codec.unpack, packed))[1])
    texts = [_shown_speed(len(whole), pack, unpack) for pack, unpack in zip(packs, unpacks, strict=True)]
    ours, peer = (statistics.median(wall for wall, _ in pack) for pack in packs[:2])
    peers = "; ".join(f"{codec.name}: {text}" for codec, text in zip(codecs[1:], texts[1:], strict=True))
    return Row(
        f"codec speed, {sample.name} {shown(dtype)}, one core, pack / unpack, MB/s of wall (of CPU)",
        texts[0],
        peers,
        f"{peer / ours:.1f}× ZipNN",
    )


def _ours(chunks: list[bytes], dtype: str) -> Codec:
    """Chunks to frames, and back into a buffer that is used again, as restoring does."""
    out = memoryview(bytearray(max(map(len, chunks))))
    frames: list[bytes] = []

    def pack(_whole: bytearray) -> bytes:
        frames[:] = [frame.encode(chunk, dtype) for chunk in chunks]
        return b""

    def unpack(_packed: bytes) -> bytes:
        for each, chunk in zip(frames, chunks, strict=True):
            frame.decode_into(each, out[: len(chunk)])
        return b""

    return Codec("p2pckpt", pack, unpack)


def _timed(work: Callable[[], bytes]) -> tuple[bytes, tuple[float, float]]:
    """What it gives; wall and CPU seconds."""
    cpu, begin = time.process_time(), time.perf_counter()
    result = work()
    return result, (time.perf_counter() - begin, time.process_time() - cpu)


def _shown_speed(raw: int, pack: list[tuple[float, float]], unpack: list[tuple[float, float]]) -> str:
    """Medians: pack wall (CPU) / unpack wall (CPU)."""
    speeds = []
    for times in (pack, unpack):
        wall, cpu = (raw / statistics.median(values) / 1e6 for values in zip(*times, strict=True))
        speeds.append(f"{wall:.0f} ({cpu:.0f})")
    return " / ".join(speeds)


def shown(dtype: str) -> str:
    """As people write it: fp32, bf16, int8; ggml's names as they are."""
    return {"F32": "fp32", "F16": "fp16", "F64": "fp64", "BF16": "bf16", "I8": "int8"}.get(
        dtype, dtype.removeprefix("F8_")
    )
