"""A second file of the same blocks (a reflink): no byte is copied, and writing to one of the two changes one alone."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Final

_FICLONE: Final = 0x40049409
"""``ioctl`` of Linux that makes a file of another one's blocks, copied on writing (btrfs, XFS, bcachefs, overlayfs)."""
_NO_CLONES: Final = frozenset([errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL, errno.EXDEV, errno.ENOSYS, errno.EPERM])


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
