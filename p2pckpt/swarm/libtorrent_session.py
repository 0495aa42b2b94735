"""libtorrent's session as we run it: the settings that differ from its defaults, its plugins, and how it ends.

* Rate limits of the session are those of its global peer class, which local peers are not in by default.
* A dial that is silently dropped keeps the same peer's own connection out until it gives up: that is 15 s by default.
"""

from __future__ import annotations

from typing import Any, Final

import libtorrent as lt

SETTINGS: Final[dict[str, Any]] = {
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


def begin(settings: Any) -> Any:
    """A session whose rate limits count for local peers, too. Blocks.

    Without libtorrent's default plugins, but for those wanted: "smart ban" does nothing for v2 torrents.
    """
    session = lt.session(settings, flags=0)
    for plugin in ("ut_metadata", "ut_pex"):
        session.add_extension(plugin)
    session.set_peer_class_filter(_everybody(1 << session.global_peer_class_id))
    return session


def end(ending: list[Any]) -> None:
    """Destroys the session in this list, to which nothing else may refer, in this thread, which waits for libtorrent's
    own: only then its port is free."""
    ending.pop().pause()


def rate(limit: int) -> int:
    """libtorrent counts rates in 31 bits: what is more is no limit to any transfer."""
    return limit if limit < 1 << 31 else 0


def _everybody(classes: int) -> Any:
    """A filter that puts every address, local ones too, into the same peer classes."""
    every = lt.ip_filter()
    every.add_rule("0.0.0.0", "255.255.255.255", classes)
    every.add_rule("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", classes)
    return every
