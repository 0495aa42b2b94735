"""The engine on libtorrent 2.1. What bites beyond one torrent, the session's start and its alerts, each of which has a
module of its own (measured, docs/adr/0003):

* Files are never deleted and never moved by libtorrent.
* Seeds hang up on whoever wants nothing and says so, and it takes seconds to be let in again: who is about to want more
  does not say so.
* Every change of settings has to tell the addresses again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import libtorrent as lt

from p2pckpt.errors import P2pckptError
from p2pckpt.swarm.active_torrent import ActiveTorrent, prepare
from p2pckpt.swarm.alerts import ALERTS, AlertThread, Listened, StatsPosted, Told
from p2pckpt.swarm.engine import (
    EngineEvent,
    IpNetwork,
    Network,
    PeerStats,
    Placement,
    TlsCredentials,
    TorrentStats,
)
from p2pckpt.swarm.libtorrent_session import SETTINGS, begin, end, rate
from p2pckpt.swarm.listening import Listening
from p2pckpt.swarm.peer_info import peer_stats
from p2pckpt.tracker_protocol import Endpoint

_STATS_DEADLINE: Final = 5.0
_LISTEN_DEADLINE: Final = 10.0
_BLOCKED: Final = 1
"""ip_filter's flag."""


@dataclass(frozen=True, slots=True)
class Discovery:
    """How peers of torrents that are not private are found besides those we are told of."""

    dht: bool = False
    bootstrap: str = ""
    """``host:port`` of DHT nodes, separated by commas; empty for libtorrent's."""
    lan: bool = False
    """Multicast (BEP 14)."""


class LibtorrentEngine:
    """See ``engine.Engine``."""

    def __init__(
        self,
        addresses: Sequence[str],
        port: int,
        tls_port: int = 0,
        *,
        map_ports: bool = False,
        discovery: Discovery | None = None,
        scratch: Path,
    ) -> None:
        """Listen on two ports (0: a free one) of these addresses. ``scratch`` is a directory that stays empty."""
        self._listening = Listening(addresses, port, tls_port)
        self._map_ports = map_ports
        self._discovery = discovery or Discovery()
        self._discovering = False
        self._scratch = scratch
        self._active: dict[bytes, ActiveTorrent] = {}
        self._session: Any = None
        self._alerts = AlertThread(self._active, self._listening, self._deliver)
        self._stats_waiters: list[asyncio.Future[Mapping[bytes, TorrentStats]]] = []
        self._stats: dict[bytes, TorrentStats] = {}

    async def start(self, on_event: Callable[[EngineEvent], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_event = on_event
        self._listening.choose()
        settings = SETTINGS | {
            "alert_mask": ALERTS,
            "listen_interfaces": self._listening.interfaces,
            "enable_upnp": self._map_ports,
            "enable_natpmp": self._map_ports,
        }
        if self._discovery.bootstrap:
            settings["dht_bootstrap_nodes"] = self._discovery.bootstrap
        self._session = await asyncio.to_thread(begin, settings)
        self._alerts.start(self._session)
        async with asyncio.timeout(_LISTEN_DEADLINE):
            await self._listening.wait()

    async def stop(self) -> None:
        if self._session is None:
            return
        await self._alerts.stop(self._session)
        for info_hash in list(self._active):
            self.remove(info_hash)
        self._active.clear()
        ending, self._session = [self._session], None
        await asyncio.to_thread(end, ending)

    @property
    def port(self) -> int:
        return self._listening.port

    @property
    def tls_port(self) -> int:
        return self._listening.tls_port

    def listen_on(self, addresses: Sequence[str]) -> None:
        """The machine's addresses changed."""
        if tuple(addresses) != self._listening.addresses:
            self._listening.addresses = tuple(addresses)
            self._apply({})

    def discover(self, discovery: Discovery) -> None:
        """Be found in these ways from now on; other DHT nodes to begin with count from the next start."""
        if discovery != self._discovery:
            self._discovery = discovery
            self._apply(self._found())

    def mapped(self, *, tls: bool) -> Endpoint | None:
        """The router's address and port that lead here, once it has mapped one."""
        return self._listening.mapped(tls=tls)

    def add(self, placement: Placement) -> None:
        info_hash = placement.torrent.info_hash
        params, active = prepare(placement, self._scratch)
        if info_hash in self._active:
            raise P2pckptError("this torrent is in the engine already")
        # known before libtorrent knows it: the alert thread counts from the first alert on
        self._active[info_hash] = active
        try:
            active.enter(self._session, params, placement.tls)
        except P2pckptError:
            del self._active[info_hash]
            raise
        self._discover()

    def want(self, info_hash: bytes, pieces: Mapping[int, Iterable[int]]) -> None:
        self._active[info_hash].want(pieces)

    def rewant(self, info_hash: bytes, more: Mapping[int, Iterable[int]], fewer: Mapping[int, Iterable[int]]) -> None:
        if (active := self._added(info_hash)) is not None:
            active.rewant(more, fewer)

    def hurry(self, info_hash: bytes, pieces: Sequence[tuple[int, int]]) -> None:
        if (active := self._added(info_hash)) is not None:
            active.hurry(pieces)

    def stay_connected(self, stay: bool) -> None:
        self._apply({"close_redundant_connections": not stay})

    def renew(self, info_hash: bytes, tls: TlsCredentials) -> None:
        if (active := self._added(info_hash)) is not None:
            active.renew(tls)

    def remove(self, info_hash: bytes) -> None:
        active = self._added(info_hash)
        if active is not None and self._session is not None:
            del self._active[info_hash]
            self._session.remove_torrent(active.handle)
            self._discover()

    def connect(self, info_hash: bytes, peers: Iterable[Endpoint]) -> None:
        if (active := self._added(info_hash)) is not None:
            active.connect(peers)

    def flush(self, info_hash: bytes) -> None:
        if (active := self._added(info_hash)) is not None:
            active.flush()

    def limit(self, down: int, up: int) -> None:
        self._apply({"download_rate_limit": rate(down), "upload_rate_limit": rate(up)})

    def limit_torrent(self, info_hash: bytes, down: int, up: int) -> None:
        if (active := self._added(info_hash)) is not None:
            active.limit(down, up)

    async def stats(self) -> Mapping[bytes, TorrentStats]:
        waiter: asyncio.Future[Mapping[bytes, TorrentStats]] = self._loop.create_future()
        self._stats_waiters.append(waiter)
        self._session.post_torrent_updates()
        async with asyncio.timeout(_STATS_DEADLINE):
            return await waiter

    async def peers(self, info_hash: bytes) -> list[PeerStats]:
        active = self._added(info_hash)
        return await asyncio.to_thread(peer_stats, active.handle, active.since) if active is not None else []

    async def availability(self, info_hash: bytes) -> tuple[bytes, ...]:
        active = self._added(info_hash)
        return await asyncio.to_thread(active.availability) if active is not None else ()

    def network(self) -> Network:
        return Network(
            self.mapped(tls=False),
            self.mapped(tls=True),
            self._discovering and self._discovery.dht,
            self._discovering and self._discovery.lan,
        )

    def ban(self, networks: Sequence[IpNetwork]) -> None:
        banned = lt.ip_filter()
        for network in networks:
            banned.add_rule(str(network[0]), str(network[-1]), _BLOCKED)
        self._session.set_ip_filter(banned)

    def seek(self, info_hash: bytes) -> bool:
        active = self._added(info_hash)
        if active is None or active.private or not (self._discovery.dht or self._discovery.lan):
            return False
        active.handle.force_dht_announce()
        active.handle.force_lsd_announce()
        return True

    def _added(self, info_hash: bytes) -> ActiveTorrent | None:
        """A torrent that libtorrent has; None while ``add`` is at it in another thread."""
        active = self._active.get(info_hash)
        return active if active is not None and active.handle is not None else None

    def _apply(self, settings: dict[str, Any]) -> None:
        """libtorrent forgets the addresses for TLS with every change of settings, and closes them when it next looks at
        the machine's interfaces: so they are told again each time."""
        self._session.apply_settings({**settings, "listen_interfaces": self._listening.interfaces})

    def _discover(self) -> None:
        """Be in the DHT, and heard on the LAN, while there is a torrent to be found there, and only then."""
        wanted = any(not active.private for active in self._active.values())
        if wanted != self._discovering:
            self._discovering = wanted
            self._apply(self._found())

    def _found(self) -> dict[str, Any]:
        """libtorrent's settings for being found by torrents that are here now."""
        wanted, discovery = self._discovering, self._discovery
        return {"enable_dht": wanted and discovery.dht, "enable_lsd": wanted and discovery.lan}

    def _deliver(self, batch: Sequence[Told]) -> None:
        for told in batch:
            if isinstance(told, StatsPosted):
                self._note_stats(told.stats)
            elif isinstance(told, Listened):
                self._listening.report(tls=told.tls, error=told.error)
            else:
                self._on_event(told)

    def _note_stats(self, stats: Mapping[bytes, TorrentStats]) -> None:
        self._stats.update(stats)
        for info_hash in self._stats.keys() - self._active.keys():
            del self._stats[info_hash]
        waiters, self._stats_waiters = self._stats_waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(dict(self._stats))
