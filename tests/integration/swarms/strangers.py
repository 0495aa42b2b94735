"""A stock libtorrent session that wants a torrent it may not have, by whatever it was given."""

from __future__ import annotations

import tempfile
import time
from typing import Any

import libtorrent as lt

from p2pckpt.swarm.active_torrent import FFDHE2048
from p2pckpt.swarm.engine import TlsCredentials

from ...support.homes import until

_TURNED_AWAY = (lt.peer_disconnected_alert, lt.peer_error_alert)


class Stranger:
    """Use as a context manager."""

    def __init__(self, limit: int = 0) -> None:
        """``limit`` in bytes per second; 0 for none."""
        self._limit = limit
        self._session: Any = lt.session(
            {
                "listen_interfaces": "127.0.0.1:0,127.0.0.1:0s",
                "enable_dht": False,
                "enable_lsd": False,
                "enable_upnp": False,
                "enable_natpmp": False,
                "enable_outgoing_utp": False,
                "allow_multiple_connections_per_ip": True,
                "min_reconnect_time": 1,
                "max_failcount": 100,
                "stop_tracker_timeout": 0,
                "alert_mask": lt.alert.category_t.all_categories,
            }
        )
        self._directory = tempfile.TemporaryDirectory()
        self._handle: Any = None
        self.turned_away = 0

    def __enter__(self) -> Stranger:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.pause()
        del self._handle, self._session
        self._directory.cleanup()

    def want(self, torrent: bytes | None, info_hash: bytes, tls: TlsCredentials | None, authority: str = "") -> None:
        """Ask for a torrent by its file, or by its infohash alone.

        ``tls`` says what to show and whom to believe; ``authority`` alone makes it an SSL torrent with nothing to show.
        """
        if torrent is not None:
            parameters = lt.load_torrent_buffer(torrent)
        else:
            parameters = lt.parse_magnet_uri(f"magnet:?xt=urn:btmh:1220{info_hash.hex()}")
        parameters.save_path = self._directory.name
        parameters.flags &= ~lt.torrent_flags.auto_managed
        parameters.flags |= lt.torrent_flags.paused
        if authority or tls is not None:
            parameters.root_certificate = tls.authority if tls is not None else authority
        self._handle = self._session.add_torrent(parameters)
        if tls is not None:
            self._handle.set_ssl_certificate_buffer(tls.certificate, tls.key, FFDHE2048)
        self._handle.set_download_limit(self._limit)  # the session's does not count for local peers
        self._handle.resume()

    def connect(self, *ports: int) -> None:
        for port in ports:
            self._handle.connect_peer(("127.0.0.1", port))

    @property
    def received(self) -> int:
        """Payload bytes."""
        return int(self._handle.status().total_payload_download)

    async def until_turned_away(self, times: int = 1) -> None:
        """Return once so many connections were closed or refused."""

        async def refused() -> bool:
            self.turned_away += sum(isinstance(alert, _TURNED_AWAY) for alert in self._session.pop_alerts())
            return self.turned_away >= times

        await until(refused, "the stranger was turned away")

    async def last_byte(self, times: int) -> float:
        """When the last payload came, on the monotonic clock, once so many more connections were closed or refused."""
        self.turned_away, seen, at = 0, self.received, time.monotonic()

        async def cut_off() -> bool:
            nonlocal seen, at
            if self.received != seen:
                seen, at = self.received, time.monotonic()
            self.turned_away += sum(isinstance(alert, _TURNED_AWAY) for alert in self._session.pop_alerts())
            return self.turned_away >= times

        await until(cut_off, "the stranger was cut off")
        return at

    async def until_received(self, size: int) -> None:
        async def enough() -> bool:
            return self.received >= size

        await until(enough, f"the stranger has {size} bytes")
