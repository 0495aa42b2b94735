"""What publishing costs a training on the same machine: its step while a save is published, beside its step alone."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from statistics import median

from bench.generate import make_checkpoint
from bench.homes import Home, running, settle
from bench.table import Row
from bench.trainer import RUN
from p2pckpt.control.run_messages import SaveState
from p2pckpt.errors import NotFound, P2pckptError

SIZE = 200_000_000
"""Bytes of a save."""
PUBLISHED = 7
"""Saves, each in a window of its own."""
TARGET = 1.05
_DRIFT = 1e-4
"""How much a save differs from the one before, as one optimizer step does."""
_NICE = 19
_POLL = 0.1
_DEADLINE = 300.0


class _Sharing(StrEnum):
    """How trainer and daemon share two cores."""

    PINNED = "pinned"
    FREE = "not pinned"
    NICE = f"not pinned, nice = {_NICE}"


@dataclass(frozen=True)
class _Step:
    """Seconds that one takes, on average over a window."""

    wall: float
    cpu: float
    """Of the whole process: without waits for a core, with the hand-over."""

    def mean(self, other: _Step) -> _Step:
        return _Step((self.wall + other.wall) / 2, (self.cpu + other.cpu) / 2)


@dataclass(frozen=True)
class _Window:
    """A save being published, between two windows as long as the last one in which nothing is."""

    publishing: _Step
    alone: _Step
    lasted: float
    """Seconds from the hand-over until the save was published."""


async def measure(directory: Path) -> list[Row]:
    """Rows for bf16 and fp32, with and without deltas, pinned, not pinned, and with a daemon that stands back."""
    directory.mkdir()
    rows = []
    for dtype in ("BF16", "F32"):
        saves = directory / dtype
        for number in range(PUBLISHED + 1):
            make_checkpoint(saves / f"step-{number + 1}", SIZE, dtype, drift=_DRIFT * number, drift_seed=number + 1)
        for delta in (True, False):
            for sharing in _Sharing:
                settle(2 * SIZE)
                home = directory / f"{dtype}-{delta:d}-{sharing.name}"
                windows = await _windows(home, saves, sharing, delta=delta)
                rows.append(_row(windows, dtype, sharing, delta=delta))
                shutil.rmtree(home)
        shutil.rmtree(saves)
    return rows


async def _windows(home: Path, saves: Path, sharing: _Sharing, *, delta: bool) -> list[_Window]:
    """The first save is published before anything is measured: it starts the tracker, and differences have a base."""
    windows = []
    pinned = sharing is _Sharing.PINNED
    with _on({1} if pinned else None):
        nice = _NICE if sharing is _Sharing.NICE else 0
        async with running(home, nice=nice) as publisher, _training(home, 0 if pinned else -1, delta=delta) as training:
            lasted = await training.publish(publisher, saves / "step-1")
            before = await training.alone(lasted)
            for number in range(2, PUBLISHED + 2):
                lasted = await training.publish(publisher, saves / f"step-{number}")
                publishing = await training.end()
                after = await training.alone(lasted)
                windows.append(_Window(publishing, before.mean(after), lasted))
                before = after
    return windows


def _row(windows: list[_Window], dtype: str, sharing: _Sharing, *, delta: bool) -> Row:
    ratios = [each.publishing.wall / each.alone.wall for each in windows]
    cpu = median(each.publishing.cpu / each.alone.cpu for each in windows)
    publishing, alone = (median(walls) * 1e3 for walls in zip(*map(_walls, windows), strict=True))
    ratio = median(ratios)
    how = f"{'differences' if delta else 'no differences'}, {sharing}"
    pinned = sharing is _Sharing.PINNED
    return Row(
        f"training step while {SIZE / 1e6:.0f} MB {dtype.lower()} are published, {how}; median of {len(windows)}",
        f"{publishing:.1f} ms, for {median(window.lasted for window in windows):.1f} s",
        f"the step alone: {alone:.1f} ms",
        f"{ratio:.3f}× ({min(ratios):.3f}–{max(ratios):.3f}); CPU time {cpu:.3f}×",
        f"≤{TARGET}×" if pinned else "—",
        ratio <= TARGET if pinned else None,
    )


def _walls(window: _Window) -> tuple[float, float]:
    return window.publishing.wall, window.alone.wall


class _Training:
    """``bench.trainer`` in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def tell(self, command: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{command}\n".encode())
        await self._process.stdin.drain()

    async def answer(self) -> str:
        assert self._process.stdout is not None
        line = (await self._process.stdout.readline()).decode().strip()
        if not line:
            raise P2pckptError("the training ended")
        return line

    async def end(self) -> _Step:
        """A step since the window began."""
        await self.tell("end")
        wall, cpu = map(float, (await self.answer()).split())
        return _Step(wall, cpu)

    async def alone(self, seconds: float) -> _Step:
        """A step in a window in which nothing is published."""
        await self.tell("begin")
        await asyncio.sleep(seconds)
        return await self.end()

    async def publish(self, publisher: Home, save: Path) -> float:
        """Begin a window with a hand-over; seconds until the save was published."""
        begin = time.perf_counter()
        await self.tell(f"publish {save}")
        async with asyncio.timeout(_DEADLINE):
            while not await _is_published(publisher, save.name):
                await asyncio.sleep(_POLL)
        return time.perf_counter() - begin


async def _is_published(publisher: Home, name: str) -> bool:
    try:
        saves = (await publisher.client.run_detail(RUN)).saves
    except NotFound:
        return False
    for save in saves:
        if save.name == name and save.state in (SaveState.REJECTED, SaveState.FAILED, SaveState.SUPERSEDED):
            raise P2pckptError(f"{name} was not published: {save.why}")
    return any(save.name == name and save.state is SaveState.PUBLISHED for save in saves)


@contextlib.asynccontextmanager
async def _training(home: Path, core: int, *, delta: bool) -> AsyncIterator[_Training]:
    arguments = (str(home), str(core), "delta" if delta else "whole")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.trainer", *arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    training = _Training(process)
    try:
        await training.answer()
        yield training
    finally:
        process.terminate()
        await process.wait()


@contextlib.contextmanager
def _on(cores: set[int] | None) -> Iterator[None]:
    """What is started within stays on these cores; None: wherever the kernel puts it."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores or before)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
