"""Looking at a directory before it is published: what will travel, and what can't, by name."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from p2pckpt import atomic
from p2pckpt.checkpoint.paths import REPLACED, check_path, check_paths
from p2pckpt.errors import BadUsage, NotAllowed, NotFound, P2pckptError, VerificationFailed
from p2pckpt.trust import oms

_MAX_FILES: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class ScannedFile:
    """A file to publish; ``identity`` tells whether it was touched since."""

    path: str
    location: Path
    size: int
    executable: bool
    identity: tuple[int, int, int, int]
    """Device, inode, size, mtime in nanoseconds."""

    def is_unchanged(self) -> bool:
        try:
            return _identity(self.location.stat()) == self.identity
        except OSError:
            return False


def fingerprint(files: Iterable[tuple[str, int, int, int]]) -> str:
    """Changes with any of the files, each given as path, inode, size and mtime in nanoseconds; model signatures, which
    p2pckpt itself writes, do not count."""
    return hashlib.sha256(repr(sorted(file for file in files if file[0] != oms.FILE)).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Scan:
    files: tuple[ScannedFile, ...]
    directories: tuple[str, ...]
    """Empty ones; the others come with their files."""
    warnings: tuple[str, ...]
    size: int
    """Bytes of all files."""

    @property
    def fingerprint(self) -> str:
        return fingerprint((file.path, *file.identity[1:]) for file in self.files)


def scan(root: Path, check: Callable[[], None] = lambda: None) -> Scan:
    """Everything in ``root``, sorted by path. Links to files are followed. ``check`` is called often and may raise.

    Raises ``NotFound`` when there is no such directory, ``NotAllowed`` naming what can't be read, and ``BadUsage``
    naming everything that can't travel: links to directories, broken links, sockets, devices, unportable names.
    """
    if not root.exists():
        raise NotFound(f"there is no directory {root}")
    if not root.is_dir():
        raise BadUsage(f"{root} is a file; p2pckpt shares directories", next_step=f"p2pckpt share {root.parent}")
    found = _Walk(root, check)
    found.visit(root)
    if found.refused:
        listed = "; ".join(found.refused[:10]) + ("; …" if len(found.refused) > 10 else "")
        raise BadUsage(f"can't be shared: {listed}", kept="nothing was published", next_step="move or rename these")
    if not found.files and not found.directories:
        raise BadUsage(f"{root} is empty")
    try:
        check_paths([*(file.path for file in found.files), *(f"{name}/" for name in found.directories)])
    except VerificationFailed as exc:
        raise BadUsage(f"can't be shared: {exc.fact}", kept="nothing was published") from exc
    files = tuple(sorted(found.files, key=lambda file: file.path))
    size = sum(file.size for file in files)
    return Scan(files, tuple(sorted(found.directories)), tuple(found.warnings()), size)


def scan_places(places: Mapping[str, Path]) -> Scan:
    """A version's files as they lie, each where ``places`` says by its path. Raises ``P2pckptError`` for one that is
    not there."""
    files = []
    for name, location in sorted(places.items()):
        try:
            status = location.stat()
        except OSError as exc:
            raise P2pckptError(f"{location} can't be read: {exc.strerror}") from exc
        files.append(
            ScannedFile(name, location, status.st_size, bool(status.st_mode & stat.S_IXUSR), _identity(status))
        )
    return Scan(tuple(files), (), (), sum(file.size for file in files))


class _Walk:
    def __init__(self, root: Path, check: Callable[[], None]) -> None:
        self._root = root
        self._check = check
        self.files: list[ScannedFile] = []
        self.directories: list[str] = []
        self.refused: list[str] = []
        self._links = 0
        self._left_out: list[str] = []

    def warnings(self) -> list[str]:
        texts = [f"{name} was left out: p2pckpt made it" for name in self._left_out]
        if self._links:
            texts.append(f"{self._links} links to files were followed and travel as files")
        return texts

    def visit(self, directory: Path) -> None:
        try:
            entries = sorted(os.scandir(directory), key=lambda entry: entry.name)
        except OSError as exc:
            raise NotAllowed(f"{directory} can't be read: {exc.strerror}") from exc
        if not entries and directory != self._root:
            self._add_directory(directory)
        for entry in entries:
            self._check()
            self._entry(Path(entry.path), entry)
        if len(self.files) > _MAX_FILES:
            raise BadUsage(f"{self._root} has more than {_MAX_FILES:,} files", next_step="pack small files first")

    def _entry(self, path: Path, entry: os.DirEntry[str]) -> None:
        name = str(path.relative_to(self._root))
        if entry.name == REPLACED or entry.name.endswith(atomic.PARTIAL):
            self._left_out.append(name)
            return
        if name == oms.FILE and oms.is_ours(path):
            return  # made again for the new version, if this is published
        try:
            check_path(name)
        except VerificationFailed as exc:
            self.refused.append(exc.fact)
            return
        try:
            status = entry.stat(follow_symlinks=True)
        except OSError as exc:
            if entry.is_symlink():
                self.refused.append(f"{name} is a broken link")
                return
            raise NotAllowed(f"{path} can't be read: {exc.strerror}") from exc
        if stat.S_ISDIR(status.st_mode):
            if entry.is_symlink():
                self.refused.append(f"{name} is a link to a directory")
            else:
                self.visit(path)
        elif stat.S_ISREG(status.st_mode):
            self._add_file(name, path, status, entry.is_symlink())
        else:
            self.refused.append(f"{name} is {_kind(status.st_mode)}")

    def _add_file(self, name: str, path: Path, status: os.stat_result, link: bool) -> None:
        if not os.access(path, os.R_OK):
            raise NotAllowed(f"{path} can't be read: permission denied", next_step=f"chmod u+r {path}")
        self._links += link
        executable = bool(status.st_mode & stat.S_IXUSR)
        self.files.append(ScannedFile(name, path, status.st_size, executable, _identity(status)))

    def _add_directory(self, directory: Path) -> None:
        name = str(directory.relative_to(self._root))
        self.directories.append(name)


def _identity(status: os.stat_result) -> tuple[int, int, int, int]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _kind(mode: int) -> str:
    for test, text in (
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISFIFO, "a pipe"),
        (stat.S_ISBLK, "a device"),
        (stat.S_ISCHR, "a device"),
    ):
        if test(mode):
            return text
    return "no file"
