"""A second name or file of the same blocks: no byte is copied.

A clone (reflink) is a file of its own: writing to one of the two changes one alone. A hard link is the same file.
"""

from __future__ import annotations

import errno
import os
import stat
from enum import StrEnum
from pathlib import Path
from typing import Final

_FICLONE: Final = 0x40049409
"""``ioctl`` of Linux that makes a file of another one's blocks, copied on writing (btrfs, XFS, bcachefs, overlayfs)."""
_NO_CLONES: Final = frozenset([errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL, errno.EXDEV, errno.ENOSYS, errno.EPERM])
NO_LINKS: Final = {
    errno.EXDEV: "it is another disk",
    errno.EPERM: "its file system has no hard links, or the files are not yours",
    errno.EACCES: "what is there can't be written to or read",
    errno.EMLINK: "the files have as many links as their file system allows",
    errno.EOPNOTSUPP: "its file system has no hard links",
}
"""``errno`` of a hard link that can't be → why, in words."""


class Way(StrEnum):
    """How a file came to its place."""

    CLONE = "clone"
    LINK = "hard link"
    COPY = "copy"
    THERE = "there already"


class NotShareable(Exception):
    """Neither a clone nor a hard link can be made; says why."""


def share_file(source: Path, target: Path) -> Way:
    """Make ``target`` a clone of ``source``, else a hard link to what it is or points to.

    Raises ``NotShareable`` where neither can be, ``FileExistsError`` when ``target`` is taken, and any other
    ``OSError`` that is not about that.
    """
    if clone(source, target):
        return Way.CLONE
    try:
        os.link(os.path.realpath(source), target)
    except OSError as exc:
        if exc.errno in NO_LINKS:
            raise NotShareable(NO_LINKS[exc.errno]) from exc
        raise
    return Way.LINK


def clone(source: Path, target: Path) -> bool:
    """Make ``target`` a clone of ``source`` with its permissions and times; False, and no file, where that can't be.

    Raises ``FileExistsError`` when ``target`` is taken, and any other ``OSError`` that is not about clones.
    """
    try:
        import fcntl
    except ImportError:
        return False
    with source.open("rb") as original, target.open("xb") as copy:
        try:
            fcntl.ioctl(copy.fileno(), _FICLONE, original.fileno())
            status = os.fstat(original.fileno())
            os.fchmod(copy.fileno(), stat.S_IMODE(status.st_mode))
            os.utime(copy.fileno(), ns=(status.st_atime_ns, status.st_mtime_ns))
            return True
        except OSError as exc:
            target.unlink()
            if exc.errno not in _NO_CLONES:
                raise
    return False
