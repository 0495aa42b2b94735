"""What somebody asks the daemon when a thing is slow or broken: peers, bans, its log, and what a verify found."""

from __future__ import annotations

from enum import StrEnum
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


# --- what a verify found ---------------------------------------------------------------------------------------------


class Outcome(StrEnum):
    """How one check of a verify ended."""

    OK = "ok"
    WARN = "warn"
    """Nothing is damaged, and somebody should know."""
    BAD = "bad"
    SKIPPED = "skipped"


class CheckRow(msgspec.Struct, frozen=True):
    """One check and what it came to, in a sentence that may hold text of others."""

    name: str
    """signature, chain, files, chunks, model.sig, store, pickles: in this order."""
    outcome: Outcome
    text: str


class DamageRow(msgspec.Struct, frozen=True):
    """One thing that is not as it was signed."""

    place: str
    """``checkout`` or ``store``."""
    path: str
    """Path in the checkout, or the object's root."""
    problem: str
    chunk: int = -1
    """Its number in the manifest; -1 where the whole file is meant."""
    offset: int = -1
    """Of the chunk in its file, or of its frame in the object; -1 as above."""
    expected: str = ""
    """BLAKE3 of the chunk, hex; empty where it is no chunk's content that differs."""
    got: str = ""
    """Of what was there instead; empty where nothing could be read or decoded."""
    fixed_from: str = ""
    """store, checkout (bytes that were right there), swarm, or several of them; manifest for what has no content; empty
    while it is not repaired."""

    @property
    def repaired(self) -> bool:
        return bool(self.fixed_from)


class VerifyReport(msgspec.Struct, frozen=True):
    """``GET /v1/jobs/{id}/report``: of a verify, or of the last verify of the version that another job is about.

    It is there once everything was looked at, and again when a repair is done.
    """

    job: str
    """The verify."""
    share_id: str
    share: str
    version: int
    path: str
    """The checkout."""
    full: bool
    repair: bool
    """Whether a repair was asked for."""
    started_at: int
    ended_at: int
    checks: tuple[CheckRow, ...]
    damage: tuple[DamageRow, ...]
    """At most 1,000 rows."""
    damaged: int
    """How many there are."""
    repaired: int
    chunks: int
    """Chunks looked at in the checkout…"""
    bad_chunks: int
    """…and of them those that are not there as they should be."""
    damaged_files: int
    damaged_objects: int
