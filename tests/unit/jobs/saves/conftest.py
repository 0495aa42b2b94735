from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import trainers

Copy = Callable[[str], Path]


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with one run for each of ``trainers.WRITERS``; made once for all processes. Not to be changed."""
    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    made = base / "trainers"
    with (base / "trainers.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            (base / "trainers-partial").mkdir()
            trainers.make(base / "trainers-partial")
            (base / "trainers-partial").rename(made)
    return made


@pytest.fixture
def copy(runs: Path, tmp_path: Path) -> Copy:
    """Copies a save, named by its path in ``runs``, to where it may be damaged; a file comes in a directory."""

    def copied(path: str) -> Path:
        source = runs / path
        target = tmp_path / source.name
        if source.is_dir():
            shutil.copytree(source, target)
        else:
            target.mkdir()
            shutil.copy2(source, target)
        return target

    return copied
