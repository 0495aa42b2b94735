"""What somebody asks the daemon when a thing is slow or broken: peers, bans, its log, and what a verify found."""

from __future__ import annotations

import msgspec

from p2pckpt.control.messages import PeerRow

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
