"""Putting a checkout's files where another tool looks for them, without a second copy of their bytes.

A file is cloned where the file system can, so that neither side sees the other one's changes, else hard-linked; copied
only on request. A name that is taken is never replaced, and what was placed appears whole or not at all. What was
placed is remembered in a file for each placement, so that it can be taken away again, and nothing else with it.
"""

from __future__ import annotations

import contextlib
import errno
import filecmp
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

import msgspec

from p2pckpt import atomic
from p2pckpt.cloning import clone
from p2pckpt.errors import Conflict, P2pckptError, disk_error

_BLOCK: Final = 4 << 20
_NO_LINKS: Final = {
    errno.EXDEV: "it is another disk than the checkout's",
    errno.EPERM: "its file system has no hard links, or the files of the checkout are not yours",
    errno.EMLINK: "the files have as many links as their file system allows",
    errno.EOPNOTSUPP: "its file system has no hard links",
}


class Way(StrEnum):
    """How a file came to its place."""

    CLONE = "clone"
    LINK = "hard link"
    COPY = "copy"
    THERE = "there already"


class Placed(msgspec.Struct, frozen=True):
    """One name that was made, and the file behind it as it was then."""

    path: str
    source: str
    """File of the checkout."""
    device: int
    inode: int
    size: int
    modified: int
    """Nanoseconds."""

    def is_untouched(self) -> bool:
        """Whether that very file is still there, as it was."""
        try:
            status = Path(self.path).lstat()
        except OSError:
            return False
        return identity(status) == (self.device, self.inode, self.size, self.modified)


class Placement(msgspec.Struct, frozen=True, kw_only=True):
    """What one version got in one directory of one tool."""

    tool: str
    directory: str
    share_id: str
    share: str
    version: int
    files: tuple[Placed, ...] = ()
    links: dict[str, str] = {}
    """Symbolic links that were made → where they lead."""
    texts: dict[str, str] = {}
    """Small files that were written → their content."""
    sources: dict[str, tuple[int, int, int, int]] = {}
    """Files of the checkout that were found to be the version's → their identity then."""


class Placements:
    """The placements that this home made, below ``directory``. Blocks on the disk."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def save(self, placement: Placement) -> None:
        atomic.write_whole(self._path(placement), msgspec.json.encode(placement))

    def forget(self, placement: Placement) -> None:
        self._path(placement).unlink(missing_ok=True)

    def of_version(self, share_id: str, version: int) -> list[Placement]:
        return [p for p in self.all() if (p.share_id, p.version) == (share_id, version)]

    def in_directory(self, tool: str, directory: Path) -> list[Placement]:
        """Those of every version in one directory."""
        return [p for p in self.all() if (p.tool, p.directory) == (tool, str(directory))]

    def all(self) -> Iterator[Placement]:
        """Every placement that can be read."""
        for path in sorted(self._directory.glob("*.json")):
            with contextlib.suppress(OSError, msgspec.MsgspecError, ValueError):
                yield msgspec.json.decode(path.read_bytes(), type=Placement)

    def _path(self, placement: Placement) -> Path:
        key = (placement.tool, placement.directory, placement.share_id, placement.version)
        return self._directory / f"{hashlib.sha256(repr(key).encode()).hexdigest()[:32]}.json"


def identity(status: os.stat_result) -> tuple[int, int, int, int]:
    """What tells whether a file is the same and was not written to: device, inode, size, time of change."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def place(source: Path, target: Path, *, copy: bool = False, check: Callable[[], None] = lambda: None) -> Way:
    """Make ``target`` the file ``source``, which is no symbolic link; directories above it are made.

    Raises ``Conflict`` when ``target`` is taken, ``NoSpace``, and where neither clones nor links are possible
    ``P2pckptError`` that names the way out. ``check`` is called often while bytes are copied.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        way = _clone_or_copy(source, target, copy, check)
        if way is None:
            os.link(source, target)
            way = Way.LINK
        atomic.sync_directory(target.parent)
        return way
    except FileExistsError as exc:
        raise Conflict(f"{target} was made by somebody else just now", kept="it") from exc
    except OSError as exc:
        if exc.errno in _NO_LINKS:
            raise P2pckptError(
                f"{target.parent} can't share files with {source.parent}: {_NO_LINKS[exc.errno]}",
                kept="nothing was copied",
                next_step="add --copy to copy them, or choose a directory beside the checkout",
            ) from exc
        raise disk_error(exc, target, kept="the checkout") from exc


@dataclass(frozen=True, slots=True)
class Made:
    """What became of several files."""

    ways: dict[Path, Way]
    """Target → how it came to its place."""
    files: tuple[Placed, ...]
    """All of them that are ours, those of earlier placements, too."""


def place_all(
    pairs: Iterable[tuple[Path, Path]],
    earlier: Iterable[Placement],
    *,
    copy: bool = False,
    check: Callable[[], None] = lambda: None,
    is_same: Callable[[Path, Path], bool] | None = None,
) -> Made:
    """``place`` for pairs of source and target, all or none of them.

    A target that is there already counts as placed where it is the same file, an ``earlier`` placement's untouched one,
    or where ``is_same(source, target)`` (default: it has the same bytes) says so, though it is not ours then. Raises
    ``Conflict`` for any other.
    """
    is_same = is_same or _reads_the_same
    known = {placed.path: placed for placement in earlier for placed in placement.files}
    mine = {path for path, placed in known.items() if placed.is_untouched()}
    todo = {target: source for source, target in pairs}
    there = {target for target in todo if os.path.lexists(target)}
    ours = {target for target in there if _is_file_of(todo[target], target) or str(target) in mine}
    if taken := sorted(str(target) for target in there - ours if not is_same(todo[target], target)):
        more = f" and {len(taken) - 3:,} more" if len(taken) > 3 else ""
        raise Conflict(
            f"{', '.join(taken[:3])}{more} are there already and not from this version",
            kept="all of it; nothing was placed",
            next_step="move them away, or choose another directory",
        )
    made: dict[Path, Way] = {}
    try:
        for target, source in todo.items():
            made[target] = Way.THERE if target in there else place(source, target, copy=copy, check=check)
    except BaseException:
        for target, way in made.items():
            if way is not Way.THERE:
                target.unlink(missing_ok=True)
        raise
    return Made(made, tuple(_remember(todo[target], target) for target in made if target not in there - ours))


def _reads_the_same(source: Path, target: Path) -> bool:
    try:
        return target.is_file() and filecmp.cmp(source, target, shallow=False)
    except OSError:
        return False


def _is_file_of(source: Path, target: Path) -> bool:
    return not target.is_symlink() and target.exists() and target.samefile(source)


def _remember(source: Path, target: Path) -> Placed:
    device, inode, size, modified = identity(target.lstat())
    return Placed(str(target), str(source), device, inode, size, modified)


def take_away(placement: Placement) -> tuple[int, list[str]]:
    """Remove what ``placement`` made and nobody has touched since; returns how many files, and what was left alone.

    Directories that are empty then go, too, but never ``placement.directory`` itself.
    """
    # what leads somewhere goes before what it leads to
    made = [path for path, text in placement.texts.items() if _reads(Path(path)) == text]
    made += [path for path, target in placement.links.items() if _leads_to(Path(path)) == target]
    made += [placed.path for placed in placement.files if placed.is_untouched()]
    everything = {*(placed.path for placed in placement.files), *placement.texts, *placement.links}
    try:
        for path in made:
            Path(path).unlink(missing_ok=True)
        for parent in sorted({Path(path).parent for path in everything}, key=lambda p: -len(p.parts)):
            _remove_empty(parent, Path(placement.directory))
    except OSError as exc:
        raise disk_error(exc, Path(placement.directory), kept="what is still there") from exc
    return len(made), sorted(path for path in everything - set(made) if os.path.lexists(path))


def _clone_or_copy(source: Path, target: Path, copy: bool, check: Callable[[], None]) -> Way | None:
    """None where it would need to be a hard link. The name appears once all of it is there."""
    with tempfile.TemporaryDirectory(prefix=".", suffix=atomic.PARTIAL, dir=target.parent) as directory:
        temporary = Path(directory) / "file"
        if clone(source, temporary):
            way = Way.CLONE
        elif copy:
            way = Way.COPY
            with source.open("rb") as original, temporary.open("xb") as sink:
                while block := original.read(_BLOCK):
                    check()
                    sink.write(block)
            shutil.copystat(source, temporary)
        else:
            return None
        atomic.sync_file(temporary)
        try:
            os.link(temporary, target)
        except OSError as exc:
            if exc.errno not in _NO_LINKS or os.path.lexists(target):
                raise
            temporary.rename(target)
    return way


def _remove_empty(directory: Path, top: Path) -> None:
    while directory != top and directory.is_relative_to(top):
        try:
            directory.rmdir()
        except FileNotFoundError:
            pass
        except OSError:
            return
        directory = directory.parent


def _reads(path: Path) -> str | None:
    try:
        return path.read_text("utf-8") if path.is_file() and path.stat().st_size < _BLOCK else None
    except (OSError, UnicodeDecodeError):
        return None


def _leads_to(path: Path) -> str | None:
    try:
        return str(path.readlink())
    except OSError:
        return None
