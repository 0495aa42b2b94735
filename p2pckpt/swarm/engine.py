"""What a BitTorrent engine does for us, and what it tells: the contract that libtorrent and the test fake both keep.

An engine moves pieces and nothing else: it never announces (the daemon does, jobs/announcing.py), never decides
what is durable (jobs do, after ``flush``), never deletes a file. Files of a torrent lie wherever ``Placement.paths``
says. tests/contract runs one suite over every engine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Protocol

from p2pckpt.checkpoint.pieces import PieceSet
from p2pckpt.swarm.torrent import Torrent
from p2pckpt.tracker_protocol import Endpoint


@dataclass(frozen=True, slots=True)
class TlsCredentials:
    """What a member needs in an SSL torrent; all PEM. Peers show certificates of the same authority, or get nothing."""

    authority: str
    certificate: str
    key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a torrent's files lie, and which of their pieces are there and verified."""

    torrent: Torrent
    paths: tuple[Path, ...]
    """One for each of ``torrent.files``."""
    have: tuple[PieceSet, ...]
    tls: TlsCredentials | None = None
    """None for plain connections. The authority is no part of the infohash: replacing it takes ``remove`` and ``add``,
    which cut every connection."""


@dataclass(frozen=True, slots=True)
class PieceArrived:
    """A piece passed its Merkle check. Its bytes may still be in memory only: see ``Flushed``."""

    info_hash: bytes
    file: int
    piece: int
    """Within the file."""


@dataclass(frozen=True, slots=True)
class Flushed:
    """Everything that had arrived when ``flush`` was called is in the files (not yet fsynced)."""

    info_hash: bytes


@dataclass(frozen=True, slots=True)
class EngineProblem:
    """A torrent stopped: a file can't be written or read.

    Pieces that arrived and were not flushed yet may be lost; to try again, remove the torrent and add it with what is
    durable. It comes before the ``Flushed`` of a flush that it spoilt.
    """

    info_hash: bytes
    text: str
    disk_full: bool


@dataclass(frozen=True, slots=True)
class PeerBanned:
    """A peer sent false data and was disconnected."""

    info_hash: bytes
    address: str
    """With its port: others behind the same address go on."""


IpNetwork = IPv4Network | IPv6Network
EngineEvent = PieceArrived | Flushed | EngineProblem | PeerBanned


@dataclass(frozen=True, slots=True)
class TorrentStats:
    rate_down: int
    """Payload bytes per second."""
    rate_up: int
    downloaded: int
    """Payload bytes since the torrent was added."""
    uploaded: int
    peers: int
    seeds: int
    """Connected peers that have everything."""


@dataclass(frozen=True, slots=True)
class PeerStats:
    address: str
    client: str
    progress: float
    rate_down: int
    rate_up: int
    seed: bool
    interested: bool
    choked: bool
    encrypted: bool
    outgoing: bool
    tls: bool
    utp: bool = False
    downloaded: int = 0
    """Payload bytes over this connection."""
    uploaded: int = 0
    since: int = 0
    """Unix seconds of the connection; 0 when unknown."""
    sources: tuple[str, ...] = ()
    """How the address was learned: tracker, dht, exchange, lan, incoming."""


@dataclass(frozen=True, slots=True)
class Network:
    """How others can find and reach this engine right now."""

    mapped: Endpoint | None = None
    """Where a router leads plain connections here from; None while no router does."""
    mapped_tls: Endpoint | None = None
    dht: bool = False
    lan: bool = False
    """Multicast on the LAN. Both are on only while a torrent that is not private is here."""


class Engine(Protocol):
    """Methods are quick unless they say that they block. Events come on the loop that ``start`` was called on."""

    async def start(self, on_event: Callable[[EngineEvent], None]) -> None:
        """Listen. Raises ``P2pckptError`` when a port is taken."""

    async def stop(self) -> None:
        """Close all connections; no event follows."""

    @property
    def port(self) -> int:
        """Where peers connect to, for plain torrents."""

    @property
    def tls_port(self) -> int:
        """Where they connect to for torrents with ``TlsCredentials``."""

    def listen_on(self, addresses: Sequence[str]) -> None:
        """This machine's addresses changed; the ports stay."""

    def add(self, placement: Placement) -> None:
        """Blocks for up to a second for large torrents. Wants nothing until ``want`` says so. Raises when present."""

    def want(self, info_hash: bytes, pieces: Mapping[int, Iterable[int]]) -> None:
        """File → pieces to fetch, replacing what was wanted before; pieces that are here are ignored."""

    def rewant(self, info_hash: bytes, more: Mapping[int, Iterable[int]], fewer: Mapping[int, Iterable[int]]) -> None:
        """The same, told by its difference: ``more`` is wanted besides, ``fewer`` no longer. Unknown torrents are
        ignored."""

    def hurry(self, info_hash: bytes, pieces: Sequence[tuple[int, int]]) -> None:
        """Ask for these (file, piece) before everything else that is wanted, about in this order.

        Pieces that are here or not wanted are ignored, and so are unknown torrents.
        """

    def stay_connected(self, stay: bool) -> None:
        """Whether connections are kept over which nothing can move at present, because more will be wanted soon."""

    def renew(self, info_hash: bytes, tls: TlsCredentials) -> None:
        """Another certificate of the same authority; open connections stay. Unknown torrents are ignored."""

    def remove(self, info_hash: bytes) -> None:
        """Leave the swarm; files stay. Unknown torrents are ignored."""

    def connect(self, info_hash: bytes, peers: Iterable[Endpoint]) -> None:
        """Try these peers; known ones are ignored."""

    def flush(self, info_hash: bytes) -> None:
        """Answered by one ``Flushed``, in the order of calls."""

    def limit(self, down: int, up: int) -> None:
        """Bytes per second over everything, loopback and LAN included; 0 for none."""

    def limit_torrent(self, info_hash: bytes, down: int, up: int) -> None:
        """The same for one torrent, besides; lost when it is removed. Unknown torrents are ignored."""

    async def stats(self) -> Mapping[bytes, TorrentStats]:
        """By infohash."""

    async def peers(self, info_hash: bytes) -> list[PeerStats]:
        """Connected peers of one torrent; empty when unknown."""

    async def availability(self, info_hash: bytes) -> tuple[bytes, ...]:
        """How many connected peers have each piece, at most 255: a byte a piece for each of the torrent's files.

        Empty when unknown, and where nobody counts: an engine that lacks nothing may not.
        """

    def network(self) -> Network:
        """What is known of the way here."""

    def ban(self, networks: Sequence[IpNetwork]) -> None:
        """Have nothing to do with these addresses in any torrent, replacing what was banned before; connections end."""

    def seek(self, info_hash: bytes) -> bool:
        """Ask the DHT and the LAN for peers now; whether this torrent may be looked for there. Unknown ones may not."""
