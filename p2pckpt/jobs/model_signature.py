"""``model.sig`` on the disk: written into checkouts, renewed where a checkout is published again, compared."""

from __future__ import annotations

from pathlib import Path

from p2pckpt import atomic
from p2pckpt.checkpoint.manifest import Body
from p2pckpt.store.checkout import PartialCheckout
from p2pckpt.trust import oms


def add(partial: PartialCheckout, body: Body) -> None:
    """Put the model signature into a checkout of all files; one of another version there is replaced."""
    data = oms.bundle(body)
    path = partial.target / oms.FILE
    if data and not _holds(path, data):
        partial.add(oms.FILE, data, replace=oms.is_ours(path))


def renew(directory: Path, body: Body) -> bool:
    """Where a checkout was published, its ``model.sig`` is of the version it came from: write the new one's.

    False when it can't be written: what was published is none the worse for it.
    """
    data = oms.bundle(body)
    path = directory / oms.FILE
    if data and oms.is_ours(path) and not _holds(path, data):
        try:
            atomic.write(path, data, mode=0o644)
        except OSError:
            return False
    return True


def is_damaged(directory: Path, body: Body, *, published_here: bool) -> bool:
    """Whether there is a ``model.sig`` that is not what the publisher signed.

    Beside what was ``published_here`` there may be somebody's own: only p2pckpt's is judged.
    """
    data = oms.bundle(body)
    path = directory / oms.FILE
    if not data or not path.exists() or _holds(path, data):
        return False
    return oms.is_ours(path) or not published_here


def _holds(path: Path, data: bytes) -> bool:
    try:
        return not path.is_symlink() and path.stat().st_size == len(data) and path.read_bytes() == data
    except OSError:
        return False
