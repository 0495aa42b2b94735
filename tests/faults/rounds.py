"""Rounds, one for each seed, and what a store's journal says after a daemon was killed."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest

from p2pckpt.checkpoint.merkle import FileTree
from p2pckpt.checkpoint.pieces import PieceSet
from p2pckpt.checkpoint.plan import PIECE_LENGTH
from p2pckpt.control import messages as m

_SOAK_ROUNDS, _AT_ONCE = 100, 6
Test = TypeVar("Test", bound=Callable[..., Any])


def seeds(*few: int) -> Callable[[Test], Test]:
    """Run a test with these seeds, and as part of the soak with 100 others."""
    soak = [pytest.param(1000 + seed, marks=pytest.mark.soak) for seed in range(_SOAK_ROUNDS)]
    return pytest.mark.parametrize("seed", [*few, *soak])


class Rounds:
    """The rounds of one test. They wait for links and processes most of the time, so some run side by side."""

    def __init__(self, seeds: Sequence[int], directory: Callable[[int], Path]) -> None:
        self._seeds = seeds
        self._directory = directory
        self._places = asyncio.Semaphore(_AT_ONCE)
        self._running: dict[int, asyncio.Task[str]] = {}

    async def result(self, seed: int, work: Callable[[int, Path], Coroutine[Any, Any, str]]) -> None:
        """Wait for the round of ``seed``; the first who asks starts all. ``work`` returns a line for the soak's log."""
        for each in self._seeds:
            if each not in self._running:
                self._running[each] = asyncio.create_task(self._round(each, work))
        line = await self._running[seed]
        log = os.environ.get("P2PCKPT_SOAK_LOG")
        if log:
            with Path(log).open("a") as sink:
                sink.write(f"{work.__qualname__.partition('.')[0]} seed {seed}: {line}\n")

    async def cancel(self) -> None:
        """End what nobody waits for any more."""
        for task in self._running.values():
            task.cancel()
        await asyncio.gather(*self._running.values(), return_exceptions=True)

    async def _round(self, seed: int, work: Callable[[int, Path], Coroutine[Any, Any, str]]) -> str:
        async with self._places:
            return await work(seed, self._directory(seed))


def has_moved(fraction: float) -> Callable[[m.Job], bool]:
    """Whether a fetch has this part of what it needs, or has ended."""
    return lambda job: is_under_way(job) and job.wire_done >= fraction * job.wire_size


def is_under_way(job: m.Job) -> bool:
    """Whether a fetch has counted what it needs: before that its record is the previous run's."""
    phases = (m.Phase.CONNECTING, m.Phase.DOWNLOADING, m.Phase.FINISHING)
    return (job.state is m.JobState.RUNNING and job.phase in phases) or job.state.ended


@dataclass(frozen=True)
class StoredObject:
    """An object as the catalogue knows it."""

    root: str
    length: int
    pieces: PieceSet

    @property
    def journalled(self) -> int:
        """Bytes of its durable pieces."""
        return sum(min(PIECE_LENGTH, self.length - piece * PIECE_LENGTH) for piece in self.pieces)

    def path(self, store: Path) -> Path:
        return store / "objects" / self.root[:2] / self.root


def stored_objects(store: Path) -> dict[str, StoredObject]:
    """What the catalogue of a daemon that does not run says, by root; the catalogue is not touched."""
    with tempfile.TemporaryDirectory() as directory:
        for path in store.glob("catalogue.db*"):
            shutil.copy(path, directory)
        db = sqlite3.connect(Path(directory) / "catalogue.db")
        try:
            rows = db.execute("SELECT root, length, pieces FROM objects").fetchall()
        finally:
            db.close()
    return {root.hex(): StoredObject(root.hex(), length, PieceSet(pieces)) for root, length, pieces in rows}


def check_objects(store: Path) -> None:
    """Every object that the catalogue calls whole is, by its root."""
    for stored in stored_objects(store).values():
        if len(stored.pieces) * PIECE_LENGTH >= stored.length:
            tree = FileTree(PIECE_LENGTH)
            tree.update(stored.path(store).read_bytes())
            assert tree.length == stored.length
            assert tree.finish()[0].hex() == stored.root
