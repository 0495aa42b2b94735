"""Taking a version off this machine: its objects go, unless another version here needs them."""

from __future__ import annotations

import asyncio
import contextlib
import shutil

from p2pckpt.checkpoint.manifest import Manifest
from p2pckpt.jobs.services import Services
from p2pckpt.store.catalogue import KnownShare, VersionRow


async def remove_version(services: Services, share: KnownShare, version: int) -> int:
    """Forget a version and delete the objects that nothing else needs; returns the bytes freed.

    A checkout or a published directory is never touched.
    """
    trusted = await services.shares.trusted(share)
    row = services.catalogue.version(share.share_id, version)
    if row is None:
        return 0
    manifest, _ = await services.shares.manifest(share, trusted, version)
    needed: set[bytes] = set()
    for other in services.catalogue.versions():
        if (other.share, other.version) != (share.share_id, version):
            needed |= await _needs_of(services, other)
    candidates = _needs(manifest, row.info_hash) - needed
    return await asyncio.to_thread(_delete, services, row, candidates)


async def _needs_of(services: Services, row: VersionRow) -> set[bytes]:
    share = services.catalogue.share(row.share)
    if share is None:
        return set()
    trusted = await services.shares.trusted(share)
    manifest, _ = await services.shares.manifest(share, trusted, row.version)
    return _needs(manifest, row.info_hash)


def _needs(manifest: Manifest, info_hash: bytes) -> set[bytes]:
    """Roots of the objects, and infohashes of the torrents that carry them."""
    roots = {manifest.root(index) for index in range(manifest.object_count)}
    return roots | {info_hash} | {torrent.info_hash for torrent in manifest.body.torrents if torrent.info_hash}


def _delete(services: Services, row: VersionRow, candidates: set[bytes]) -> int:
    freed = 0
    services.catalogue.forget_version(row.share, row.version)
    roots = {root for root in candidates if services.catalogue.object(root) is not None}
    services.catalogue.forget_objects(roots)
    for root in roots:
        services.objects.forget(root)
        path = services.layout.object(root)
        with contextlib.suppress(FileNotFoundError):
            freed += path.stat().st_blocks * 512
            path.unlink()
    for info_hash in candidates - roots:
        shutil.rmtree(services.layout.torrent(info_hash).parent, ignore_errors=True)
    return freed
