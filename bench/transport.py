"""What secrecy costs: one checkpoint on its way to a checkout, as a public share, sealed, and sealed with TLS."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench.generate import make_checkpoint
from bench.homes import Home, running, settle
from bench.table import Row
from p2pckpt.control import access_messages as am
from p2pckpt.tracker_protocol import Visibility

_WAYS = ("public", "sealed, plain swarm", "sealed, TLS")
_TARGETS = {_WAYS[1]: 0.85, _WAYS[2]: 0.5}


@dataclass(frozen=True)
class _Round:
    seconds: float
    """Until the checkout is complete and durable."""
    cpu: float
    """Seconds of both daemons."""


async def measure(directory: Path, size: int, rounds: int) -> list[Row]:
    """``rounds`` times each of the three by turns, each fetched into a home of its own."""
    directory.mkdir()
    source = directory / "model"
    make_checkpoint(source, size)
    raw = sum(path.stat().st_size for path in source.iterdir())
    done: dict[str, list[_Round]] = {way: [] for way in _WAYS}
    async with running(directory / "publisher") as publisher:
        links = {
            way: (
                await publisher.publish(source, f"share{number}", Visibility.LINK if number else Visibility.PUBLIC)
            ).link
            for number, way in enumerate(_WAYS)
        }
        await publisher.client.set_terms(am.TermsRequest(share="share1", swarm_tls=False))
        for number in range(rounds):
            for way in _WAYS:
                settle(3 * raw)
                done[way].append(await _fetch(directory / f"receiver{number}", publisher, links[way]))
    shutil.rmtree(directory)
    return _rows(done, raw)


async def _fetch(home: Path, publisher: Home, link: str) -> _Round:
    async with running(home) as receiver:
        before = receiver.usage().cpu + publisher.usage().cpu
        begin = time.perf_counter()
        await receiver.fetch(link, home / "checkout")
        seconds = time.perf_counter() - begin
        cpu = receiver.usage().cpu + publisher.usage().cpu - before
    shutil.rmtree(home)
    return _Round(seconds, cpu)


def _rows(done: dict[str, list[_Round]], raw: int) -> list[Row]:
    rows = []
    base = median(each.seconds for each in done[_WAYS[0]])
    beside = f"public: {_speed(done[_WAYS[0]], raw)}"
    for way, target in _TARGETS.items():
        ratio = base / median(each.seconds for each in done[way])
        rows.append(
            Row(
                f"loopback swarm, {raw / 1e9:.1f} GB bf16, {way}, checked out and fsynced",
                _speed(done[way], raw),
                beside,
                f"{ratio:.2f}×",
                f"≥{target}×",
                ratio >= target,
            )
        )
    return rows


def _speed(rounds: list[_Round], raw: int) -> str:
    speeds = [raw / each.seconds / 1e6 for each in rounds]
    cpu = median(each.cpu for each in rounds) / raw * 1e9
    return f"{median(speeds):.0f} MB/s ({min(speeds):.0f}–{max(speeds):.0f}), {cpu:.1f} CPU s/GB"
