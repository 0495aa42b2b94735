"""Taking a version off this machine: its objects go, unless another version here needs them."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import Collection, Iterable
from dataclasses import replace

from p2pckpt.errors import P2pckptError
from p2pckpt.jobs.services import Services
from p2pckpt.store.catalogue import KnownShare


async def remove_version(
    services: Services, share: KnownShare, version: int, in_use: Iterable[tuple[bytes, int]] = ()
) -> int:
    """Forget a version, also one of which only a part is here, and delete the objects that nothing else needs.

    ``in_use`` names versions (share, number) that jobs are still working on. Returns the bytes freed. A checkout or a
    published directory is never touched.
    """
    this = (share.share_id, version)
    candidates, needed = await _begun(services, *this), set[bytes]()
    for row in services.catalogue.versions():
        if (row.share, row.version) != this:
            needed |= await _needs_of(services, row.share, row.version)
    for other in set(in_use) - {this}:
        needed |= await _begun(services, *other)
    candidates -= needed
    services.catalogue.forget_version(*this)
    services.catalogue.forget_objects(candidates)
    await services.swarms.forget(candidates)
    return await asyncio.to_thread(delete_files, services, candidates)


async def drop_objects(services: Services, share: KnownShare, version: int) -> int:
    """Delete a version's objects that nothing else needs, and remember the version and its checkout; bytes freed."""
    row = services.catalogue.version(share.share_id, version)
    freed = await remove_version(services, share, version)
    if row is not None:
        services.catalogue.record_version(replace(row, held=False))
    return freed


async def _begun(services: Services, share_id: bytes, version: int) -> set[bytes]:
    """As ``_needs_of``, of a version that perhaps was never signed, or whose manifest never came: it needs nothing."""
    try:
        return await _needs_of(services, share_id, version)
    except P2pckptError:
        return set()


async def _needs_of(services: Services, share_id: bytes, version: int) -> set[bytes]:
    """Roots of the objects, and infohashes of the torrents that carry them."""
    share = services.catalogue.share(share_id)
    if share is None:
        return set()
    trusted = await services.shares.trusted(share)
    manifest, _ = await services.shares.manifest(share, trusted, version)
    roots = {manifest.root(index) for index in range(manifest.object_count)}
    torrents = {torrent.info_hash for torrent in manifest.body.torrents if torrent.info_hash}
    return roots | torrents | {bytes.fromhex(trusted.target(version).infohash)}


def delete_files(services: Services, candidates: Collection[bytes]) -> int:
    """Whatever there is of these objects and torrents, also objects that were begun and of which nothing is noted.

    Returns the bytes freed.
    """
    freed = 0
    for name in candidates:
        services.objects.forget(name)
        path = services.layout.object(name)
        with contextlib.suppress(FileNotFoundError):
            freed += path.stat().st_blocks * 512
            path.unlink()
    # only these name the objects any more: a deletion that is killed before here can be done again
    for name in candidates:
        shutil.rmtree(services.layout.torrent(name).parent, ignore_errors=True)
    return freed
