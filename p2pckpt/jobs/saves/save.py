"""One save as it lies on disk: what wrote it, which files it has, and whether they were touched since."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from p2pckpt.checkpoint.paths import REPLACED

MAX_FILES: Final = 100_000
"""Files of one save that are looked at; a run of a thousand ranks has some thousand."""
MAX_DEPTH: Final = 8

Print = tuple[tuple[str, int, int, int], ...]
"""(relative path, inode, size, mtime in nanoseconds) of every file, sorted."""


class Writer(StrEnum):
    """What wrote a save."""

    TRANSFORMERS = "transformers"
    """``checkpoint-500/``, by transformers' ``Trainer`` and what is built on it."""
    LIGHTNING = "lightning"
    """``epoch=1-step=20.ckpt``, a file, or a directory from its sharded strategies."""
    DCP = "dcp"
    """A directory by ``torch.distributed.checkpoint``."""
    FILES = "files"
    """Anything else: a directory of a script's own, or a file that ``torch.save`` wrote."""


@dataclass(frozen=True, slots=True)
class Save:
    """A save as one look saw it."""

    path: Path
    """Its directory, or the one file that it is."""
    name: str
    """The last part of ``path``: ``checkpoint-500``."""
    writer: Writer
    step: int | None
    """By its name."""
    marked: bool
    """What its writer writes last is there and whole."""
    print: Print
    """Equal before and after: nothing was written in between, not even by renaming another file into place."""
    size: int
    """Bytes."""
    changed_at: float
    """When anything in it last changed, renaming and linking included; seconds since 1970."""

    @property
    def is_file(self) -> bool:
        """Whether it is one file, with no directory of its own."""
        return len(self.print) == 1 and not self.print[0][0]


def survey(path: Path) -> tuple[Print, int, float]:
    """Print, bytes and time of the last change of a save; what disappears meanwhile is left out."""
    files: list[tuple[str, int, int, int]] = []
    size, changed_at = 0, 0.0
    for name, status in _walk(path):
        changed_at = max(changed_at, status.st_mtime, status.st_ctime)
        if stat.S_ISREG(status.st_mode):
            files.append((name, status.st_ino, status.st_size, status.st_mtime_ns))
            size += status.st_size
    return tuple(sorted(files)), size, changed_at


def _walk(path: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Path below ``path``, empty for itself, and status of everything in it; links to files are followed, and what made
    way for a checkout is none of it."""
    try:
        yield "", (status := path.stat())
    except OSError:
        return
    if not stat.S_ISDIR(status.st_mode):
        return
    pending = [(str(path), "", 0)]
    seen = 0
    while pending and seen < MAX_FILES:
        directory, prefix, depth = pending.pop()
        try:
            entries = list(os.scandir(directory))
        except OSError:
            continue
        for entry in entries:
            seen += 1
            if entry.name == REPLACED:
                continue
            name = prefix + entry.name
            try:
                status = entry.stat()
                inside = entry.is_dir(follow_symlinks=False)
            except OSError:
                continue
            yield name, status
            if inside and depth < MAX_DEPTH:
                pending.append((entry.path, f"{name}/", depth + 1))
