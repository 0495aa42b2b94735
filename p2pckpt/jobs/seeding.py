"""Seeding what is held: every torrent that carries objects of a version, with whatever of it is on this disk."""

from __future__ import annotations

from collections.abc import Mapping

from p2pckpt.checkpoint.manifest import Manifest
from p2pckpt.errors import VerificationFailed
from p2pckpt.jobs.services import Services
from p2pckpt.store.catalogue import KnownShare
from p2pckpt.swarm.torrent import Torrent


async def torrents_of(services: Services, share: KnownShare, own: bytes, manifest: Manifest) -> dict[int, Torrent]:
    """The torrents of a version, by their number in the manifest; ``own`` is the infohash of the one it is in."""
    found: dict[int, Torrent] = {}
    used = set(manifest.object_torrents.tolist()) | {
        number for number, entry in enumerate(manifest.body.torrents) if not entry.info_hash
    }
    for number in sorted(used):
        info_hash = manifest.body.torrents[number].info_hash or own
        found[number] = await services.shares.torrent(share, info_hash)
    return found


def file_numbers(torrent: Torrent) -> Mapping[bytes, int]:
    """Object root → number of its file in the torrent."""
    return {file.root: number for number, file in enumerate(torrent.objects, start=1)}


async def seed(services: Services, job: str, share: KnownShare, version: int) -> None:
    """Offer a version that is held. Needs no tracker: everything was kept when it was published or fetched.

    One that was retired is offered as before: versions that are not may need its objects.

    Raises ``BlockedKey``.
    """
    trusted = await services.shares.trusted(share)
    manifest, _ = await services.shares.manifest(share, trusted, version)
    await services.key_book.require(share, trusted, version, manifest.body.publisher)
    await services.key_book.require_own_word(share, trusted, manifest)
    _, info_hash = trusted.content(version)
    for torrent in (await torrents_of(services, share, bytes.fromhex(info_hash), manifest)).values():
        await services.swarms.join(job, share.share_id, share.tracker, torrent, {}, 0, tls=trusted.swarm_tls)


def check_objects(manifest: Manifest, torrents: Mapping[int, Torrent]) -> None:
    """Every object is in the torrent that the manifest says carries it, with the length it says."""
    lengths = {number: {file.root: file.length for file in torrent.objects} for number, torrent in torrents.items()}
    for index, (number, length) in enumerate(
        zip(manifest.object_torrents.tolist(), manifest.object_lengths.tolist(), strict=True)
    ):
        if lengths[number].get(manifest.root(index)) != length:
            raise VerificationFailed(f"object {manifest.root(index).hex()[:12]} is not in the torrent it should be in")
