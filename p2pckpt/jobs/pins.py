"""Pinning: what a version has on this machine stays until its user says otherwise.

Nothing is fetched for it, and nobody is told: what a pin does is done where versions are judged and deleted.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection

from p2pckpt.checkpoint.manifest import Manifest
from p2pckpt.errors import NotFound, VerificationFailed
from p2pckpt.jobs.removal import Place, begun, on_disk
from p2pckpt.jobs.retire import UNDO
from p2pckpt.jobs.services import Services
from p2pckpt.store.catalogue import KnownShare


async def pin(services: Services, share: KnownShare, version: int, damaged: Collection[int]) -> int:
    """Keep a version that is whole here; since when it is. ``damaged`` versions were found to be whole no more.

    Raises ``NotFound`` for one that is not whole here, ``VerificationFailed`` for one that lost some of it since.
    """
    row = services.catalogue.version(share.share_id, version)
    if row is not None and row.held:
        await _require_whole(services, share, version, damaged)
    since = await asyncio.to_thread(services.catalogue.pin, share.share_id, version, int(time.time()))
    if since is None:
        raise await _not_whole(services, share, version)
    return since


async def unpin(services: Services, share: KnownShare, version: int) -> int:
    """Let a version go again; since when it was kept. Raises ``NotFound`` for one that is not pinned.

    One that was retired can be taken back, or pinned again, as long as if it had been retired now.
    """
    due = int(time.time()) + UNDO
    since = await asyncio.to_thread(services.catalogue.unpin, share.share_id, version, due)
    if since is None:
        raise NotFound(f"{share.name}@v{version} is not pinned", next_step="p2pckpt pin lists what is")
    return since


async def size_here(services: Services, place: Place) -> int:
    """Bytes of this disk that a version needs, whatever else needs them, too."""
    names = await begun(services, place)
    return await asyncio.to_thread(lambda: sum(on_disk(services.layout, name) for name in names))


async def _require_whole(services: Services, share: KnownShare, version: int, damaged: Collection[int]) -> None:
    """What was whole once can have lost pieces that turned out damaged, or files that were deleted."""
    trusted = await services.shares.trusted(share)
    manifest, _ = await services.shares.manifest(share, trusted, version)
    if version in damaged or not await asyncio.to_thread(_is_whole, services, manifest):
        label = f"{share.name}@v{version}"
        raise VerificationFailed(
            f"some of what {label} had on this machine is damaged or gone",
            kept="what is here",
            next_step=f"p2pckpt verify {label} tells what"  # nobody offers it to repair it from
            if trusted.is_retired(version)
            else f"p2pckpt verify {label} --repair, then pin it",
        )


def _is_whole(services: Services, manifest: Manifest) -> bool:
    """In a thread: whether every object is there as a whole, as far as one can tell without reading them."""
    for number in range(manifest.object_count):
        root = manifest.root(number)
        row = services.catalogue.object(root)
        try:
            length = services.layout.object(root).stat().st_size
        except OSError:
            return False
        if row is None or not row.complete or length != row.length:
            return False
    return True


async def _not_whole(services: Services, share: KnownShare, version: int) -> NotFound:
    """Why a version can't be pinned, with the command after which it can be."""
    (await services.shares.trusted(share)).target(version)  # one that was retired is not to be had any more
    names = await begun(services, (share.share_id, version))
    is_part = await asyncio.to_thread(lambda: any(services.layout.object(name).exists() for name in names))
    label, row = f"{share.name}@v{version}", services.catalogue.version(share.share_id, version)
    options = "" if services.config.flag("seed_after_get") else " --seed"  # without, what came is not kept in the store
    options += " --to DIR, a new one" if row is not None and row.path else ""  # what lies there never was in the store
    return NotFound(
        f"only a part of {label} is on this machine" if is_part else f"{label} is not on this machine",
        kept="what is here" if is_part else "",
        next_step=f"p2pckpt get {label}{options}, then pin it",
    )
