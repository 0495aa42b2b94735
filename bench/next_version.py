"""What the next version of a checkpoint adds for somebody who has the first: everything there is to fetch."""

from __future__ import annotations

import json
import random
import shutil
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from bench.generate import WRITERS, Spec, Weights, _shards, model_specs
from bench.homes import Home, running
from bench.table import Row
from p2pckpt.store.layout import StoreLayout

DTYPE = "BF16"
_SEED = 11

Write = Callable[[Path, list[Spec]], None]


async def measure(directory: Path, size: int) -> list[Row]:
    """Version 1 is two safetensors shards; every other version is one change to it, published to the same share."""
    directory.mkdir()
    specs = model_specs(size, DTYPE, _SEED)
    reordered = random.Random(_SEED).sample(specs, len(specs))
    middle = len(specs) // 2
    retrained = [replace(spec, seed=(_SEED, 1 << 20)) if n == middle else spec for n, spec in enumerate(specs)]
    cases: list[tuple[str, Write, list[Spec], float | None]] = [
        ("a header edited", _edited, specs, 0.0001),
        ("3 shards instead of 2", lambda where, each: _shard(where, each, 3), specs, 0.0015),
        ("torch.save instead of safetensors", _torch, specs, 0.0018),
        ("tensors reordered", _two_shards, reordered, 0.0015),
        ("one tensor changed", _two_shards, retrained, None),
    ]
    rows = []
    async with running(directory / "publisher") as publisher:
        source = directory / "base"
        _two_shards(source, specs)
        raw = sum(spec.length for spec in specs)
        await publisher.publish(source, "model")
        shutil.rmtree(source)
        for name, write, changed, target in cases:
            source = directory / "next"
            write(source, changed)
            new = await _added(publisher, source) / raw
            shutil.rmtree(source)
            unavoidable = specs[middle].length / raw if target is None else 0.0
            rows.append(_row(name, raw, new, target, unavoidable))
    shutil.rmtree(directory)
    return rows


def _row(name: str, raw: int, new: float, target: float | None, unavoidable: float) -> Row:
    return Row(
        f"version N+1, {raw / 1e9:.1f} GB bf16: {name}",
        f"{new:.5f} of raw",
        f"that tensor, raw: {unavoidable:.5f}" if unavoidable else "—",
        f"{new / unavoidable:.2f}×" if unavoidable else "—",
        "—" if target is None else f"≤{target}",
        None if target is None else new <= target,
    )


async def _added(publisher: Home, source: Path) -> int:
    """Bytes of the torrent's files (objects and manifest), of the .torrent, and of all signed metadata."""
    job = await publisher.publish(source, "model")
    detail = await publisher.client.version_detail(f"model@{job.version}")
    layout = StoreLayout(publisher.path / "data" / "store")
    torrent = layout.torrent(bytes.fromhex(detail.version.info_hash))
    signed = [path for path in layout.trusted_files(bytes.fromhex(job.share_id)).rglob("*") if path.is_file()]
    return detail.version.wire_size + sum(path.stat().st_size for path in [torrent, *signed])


def _two_shards(directory: Path, specs: list[Spec]) -> None:
    _shard(directory, specs, 2)


def _shard(directory: Path, specs: list[Spec], shards: int) -> None:
    directory.mkdir()
    for number, part in enumerate(_shards(specs, shards), start=1):
        with (directory / f"model-{number:05d}-of-{shards:05d}.safetensors").open("wb") as file:
            WRITERS["safetensors"](file, part, Weights())


def _torch(directory: Path, specs: list[Spec]) -> None:
    directory.mkdir()
    with (directory / "model.pt").open("wb") as file:
        WRITERS["torch_zip"](file, specs, Weights())


def _edited(directory: Path, specs: list[Spec]) -> None:
    """The first shard with other metadata in its header; all tensors where they were, relative to its end."""
    _two_shards(directory, specs)
    first = sorted(directory.iterdir())[0]
    moved = first.with_suffix(".old")
    first.rename(moved)
    with moved.open("rb") as old, first.open("wb") as new:
        (length,) = struct.unpack("<Q", old.read(8))
        header = json.loads(old.read(length))
        header["__metadata__"]["note"] = "trained a little longer"
        raw = json.dumps(header, separators=(",", ":")).encode()
        raw += b" " * (-len(raw) % 8)
        new.write(struct.pack("<Q", len(raw)) + raw)
        shutil.copyfileobj(old, new, 4 << 20)
    moved.unlink()
