"""A published version on its way to a checkout in another process, beside libtorrent moving the same raw files."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench import plain_torrent
from bench.generate import make_checkpoint
from bench.homes import Home, running, settle
from bench.table import Row

TARGET = 0.6


@dataclass(frozen=True)
class _Round:
    ours: float
    """Seconds until the checkout is complete and durable."""
    cpu: float
    """Seconds of both daemons."""
    peer: plain_torrent.Result
    peer_cpu: float
    """Seconds of both processes."""


async def measure(directory: Path, size: int, rounds: int) -> list[Row]:
    """``rounds`` times ours, theirs, ours, theirs…"""
    directory.mkdir()
    source = directory / "model"
    make_checkpoint(source, size)
    raw = sum(path.stat().st_size for path in source.iterdir())
    torrent = directory / "model.torrent"
    plain_torrent.make(source, torrent)
    done: list[_Round] = []
    async with running(directory / "publisher") as publisher:
        link = (await publisher.publish(source, "model")).link
        with plain_torrent.seeding(torrent, directory) as (port, seed_usage):
            for number in range(rounds):
                settle(3 * raw)
                ours, cpu = await _ours(directory / f"receiver{number}", publisher, link)
                settle(3 * raw)
                before = seed_usage().cpu
                target = directory / f"plain{number}"
                target.mkdir()
                peer = plain_torrent.receive(torrent, target, port)
                done.append(_Round(ours, cpu, peer, peer.cpu + seed_usage().cpu - before))
                shutil.rmtree(target)
    shutil.rmtree(directory)
    return _rows(done, raw)


async def _ours(home: Path, publisher: Home, link: str) -> tuple[float, float]:
    async with running(home) as receiver:
        before = receiver.usage().cpu + publisher.usage().cpu
        begin = time.perf_counter()
        await receiver.fetch(link, home / "checkout")
        seconds = time.perf_counter() - begin
        cpu = receiver.usage().cpu + publisher.usage().cpu - before
    shutil.rmtree(home)
    return seconds, cpu


def _rows(done: list[_Round], raw: int) -> list[Row]:
    ours = [raw / each.ours / 1e6 for each in done]
    flushed = [raw / each.peer.flushed / 1e6 for each in done]
    durable = [raw / each.peer.durable / 1e6 for each in done]
    work = f"loopback swarm, {raw / 1e9:.1f} GB bf16, published before, public, checked out and fsynced"
    ratio, ratio_durable = median(ours) / median(flushed), median(ours) / median(durable)
    cpu, peer_cpu = (median(value) / raw * 1e9 for value in ([r.cpu for r in done], [r.peer_cpu for r in done]))
    return [
        Row(
            f"{work}; libtorrent finished and flushed",
            _speed(ours),
            f"libtorrent {_speed(flushed)}",
            f"{ratio:.2f}×",
            f"≥{TARGET}×",
            ratio >= TARGET,
        ),
        Row(
            "the same; libtorrent finished, flushed and fsynced",
            _speed(ours),
            f"libtorrent {_speed(durable)}",
            f"{ratio_durable:.2f}×",
            f"≥{TARGET}×",
            ratio_durable >= TARGET,
        ),
        Row(
            "the same; CPU of both ends",
            f"{cpu:.1f} s/GB",
            f"libtorrent {peer_cpu:.1f} s/GB",
            f"{cpu / peer_cpu:.2f}×",
        ),
    ]


def _speed(values: list[float]) -> str:
    return f"{median(values):.0f} MB/s ({min(values):.0f}–{max(values):.0f})"
