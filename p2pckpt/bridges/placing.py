"""Putting a checkout's files where another tool looks for them, without a second copy of their bytes.

A file is cloned where the file system can, so that neither side sees the other one's changes, else hard-linked; copied
only on request. What is somebody else's is never replaced, and what was placed appears whole or not at all. What was
placed is remembered, so that it can be taken away again, and nothing else with it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from p2pckpt import atomic
from p2pckpt.bridges.placements import Placed, Placement, identity, real
from p2pckpt.cloning import NO_LINKS, NotShareable, Way, clone, share_file
from p2pckpt.errors import BadUsage, Conflict, P2pckptError, disk_error

_BLOCK: Final = 4 << 20
Check = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Wish:
    """A file of the checkout, no symbolic link, and the name that it is to get."""

    source: Path
    target: Path
    sha256: str
    """Of its content, hex."""


@dataclass(frozen=True, slots=True)
class Made:
    """What became of several files."""

    ways: dict[Path, Way]
    """Target → how it came to its place."""
    files: tuple[Placed, ...]
    """All of them that are ours, those of earlier placements, too."""
    directories: tuple[str, ...]
    """Those that were made for them, now or by earlier placements."""


@dataclass(slots=True)
class _Plan:
    """What is to happen to targets."""

    new: list[Wish] = field(default_factory=list)
    replaced: list[Wish] = field(default_factory=list)
    """Where a file of ours has other bytes."""
    ours: dict[Path, Placed] = field(default_factory=dict)
    """There already, and of an earlier placement."""
    theirs: list[Path] = field(default_factory=list)
    """There already, made by somebody else."""


def require_outside(targets: Iterable[Path], checkout: Path) -> None:
    """Raises ``BadUsage`` for a target that lies in the checkout itself: taking it away would take the original."""
    top = Path(os.path.realpath(checkout))
    for target in targets:
        if real(target).is_relative_to(top):
            raise BadUsage(
                f"{target} is inside the checkout {checkout}",
                kept="the checkout; nothing was placed",
                next_step="choose a directory outside of it, or use the checkout as it is",
            )


def place_all(
    wishes: Iterable[Wish],
    earlier: Sequence[Placement],
    *,
    copy: bool = False,
    mend: bool = False,
    check: Check = lambda: None,
) -> Made:
    """Make every wish's target its source, all of them or none; directories above are made.

    A target that is there already counts as placed where it has the same bytes; it is ours then if it is of an
    ``earlier`` placement, all of which are of one share, and nobody wrote to it since. Such a file with other bytes is
    replaced; with ``mend`` also one that was written to. Raises ``Conflict`` for any other, ``BadUsage`` for two
    sources with one target and for a target that is the source itself, ``NoSpace``, and where neither clones nor links
    are possible ``P2pckptError`` that names the way out. ``check`` is called often while bytes are read.
    """
    plan = _plan(_distinct(wishes), earlier, mend=mend, check=check)
    ways = dict.fromkeys([*plan.ours, *plan.theirs], Way.THERE)
    new = {wish.target for wish in plan.new}
    with contextlib.ExitStack() as undo:
        made = [path for wish in plan.new for path in _make_directory(wish.target.parent, undo)]
        with _Staging(copy, check) as staging:
            staged = [(wish, *staging.add(wish)) for wish in (*plan.new, *plan.replaced)]
            # what may still fail comes first
            for wish, temporary, way in staged:
                _publish(temporary, wish.target, is_new=wish.target in new)
                if wish.target in new:
                    undo.callback(wish.target.unlink, missing_ok=True)
                ways[wish.target] = way
        files = (*(_remember(wish) for wish, _, _ in staged), *plan.ours.values())
        undo.pop_all()
    return Made(ways, files, tuple(dict.fromkeys([*made, *made_above(ways, earlier)])))


def take_away(placement: Placement) -> tuple[int, list[str]]:
    """Remove what ``placement`` made and nobody has touched since; returns how many files, and what was left alone.

    Directories that were made for it go, too, once they are empty.
    """
    # what leads somewhere goes before what it leads to
    made = [path for path, text in placement.texts.items() if _reads(Path(path)) == text]
    made += [path for path, target in placement.links.items() if _leads_to(Path(path)) == target]
    made += [placed.path for placed in placement.files if placed.is_ours]
    everything = {*(placed.path for placed in placement.files), *placement.texts, *placement.links}
    try:
        for path in made:
            Path(path).unlink(missing_ok=True)
    except OSError as exc:
        raise disk_error(exc, Path(placement.directory), kept="what is still there") from exc
    for directory in sorted(placement.directories, key=len, reverse=True):
        with contextlib.suppress(OSError):
            Path(directory).rmdir()
    return len(made), sorted(path for path in everything - set(made) if os.path.lexists(path))


def missing_above(path: Path) -> list[Path]:
    """``path`` and the directories above it that are not there, the uppermost first."""
    missing: list[Path] = []
    while not os.path.lexists(path):
        missing.append(path)
        path = path.parent
    return missing[::-1]


def made_above(targets: Iterable[Path], earlier: Iterable[Placement]) -> list[str]:
    """Directories that earlier placements made and ``targets`` lie in."""
    above = {str(parent) for target in targets for parent in target.parents}
    return [path for placement in earlier for path in placement.directories if path in above]


def has_content(path: Path, source: Path, sha256: str, check: Check = lambda: None) -> bool:
    """Whether ``path``, or what it leads to, has the bytes of ``source``, whose SHA-256 is told."""
    try:
        if not path.is_file():
            return False
        if path.samefile(source):
            return True
        if path.stat().st_size != source.stat().st_size:
            return False
        digest = hashlib.sha256()
        with path.open("rb") as content:
            while block := content.read(_BLOCK):
                check()
                digest.update(block)
        return digest.hexdigest() == sha256
    except OSError:
        return False


def _distinct(wishes: Iterable[Wish]) -> list[Wish]:
    found: dict[Path, Wish] = {}
    for wish in wishes:
        other = found.setdefault(wish.target, wish)
        if other.sha256 != wish.sha256:
            raise BadUsage(f"{other.source} and {wish.source} would both be {wish.target}", kept="nothing was placed")
        if real(wish.target) == real(wish.source):
            raise BadUsage(
                f"{wish.target} is the checkout's own file",
                kept="it; nothing was placed",
                next_step="choose another directory, or use the checkout as it is",
            )
    return list(found.values())


def _plan(wishes: Iterable[Wish], earlier: Iterable[Placement], *, mend: bool, check: Check) -> _Plan:
    known = {placed.path: placed for placement in earlier for placed in placement.files}
    owned = {placed.path: placed for placed in known.values() if placed.is_ours}
    plan, taken = _Plan(), list[str]()
    for wish in wishes:
        own = owned.get(str(wish.target))
        if not os.path.lexists(wish.target):
            plan.new.append(wish)
        elif own is not None and own.sha256 == wish.sha256:
            plan.ours[wish.target] = own
        elif own is not None:
            plan.replaced.append(wish)
        elif has_content(wish.target, wish.source, wish.sha256, check):
            plan.theirs.append(wish.target)
        elif mend and str(wish.target) in known and not wish.target.is_dir():
            plan.replaced.append(wish)
        else:
            taken.append(str(wish.target))
    if taken:
        more = f" and {len(taken) - 3:,} more" if len(taken) > 3 else ""
        raise Conflict(
            f"{', '.join(sorted(taken)[:3])}{more} are there already and not from this version",
            kept="all of it; nothing was placed",
            next_step="move them away, or choose another directory",
        )
    return plan


def _make_directory(directory: Path, undo: contextlib.ExitStack) -> list[str]:
    """Make it and those above it; returns those that were not there."""
    made: list[str] = []
    try:
        for path in missing_above(directory):
            path.mkdir(exist_ok=True)
            undo.callback(_remove_empty, path)
            made.append(str(path))
    except OSError as exc:
        raise disk_error(exc, directory, kept="the checkout") from exc
    return made


class _Staging(contextlib.ExitStack):
    """Files beside their targets, in one hidden directory for each directory of targets, which go away with it."""

    def __init__(self, copy: bool, check: Check) -> None:
        super().__init__()
        self._copy = copy
        self._check = check
        self._directories: dict[Path, Path] = {}
        self._count = 0

    def add(self, wish: Wish) -> tuple[Path, Way]:
        """The source as a file of its own or a link."""
        parent = wish.target.parent
        self._count += 1
        try:
            temporary = self._beside(parent) / str(self._count)
            if not self._copy:
                way = share_file(wish.source, temporary)
            elif clone(wish.source, temporary):
                way = Way.CLONE
            else:
                way = Way.COPY
                _copy(wish.source, temporary, self._check)
            atomic.sync_file(temporary)
        except NotShareable as exc:
            raise P2pckptError(
                f"{parent} can't share files with {wish.source.parent}: {exc}",
                kept="nothing was copied",
                next_step="add --copy to copy them, or choose a directory beside the checkout",
            ) from exc
        except OSError as exc:
            raise disk_error(exc, wish.target, kept="the checkout") from exc
        return temporary, way

    def _beside(self, parent: Path) -> Path:
        if parent not in self._directories:
            directory = tempfile.TemporaryDirectory(
                prefix=".", suffix=atomic.PARTIAL, dir=parent, ignore_cleanup_errors=True
            )
            self._directories[parent] = Path(self.enter_context(directory))
        return self._directories[parent]


def _copy(source: Path, target: Path, check: Check) -> None:
    with source.open("rb") as original, target.open("xb") as sink:
        while block := original.read(_BLOCK):
            check()
            sink.write(block)
    shutil.copystat(source, target)


def _publish(temporary: Path, target: Path, *, is_new: bool) -> None:
    """Give a staged file its name; a new one takes it from nobody."""
    try:
        if not is_new:
            temporary.replace(target)
            return
        try:
            os.link(temporary, target)
        except OSError as exc:
            if exc.errno not in NO_LINKS or os.path.lexists(target):
                raise
            temporary.rename(target)
    except FileExistsError as exc:
        raise Conflict(f"{target} was made by somebody else just now", kept="it") from exc
    except OSError as exc:
        raise disk_error(exc, target, kept="the checkout") from exc


def _remember(wish: Wish) -> Placed:
    """Durable from here on."""
    try:
        atomic.sync_directory(wish.target.parent)
        device, inode, size, modified = identity(wish.target.lstat())
    except OSError as exc:
        raise disk_error(exc, wish.target, kept="the checkout") from exc
    return Placed(str(wish.target), str(wish.source), device, inode, size, modified, wish.sha256)


def _remove_empty(directory: Path) -> None:
    with contextlib.suppress(OSError):
        directory.rmdir()


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
