"""Publishing and restoring one file of 600 MB as whole processes in two threads, start to end, beside every peer.

Ours packs and seals into a new store (chunks, BLAKE3, SHA-256, Merkle trees, catalogue) and restores from it with
every chunk checked; beside it the daemon's whole publish, which also signs, registers and seeds. Rounds take turns, and
medians count. "Flushed" rows fsync all output before the clock stops; in the others ours leaves out its own fsyncs,
while restic and borg keep theirs, which they cannot do without.
"""

from __future__ import annotations

import filecmp
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import repositories
from bench.generate import make_checkpoint
from bench.homes import running, settle
from bench.processes import Cost, cost, middle
from bench.repositories import Program
from bench.table import Row

SIZE = 600 * 10**6
_SIZES, _FULL_SIZE = (100 * 10**6, 10**9), 10**10
_ROUNDS = 3
_MAX_RSS = 200e6
_FASTER = {"publish": (1.3, 3.0), "restore": (1.0, 3.0)}
"""Times the speed of zstd, and of every other peer, in wall seconds."""
_PYTHON = sys.executable


@dataclass(frozen=True)
class _Peer:
    """``publish`` fills a directory of its own from the source directory; ``restore`` fills another from that."""

    name: str
    publish: Callable[[Path, Path, bool], Cost]
    restore: Callable[[Path, Path, bool], Cost]


async def measure(directory: Path, *, full: bool) -> list[Row]:
    """Rows of publishing and restoring, flushed and not, and of our memory at several sizes."""
    directory.mkdir()
    source = directory / "source"
    make_checkpoint(source, SIZE)
    (source / "config.json").unlink()
    rows = []
    for flushed in (True, False):
        costs = _rounds(directory, source, flushed)
        for work in ("publish", "restore"):
            rows += _rows(work, flushed, {name: each[work] for name, each in costs.items()})
        if flushed:
            rows.append(await _daemon(directory, source, costs.get("zstd", {}).get("publish")))
    shutil.rmtree(source)
    for size in (*_SIZES, _FULL_SIZE) if full else _SIZES:
        rows.append(_memory(directory, size))
    shutil.rmtree(directory)
    return rows


def _rounds(directory: Path, source: Path, flushed: bool) -> dict[str, dict[str, Cost]]:
    """Median cost of each peer's publish and restore; ours comes first."""
    peers = _peers()
    costs: dict[str, dict[str, list[Cost]]] = {peer.name: {"publish": [], "restore": []} for peer in peers}
    for _ in range(_ROUNDS):
        for peer in peers:
            kept, out = directory / "kept", directory / "out"
            kept.mkdir()
            out.mkdir()
            _warm(source)
            costs[peer.name]["publish"].append(peer.publish(source, kept, flushed))
            _warm(kept)
            costs[peer.name]["restore"].append(peer.restore(kept, out, flushed))
            _same(source, out)
            shutil.rmtree(kept)
            shutil.rmtree(out)
    return {name: {work: middle(each) for work, each in works.items()} for name, works in costs.items()}


def _peers() -> list[_Peer]:
    programs = [_program(program) for program in repositories.known() if program.present]
    known = [_ours()]
    if shutil.which("zstd"):
        known.append(_pair("zstd", ["zstd", "-q", "-T2", "-3"], ["zstd", "-q", "-d"], ["-o"]))
    zipnn = [_PYTHON, "-m", "bench.file_zipnn"]
    return [*known, _pair("ZipNN", [*zipnn, "pack"], [*zipnn, "unpack"], []), *programs]


def _ours() -> _Peer:
    def command(work: str, store: Path, directory: Path, flushed: bool) -> list[str | Path]:
        return [_PYTHON, "-m", "bench.ours", work, store, directory, *([] if flushed else ["--loose"])]

    return _Peer(
        "p2pckpt",
        lambda source, kept, flushed: cost(command("pack", kept / "store", source, flushed)),
        lambda kept, out, flushed: cost(command("restore", kept / "store", out / "made", flushed)),
    )


def _pair(name: str, pack: list[str], unpack: list[str], output: list[str]) -> _Peer:
    """A program that turns one file into one file."""

    def publish(source: Path, kept: Path, flushed: bool) -> Cost:
        (file,) = source.iterdir()
        return cost([*pack, file, *output, kept / "packed"], flush=kept if flushed else None)

    def restore(kept: Path, out: Path, flushed: bool) -> Cost:
        return cost([*unpack, kept / "packed", *output, out / "made"], flush=out if flushed else None)

    return _Peer(name, publish, restore)


def _program(program: Program) -> _Peer:
    def publish(source: Path, kept: Path, flushed: bool) -> Cost:
        repository = kept / "repository"
        program.make(repository)
        return _run(program, program.store(repository, source), repository, source, kept if flushed else None)

    def restore(kept: Path, out: Path, flushed: bool) -> Cost:
        repository = kept / "repository"
        return _run(program, program.restore(repository, out), repository, out, out if flushed else None)

    return _Peer(program.name, publish, restore)


def _run(program: Program, command: Sequence[str], repository: Path, directory: Path, flush: Path | None) -> Cost:
    where = directory if program.inside else None
    return cost(command, directory=where, environment=program.environ(repository), flush=flush)


def _rows(work: str, flushed: bool, costs: dict[str, Cost]) -> list[Row]:
    """Ours against zstd, and against the fastest of the others."""
    ours = costs.pop("p2pckpt")
    how = "flushed" if flushed else "not flushed"
    what = f"{work}, {SIZE / 1e6:.0f} MB bf16, whole process, 2 threads, {how}"
    others = {name: each for name, each in costs.items() if name != "zstd"}
    groups = [({"zstd": costs["zstd"]}, _FASTER[work][0])] if "zstd" in costs else []
    groups.append((others, _FASTER[work][1]))
    rows = []
    for peers, target in groups:
        times = min(peer.wall for peer in peers.values()) / ours.wall
        each = "zstd" if "zstd" in peers else "each other"
        beside = "; ".join(f"{name} {_shown(peer)}" for name, peer in peers.items())
        rows.append(
            Row(f"{what}, beside {each}", _shown(ours), beside, f"{times:.2f}×", f"≥{target}×", times >= target)
        )
    return rows


def _shown(each: Cost) -> str:
    return f"{SIZE / each.wall / 1e6:.0f} MB/s ({each.wall:.2f} s, CPU {each.cpu:.2f} s, {each.peak_rss / 1e6:.0f} MB)"


async def _daemon(directory: Path, source: Path, peer: Cost | None) -> Row:
    """The whole publish of a daemon that runs already: packed, flushed, signed, registered, seeded.

    Each round has a home of its own, so that no chunk is there already. ``peer`` is zstd.
    """
    seconds, cpu = [], []
    warm = directory / "warm"
    warm.mkdir()
    (warm / "note.txt").write_text("the first share starts the tracker\n")
    for number in range(_ROUNDS):
        home = directory / f"publisher-{number}"
        async with running(home) as publisher:
            await publisher.publish(warm, "warm")
            _warm(source)
            before, begin = publisher.usage().cpu, time.perf_counter()
            await publisher.publish(source, "model")
            seconds.append(time.perf_counter() - begin)
            cpu.append(publisher.usage().cpu - before)
        shutil.rmtree(home)
    median = middle([Cost(wall, used, 0) for wall, used in zip(seconds, cpu, strict=True)])
    speed = SIZE / median.wall / 1e6
    return Row(
        f"publish, {SIZE / 1e6:.0f} MB bf16, by the daemon, signed, registered and seeded",
        f"{speed:.0f} MB/s ({median.wall:.2f} s, CPU {median.cpu:.2f} s)",
        "—" if peer is None else f"zstd, flushed: {_shown(peer)}",
        "—" if peer is None else f"{peer.wall / median.wall:.2f}×",
    )


def _memory(directory: Path, size: int) -> Row:
    source, store = directory / "source", directory / "store"
    make_checkpoint(source, size)
    used = cost([_PYTHON, "-m", "bench.ours", "pack", store, source])
    for path in (source, store):
        shutil.rmtree(path)
    what = f"peak RSS, packing {size / 1e9:g} GB bf16, whole process"
    return Row(what, f"{used.peak_rss / 1e6:.0f} MB", target="≤200 MB", met=used.peak_rss <= _MAX_RSS)


def _warm(directory: Path) -> None:
    """Read everything once, so that it is in the page cache; write back what is dirty and touch free memory."""
    settle(3 * SIZE)
    for path in directory.rglob("*"):
        if path.is_file():
            with path.open("rb", buffering=0) as file:
                while file.read(4 << 20):
                    pass


def _same(source: Path, out: Path) -> None:
    """A peer that gives back other bytes is not measured."""
    (expected,) = source.iterdir()
    (made,) = (path for path in out.rglob("*") if path.is_file())
    if not filecmp.cmp(made, expected, shallow=False):
        raise ValueError(f"{made} is not what was stored")
