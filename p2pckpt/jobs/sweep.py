"""What a crash leaves in the store and nothing names: found and deleted before anybody works with the store.

An object belongs here while the catalogue names it, or a job that is not at its end may have begun it. A torrent does
while a version that is here, offered or restorable is in it, or names it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Collection, Iterator
from pathlib import Path

import structlog

from p2pckpt.errors import NotFound, P2pckptError
from p2pckpt.jobs.removal import Place, delete_files, needs_of
from p2pckpt.jobs.services import Services
from p2pckpt.trust.admission import TrustedShare

_log = structlog.get_logger(__name__)


async def sweep(services: Services, in_use: Collection[Place], *, publishing: bool) -> int:
    """Delete what nothing names; bytes freed. Call while no job runs. Asks no tracker. Raises ``P2pckptError``, and
    deletes nothing, where a manifest that is here can't be read.

    ``in_use`` names versions that jobs are working on. While a publish is to go on (``publishing``), what was packed
    for it is kept.
    """
    if not publishing:
        packed = await asyncio.to_thread(services.catalogue.uncarried)
        await asyncio.to_thread(services.catalogue.forget_objects, packed)
    strays = await asyncio.to_thread(_strays, services)
    if strays:
        trusted = await _known(services)
        offered = {target.infohash for share in trusted.values() for target in share.targets.versions.values()}
        strays -= {bytes.fromhex(info_hash) for info_hash in offered}
        here = {(row.share, row.version) for row in services.catalogue.versions()}
        here |= {(row.share, row.version) for row in services.catalogue.retired()}
        for place in here | set(in_use) if strays else ():
            strays -= await _needs(services, trusted, place)
    if not strays:
        return 0
    freed = await asyncio.to_thread(delete_files, services, strays)
    _log.info("swept what nothing names", files=len(strays), bytes=freed)
    return freed


def _strays(services: Services) -> set[bytes]:
    """Objects, and torrents, that the catalogue does not name itself."""
    named = {root for root, _ in services.catalogue.object_roots()} | services.catalogue.info_hashes()
    found = {bytes.fromhex(name) for name in _names(services.layout.torrents)}
    for directory in services.layout.objects.iterdir():
        found |= {bytes.fromhex(name) for name in _names(directory)}
    return found - named


def _names(directory: Path) -> Iterator[str]:
    """Entries that are called as objects and torrents are; what else lies there is not ours to judge."""
    with os.scandir(directory) as entries:
        for entry in entries:
            if len(entry.name) == 64 and set(entry.name) <= set("0123456789abcdef"):
                yield entry.name


async def _known(services: Services) -> dict[bytes, TrustedShare]:
    found = {}
    for share in services.shares.known():
        try:
            found[share.share_id] = await services.shares.look(share)
        except P2pckptError:  # of a share that was never looked at nothing can be here
            continue
    return found


async def _needs(services: Services, trusted: dict[bytes, TrustedShare], place: Place) -> set[bytes]:
    """What a version needs, as far as this disk can tell: of one whose manifest is not here nothing was begun."""
    share_id, version = place
    try:
        info_hash = bytes.fromhex(trusted[share_id].content(version)[1])
    except (KeyError, NotFound):  # not signed yet, or of a share that was left
        return set()
    if not services.layout.manifest(info_hash).exists():
        return {info_hash}
    return await needs_of(services, place)
