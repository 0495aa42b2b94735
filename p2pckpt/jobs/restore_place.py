"""Where a restore goes, and what lies there already: nothing of it may be taken for a part of the save."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

from p2pckpt.checkpoint.formats.dcp import is_metadata
from p2pckpt.checkpoint.manifest import Manifest
from p2pckpt.control.run_messages import RestoreRequest
from p2pckpt.errors import BadUsage, ChangedWhileReading, NotAllowed, P2pckptError
from p2pckpt.jobs import saves
from p2pckpt.jobs.services import Services
from p2pckpt.store.catalogue import KnownShare
from p2pckpt.store.checkout import set_aside
from p2pckpt.trust import oms
from p2pckpt.trust.admission import TrustedShare
from p2pckpt.trust.versions import VersionTarget


def label_of(trusted: TrustedShare, target: VersionTarget) -> str:
    """What the directory of a version is called: as its save was, ``checkpoint-500``."""
    label = target.name or f"{trusted.terms.name.rpartition('/')[2]}-v{target.version}"
    return "".join(c if c.isalnum() or c in ".+-_=" else "-" for c in label).lstrip(".") or f"v{target.version}"


def place_for(request: RestoreRequest, label: str) -> Path:
    """The directory to restore into, links resolved. Touches the disk."""
    path = Path(request.to or request.base)
    if not path.is_absolute():
        raise BadUsage(f"{str(path)!r} is no absolute path")
    try:
        path = path.resolve()
        # a directory that is saved to over and over again is the save
        if request.to or (path.name == label and saves.is_one_save(path)):
            return path
        return (path / label).resolve()
    except (OSError, RuntimeError) as exc:  # the latter of links that lead in a circle
        raise BadUsage(f"{path} leads nowhere: {exc}", next_step="choose another directory: --to DIR") from exc


class Place:
    """A directory that a version is about to be restored into."""

    def __init__(self, path: Path, manifest: Manifest, leftovers: frozenset[str]) -> None:
        self.path = path
        self.manifest = manifest
        self._leftovers = leftovers

    @property
    def entry(self) -> Path:
        """What a trainer resumes from: the directory, or the file in it that is the whole save."""
        files = self.manifest.body.files
        return self.path / files[0].path if len(files) == 1 and files[0].path != oms.FILE else self.path

    def clear(self) -> str:
        """Move what an earlier save left to where it is kept, once what replaces it is there; returns where, if any is.

        Raises ``ChangedWhileReading`` when something was added since ``look``.
        """
        found = _beside(self.path, self.manifest)
        if added := sorted(found - self._leftovers):
            raise ChangedWhileReading(
                f"{self.path / added[0]} was written meanwhile",
                kept="everything in that directory",
                next_step="choose a directory that nobody writes to: --to DIR",
            )
        return set_aside(self.path, sorted(found)) if found else ""


async def look(
    services: Services,
    request: RestoreRequest,
    share: KnownShare,
    trusted: TrustedShare,
    version: int,
    path: Path,
    label: str,
) -> Place:
    """What lies at ``path`` and is none of the version's. Raises ``BadUsage`` if that is anything but an earlier save.

    Raises as ``Shares.manifest`` does.
    """
    manifest, _ = await services.shares.manifest(share, trusted, version)
    leftovers = await asyncio.to_thread(_beside, path, manifest)
    others = leftovers
    if others:
        others -= await _restored_before(services, share, trusted, path)
    if others and not await asyncio.to_thread(_is_one_save, path, request):
        raise BadUsage(
            f"{path} holds more than an earlier save, such as {min(others)}",
            kept="everything in it",
            next_step=f"p2pckpt run restore {trusted.terms.name} --to {path / label}",
        )
    return Place(path, manifest, leftovers)


async def _restored_before(services: Services, share: KnownShare, trusted: TrustedShare, path: Path) -> set[str]:
    """Files of the versions of this share that are known to have been put there."""
    rows = services.catalogue.versions(share.share_id)
    here = await asyncio.to_thread(lambda: [row for row in rows if row.path and Path(row.path).resolve() == path])
    files: set[str] = set()
    for row in here:
        with contextlib.suppress(P2pckptError):  # retired, or no longer to be had
            manifest, _ = await services.shares.manifest(share, trusted, row.version)
            files.update(file.path for file in manifest.body.files)
    return files


def _is_one_save(path: Path, request: RestoreRequest) -> bool:
    is_run = bool(request.to) and str(path) == os.path.realpath(request.base)
    return not is_run and saves.is_one_save(path)


def _beside(path: Path, manifest: Manifest) -> frozenset[str]:
    """Files below ``path`` that are not the version's; hidden names count if they are such as checkpoints have."""
    own = {file.path for file in manifest.body.files} | {oms.FILE}
    return frozenset(name for name in _files(path) if name not in own)


def _files(root: Path) -> Iterable[str]:
    pending = [""] if root.exists() else []
    while pending:
        prefix = pending.pop()
        try:
            entries = list(os.scandir(root / prefix))
        except OSError as exc:
            raise NotAllowed(
                f"{root / prefix} can't be read: {exc.strerror}", next_step="choose another directory: --to DIR"
            ) from exc
        for entry in entries:
            if entry.name.startswith(".") and not is_metadata(entry.name):
                continue
            if entry.is_dir(follow_symlinks=False):
                pending.append(f"{prefix}{entry.name}/")
            else:
                yield prefix + entry.name
