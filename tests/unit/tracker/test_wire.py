"""BEP 3's query strings and replies."""

from __future__ import annotations

from urllib.parse import quote_from_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pckpt.tracker_protocol import SwarmEvent
from p2pckpt_tracker.wire import (
    MAX_NUMWANT,
    MAX_SCRAPE,
    BadAnnounce,
    announce_reply,
    bencode,
    failure_reply,
    parse_announce,
    parse_scrape,
    scrape_reply,
)

from ...integration.tracker.bdecode import bdecode

GOOD = f"info_hash={'a' * 20}&peer_id={'b' * 20}&port=6881&left=5"


@given(st.binary(min_size=20, max_size=20) | st.binary(min_size=32, max_size=32), st.binary(min_size=20, max_size=20))
def test_binary_fields_survive_however_they_are_quoted(info_hash: bytes, peer_id: bytes) -> None:
    every_byte = "".join(f"%{byte:02x}" for byte in peer_id)
    parsed = parse_announce(f"info_hash={quote_from_bytes(info_hash, safe='')}&peer_id={every_byte}&port=1")
    assert (parsed.info_hash, parsed.peer_id) == (info_hash, peer_id)


def test_a_plus_is_a_plus() -> None:
    assert parse_announce(GOOD.replace("a" * 20, "+" * 20)).info_hash == b"+" * 20


def test_what_a_client_leaves_out_has_a_default() -> None:
    parsed = parse_announce(f"info_hash={'a' * 20}&peer_id={'b' * 20}&port=1")
    assert (parsed.left, parsed.event, parsed.numwant, parsed.partial_seed) == (1, SwarmEvent.NONE, 50, False)


@pytest.mark.parametrize(
    ("extra", "field", "value"),
    [
        ("&event=started", "event", SwarmEvent.STARTED),
        ("&event=empty", "event", SwarmEvent.NONE),
        ("&event=paused", "partial_seed", True),
        ("&numwant=0", "numwant", 0),
        ("&numwant=-1", "numwant", 50),
        ("&numwant=999999", "numwant", MAX_NUMWANT),
        ("&left=7", "left", 5),  # the first of two counts
        ("&ip=1.2.3.4&key=x&compact=0&uploaded=z", "port", 6881),
    ],
)
def test_fields_are_read(extra: str, field: str, value: object) -> None:
    assert getattr(parse_announce(GOOD + extra), field) == value


@given(
    st.text(max_size=200)
    | st.builds(
        "&".join, st.lists(st.sampled_from(["port=1", "left=", "=", "info_hash=%", "peer_id=%zz", "port=٣", "event"]))
    )
)
def test_nonsense_is_refused_and_nothing_worse(query: str) -> None:
    with pytest.raises(BadAnnounce):
        parse_announce(query)
    with pytest.raises(BadAnnounce):
        parse_scrape(query)


@pytest.mark.parametrize("port", ["0", "65536", "-1", "1e3", "٣", "9" * 30, ""])
def test_a_port_is_a_port(port: str) -> None:
    with pytest.raises(BadAnnounce):
        parse_announce(GOOD.replace("6881", port))


def test_a_long_query_is_refused() -> None:
    with pytest.raises(BadAnnounce):
        parse_announce(GOOD + "&x=" + "y" * 5000)


def test_a_scrape_names_some_torrents_but_not_all_of_them() -> None:
    one = "info_hash=" + "a" * 20
    assert parse_scrape(f"{one}&x=1&info_hash={'b' * 20}") == [b"a" * 20, b"b" * 20]
    with pytest.raises(BadAnnounce):
        parse_scrape("&".join([one] * (MAX_SCRAPE + 1)))


@given(st.integers(0, 2**40), st.binary(max_size=60), st.binary(max_size=54))
def test_replies_are_canonical(number: int, peers: bytes, peers6: bytes) -> None:
    reply = announce_reply(
        interval=number, min_interval=1, seeds=2, leechers=3, downloaded=4, peers=peers, peers6=peers6
    )
    decoded = bdecode(reply)
    assert bencode(decoded) == reply
    assert decoded[b"peers"] == peers
    assert decoded.get(b"peers6", b"") == peers6


def test_a_failure_says_when_to_come_back() -> None:
    decoded = bdecode(failure_reply("no", interval=900, retry_minutes=5))
    assert decoded == {b"failure reason": b"no", b"interval": 900, b"min interval": 900, b"retry in": 5}
    assert bdecode(failure_reply("no", interval=900, retry_minutes=None))[b"retry in"] == b"never"


def test_a_scrape_reply_is_keyed_as_asked() -> None:
    decoded = bdecode(scrape_reply({b"z" * 20: (1, 2, 3), b"a" * 32: (0, 0, 0)}))
    assert decoded[b"files"][b"z" * 20] == {b"complete": 1, b"downloaded": 2, b"incomplete": 3}
