"""What a checkpoint costs next to an earlier one of the same run: differences chunk by chunk, same-named tensors.

A chunk that is equal costs nothing, one that is closer to its base than 5 % is a difference, any other is a plain
frame; frame headers are counted, the chunk's lines in the manifest are not. Beside it ZipNN's own difference of two
whole inputs (XOR, then its usual coding), and ZipNN alone.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from zipnn import ZipNN  # type: ignore[import-untyped]

from bench import peer_codecs, training
from bench.ratios import shown
from bench.table import Row
from p2pckpt.checkpoint.chunking import cuts
from p2pckpt.checkpoint.codec import frame
from p2pckpt.checkpoint.formats import inspect
from p2pckpt.checkpoint.formats.source import BytesSource

_ROUNDS = 3
_ZIPNN = {"BF16": "bfloat16", "F32": "float32"}


@dataclass(frozen=True)
class _Pair:
    """A checkpoint and the one its reader has."""

    name: str
    dtype: str
    file: Path
    base: Path
    target: float | None = None
    """Of raw."""


def measure(cache: Path) -> list[Row]:
    """A row for every pair of the training in ``cache``."""
    directory = cache / "training"
    training.make(directory)
    return [_row(pair) for pair in _pairs(directory)]


def _pairs(directory: Path) -> Iterator[_Pair]:
    targets = {("BF16", 1): 0.16, ("BF16", 10): 0.30}
    first, last = training.step(0), training.step(training.DISTANCES[-1])
    for dtype in ("BF16", "F32"):

        def file(name: str, dtype: str = dtype) -> Path:
            return training.checkpoint(directory, name, dtype)

        for distance in training.DISTANCES:
            name = "1 step" if distance == 1 else f"{distance} steps"
            target = targets.get((dtype, distance))
            yield _Pair(f"{name} on", dtype, file(training.step(distance)), file(first), target)
        yield _Pair("frozen fine-tune", dtype, file(training.FROZEN), file(last))
        yield _Pair("full fine-tune", dtype, file(training.FULL), file(last))
        lora_target = 0.06 if dtype == "BF16" else None
        yield _Pair("LoRA merged", dtype, file(training.LORA), file(last), lora_target)
    for moment in (training.FIRST_MOMENT, training.SECOND_MOMENT):
        for distance in training.DISTANCES[:2]:
            later, base = (training.moments(directory, each, moment) for each in (distance, 0))
            yield _Pair(f"{moment}, {distance} on", "F32", later, base)


def _row(pair: _Pair) -> Row:
    chunks = list(_chunks(pair))
    raw = sum(len(chunk) for chunk, _ in chunks)
    alone = new = 0
    for chunk, base in chunks:
        plain = frame.encode(chunk, pair.dtype)
        alone += len(plain)
        if chunk != base:
            difference = frame.encode_delta(chunk, base, pair.dtype, alone=len(plain))
            new += len(plain) if difference is None else len(difference)
    whole, bases = (b"".join(part) for part in zip(*chunks, strict=True))
    xor = ZipNN(
        bytearray_dtype=_ZIPNN[pair.dtype], threads=1, delta_compressed_type="byte", compression_threshold=0.999
    )
    beside = len(xor.compress(bytearray(whole), delta_second_data=bases)) / raw
    peer_alone = len(peer_codecs.zipnn(whole, pair.dtype).pack(bytearray(whole))) / raw
    packing, unpacking = _speeds(chunks, pair.dtype, raw)
    return Row(
        f"difference, {shown(pair.dtype)}, {pair.name}, {raw / 1e6:.0f} MB",
        f"{new / raw:.4f} of raw (alone {alone / raw:.4f}); {packing:.0f} / {unpacking:.0f} MB/s",
        f"ZipNN's XOR {beside:.4f}, ZipNN alone {peer_alone:.4f}",
        f"{new / raw / beside:.2f}× ZipNN's XOR" if beside else "—",
        "—" if pair.target is None else f"≤{pair.target}",
        None if pair.target is None else new / raw <= pair.target,
    )


def _chunks(pair: _Pair) -> Iterator[tuple[bytes, bytes]]:
    """Pieces of every tensor with the base's at the same place."""
    source, base = (BytesSource(path.read_bytes()) for path in (pair.file, pair.base))
    layout, earlier = inspect(source), {tensor.name: tensor for tensor in inspect(base).tensors}
    for cut in cuts(layout, source):
        if cut.tensor >= 0:
            tensor = layout.tensors[cut.tensor]
            offset = earlier[tensor.name].offset + cut.offset - tensor.offset
            yield source.read(cut.offset, cut.length), base.read(offset, cut.length)


def _speeds(chunks: list[tuple[bytes, bytes]], dtype: str, raw: int) -> tuple[float, float]:
    """MB/s of taking differences and of restoring them, one thread, medians; equal chunks included."""
    bodies = [frame.encode_delta(chunk, base, dtype, alone=len(chunk)) for chunk, base in chunks]
    out = memoryview(bytearray(max(len(chunk) for chunk, _ in chunks)))

    def pack() -> None:
        for chunk, base in chunks:
            frame.encode_delta(chunk, base, dtype, alone=len(chunk))

    def unpack() -> None:
        for body, (chunk, base) in zip(bodies, chunks, strict=True):
            if body is not None:
                frame.decode_into(body, out[: len(chunk)], base)

    packing, unpacking = ([_seconds(work) for _ in range(_ROUNDS)] for work in (pack, unpack))
    return raw / statistics.median(packing) / 1e6, raw / statistics.median(unpacking) / 1e6


def _seconds(work: Callable[[], None]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin
