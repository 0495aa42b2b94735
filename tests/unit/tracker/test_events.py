"""Bounded event queues and rate limits."""

from __future__ import annotations

import pytest

from p2pckpt.tracker_protocol import Ping, Revoked
from p2pckpt_tracker.events import QUEUE_LIMIT, STREAMS_PER_MEMBER, EventHub, TooManyStreams, encode
from p2pckpt_tracker.peer_address import Address, address
from p2pckpt_tracker.rate_limit import RateLimit


def here() -> Address:
    found = address("127.0.0.1")
    assert found is not None
    return found


async def test_a_reader_too_slow_is_cut_off_and_others_are_not() -> None:
    hub = EventHub()
    slow, quick = hub.subscribe("slow", here()), hub.subscribe("quick", here())
    for _ in range(QUEUE_LIMIT + 50):
        hub.send(["slow", "quick"], Ping())
        assert await quick.next_line(5) == encode(Ping())
    received = 0
    while await slow.next_line(5) is not None:
        received += 1
    assert received == QUEUE_LIMIT


async def test_events_reach_the_streams_they_are_for() -> None:
    hub = EventHub()
    ann, bob = hub.subscribe("ann", here()), hub.subscribe("bob", here())
    hub.send(["ann", "nobody"], Revoked("s"))
    hub.close()
    assert await ann.next_line(5) == b'{"type":"revoked","share_id":"s"}\n'
    assert await ann.next_line(5) is None
    assert await bob.next_line(5) is None
    for each in (ann, bob):
        hub.unsubscribe(each)
    assert len(hub) == 0


def test_an_account_has_so_many_streams_and_no_more() -> None:
    hub = EventHub()
    streams = [hub.subscribe("ann", here()) for _ in range(STREAMS_PER_MEMBER)]
    with pytest.raises(TooManyStreams):
        hub.subscribe("ann", here())
    hub.subscribe("bob", here())
    hub.unsubscribe(streams[0])
    hub.subscribe("ann", here())


def test_a_bucket_fills_again_and_each_key_has_its_own() -> None:
    now = 0.0
    limit = RateLimit(burst=3, every=10, clock=lambda: now)
    assert [limit.take("a") for _ in range(4)] == [True, True, True, False]
    assert limit.spent("a")
    assert limit.take("b")
    now = 10.0
    assert not limit.spent("a")
    assert limit.take("a")
    assert not limit.take("a")
    now = 1000.0
    assert [limit.take("a") for _ in range(4)] == [True, True, True, False]
