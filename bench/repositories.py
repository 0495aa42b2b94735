"""Programs that keep versions of files without sending what they have: restic, borg, and the hub's xet.

Each is run as its own users run it, with caches of its own below the repository, at the settings that suit a model
best. A program that is not on this machine is told apart from one that fails.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

Command = Callable[[Path, Path], list[str]]


@dataclass(frozen=True)
class Program:
    """Commands take the repository and the directory to read or to fill, which is also the working directory where
    ``inside`` says so."""

    name: str
    present: bool
    create: Callable[[Path], list[str]] | None
    store: Command
    """At the settings that are fastest."""
    store_small: Command
    """At the settings that send least."""
    restore: Command
    environment: dict[str, str]
    inside: bool = False
    """Paths are stored as seen from the working directory."""
    sent: tuple[str, ...] = ("**/*",)
    """Which files of the repository are what a remote one would be sent."""

    def make(self, repository: Path) -> None:
        """A new, empty repository."""
        repository.parent.mkdir(parents=True, exist_ok=True)
        if self.create is not None:
            self.run(self.create(repository), repository)

    def size(self, repository: Path) -> int:
        """Bytes of what a remote repository would have been sent so far."""
        files = {path for pattern in self.sent for path in repository.glob(pattern) if path.is_file()}
        return sum(path.stat().st_size for path in files)

    def run(self, command: list[str], repository: Path, directory: Path | None = None) -> None:
        """To the end; ``subprocess.CalledProcessError`` where it fails."""
        where = directory if self.inside else None
        environment = self.environ(repository)
        subprocess.run(command, cwd=where, env=environment, check=True, capture_output=True, stdin=subprocess.DEVNULL)

    def environ(self, repository: Path) -> dict[str, str]:
        """This process's, with the program's own on top and all caches beside the repository."""
        cache = str(repository) + ".cache"
        caches = {"XDG_CACHE_HOME": cache, "RESTIC_CACHE_DIR": cache, "BORG_BASE_DIR": cache, "HF_HOME": cache}
        return os.environ | caches | self.environment


def known() -> list[Program]:
    """restic, borg and xet, there or not."""
    xet = [sys.executable, "-m", "bench.xet"]
    root = str(Path(__file__).parents[1])
    return [
        Program(
            "restic",
            shutil.which("restic") is not None,
            lambda repository: ["restic", "-r", str(repository), "init", "--repository-version", "2"],
            lambda repository, _: ["restic", "-r", str(repository), "backup", "."],
            lambda repository, _: ["restic", "-r", str(repository), "backup", "--compression", "max", "."],
            lambda repository, _: ["restic", "-r", str(repository), "restore", "latest", "--target", "."],
            {"RESTIC_PASSWORD": "bench"},
            inside=True,
        ),
        Program(
            "borg",
            shutil.which("borg") is not None,
            lambda repository: ["borg", "init", "--encryption", "none", str(repository)],
            _borg_create,
            _borg_create,
            lambda repository, _: ["borg", "extract", f"{repository}::{_last(repository)}"],
            {"BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes", "BORG_RELOCATED_REPO_ACCESS_IS_OK": "yes"},
            inside=True,
        ),
        Program(
            "xet",
            importlib.util.find_spec("hf_xet") is not None,
            None,
            lambda repository, source: [*xet, "store", str(repository), str(source)],
            lambda repository, source: [*xet, "store", str(repository), str(source)],
            lambda repository, target: [*xet, "restore", str(repository), str(target)],
            {"PYTHONPATH": root, "HF_HUB_OFFLINE": "1"},
            sent=("xet/xorbs/xorbs/default." + 64 * "?", "xet/xorbs/shards/*.mdb"),
        ),
    ]


def _borg_create(repository: Path, _source: Path) -> list[str]:
    return ["borg", "create", "-C", "zstd,3", f"{repository}::{{now:%s.%f}}", "."]


def _last(repository: Path) -> str:
    """The archive made last."""
    command = ["borg", "list", "--short", "--last", "1", str(repository)]
    environment = next(program for program in known() if program.name == "borg").environ(repository)
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout.strip()
