"""Leaving a share: everything of it on this machine goes, except what people see as theirs: folders and checkouts.

One commit of the catalogue decides: after it the share is not known here, whatever happens, and what it had is deleted
by this daemon or by the next one.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil

from p2pckpt.errors import P2pckptError
from p2pckpt.jobs.removal import delete_files
from p2pckpt.jobs.services import Services
from p2pckpt.swarm import torrent as torrents
from p2pckpt.trust import admission


async def delete_left(services: Services, share_id: bytes) -> int:
    """Delete what a share that was left has here, as far as no other share needs it; bytes freed.

    No job may be in its swarms. Can be done again after it was interrupted.
    """
    roots, info_hashes = await asyncio.to_thread(_belongings, services, share_id)
    await asyncio.to_thread(services.catalogue.forget_objects, roots)
    await services.swarms.forget(roots)
    freed = await asyncio.to_thread(delete_files, services, roots | info_hashes)
    # these name the torrents, and so go after what lies in them
    await asyncio.to_thread(shutil.rmtree, services.layout.trusted_files(share_id), ignore_errors=True)
    await asyncio.to_thread(services.catalogue.forget_share, share_id)
    return freed


def _belongings(services: Services, share_id: bytes) -> tuple[set[bytes], set[bytes]]:
    """Roots of the share's objects, begun ones among them, and infohashes of its torrents."""
    info_hashes = set(services.catalogue.carrying(share_id))
    with contextlib.suppress(P2pckptError):
        known = admission.load(share_id, services.layout.trusted_files(share_id), services.identity)
        info_hashes |= {bytes.fromhex(target.infohash) for target in known.targets.versions.values()}
    begun: set[bytes] = set()
    for info_hash in info_hashes:
        with contextlib.suppress(OSError, P2pckptError):
            data = services.layout.torrent(info_hash).read_bytes()
            begun |= {file.root for file in torrents.parse(data, info_hash).objects}
    return services.catalogue.only_of(share_id, begun), info_hashes
