"""What the next version of a checkpoint adds for somebody who has the first: everything there is to fetch.

Every family of versions is published to a share of its own, and stored by restic, borg and xet into a repository of
their own, in the same order; what a repository grows by is what it would send.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from bench import repositories, variants
from bench.homes import Home, running
from bench.repositories import Program
from bench.table import Row
from bench.variants import Family, Version
from p2pckpt.store.layout import StoreLayout


async def measure(directory: Path, size: int) -> list[Row]:
    """A row for each change to a first version of about ``size`` bytes."""
    directory.mkdir()
    rows = []
    async with running(directory / "publisher") as publisher:
        for family in variants.families(size):
            rows += await _measure(directory, publisher, family)
    shutil.rmtree(directory)
    return rows


async def _measure(directory: Path, publisher: Home, family: Family) -> list[Row]:
    programs = [program for program in repositories.known() if program.present]
    name = family.name.replace(" ", "-")
    keep = directory / "repositories" / name
    source = directory / "version"
    family.first(source)
    await publisher.publish(source, name)
    for program in programs:
        program.make(keep / program.name)
        # only what comes later is counted, and restic at its smallest takes minutes for a gigabyte
        program.run(program.store(keep / program.name, source), keep / program.name, source)
    shutil.rmtree(source)
    rows = []
    for version in family.versions:
        version.write(source)
        ours = await _added(publisher, source, name)
        peers = {program.name: _grown(program, keep / program.name, source) for program in programs}
        shutil.rmtree(source)
        rows.append(_row(family, version, ours, peers))
    shutil.rmtree(keep)
    return rows


def _row(family: Family, version: Version, ours: int, peers: dict[str, int]) -> Row:
    new, target = ours / version.raw, version.target
    changed = f", {version.changed / version.raw:.1%} of it new numbers" if version.changed else ""
    beside = [
        f"{program.name} {peers[program.name] / version.raw:.5f}"
        if program.present
        else f"{program.name} not installed"
        for program in repositories.known()
    ]
    return Row(
        f"version N+1 of {family.raw / 1e9:.1f} GB {family.name}: {version.name}{changed}",
        f"{new:.5f} of raw",
        ", ".join(beside),
        f"{ours / min(peers.values()):.3f}× the best" if peers else "—",
        "—" if target is None else f"≤{target}",
        None if target is None else new <= target,
    )


def _grown(program: Program, repository: Path, source: Path) -> int:
    """Bytes that storing ``source`` adds."""
    before = program.size(repository)
    program.run(program.store_small(repository, source), repository, source)
    return program.size(repository) - before


async def _added(publisher: Home, source: Path, name: str) -> int:
    """Bytes of the torrent's files (objects and manifest), of the .torrent, and of all signed metadata."""
    job = await publisher.publish(source, name)
    detail = await publisher.client.version_detail(f"{name}@{job.version}")
    layout = StoreLayout(publisher.path / "data" / "store")
    torrent = layout.torrent(bytes.fromhex(detail.version.info_hash))
    signed = [path for path in layout.trusted_files(bytes.fromhex(job.share_id)).rglob("*") if path.is_file()]
    return detail.version.wire_size + sum(path.stat().st_size for path in [torrent, *signed])
