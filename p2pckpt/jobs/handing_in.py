"""Handing a version's uploads in again: what a tracker has to have of it, and may have let go of since it was retired.

All of it is on the machine that published the version, whatever became of the directory that it was made from.
"""

from __future__ import annotations

import hashlib
from functools import partial

from p2pckpt import tracker_protocol as tp
from p2pckpt.checkpoint.manifest import Manifest
from p2pckpt.errors import NotFound, VerificationFailed
from p2pckpt.jobs import folder
from p2pckpt.jobs.fetch_plan import places_in_store
from p2pckpt.jobs.services import Services
from p2pckpt.jobs.unpacking import Unpacker
from p2pckpt.store.catalogue import KnownShare
from p2pckpt.trust.admission import TrustedShare
from p2pckpt.trust.sealing import EpochKeys
from p2pckpt.trust.versions import VersionTarget


async def hand_in(services: Services, share: KnownShare, trusted: TrustedShare, target: VersionTarget) -> None:
    """Give the tracker manifest, torrents and card of a version. Raises ``P2pckptError`` where one can't be had."""
    client, share_id = services.shares.client(share), share.share_id.hex()
    manifest, sealed = await services.shares.manifest(share, trusted, target.version)
    await client.put_blob(share_id, tp.BlobKind.MANIFEST, target.manifest_sha256, sealed)
    for info_hash in (target.infohash, *(target.leans_on or ())):
        torrent = await services.shares.torrent(share, bytes.fromhex(info_hash))
        await client.put_blob(share_id, tp.BlobKind.TORRENT, info_hash, torrent.data)
    if target.card:
        card = await _card(services, share, trusted, target, manifest)
        await client.put_blob(share_id, tp.BlobKind.CARD, target.card, card)


async def _card(
    services: Services, share: KnownShare, trusted: TrustedShare, target: VersionTarget, manifest: Manifest
) -> bytes:
    """From the tracker or the store. Raises ``NotFound``."""
    try:
        return await services.shares.card(share, target.card)
    except NotFound as exc:
        keys = services.shares.keys(share, trusted)
        stored = await services.compute(stored_card, services, manifest, keys)
        if hashlib.sha256(stored).hexdigest() != target.card:
            label = f"{share.name}@v{target.version}"
            raise NotFound(
                f"the card of {label} is not at the tracker any more, and not whole here",
                kept="what is here of the version",
                next_step=f"p2pckpt verify {label} tells what is damaged",
            ) from exc
        return stored


def stored_card(services: Services, manifest: Manifest, keys: dict[int, EpochKeys]) -> bytes:
    """In a worker: a version's card from its frames in the store, as far as they are whole."""
    share, card = manifest.body.share_id, bytearray()
    unpacker = Unpacker(manifest, keys, services.objects, partial(services.catalogue.locate, share))
    files = [file for file in manifest.body.files if file.path == folder.CARD]
    for chunk in manifest.chunks_of(files[0]).tolist() if files else ():
        places = places_in_store(services, share, manifest, chunk)
        if not places or len(card) >= folder.MAX_CARD:
            break
        try:
            card += unpacker.chunk(chunk, places[0])
        except VerificationFailed:
            break
    return bytes(card[: folder.MAX_CARD])
