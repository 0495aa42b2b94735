"""What somebody asks the daemon when a thing is slow or broken: peers, bans, its log, and what a verify found."""

from __future__ import annotations

from typing import Final

import msgspec

from p2pckpt.control.messages import PeerRow

LOG_LEVELS: Final = ("debug", "info", "warning", "error", "critical")
"""What a record of the log may weigh, least first."""

# --- peers -----------------------------------------------------------------------------------------------------------


class PeersReply(msgspec.Struct, frozen=True):
    """``GET /v1/peers``: who is connected, over all transfers, and how others find this machine."""

    peers: tuple[PeerRow, ...]
    """One a connection's address, at most 2,000, the busiest first; one address may be in several swarms."""
    count: int
    """How many there are."""
    listening: tuple[int, ...]
    """Ports for plain connections and for those with TLS."""
    port_mapping: bool
    """Whether a router is asked for ports."""
    mapped: tuple[str, ...]
    """``address:port`` that a router leads here; empty while none does."""
    dht: bool
    lan: bool
    """Whether peers are looked for there now: only ever for public shares."""
    bans: int


class BanRequest(msgspec.Struct, frozen=True):
    """``POST /v1/bans`` → BanRow."""

    address: str
    """An address, with or without a port, or a network as ``10.0.0.0/24``."""
    note: str = ""
    """Why, or whom it is meant for."""


class BanRow(msgspec.Struct, frozen=True):
    """``GET /v1/bans``; ``DELETE /v1/bans?network=…`` takes one back. Kept over restarts."""

    network: str
    """Everybody behind it: an address, or a network."""
    since: int
    note: str = ""


class AnnounceReply(msgspec.Struct, frozen=True):
    """``POST /v1/jobs/{id}/announce``: what was set off; seeds and peers of the job tell what came of it."""

    torrents: int
    """Announced to the tracker."""
    sought: int
    """Of these, asked for in the DHT and on the LAN, too."""


# --- the daemon's log ------------------------------------------------------------------------------------------------


class LogRecord(msgspec.Struct, frozen=True):
    """One line of the log. ``GET /v1/log?since=SEQ&level=LEVEL&limit=N`` gives those that are kept, oldest first;
    ``GET /v1/log/follow?since=SEQ&level=LEVEL`` goes on with new ones as they come, one JSON object a line, and sends
    empty lines while nothing happens."""

    seq: int
    """Counted since the daemon started, without gaps: one that is missing was not kept for long enough."""
    time: float
    """Unix seconds."""
    level: str
    """One of ``LOG_LEVELS``."""
    source: str
    """The module that speaks: ``jobs.fetch``."""
    event: str
    """What happened, in words; like the fields it may hold text of others, unsanitised."""
    fields: dict[str, str]
    """``exception`` is a traceback of several lines."""
