"""Seeds of the rounds, and what a store's journal says after a daemon was killed."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest

from p2pckpt.checkpoint.merkle import FileTree
from p2pckpt.checkpoint.pieces import PieceSet
from p2pckpt.checkpoint.plan import PIECE_LENGTH
from p2pckpt.control import messages as m

_ROUNDS, _SOAK_ROUNDS = 15, 100
Test = TypeVar("Test", bound=Callable[..., Any])


def seeds(test: Test) -> Test:
    """Run a test with 15 seeds, and as part of the soak with 100 others."""
    soak = [pytest.param(1000 + seed, marks=pytest.mark.soak) for seed in range(_SOAK_ROUNDS)]
    marked: Test = pytest.mark.parametrize("seed", [*range(_ROUNDS), *soak])(test)
    return marked


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
