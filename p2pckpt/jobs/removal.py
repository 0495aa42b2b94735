"""Taking versions off this machine: their objects go, unless another version here needs them."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import Collection, Iterable
from dataclasses import replace

from p2pckpt.checkpoint.manifest import Manifest
from p2pckpt.control.pin_messages import pinned
from p2pckpt.errors import NotAllowed, NotFound, P2pckptError
from p2pckpt.jobs.services import Services
from p2pckpt.store.catalogue import Catalogue, KnownShare
from p2pckpt.store.layout import StoreLayout
from p2pckpt.trust.admission import TrustedShare

Place = tuple[bytes, int]
"""A version: its share and number."""


async def remove_version(services: Services, share: KnownShare, version: int, in_use: Iterable[Place] = ()) -> int:
    """Forget a version, also one of which only a part is here, and delete the objects that nothing else needs.

    ``in_use`` names versions that jobs are still working on. Returns the bytes freed. A checkout or a published
    directory is never touched. Raises ``NotAllowed`` for a version that is pinned.
    """
    return await remove_versions(services, share, [version], in_use)


async def remove_versions(
    services: Services, share: KnownShare, versions: Collection[int], in_use: Iterable[Place] = ()
) -> int:
    """``remove_version`` of several at once."""
    gone = {(share.share_id, version) for version in versions}
    candidates = set[bytes]()
    for place in gone:
        candidates |= await begun(services, place)
    candidates -= await needed_besides(services, gone, in_use)

    def forget() -> None:
        with services.catalogue.transaction():  # a pin comes before it, or finds nothing any more
            require_unpinned(services.catalogue, share, versions)
            services.catalogue.forget_versions(share.share_id, versions, candidates)

    await asyncio.to_thread(forget)
    await services.swarms.forget(candidates)
    return await asyncio.to_thread(delete_files, services, candidates)


def require_unpinned(catalogue: Catalogue, share: KnownShare, versions: Collection[int]) -> None:
    """Raise ``NotAllowed`` if one of these versions is to stay here."""
    if kept := catalogue.pinned(share.share_id) & set(versions):
        raise pinned(share.name, kept)


async def drop_objects(services: Services, share: KnownShare, version: int) -> int:
    """Delete a version's objects that nothing else needs, and remember the version and its checkout; bytes freed.

    A version that is pinned, perhaps just now, keeps them.
    """
    row = services.catalogue.version(share.share_id, version)
    try:
        freed = await remove_version(services, share, version)
    except NotAllowed:
        if version not in services.catalogue.pinned(share.share_id):
            raise
        return 0
    if row is not None:
        services.catalogue.record_version(replace(row, held=False))
    return freed


async def needed_besides(services: Services, gone: Collection[Place], in_use: Iterable[Place]) -> set[bytes]:
    """What versions that are here and those ``in_use`` need, but for the ones that are ``gone``; as ``needs_of``."""
    needed, known = set[bytes](), dict[bytes, TrustedShare]()
    for row in services.catalogue.versions():
        if (row.share, row.version) in gone:
            continue
        try:
            needed |= await needs_of(services, (row.share, row.version), known)
        except NotFound:  # retired, its manifest at an end at the tracker, too: nothing of it is here
            if row.held:
                raise
    for other in set(in_use) - set(gone):
        needed |= await begun(services, other)
    return needed


async def begun(services: Services, place: Place) -> set[bytes]:
    """As ``needs_of``, of a version that perhaps was never signed, or whose manifest never came: it needs nothing."""
    try:
        return await needs_of(services, place)
    except P2pckptError:
        return set()


async def needs_of(services: Services, place: Place, known: dict[bytes, TrustedShare] | None = None) -> set[bytes]:
    """Roots of a version's objects, and infohashes of the torrents that carry them; also of one that was retired.

    ``known`` collects the signed files of shares, which who asks for many versions should not read for each.
    """
    share_id, version = place
    share = services.catalogue.share(share_id)
    if share is None:
        return set()
    trusted = (known or {}).get(share_id) or await services.shares.trusted(share)
    if known is not None:
        known[share_id] = trusted
    manifest, _ = await services.shares.manifest(share, trusted, version)
    return await asyncio.to_thread(_names, manifest, bytes.fromhex(trusted.content(version)[1]))


def _names(manifest: Manifest, own: bytes) -> set[bytes]:
    roots = {manifest.root(index) for index in range(manifest.object_count)}
    return roots | {torrent.info_hash for torrent in manifest.body.torrents if torrent.info_hash} | {own}


def on_disk(layout: StoreLayout, name: bytes) -> int:
    """Bytes of the disk that an object takes, or what is kept of a torrent; 0 for what is not here."""
    taken = 0
    for path in (layout.object(name), layout.manifest(name), layout.torrent(name)):
        with contextlib.suppress(FileNotFoundError):
            taken += path.stat().st_blocks * 512
    return taken


def delete_files(services: Services, candidates: Collection[bytes]) -> int:
    """Whatever there is of these objects and torrents, also objects that were begun and of which nothing is noted.

    Returns the bytes freed.
    """
    freed = 0
    for name in candidates:
        services.objects.forget(name)
        freed += on_disk(services.layout, name)
        services.layout.object(name).unlink(missing_ok=True)
    # only these name the objects any more: a deletion that is killed before here can be done again
    for name in candidates:
        shutil.rmtree(services.layout.torrent(name).parent, ignore_errors=True)
    return freed
