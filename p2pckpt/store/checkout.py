"""A checkout being made: a partial directory beside the target, filled chunk by chunk, then moved into place.

The partial directory is ``.NAME.p2pckpt-partial`` next to ``NAME``. It holds ``files/`` and ``placed``, a bitmap of
the places (``Manifest.places`` order) whose bytes are durable. Nothing appears under the target's own name before
all of it is right, and a file of the user's that differs is moved aside, never overwritten.
"""

from __future__ import annotations

import itertools
import os
import shutil
import threading
import time
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Final

from p2pckpt import atomic
from p2pckpt.checkpoint.manifest import FileEntry, Manifest
from p2pckpt.checkpoint.paths import REPLACED, check_path
from p2pckpt.checkpoint.pieces import PieceSet
from p2pckpt.errors import NoSpace, NotAllowed, disk_error

_OPEN_FILES: Final = 64


def partial_directory(target: Path) -> Path:
    return target.parent / f".{target.name}{atomic.PARTIAL}"


def mode_of(entry: FileEntry) -> int:
    """Permissions of a checked-out file: the executable bit travels, owners and the rest don't."""
    return 0o755 if entry.executable else 0o644


class PartialCheckout:
    """Writes chunks of one version to where they belong. ``write`` may be called from several threads."""

    def __init__(
        self, target: Path, manifest: Manifest, mark: str, chosen: Sequence[int], in_place: Collection[int]
    ) -> None:
        """``mark`` identifies version and ``chosen`` files; those ``in_place`` are at the target and not written.

        Which files are in place may change from run to run, the numbers of places don't: they count all chosen files.
        """
        self.target = target
        self._manifest = manifest
        self._chosen = chosen
        self._numbers = [number for number in chosen if number not in in_place]
        self._directory = partial_directory(target)
        self.root = self._directory / "files"
        self._mark = self._directory / "version"
        self._version = mark.encode()
        self._lock = threading.Lock()
        self._open: dict[int, int] = {}
        self._dirty: set[int] = set()
        self._added: dict[str, bool] = {}
        """Files that are no part of the version, and whether each may replace one at the target."""
        self.placed = PieceSet()
        """Places that are durable."""

    def open(self) -> None:
        """Make the partial directory, or go on with the one an earlier run left for this same version."""
        try:
            self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            if not self._mark.exists() or self._mark.read_bytes() != self._version:
                # of another version, or begun and never marked: nothing in it can be trusted
                if self.root.exists():
                    shutil.rmtree(self.root)
                (self._directory / "placed").unlink(missing_ok=True)
                atomic.write(self._mark, self._version)
            placed = self._directory / "placed"
            self.placed = PieceSet(placed.read_bytes() if placed.exists() else b"")
            self._create_files()
        except PermissionError as exc:
            raise NotAllowed(
                f"{self.target.parent} can't be written", next_step="choose another directory: --to DIR"
            ) from exc
        except OSError as exc:
            raise disk_error(exc, self._directory) from exc

    def write(self, file: int, offset: int, data: bytes | memoryview) -> None:
        """Put ``data`` at ``offset`` of file number ``file``; durable only after ``sync``."""
        try:
            with self._lock:
                descriptor = os.dup(self._descriptor(file))
                self._dirty.add(file)
            try:
                view = memoryview(data)
                while view:
                    written = os.pwrite(descriptor, view, offset)
                    view, offset = view[written:], offset + written
            finally:
                os.close(descriptor)
        except OSError as exc:
            raise disk_error(exc, self._directory) from exc

    def read(self, file: int, offset: int, length: int) -> bytes:
        with self._lock:
            descriptor = os.dup(self._descriptor(file))
        try:
            return os.pread(descriptor, length, offset)
        finally:
            os.close(descriptor)

    def sync(self, places: Iterable[int]) -> None:
        """Make everything written so far durable, and note that ``places``, which were, are done. One at a time."""
        with self._lock:
            dirty, self._dirty = self._dirty, set()
        try:
            for file in dirty:
                with self._lock:
                    descriptor = os.dup(self._descriptor(file))
                try:
                    os.fdatasync(descriptor)
                finally:
                    os.close(descriptor)
            self.placed.add(places)
            atomic.write(self._directory / "placed", bytes(self.placed))
        except OSError as exc:
            raise disk_error(exc, self._directory) from exc

    def add(self, name: str, data: bytes, *, replace: bool) -> None:
        """A file beside the version's own. What is at its place in the target is moved aside unless ``replace``."""
        beside = self._directory / "added"
        try:
            atomic.write(beside, data, mode=0o644)  # what a kill leaves of it must not be in what becomes the target
            beside.replace(self.root / name)
        except OSError as exc:
            raise disk_error(exc, self._directory) from exc
        self._added[name] = replace

    def conflicts(self, in_place: set[int]) -> list[str]:
        """Paths at the target that finishing would have to move aside."""
        return [
            self._manifest.body.files[n].path
            for n in self._numbers
            if n not in in_place and os.path.lexists(self.target / self._manifest.body.files[n].path)
        ]

    def finish(self, in_place: set[int]) -> list[str]:
        """Move the files to the target; those ``in_place`` are there already and right.

        Returns what was moved aside, relative to the target. A target that does not exist appears by one rename.
        """
        self._close_files()
        try:
            for number in self._numbers:
                entry = self._manifest.body.files[number]
                if number not in in_place:
                    (self.root / entry.path).chmod(mode_of(entry))
            self._sync_directories()
            if not os.path.lexists(self.target):
                self.root.chmod(0o755)
                self.root.rename(self.target)
                moved: list[str] = []
            else:
                moved = self._merge(in_place)
            atomic.sync_directory(self.target.parent)
            shutil.rmtree(self._directory, ignore_errors=True)
        except OSError as exc:
            raise disk_error(exc, self.target) from exc
        return moved

    def discard(self) -> None:
        """Delete the partial directory: what it held can be restored from the store or fetched again."""
        self._close_files()
        shutil.rmtree(self._directory, ignore_errors=True)

    def close(self) -> None:
        """Stop writing; the partial directory stays for the next run."""
        self._close_files()

    def _create_files(self) -> None:
        """What is not there yet, empty: nothing of it counts as placed, and that is on disk first."""
        files = self._manifest.body.files
        new = {n for n in self._numbers if not os.path.lexists(self.root / check_path(files[n].path))}
        places = enumerate(self._manifest.places(self._chosen)) if self.placed else ()
        lost = [place for place, (file, _, _) in places if file in new and place in self.placed]
        if lost:
            self.placed.discard(lost)
            atomic.write(self._directory / "placed", bytes(self.placed))
        self.root.mkdir(exist_ok=True)
        for directory in self._manifest.body.directories:
            (self.root / check_path(directory)).mkdir(parents=True, exist_ok=True)
        for number in sorted(new):
            path = self.root / files[number].path
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("xb") as sink:
                sink.truncate(files[number].size)

    def _descriptor(self, file: int) -> int:
        if file not in self._open:
            if len(self._open) >= _OPEN_FILES:
                os.close(self._open.pop(next(iter(self._open))))
            path = self.root / self._manifest.body.files[file].path
            self._open[file] = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        return self._open[file]

    def _close_files(self) -> None:
        with self._lock:
            for descriptor in self._open.values():
                os.close(descriptor)
            self._open.clear()

    def _sync_directories(self) -> None:
        for parent, _, _ in os.walk(str(self.root)):
            atomic.sync_directory(Path(parent))

    def _merge(self, in_place: set[int]) -> list[str]:
        aside = _aside(self.target)
        moved: list[str] = []
        entries = [self._manifest.body.files[number] for number in self._numbers if number not in in_place]
        for path in (*self._manifest.body.directories, *(entry.path for entry in entries)):
            _refuse_links(self.target, self.target / path)
        for directory in self._manifest.body.directories:
            (self.target / directory).mkdir(parents=True, exist_ok=True)
        touched = {self.target}
        for path in (*(entry.path for entry in entries), *self._added):
            destination = self.target / path
            destination.parent.mkdir(parents=True, exist_ok=True)
            if os.path.lexists(destination) and not self._added.get(path, False):
                moved.append(_move_aside(self.target, path, aside))
            (self.root / path).rename(destination)
            touched.add(destination.parent)
        for parent in touched:
            atomic.sync_directory(parent)
        return moved


def set_aside(target: Path, paths: Iterable[str]) -> str:
    """Move files of a checkout, by their ``paths``, to where what made way is kept; returns that place."""
    aside = _aside(target)
    try:
        for path in paths:
            _refuse_links(target, target / path)
            _move_aside(target, path, aside)
            for parent in (target / path).parents:
                if parent == target or any(parent.iterdir()):
                    break
                parent.rmdir()
        atomic.sync_directory(target)
    except OSError as exc:
        raise disk_error(exc, target) from exc
    return str(aside)


def _aside(target: Path) -> Path:
    return _free_name(target / REPLACED / time.strftime("%Y%m%d-%H%M%S"))


def _move_aside(target: Path, path: str, aside: Path) -> str:
    """Returns where it is kept, relative to the target."""
    kept = aside / path
    kept.parent.mkdir(parents=True, exist_ok=True)
    (target / path).rename(kept)
    return str(kept.relative_to(target))


def _free_name(path: Path) -> Path:
    """``path``, or with a number behind it where another run of the same second has it."""
    names = (path.with_name(f"{path.name}-{number}") if number else path for number in itertools.count())
    return next(name for name in names if not os.path.lexists(name))


def _refuse_links(target: Path, path: Path) -> None:
    """A link inside the target could lead a write out of it."""
    for parent in path.parents:
        if parent == target:
            return
        if parent.is_symlink():
            raise NotAllowed(
                f"{parent} is a link; a checkout does not write through links",
                kept="what was received stays beside the target",
                next_step=f"remove the link {parent}, then: p2pckpt resume",
            )


def free_bytes(path: Path) -> int:
    """Free space on the filesystem that ``path`` lies on or will lie on."""
    existing = next(p for p in (path, *path.parents) if p.exists())
    return shutil.disk_usage(existing).free


def require_space(path: Path, needed: int, what: str) -> None:
    """Raises ``NoSpace`` when ``needed`` bytes (and 1% of slack) don't fit."""
    free = free_bytes(path)
    if needed + needed // 100 > free:
        raise NoSpace(
            f"{what} needs {needed:,} bytes, and {path} has {free:,} free",
            kept="nothing was written",
            next_step="free some space, or choose another directory with --to DIR",
        )
