"""BEP 3 over HTTP: query strings in, bencoded replies out. Bytes only; who may announce is decided elsewhere.

Also BEP 7 (peers6), BEP 23 (compact), BEP 21 (partial seeds), BEP 31 (retry in), BEP 48 (scrape). A v2 infohash
comes truncated to 20 bytes from libtorrent; the whole 32 bytes are taken as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import unquote_to_bytes

from p2pckpt.tracker_protocol import SwarmEvent

Bencodable: TypeAlias = "int | bytes | Sequence[Bencodable] | Mapping[bytes, Bencodable]"

MAX_QUERY = 4096
"""Characters of a query string; a scrape of 64 torrents fits."""
MAX_SCRAPE = 64
DEFAULT_NUMWANT = 50
MAX_NUMWANT = 200


class BadAnnounce(Exception):
    """The query is no BEP 3 announce or scrape; the text is for the client's user."""


@dataclass(frozen=True, slots=True)
class Announce:
    """One parsed announce. There is no address in it: ``ip=`` is ignored."""

    info_hash: bytes
    """20 or 32 bytes."""
    peer_id: bytes
    port: int
    left: int
    """Bytes; a client that does not say is taken for a leecher."""
    event: SwarmEvent
    partial_seed: bool
    numwant: int


def parse_announce(raw_query: str) -> Announce:
    """Parse the raw query string of an announce, in one pass over its pairs. Raises BadAnnounce."""
    fields: dict[str, str] = {}
    for name, value in _pairs(raw_query):
        fields.setdefault(name, value)
    info_hash = _info_hash(fields.get("info_hash", ""))
    peer_id = unquote_to_bytes(fields.get("peer_id", ""))
    if len(peer_id) != 20:
        raise BadAnnounce("peer_id must be 20 bytes")
    port = _number(fields, "port", 0)
    if not 0 < port < 65536:
        raise BadAnnounce("port must be 1 to 65535")
    event = fields.get("event", "")
    paused = event == "paused"
    if paused or event == "empty":
        event = ""
    try:
        known_event = SwarmEvent(event)
    except ValueError:
        raise BadAnnounce("unknown event") from None
    return Announce(
        info_hash=info_hash,
        peer_id=peer_id,
        port=port,
        left=_number(fields, "left", 1),
        event=known_event,
        partial_seed=paused,
        numwant=min(_number(fields, "numwant", DEFAULT_NUMWANT), MAX_NUMWANT),
    )


def parse_scrape(raw_query: str) -> list[bytes]:
    """The infohashes of a scrape, in order. Raises BadAnnounce for none at all or too many."""
    hashes = [_info_hash(value) for name, value in _pairs(raw_query) if name == "info_hash"]
    if not hashes:
        raise BadAnnounce("a scrape must name its torrents")
    if len(hashes) > MAX_SCRAPE:
        raise BadAnnounce(f"at most {MAX_SCRAPE} torrents a scrape")
    return hashes


def _pairs(raw_query: str) -> Iterator[tuple[str, str]]:
    if len(raw_query) > MAX_QUERY:
        raise BadAnnounce("query too long")
    for pair in raw_query.split("&"):
        name, _, value = pair.partition("=")
        yield name, value


def _info_hash(value: str) -> bytes:
    info_hash = unquote_to_bytes(value)
    if len(info_hash) not in (20, 32):
        raise BadAnnounce("info_hash must be 20 or 32 bytes")
    return info_hash


def _number(fields: Mapping[str, str], name: str, default: int) -> int:
    text = fields.get(name)
    if not text:
        return default
    # libtorrent and others send -1 for "as many as you like" and for an unknown size.
    if text == "-1":
        return default
    if len(text) > 20 or not (text.isascii() and text.isdigit()):
        raise BadAnnounce(f"{name} must be a number")
    return int(text)


def announce_reply(
    *, interval: int, min_interval: int, seeds: int, leechers: int, downloaded: int, peers: bytes, peers6: bytes
) -> bytes:
    """A successful announce; ``peers`` and ``peers6`` are compact. Keys stand in bencode's sorted order."""
    return b"d8:completei%de10:downloadedi%de10:incompletei%de8:intervali%de12:min intervali%de5:peers%d:%s%se" % (
        seeds,
        downloaded,
        leechers,
        interval,
        min_interval,
        len(peers),
        peers,
        b"6:peers6%d:%s" % (len(peers6), peers6) if peers6 else b"",
    )


def failure_reply(reason: str, *, interval: int, retry_minutes: int | None) -> bytes:
    """A refusal, sent with HTTP 200: clients drop the body of anything else.

    The intervals and ``retry in`` stand together because clients read one or the other. None: never retry.
    """
    retry: Bencodable = b"never" if retry_minutes is None else retry_minutes
    return bencode(
        {
            b"failure reason": reason.encode(),
            b"interval": interval,
            b"min interval": interval,
            b"retry in": retry,
        }
    )


def scrape_reply(files: Mapping[bytes, tuple[int, int, int]]) -> bytes:
    """``files``: infohash as asked → (seeds, downloaded, leechers)."""
    return bencode(
        {
            b"files": {
                info_hash: {b"complete": seeds, b"downloaded": downloaded, b"incomplete": leechers}
                for info_hash, (seeds, downloaded, leechers) in files.items()
            }
        }
    )


def bencode(value: Bencodable) -> bytes:
    """Canonical bencoding: dictionary keys sorted."""
    if isinstance(value, int):
        return b"i%de" % value
    if isinstance(value, bytes):
        return b"%d:%s" % (len(value), value)
    if isinstance(value, Mapping):
        return b"d%se" % b"".join(bencode(key) + bencode(value[key]) for key in sorted(value))
    return b"l%se" % b"".join(map(bencode, value))
