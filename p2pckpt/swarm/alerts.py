"""The thread that reads libtorrent's alerts, and what it makes of them. What bites (measured, docs/adr/0003):

* An alert read after the next ``pop_alerts`` crashes the process: one thread pops, copies fields, and only then
  hands what it copied to the loop.
* A torrent that is added with pieces reports each of them as arrived: those are left out.
* Whatever a torrent asked the DHT before that had its first nodes is lost for a quarter of an hour: ask again then.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import libtorrent as lt

from p2pckpt.swarm.active_torrent import ActiveTorrent
from p2pckpt.swarm.engine import EngineEvent, EngineProblem, Flushed, PeerBanned, PieceArrived, TorrentStats
from p2pckpt.swarm.listening import Listening, bracket

ALERTS: Final = (
    lt.alert.category_t.error_notification
    | lt.alert.category_t.status_notification
    | lt.alert.category_t.storage_notification
    | lt.alert.category_t.piece_progress_notification
    | lt.alert.category_t.port_mapping_notification
    | lt.alert.category_t.dht_notification
    | lt.alert.category_t.peer_notification
    | lt.alert.category_t.connect_notification
)
"""What a session's ``alert_mask`` has to let through."""
_WAIT_MS: Final = 500
_LISTENERS: Final = {lt.socket_type_t.tcp: False, lt.socket_type_t.tcp_ssl: True}
"""Sockets that peers need, and whether with TLS."""


@dataclass(frozen=True, slots=True)
class Listened:
    """How listening on one address and port went; empty ``error`` for well."""

    tls: bool
    error: str


@dataclass(frozen=True, slots=True)
class StatsPosted:
    """Torrents that have moved something since the last time, by infohash."""

    stats: Mapping[bytes, TorrentStats]


Told = EngineEvent | Listened | StatsPosted


class AlertThread:
    """Tells the loop what libtorrent says of ``torrents``, and ``listening`` what routers do."""

    def __init__(
        self,
        torrents: Mapping[bytes, ActiveTorrent],
        listening: Listening,
        deliver: Callable[[Sequence[Told]], None],
    ) -> None:
        """``deliver`` is called on the loop that ``start`` was called on."""
        self._torrents = torrents
        self._listening = listening
        self._deliver = deliver
        self._running = False
        self._thread: threading.Thread | None = None

    def start(self, session: Any) -> None:
        self._loop = asyncio.get_running_loop()
        self._running = True
        # the session is the thread's argument alone: who ends it must have the last reference
        self._thread = threading.Thread(target=self._pump, args=(session,), name="libtorrent-alerts", daemon=True)
        self._thread.start()

    async def stop(self, session: Any) -> None:
        self._running = False
        session.post_torrent_updates()  # its alert wakes the thread
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)

    # -- in the thread

    def _pump(self, session: Any) -> None:
        while self._running:
            session.wait_for_alert(_WAIT_MS)
            batch: list[Told] = []
            for alert in session.pop_alerts():
                batch.extend(self._translate(alert))
            if batch:
                with contextlib.suppress(RuntimeError):  # the loop closed while we were reading
                    self._loop.call_soon_threadsafe(self._deliver, batch)

    def _translate(self, alert: Any) -> Sequence[Told]:
        """Everything worth keeping of an alert, copied: the alert itself dies with the next pop."""
        match alert:
            case lt.piece_finished_alert():
                info_hash = _info_hash(alert)
                active = self._torrents.get(info_hash)
                file, piece = active.locate[alert.piece_index] if active is not None else (-1, -1)
                return [PieceArrived(info_hash, file, piece)] if file >= 0 else []
            case lt.cache_flushed_alert() | lt.torrent_finished_alert():
                return self._flush_events(alert)
            case lt.file_error_alert() | lt.torrent_error_alert():
                return self._problems(alert)
            case lt.state_update_alert():
                return [StatsPosted({_v2(status.info_hashes): _torrent_stats(status) for status in alert.status})]
            case lt.peer_ban_alert():
                host, port = alert.endpoint
                return [PeerBanned(_info_hash(alert), f"{bracket(host)}:{port}")]
            case lt.peer_connect_alert() | lt.peer_disconnected_alert():
                self._note_connection(alert)
            case lt.dht_bootstrap_alert():
                for active in tuple(self._torrents.values()):
                    if active.handle is not None and not active.private:
                        active.handle.force_dht_announce()
            case lt.portmap_alert():
                if alert.map_protocol == lt.portmap_protocol.tcp:
                    self._listening.mapped_port(alert.external_port)
            case lt.external_ip_alert():
                self._listening.seen_as(str(alert.external_address))
            case lt.listen_succeeded_alert() | lt.listen_failed_alert() if alert.socket_type in _LISTENERS:
                error = alert.message() if isinstance(alert, lt.listen_failed_alert) else ""
                return [Listened(_LISTENERS[alert.socket_type], error)]
        return []

    def _note_connection(self, alert: Any) -> None:
        active = self._torrents.get(_info_hash(alert))
        if active is None:
            return
        if isinstance(alert, lt.peer_connect_alert):
            active.since[alert.endpoint] = int(time.time())
        else:
            active.since.pop(alert.endpoint, None)

    def _flush_events(self, alert: Any) -> list[Told]:
        info_hash = _info_hash(alert)
        active = self._torrents.get(info_hash)
        if active is None:
            return []
        return [Flushed(info_hash)] * active.answers(finished=isinstance(alert, lt.torrent_finished_alert))

    def _problems(self, alert: Any) -> list[Told]:
        info_hash = _info_hash(alert)
        active = self._torrents.get(info_hash)
        if active is None or active.problem:
            return []  # libtorrent repeats it for every block
        active.problem = True
        return [EngineProblem(info_hash, str(alert.message()), alert.error.value() == errno.ENOSPC)]


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
