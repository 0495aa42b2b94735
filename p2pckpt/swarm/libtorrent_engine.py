"""The engine on libtorrent 2.1. What bites, and is handled here (measured, docs/adr/0003):

* An alert read after the next ``pop_alerts`` crashes the process: one thread pops, copies fields, and only then
  hands frozen events to the loop.
* An SSL torrent connects and announces without a certificate, and is refused, unless it is added paused and resumed
  once it has one. An authority that is given when it is added is no part of the infohash (docs/adr/0010).
* ``cache_flushed_alert`` does not say whose flush it answers, and a torrent that finishes flushes by itself: alerts
  are counted, one for each call and one for each ``torrent_finished_alert``, in order.
* A torrent that is added with pieces reports each of them as arrived: those are left out.
* Rate limits of the session are those of its global peer class, which local peers are not in by default.
* Pieces are wanted by piece priority, never by file priority: a file of priority 0 goes to a part file.
* Files are never deleted and never moved by libtorrent.
* Whatever a torrent asked the DHT before that had its first nodes is lost for a quarter of an hour: ask again then.
* Seeds hang up on whoever wants nothing and says so, and it takes seconds to be let in again: who is about to want more
  does not say so.
* A dial that is silently dropped keeps the same peer's own connection out until it gives up: that is 15 s by default.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import libtorrent as lt

from p2pckpt.errors import P2pckptError
from p2pckpt.swarm.engine import (
    EngineEvent,
    EngineProblem,
    Flushed,
    IpNetwork,
    Network,
    PeerBanned,
    PeerStats,
    PieceArrived,
    Placement,
    TlsCredentials,
    TorrentStats,
)
from p2pckpt.swarm.listening import Listening, bracket
from p2pckpt.swarm.peer_info import peer_stats
from p2pckpt.tracker_protocol import Endpoint

_SETTINGS: Final[dict[str, Any]] = {
    # TCP only: on loopback and LAN uTP reached a tenth of it (docs/adr/0003)
    "enable_incoming_utp": False,
    "enable_outgoing_utp": False,
    "request_queue_time": 1,
    # the first pieces at random, whatever is in a hurry: among equally rare ones the choice is random anyhow
    "initial_picker_threshold": 0,
    "aio_threads": 2,
    "max_queued_disk_bytes": 16 << 20,
    "file_pool_size": 500,
    "send_buffer_watermark": 3 << 20,
    "send_buffer_watermark_factor": 150,
    "send_buffer_low_watermark": 1 << 20,
    "send_not_sent_low_watermark": 512 << 10,
    "allow_multiple_connections_per_ip": True,
    "peer_timeout": 15,
    "peer_connect_timeout": 3,
    # a peer on parole takes whole pieces only: one who sits on a block of each piece stopped a download with it
    "use_parole_mode": False,
    # what was asked of a peer that sends nothing goes to others after so many seconds; the peer stays
    "piece_timeout": 5,
    "request_timeout": 10,
    "min_reconnect_time": 2,
    "connection_speed": 50,
    "torrent_connect_boost": 30,
    "stop_tracker_timeout": 1,
    "active_downloads": -1,
    "active_seeds": -1,
    "active_limit": -1,
    "active_checking": 2,
    "alert_queue_size": 20_000,
    "user_agent": "p2pckpt",
    "enable_dht": False,
    "enable_lsd": False,
    # a taken port is an error to report, not a reason to listen somewhere else
    "max_retry_port_bind": 0,
    "listen_system_port_fallback": False,
}
_ALERTS: Final = (
    lt.alert.category_t.error_notification
    | lt.alert.category_t.status_notification
    | lt.alert.category_t.storage_notification
    | lt.alert.category_t.piece_progress_notification
    | lt.alert.category_t.port_mapping_notification
    | lt.alert.category_t.dht_notification
    | lt.alert.category_t.peer_notification
    | lt.alert.category_t.connect_notification
)
_WAIT_MS: Final = 500
_STATS_DEADLINE: Final = 5.0
_LISTEN_DEADLINE: Final = 10.0
_LISTENERS: Final = {lt.socket_type_t.tcp: False, lt.socket_type_t.tcp_ssl: True}
"""Sockets that peers need, and whether with TLS."""
_WANTED: Final = 4
"""libtorrent's usual piece priority; 0 is not wanted."""
_FEW: Final = 256
"""Changes that are told one by one: a list of priorities has all pieces of a torrent, a million for a terabyte."""
_APART_MS: Final = 20
"""Between the deadlines of pieces that are asked for in order: about a piece at 50 MB/s."""
_BLOCKED: Final = 1
"""ip_filter's flag."""
_FFDHE2048: Final = """-----BEGIN DH PARAMETERS-----
MIIBCAKCAQEA//////////+t+FRYortKmq/cViAnPTzx2LnFg84tNpWp4TZBFGQz
+8yTnc4kmz75fS/jY2MMddj2gbICrsRhetPfHtXV/WVhJDP1H18GbtCFY2VVPe0a
87VXE15/V8k1mE8McODmi3fipona8+/och3xWKE2rec1MKzKT0g6eXq8CrGCsyT7
YdEIqUuyyOP7uWrat2DX9GgdT0Kj3jlN9K5W7edjcrsZCwenyO4KbXCeAvzhzffi
7MA0BM0oNC9hkXL+nOmFg/+OTxIy7vKBg8P+OxtMb61zO7X8vC7CIAXFjvGDfRaD
ssbzSibBsu/6iGtCOGEoXJf//////////wIBAg==
-----END DH PARAMETERS-----
"""
"""RFC 7919. libtorrent asks for some; with TLS 1.3 and keys on P-256 they are not used."""


@dataclass(frozen=True, slots=True)
class Discovery:
    """How peers of torrents that are not private are found besides those we are told of."""

    dht: bool = False
    bootstrap: str = ""
    """``host:port`` of DHT nodes, separated by commas; empty for libtorrent's."""
    lan: bool = False
    """Multicast (BEP 14)."""


@dataclass(slots=True)
class _Active:
    handle: Any
    private: bool
    first_piece: tuple[int, ...]
    """Number of the first piece of each of our files within the torrent."""
    locate: tuple[tuple[int, int], ...]
    """(file, piece within it) by the torrent's piece number; (-1, -1) for padding and for pieces that were here."""
    wanted: set[int] = field(default_factory=set)
    """Numbers of the pieces that are wanted."""
    hurried: set[int] = field(default_factory=set)
    """Those of them that were given a deadline."""
    since: dict[tuple[str, int], int] = field(default_factory=dict)
    """When peers connected, by address and port. Written by the alert thread alone."""
    problem: bool = False
    asked: int = 0
    """Calls of ``flush``."""
    answered: int = 0
    """``Flushed`` events for them."""
    finished: int = 0
    flushed: int = 0
    """Alerts seen."""

    def numbers(self, pieces: Mapping[int, Iterable[int]]) -> set[int]:
        """Of pieces of our files, within the torrent."""
        return {self.first_piece[file] + piece for file, some in pieces.items() for piece in some}

    def answers(self) -> int:
        """How many calls of ``flush`` are surely answered by now and were not before."""
        sure = min(self.asked, self.flushed - self.finished)
        new = max(0, sure - self.answered)
        self.answered += new
        return new


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
        self._active: dict[bytes, _Active] = {}
        self._running = False
        self._session: Any = None
        self._thread: threading.Thread | None = None
        self._stats_waiters: list[asyncio.Future[Mapping[bytes, TorrentStats]]] = []
        self._stats: dict[bytes, TorrentStats] = {}

    async def start(self, on_event: Callable[[EngineEvent], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_event = on_event
        self._listening.choose()
        settings = _SETTINGS | {
            "alert_mask": _ALERTS,
            "listen_interfaces": self._listening.interfaces,
            "enable_upnp": self._map_ports,
            "enable_natpmp": self._map_ports,
        }
        if self._discovery.bootstrap:
            settings["dht_bootstrap_nodes"] = self._discovery.bootstrap
        self._session = await asyncio.to_thread(_session, settings)
        self._session.set_peer_class_filter(_everybody(1 << self._session.global_peer_class_id))
        self._running = True
        self._thread = threading.Thread(target=self._pump, name="libtorrent-alerts", daemon=True)
        self._thread.start()
        async with asyncio.timeout(_LISTEN_DEADLINE):
            await self._listening.wait()

    async def stop(self) -> None:
        if self._session is None:
            return
        self._running = False
        self._session.post_torrent_updates()  # its alert wakes the thread
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)
        for info_hash in list(self._active):
            self.remove(info_hash)
        self._active.clear()
        ending, self._session = [self._session], None
        await asyncio.to_thread(_end, ending)

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
        torrent = placement.torrent
        limits: Any = {"max_buffer_size": len(torrent.data) + 1, "max_pieces": 1 << 24, "max_decode_tokens": 1 << 26}
        try:
            params = lt.load_torrent_buffer(torrent.data, limits)
        except RuntimeError as exc:
            raise P2pckptError(f"libtorrent can't read the torrent: {exc}") from exc
        assert params.ti is not None
        files = params.ti.layout()
        real = [i for i in range(files.num_files()) if not files.file_flags(i) & lt.file_flags_t.flag_pad_file]
        real = [i for i in real if files.file_size(i)]
        first = tuple(files.file_offset(i) // files.piece_length() for i in real)
        counts = tuple(-(-file.length // files.piece_length()) for file in torrent.files)
        if len(real) != len(torrent.files):
            raise P2pckptError("libtorrent sees other files in the torrent than p2pckpt does")
        locate: list[tuple[int, int]] = [(-1, -1)] * params.ti.num_pieces()
        have = [False] * params.ti.num_pieces()
        for file, (start, count) in enumerate(zip(first, counts, strict=True)):
            for piece in range(count):
                locate[start + piece] = (file, piece)
            for piece in placement.have[file]:
                have[start + piece] = True
                locate[start + piece] = (-1, -1)
        params.renamed_files = {i: str(path) for i, path in zip(real, placement.paths, strict=True)}
        params.save_path = str(self._scratch)
        params.have_pieces = have
        params.piece_priorities = [0] * len(have)
        params.flags &= ~(lt.torrent_flags.auto_managed | lt.torrent_flags.paused)
        params.flags |= lt.torrent_flags.duplicate_is_error
        if placement.tls is not None:
            params.root_certificate = placement.tls.authority
            params.flags |= lt.torrent_flags.paused
        if all(have):
            params.flags |= lt.torrent_flags.seed_mode
        if torrent.info_hash in self._active:
            raise P2pckptError("this torrent is in the engine already")
        # known before libtorrent knows it: the alert thread counts from the first alert on
        active = self._active[torrent.info_hash] = _Active(None, torrent.private, first, tuple(locate))
        try:
            handle = self._session.add_torrent(params)
            if placement.tls is not None:
                handle.set_ssl_certificate_buffer(placement.tls.certificate, placement.tls.key, _FFDHE2048)
                handle.resume()
            active.handle = handle
        except RuntimeError as exc:
            del self._active[torrent.info_hash]
            raise P2pckptError(f"libtorrent refuses the torrent: {exc}") from exc
        self._discover()

    def want(self, info_hash: bytes, pieces: Mapping[int, Iterable[int]]) -> None:
        active = self._active[info_hash]
        wanted = active.numbers(pieces)
        self._rewant(active, wanted - active.wanted, active.wanted - wanted)

    def rewant(self, info_hash: bytes, more: Mapping[int, Iterable[int]], fewer: Mapping[int, Iterable[int]]) -> None:
        if (active := self._added(info_hash)) is not None:
            self._rewant(active, active.numbers(more) - active.wanted, active.numbers(fewer) & active.wanted)

    def _rewant(self, active: _Active, more: set[int], fewer: set[int]) -> None:
        active.wanted -= fewer
        active.wanted |= more
        for number in fewer & active.hurried:
            active.handle.reset_piece_deadline(number)  # else it comes all the same
        active.hurried -= fewer
        if len(more) + len(fewer) <= _FEW:
            for number in more | fewer:
                active.handle.piece_priority(number, _WANTED if number in active.wanted else 0)
            return
        priorities = [0] * len(active.locate)
        for number in active.wanted:
            priorities[number] = _WANTED
        active.handle.prioritize_pieces(priorities)

    def hurry(self, info_hash: bytes, pieces: Sequence[tuple[int, int]]) -> None:
        if (active := self._added(info_hash)) is None:
            return
        numbers = [active.first_piece[file] + piece for file, piece in pieces]
        # a deadline makes libtorrent want a piece that it does not
        for place, number in enumerate(number for number in numbers if number in active.wanted):
            active.hurried.add(number)
            active.handle.set_piece_deadline(number, place * _APART_MS)

    def stay_connected(self, stay: bool) -> None:
        self._apply({"close_redundant_connections": not stay})

    def renew(self, info_hash: bytes, tls: TlsCredentials) -> None:
        if (active := self._added(info_hash)) is not None:
            active.handle.set_ssl_certificate_buffer(tls.certificate, tls.key, _FFDHE2048)

    def remove(self, info_hash: bytes) -> None:
        active = self._added(info_hash)
        if active is not None and self._session is not None:
            del self._active[info_hash]
            self._session.remove_torrent(active.handle)
            self._discover()

    def connect(self, info_hash: bytes, peers: Iterable[Endpoint]) -> None:
        active = self._added(info_hash)
        for peer in peers if active is not None else ():
            # an address that libtorrent can't parse is the tracker's mistake, not a reason to stop; Boost.Python's
            # ArgumentError is a TypeError
            with contextlib.suppress(RuntimeError, TypeError, OverflowError):
                # as from a tracker: only then a peer that refused us, because it knew of a new authority later than
                # we did, is tried again
                active.handle.connect_peer((peer.host, peer.port), lt.peer_info.tracker)  # type: ignore[union-attr]

    def flush(self, info_hash: bytes) -> None:
        if (active := self._added(info_hash)) is not None:
            active.asked += 1
            active.handle.flush_cache()

    def limit(self, down: int, up: int) -> None:
        self._apply({"download_rate_limit": _rate(down), "upload_rate_limit": _rate(up)})

    def limit_torrent(self, info_hash: bytes, down: int, up: int) -> None:
        if (active := self._added(info_hash)) is not None:
            active.handle.set_download_limit(_rate(down))
            active.handle.set_upload_limit(_rate(up))

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
        return await asyncio.to_thread(_availability, active) if active is not None else ()

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

    def _added(self, info_hash: bytes) -> _Active | None:
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

    # -- the alert thread

    def _pump(self) -> None:
        while self._running:
            self._session.wait_for_alert(_WAIT_MS)
            batch: list[object] = []
            for alert in self._session.pop_alerts():
                batch.extend(self._translate(alert))
            if batch:
                with contextlib.suppress(RuntimeError):  # the loop closed while we were reading
                    self._loop.call_soon_threadsafe(self._deliver, batch)

    def _translate(self, alert: Any) -> Iterable[object]:
        """Everything worth keeping of an alert, copied: the alert itself dies with the next pop."""
        match alert:
            case lt.piece_finished_alert():
                info_hash = _info_hash(alert)
                active = self._active.get(info_hash)
                file, piece = active.locate[alert.piece_index] if active is not None else (-1, -1)
                return [PieceArrived(info_hash, file, piece)] if file >= 0 else []
            case lt.cache_flushed_alert() | lt.torrent_finished_alert():
                return self._flush_events(alert)
            case lt.file_error_alert() | lt.torrent_error_alert():
                return self._problems(alert)
            case lt.state_update_alert():
                return [{_v2(status.info_hashes): _torrent_stats(status) for status in alert.status}]
            case lt.peer_ban_alert():
                host, port = alert.endpoint
                return [PeerBanned(_info_hash(alert), f"{bracket(host)}:{port}")]
            case lt.peer_connect_alert() | lt.peer_disconnected_alert():
                self._note_connection(alert)
            case lt.dht_bootstrap_alert():
                for active in tuple(self._active.values()):
                    if active.handle is not None and not active.private:
                        active.handle.force_dht_announce()
            case lt.portmap_alert():
                if alert.map_protocol == lt.portmap_protocol.tcp:
                    self._listening.mapped_port(alert.external_port)
            case lt.external_ip_alert():
                self._listening.seen_as(str(alert.external_address))
            case lt.listen_succeeded_alert() | lt.listen_failed_alert() if alert.socket_type in _LISTENERS:
                error = alert.message() if isinstance(alert, lt.listen_failed_alert) else ""
                return [_Listened(_LISTENERS[alert.socket_type], error)]
        return []

    def _note_connection(self, alert: Any) -> None:
        active = self._active.get(_info_hash(alert))
        if active is None:
            return
        if isinstance(alert, lt.peer_connect_alert):
            active.since[alert.endpoint] = int(time.time())
        else:
            active.since.pop(alert.endpoint, None)

    def _flush_events(self, alert: Any) -> list[object]:
        info_hash = _info_hash(alert)
        active = self._active.get(info_hash)
        if active is None:
            return []
        if isinstance(alert, lt.torrent_finished_alert):
            active.finished += 1
        else:
            active.flushed += 1
        return [Flushed(info_hash)] * active.answers()

    def _problems(self, alert: Any) -> list[object]:
        info_hash = _info_hash(alert)
        active = self._active.get(info_hash)
        if active is None or active.problem:
            return []  # libtorrent repeats it for every block
        active.problem = True
        return [EngineProblem(info_hash, str(alert.message()), alert.error.value() == errno.ENOSPC)]

    def _deliver(self, batch: list[object]) -> None:
        for event in batch:
            if isinstance(event, dict):
                self._stats.update(event)
                for info_hash in self._stats.keys() - self._active.keys():
                    del self._stats[info_hash]
                waiters, self._stats_waiters = self._stats_waiters, []
                for waiter in waiters:
                    if not waiter.done():
                        waiter.set_result(dict(self._stats))
            elif isinstance(event, _Listened):
                self._listening.report(tls=event.tls, error=event.error)
            else:
                self._on_event(event)  # type: ignore[arg-type]


def _session(settings: Any) -> Any:
    """Without libtorrent's default plugins, but for those wanted: "smart ban" does nothing for v2 torrents."""
    session = lt.session(settings, flags=0)
    for plugin in ("ut_metadata", "ut_pex"):
        session.add_extension(plugin)
    return session


def _end(ending: list[Any]) -> None:
    """Destroys the session in this thread, which waits for libtorrent's own: only then its port is free."""
    ending.pop().pause()


@dataclass(frozen=True, slots=True)
class _Listened:
    tls: bool
    error: str


def _rate(limit: int) -> int:
    """libtorrent counts rates in 31 bits: what is more is no limit to any transfer."""
    return limit if limit < 1 << 31 else 0


def _info_hash(alert: Any) -> bytes:
    return _v2(alert.handle.info_hashes())


def _v2(hashes: Any) -> bytes:
    return bytes(hashes.v2.to_bytes())


def _torrent_stats(status: Any) -> TorrentStats:
    return TorrentStats(
        status.download_payload_rate,
        status.upload_payload_rate,
        status.total_payload_download,
        status.total_payload_upload,
        status.num_peers,
        status.num_seeds,
    )


def _availability(active: _Active) -> tuple[bytes, ...]:
    """A torrent that is whole keeps no counts: then there are none."""
    found = active.handle.piece_availability()
    try:
        counts = bytes(found)
    except ValueError:  # more peers than a byte counts
        counts = bytes(min(count, 255) for count in found)
    ends = (*active.first_piece[1:], len(active.locate))
    return tuple(counts[first:end] for first, end in zip(active.first_piece, ends, strict=True)) if counts else ()


def _everybody(classes: int) -> Any:
    """A filter that puts every address, local ones too, into the same peer classes."""
    every = lt.ip_filter()
    every.add_rule("0.0.0.0", "255.255.255.255", classes)
    every.add_rule("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", classes)
    return every
