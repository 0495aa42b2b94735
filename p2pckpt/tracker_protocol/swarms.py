"""Swarms: the right to be in them, and announces."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

PASS_PREFIX: Final = "p2pp_"  # noqa: S105 - marks a pass, is none
PUBLIC_PASS: Final = "public"  # noqa: S105 - in a pass's place in BEP 3: anonymous, public shares only
PASS_LIFETIME: Final = 24 * 3600
"""Seconds an announce pass is valid."""
CERTIFICATE_LIFETIME: Final = 24 * 3600
"""Seconds a member's certificate for the swarms of a share is valid."""
MAX_SWARMS_PER_ANNOUNCE: Final = 256
MAX_ADDRESSES: Final = 16


class SwarmEvent(StrEnum):
    """BEP 3's announce events."""

    NONE = ""
    STARTED = "started"
    STOPPED = "stopped"
    COMPLETED = "completed"


class PassReply(msgspec.Struct, frozen=True):
    """``POST /api/v1/shares/{id}/pass``: the right to announce in this share's swarms, needs downloader."""

    announce_pass: str
    expires_at: int


class IssueCertificate(msgspec.Struct, frozen=True):
    """``POST /api/v1/shares/{id}/certificate``: the right to connect to peers of this share, needs downloader.

    For shares that are not public; 409 for those that are. The certificate's DNS name is the share's
    ``torrent_name``, its common name the member's identity. Nobody but peers of this share accepts it.
    """

    public_key: bytes
    """P-256, DER (SubjectPublicKeyInfo)."""


class CertificateReply(msgspec.Struct, frozen=True):
    certificate: str
    """PEM."""
    authority: str
    """PEM: what certificates of other members are checked against."""
    generation: int
    """Of the authority: it is replaced when somebody loses the right to download, and everybody reconnects."""
    issued_at: int
    """Unix seconds by the tracker's clock; for peers whose clocks run behind, validity begins an hour earlier."""
    expires_at: int


class Endpoint(msgspec.Struct, frozen=True, order=True):
    """Where a peer accepts connections."""

    host: str
    """A literal IPv4 or IPv6 address."""
    port: int


class SwarmState(msgspec.Struct, frozen=True):
    """One swarm in an announce of a daemon."""

    info_hash: str
    """v2 infohash, 64 hex digits."""
    announce_pass: str
    left: int
    """Bytes still wanted; 0 makes this peer a seed of what it holds."""
    event: SwarmEvent = SwarmEvent.NONE
    uploaded: int = 0
    downloaded: int = 0
    partial_seed: bool = False
    """BEP 21: complete for its own purposes, but without the whole torrent."""


class AnnounceRequest(msgspec.Struct, frozen=True):
    """``POST /api/v1/announce`` (token): every swarm of one daemon at once, with the addresses it can be reached at.

    Stock clients use BEP 3 instead: ``GET /announce/<pass>?info_hash=…`` on the announce listener.
    """

    peer_id: str
    """40 hex digits, one per daemon run."""
    port: int
    """Where peers connect to in these swarms; the address that the tracker sees is combined with it. A daemon
    listens for TLS on a port of its own, and announces swarms with and without it apart."""
    addresses: list[Endpoint]
    """LAN, mapped and configured public addresses of this daemon."""
    swarms: list[SwarmState]


class SwarmReply(msgspec.Struct, frozen=True):
    info_hash: str
    seeds: int
    leechers: int
    peers: list[Endpoint]
    failure: str = ""
    """Why this one was refused (no such pass, revoked, not a swarm of that share); the others stand."""
    authority: int = 0
    """Present generation of the share's certificate authority; 0 where there is none."""


class AnnounceReply(msgspec.Struct, frozen=True):
    interval: int
    """Seconds until the next announce is due; events come over the stream meanwhile."""
    observed: str
    """The caller's address as the tracker sees it."""
    swarms: list[SwarmReply]
