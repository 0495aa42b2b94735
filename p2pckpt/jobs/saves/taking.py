"""Keeping a save although its trainer deletes it: a snapshot beside it that shares its blocks."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

from p2pckpt import atomic
from p2pckpt.checkpoint.formats.dcp import is_metadata
from p2pckpt.cloning import NotShareable, share_file
from p2pckpt.errors import BadUsage, ChangedWhileReading, NotAllowed, disk_error
from p2pckpt.jobs.saves import names
from p2pckpt.jobs.saves.save import MAX_DEPTH, MAX_FILES, Save, survey


def take(save: Save, place: Path) -> Path:
    """Make ``place``, a directory, a snapshot of ``save``, and return it; a file becomes the only one in it.

    Files are reflinks where the file system has them, else hard links; hidden and temporary names stay behind, but for
    what a writer needs. A snapshot of hard links survives deletion and renaming of the original, not a writer that
    opens the same file again: whoever reads it has to compare ``look(...).print`` before and after.

    Whatever was at ``place``, or was left of an earlier try, is replaced. Raises ``ChangedWhileReading`` when the save
    is no longer as it was looked at, ``NotAllowed`` where neither kind of link can be made, ``NoSpace``.
    """
    partial = place.with_name(place.name + atomic.PARTIAL)
    try:
        _remove(partial)
        place.parent.mkdir(parents=True, exist_ok=True)
        _require_unchanged(save)
        partial.mkdir()
        if save.is_file:
            _link(save.path, partial / save.name)
        else:
            _copy_tree(save.path, partial)
        _require_unchanged(save)
        _remove(place)
        partial.rename(place)
    except OSError as exc:
        _discard(partial)
        if isinstance(exc, FileNotFoundError) and not save.path.exists():
            raise _changed(save) from exc
        raise disk_error(exc, place, kept="the save itself was not touched") from exc
    except BaseException:
        _discard(partial)
        raise
    return place


def _copy_tree(source: Path, target: Path) -> None:
    pending = [(source, target, 0)]
    count = 0
    while pending:
        directory, made, depth = pending.pop()
        for entry in os.scandir(directory):
            count += 1
            if count > MAX_FILES or depth > MAX_DEPTH:
                raise BadUsage(f"{source} has too many files to be a save", next_step="pack small files first")
            if _is_left_out(entry):
                continue
            path, kind = made / entry.name, entry.stat().st_mode
            if entry.is_dir(follow_symlinks=False):
                path.mkdir()
                pending.append((Path(entry.path), path, depth + 1))
            elif stat.S_ISREG(kind):
                _link(Path(entry.path), path)
            elif stat.S_ISDIR(kind):
                raise BadUsage(f"{entry.path} is a link to a directory; p2pckpt takes files and directories alone")


def _is_left_out(entry: os.DirEntry[str]) -> bool:
    return names.is_temporary(entry.name) and not is_metadata(entry.name)


def _link(source: Path, target: Path) -> None:
    """A reflink of ``source`` with its times, else a hard link to what it is or points to."""
    try:
        share_file(source, target)
    except NotShareable as exc:
        raise NotAllowed(
            f"{source} can't be linked to {target.parent.parent}: {exc}",
            kept="the save itself was not touched",
            next_step="let the run save on one file system, as the user whom the daemon runs as",
        ) from exc


def _require_unchanged(save: Save) -> None:
    if survey(save.path)[0] != save.print:
        raise _changed(save)


def _changed(save: Save) -> ChangedWhileReading:
    return ChangedWhileReading(
        f"{save.path} is not as it was: the trainer writes to it, or deleted it",
        kept="nothing was taken",
        next_step="wait until it is written",
    )


def _remove(path: Path) -> None:
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)


def _discard(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)
