"""Magnet links: how stock BitTorrent v2 clients take part in the swarms of public shares (docs/adr/0011)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final
from urllib.parse import quote, urlsplit

from p2pckpt.access.pool import BESIDE
from p2pckpt.checkpoint.manifest import Manifest
from p2pckpt.errors import P2pckptError
from p2pckpt.jobs.services import Services
from p2pckpt.store.catalogue import KnownShare
from p2pckpt.tracker_protocol import PUBLIC_PASS, Endpoint, Visibility
from p2pckpt.trust.admission import TrustedShare
from p2pckpt.trust.versions import VersionTarget

_SHA256: Final = "1220"
"""The multihash prefix of BEP 9's ``urn:btmh``."""
_PEERS: Final = 3


def magnet(info_hash: bytes, name: str, trackers: Iterable[str] = (), peers: Iterable[Endpoint] = ()) -> str:
    """A v2 magnet link: ``name`` to show, announce URLs, and peers to begin with."""
    parts = [f"xt=urn:btmh:{_SHA256}{info_hash.hex()}", f"dn={quote(name, safe='')}"]
    parts += [f"tr={quote(url, safe='')}" for url in trackers]
    parts += [f"x.pe={f'[{p.host}]' if ':' in p.host else p.host}:{p.port}" for p in peers]
    return "magnet:?" + "&".join(parts)


async def magnets(
    services: Services, share: KnownShare, trusted: TrustedShare, target: VersionTarget, manifest: Manifest
) -> tuple[str, ...]:
    """One for each torrent that a version needs, its own first; none for shares that are not public."""
    if trusted.terms.sealed:
        return ()
    entries = [manifest.body.torrents[number] for number in sorted(set(manifest.object_torrents.tolist()))]
    older = [(entry.info_hash, entry.version) for entry in entries if entry.info_hash]
    trackers = await _announce_urls(services, share)
    peers = _reachable(services.swarms.addresses())
    return tuple(
        magnet(
            info_hash,
            f"{trusted.terms.name}@v{version}",
            trackers,
            peers if services.swarms.offers(info_hash) else (),
        )
        for info_hash, version in [(bytes.fromhex(target.infohash), target.version), *older]
    )


async def _announce_urls(services: Services, share: KnownShare) -> list[str]:
    """Where stock clients announce in the swarms of a public share; nothing when its tracker does not say."""
    if share.visibility != Visibility.PUBLIC.value:
        return []
    try:
        told = (await services.shares.client(share).connect()).announce_url
    except P2pckptError:
        return []
    if not told:
        return []
    bases = [told]
    if share.tracker == BESIDE:  # we reach it by loopback; others do where links say
        hosts = [host.rpartition(":")[0] for host in services.shares.public_address(share).hosts]
        bases = [f"http://{host}:{urlsplit(told).port}/announce" for host in hosts]
    return [f"{base}/{PUBLIC_PASS}" for base in bases]


def _reachable(addresses: Sequence[Endpoint]) -> list[Endpoint]:
    """The most public of this machine's addresses; loopback only when there is no other."""
    outward = [each for each in addresses if not each.host.startswith("127.") and each.host != "::1"]
    return (outward or list(addresses))[:_PEERS]
