"""What was placed in other tools' directories, remembered in a file for each version and place."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import msgspec
from msgspec.structs import replace

from p2pckpt import atomic


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
    sha256: str = ""
    """Of its content, hex; empty in what was remembered without."""

    @property
    def is_ours(self) -> bool:
        """Whether that very file is still there, as it was, and is not the checkout's own name for it."""
        path = Path(self.path)
        try:
            status = path.lstat()
            own = real(path) == real(Path(self.source))
        except OSError:
            return False
        return not own and identity(status) == (self.device, self.inode, self.size, self.modified)


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
    directories: tuple[str, ...] = ()
    """Those that were made for it."""
    sources: dict[str, tuple[int, int, int, int]] = {}
    """Files of the checkout that were found to be the version's → their identity then."""

    @property
    def key(self) -> tuple[str, str, str, int]:
        """What there is one of."""
        return self.tool, self.directory, self.share_id, self.version

    def and_still(self, earlier: Iterable[Placement]) -> Placement:
        """With what the same version got there earlier under other names."""
        names = {placed.path for placed in self.files}
        before = [p for p in earlier if p.key == self.key]
        files = [placed for p in before for placed in p.files if placed.path not in names and placed.is_ours]
        directories = [directory for p in before for directory in p.directories]
        return replace(
            self,
            files=(*self.files, *files),
            directories=tuple(dict.fromkeys([*self.directories, *directories])),
        )


class Placements:
    """The placements that this home made, below ``directory``. Blocks on the disk."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def save(self, placement: Placement) -> None:
        atomic.write_whole(self._path(placement), msgspec.json.encode(placement))

    def forget(self, placement: Placement) -> None:
        self._path(placement).unlink(missing_ok=True)

    def hand_over(self, placement: Placement) -> None:
        """Take names that ``placement`` has now out of those of the share's other versions in its directory."""
        taken = {placed.path for placed in placement.files}
        self._change_others(placement, lambda placed: None if placed.path in taken else placed)

    def renew(self, placement: Placement) -> None:
        """Let the share's other versions know files of theirs, too, that ``placement`` made anew."""
        made = {placed.path: placed for placed in placement.files}
        self._change_others(placement, lambda placed: made.get(placed.path, placed))

    def _change_others(self, placement: Placement, change: Callable[[Placed], Placed | None]) -> None:
        for other in self.in_directory(placement.tool, Path(placement.directory), placement.share_id):
            files = tuple(placed for before in other.files if (placed := change(before)) is not None)
            if other.key != placement.key and files != other.files:
                self.save(replace(other, files=files))

    def of_version(self, share_id: str, version: int) -> list[Placement]:
        return [p for p in self.all() if (p.share_id, p.version) == (share_id, version)]

    def in_directory(self, tool: str, directory: Path, share_id: str = "") -> list[Placement]:
        """Those of every version in one directory, or of one share's."""
        found = [p for p in self.all() if (p.tool, p.directory) == (tool, str(directory))]
        return [p for p in found if p.share_id == share_id] if share_id else found

    def all(self) -> Iterator[Placement]:
        """Every placement that can be read."""
        for path in sorted(self._directory.glob("*.json")):
            with contextlib.suppress(OSError, msgspec.MsgspecError, ValueError):
                yield msgspec.json.decode(path.read_bytes(), type=Placement)

    def _path(self, placement: Placement) -> Path:
        return self._directory / f"{hashlib.sha256(repr(placement.key).encode()).hexdigest()[:32]}.json"


def identity(status: os.stat_result) -> tuple[int, int, int, int]:
    """What tells whether a file is the same and was not written to: device, inode, size, time of change."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def real(path: Path) -> Path:
    """A name as it is without symbolic links on the way to it; what it leads to itself is not followed."""
    return Path(os.path.realpath(path.parent), path.name)
