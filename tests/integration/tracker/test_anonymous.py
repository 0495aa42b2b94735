"""Stock clients without an account: in the swarms of public shares, and nowhere else."""

from __future__ import annotations

import secrets

import aiohttp
import pytest

from p2pckpt.tracker_protocol import PUBLIC_PASS, PeersFound
from p2pckpt_tracker import announce
from p2pckpt_tracker.app import Tracker

from .conftest import Login
from .people import Events, ShareFiles
from .test_swarms import Stock, compact, cut, state


@pytest.fixture
async def public(person: Login) -> ShareFiles:
    """A public share without a version."""
    owner = await person()
    files = ShareFiles(owner, (await owner.good("GET", "/tracker"))["online_key"])
    await files.create("public")
    return files


async def test_two_without_an_account_meet_in_a_public_share(
    tracker: Tracker, session: aiohttp.ClientSession, public: ShareFiles
) -> None:
    info_hash = await public.publish(1)
    one, two = Stock(session, tracker, "203.0.113.1"), Stock(session, tracker, "203.0.113.2")
    await one.announce(PUBLIC_PASS, info_hash, left=0)
    reply = await two.announce(PUBLIC_PASS, info_hash, cut=32)
    assert (reply[b"complete"], reply[b"incomplete"]) == (1, 1)
    assert cut(reply[b"peers"]) == compact(("203.0.113.1", 6881))
    scraped = await two.scrape(PUBLIC_PASS, info_hash, "ab" * 32)
    assert scraped[b"files"] == {bytes.fromhex(info_hash)[:20]: {b"complete": 1, b"downloaded": 0, b"incomplete": 1}}
    await one.announce(PUBLIC_PASS, info_hash, event="stopped")
    assert not (await two.announce(PUBLIC_PASS, info_hash))[b"peers"]


async def test_a_daemon_hears_of_a_stock_client_and_the_client_of_the_daemon(
    tracker: Tracker, session: aiohttp.ClientSession, public: ShareFiles
) -> None:
    info_hash = await public.publish(1)
    async with Events(public.owner, session) as events:
        await public.owner.announce([await state(public.owner, public, info_hash, left=0)], port=7001)
        reply = await Stock(session, tracker).announce(PUBLIC_PASS, info_hash, port=7002)
        assert cut(reply[b"peers"]) == compact(("127.0.0.1", 7001))
        found: PeersFound = await events.wait_for(PeersFound)
        assert [(peer.host, peer.port) for peer in found.peers] == [("127.0.0.1", 7002)]


async def test_shares_that_are_not_public_know_no_anonymous_peers(
    tracker: Tracker, session: aiohttp.ClientSession, share: ShareFiles, public: ShareFiles
) -> None:
    for_members, for_all = await share.publish(1), await public.publish(1)
    uploaded, _ = await public.upload(2)
    client = Stock(session, tracker)
    for refused in (for_members, uploaded, "ab" * 32, for_all[:40] + "00" * 12):
        reply = await client.announce(PUBLIC_PASS, refused, cut=32)
        assert reply[b"failure reason"] == b"not a torrent of a public share"
    assert (await client.scrape(PUBLIC_PASS, for_members))[b"files"] == {}
    assert b"failure reason" not in await client.announce(PUBLIC_PASS, for_all, cut=32)


async def test_public_torrents_are_known_again_after_a_restart(
    tracker: Tracker, session: aiohttp.ClientSession, public: ShareFiles
) -> None:
    info_hash = await public.publish(1)
    await tracker.stop()
    again = Tracker(tracker._settings)
    await again.start()
    try:
        assert b"failure reason" not in await Stock(session, again).announce(PUBLIC_PASS, info_hash)
    finally:
        await again.stop()


async def test_announces_without_an_account_are_counted_by_address(
    tracker: Tracker, session: aiohttp.ClientSession, public: ShareFiles
) -> None:
    info_hash = await public.publish(1)
    for _ in range(announce._ANONYMOUS_BURST):
        await Stock(session, tracker, "203.0.113.1").announce(PUBLIC_PASS, info_hash)
    # a bucket that fills while it is emptied has a few more to give
    replies = [await Stock(session, tracker, "203.0.113.1").announce(PUBLIC_PASS, info_hash) for _ in range(50)]
    assert any(b"too many" in reply.get(b"failure reason", b"") for reply in replies)
    assert b"failure reason" not in await Stock(session, tracker, "203.0.113.2").announce(PUBLIC_PASS, info_hash)
    own_pass = await public.owner.get_pass(public.share_id)
    assert b"failure reason" not in await Stock(session, tracker, "203.0.113.1").announce(own_pass, info_hash)


async def test_a_flood_of_peer_ids_takes_no_more_room_than_the_pool_has(
    tracker: Tracker, public: ShareFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(announce, "ANONYMOUS_MEMBERS", 16)
    monkeypatch.setattr(tracker._desk, "_count_anonymous", lambda seen: None)
    info_hash = await public.publish(1)
    seen = announce.observed("203.0.113.1", (), ())
    assert seen is not None
    query = "info_hash=%" + "%".join(info_hash[at : at + 2] for at in range(0, 40, 2)) + "&left=0&port=6881&peer_id="
    for _ in range(500):
        tracker._desk.announce(PUBLIC_PASS, query + secrets.token_hex(10), seen)
    assert tracker._swarms.counts() == (1, 16, 0)


async def test_nobody_is_anonymous_where_a_licence_has_to_be_accepted(
    tracker: Tracker, session: aiohttp.ClientSession, public: ShareFiles
) -> None:
    info_hash, client = await public.publish(1), Stock(session, tracker)
    assert b"failure reason" not in await client.announce(PUBLIC_PASS, info_hash)
    tracker._rules.set_licence(public.share_id, "apache-2.0", set())
    assert b"failure reason" in await client.announce(PUBLIC_PASS, info_hash)
