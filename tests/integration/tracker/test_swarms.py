"""Announcing through both doors, who hears of whom, and what a revocation does."""

from __future__ import annotations

import secrets
from typing import Any
from urllib.parse import quote_from_bytes

import aiohttp
import pytest

from p2pckpt.tracker_protocol import Endpoint, PeersFound, Revoked, SwarmEvent, SwarmState
from p2pckpt_tracker.app import Tracker

from .bdecode import bdecode
from .conftest import Login
from .people import Events, Person, ShareFiles


class Stock:
    """A client that knows nothing but BEP 3."""

    def __init__(self, session: aiohttp.ClientSession, tracker: Tracker, address: str = "") -> None:
        self._session = session
        self._base = f"http://127.0.0.1:{tracker.announce_port}"
        self._headers = {"X-Forwarded-For": address} if address else {}
        self.peer_id = secrets.token_bytes(20)

    async def announce(self, announce_pass: str, info_hash: str, **fields: Any) -> dict[bytes, Any]:
        short = bytes.fromhex(info_hash)[: fields.pop("cut", 20)]
        query = {"info_hash": short, "peer_id": self.peer_id, "port": 6881, "left": 1} | fields
        return await self._get(f"/announce/{announce_pass}?{encode(query)}")

    async def scrape(self, announce_pass: str, *info_hashes: str) -> dict[bytes, Any]:
        query = "&".join("info_hash=" + quote_from_bytes(bytes.fromhex(each)[:20]) for each in info_hashes)
        return await self._get(f"/scrape/{announce_pass}?{query}")

    async def _get(self, path: str) -> dict[bytes, Any]:
        from yarl import URL

        url = URL(self._base + path, encoded=True)
        async with self._session.get(url, headers=self._headers) as answer:
            assert answer.status == 200
            reply: dict[bytes, Any] = bdecode(await answer.read())
            return reply


def encode(query: dict[str, Any]) -> str:
    return "&".join(
        f"{name}={quote_from_bytes(value if isinstance(value, bytes) else str(value).encode())}"
        for name, value in query.items()
    )


def compact(*endpoints: tuple[str, int]) -> set[bytes]:
    return {bytes(map(int, host.split("."))) + port.to_bytes(2, "big") for host, port in endpoints}


def cut(peers: bytes) -> set[bytes]:
    return {peers[at : at + 6] for at in range(0, len(peers), 6)}


@pytest.fixture
async def first(share: ShareFiles) -> str:
    """The infohash of the share's version 1."""
    return await share.publish(1)


async def member(share: ShareFiles, person: Login, address: str = "", role: str = "downloader") -> Person:
    someone = await person(address)
    await share.owner.good("PUT", f"/shares/{share.share_id}/members/{someone.identity}", {"role": role})
    return someone


async def state(who: Person, share: ShareFiles, info_hash: str, left: int = 1, **more: Any) -> SwarmState:
    return SwarmState(info_hash, await who.get_pass(share.share_id), left, **more)


async def test_stock_clients_find_each_other(
    tracker: Tracker, session: aiohttp.ClientSession, share: ShareFiles, first: str, person: Login
) -> None:
    other = await member(share, person)
    one, two = Stock(session, tracker, "203.0.113.1"), Stock(session, tracker, "203.0.113.2")
    pass_one, pass_two = await share.owner.get_pass(share.share_id), await other.get_pass(share.share_id)
    reply = await one.announce(pass_one, first, left=0, event="started")
    assert (reply[b"complete"], reply[b"incomplete"], reply[b"peers"]) == (1, 0, b"")
    reply = await two.announce(pass_two, first, port=7000, cut=32)
    assert (reply[b"complete"], reply[b"incomplete"]) == (1, 1)
    assert cut(reply[b"peers"]) == compact(("203.0.113.1", 6881))
    assert 60 <= reply[b"min interval"] <= reply[b"interval"]
    reply = await two.announce(pass_two, first, port=7000, left=0, event="completed")
    assert (reply[b"downloaded"], reply[b"peers"]) == (1, b""), "a seed needs no seeds"
    await two.announce(pass_two, first, port=7000, left=0, event="completed")
    scraped = await one.scrape(pass_one, first, "ab" * 32)
    assert scraped[b"files"] == {bytes.fromhex(first)[:20]: {b"complete": 2, b"downloaded": 1, b"incomplete": 0}}
    for _ in range(2):
        await two.announce(pass_two, first, event="stopped")
    reply = await one.announce(pass_one, first, left=0)
    assert (reply[b"complete"], reply[b"incomplete"]) == (1, 0)


async def test_refusals_are_bencoded_answers(
    tracker: Tracker, session: aiohttp.ClientSession, share: ShareFiles, first: str, person: Login
) -> None:
    viewer, client = await member(share, person, role="viewer"), Stock(session, tracker)
    good = await share.owner.get_pass(share.share_id)
    assert (await viewer.call("POST", f"/shares/{share.share_id}/pass")).status == 403
    info_hash, _ = await share.upload(2)
    cases: list[tuple[str, str, dict[str, Any]]] = [
        ("p2pp_" + "0" * 72, first, {}),
        ("nonsense", first, {}),
        (good[:-1] + "x", first, {}),
        (share.owner.token, first, {}),
        (good, "ab" * 32, {}),
        (good, info_hash, {}),  # uploaded, not published
        (good, first[:40] + "00" * 12, {"cut": 32}),
        (good, first, {"cut": 19}),
        (good, first, {"port": 0}),
        (good, first, {"port": 65536}),
        (good, first, {"left": "x"}),
        (good, first, {"peer_id": b"short"}),
        (good, first, {"event": "dance"}),
    ]
    for secret, wanted, fields in cases:
        reply = await client.announce(secret, wanted, **fields)
        assert reply.keys() == {b"failure reason", b"interval", b"min interval", b"retry in"}, fields
        assert secret.encode() not in reply[b"failure reason"]
    assert b"failure reason" not in await client.announce(good, first)
    assert b"failure reason" in await client.scrape("nonsense", first)


async def test_stated_addresses_of_a_stock_client_count_for_nothing(
    tracker: Tracker, session: aiohttp.ClientSession, share: ShareFiles, first: str, person: Login
) -> None:
    other = await member(share, person)
    secret = await share.owner.get_pass(share.share_id)
    liar = Stock(session, tracker, "198.51.100.66, 203.0.113.1")
    await liar.announce(secret, first, ip="198.51.100.77", ipv6="2001:db8::1", ipv4="198.51.100.78")
    reply = await Stock(session, tracker, "203.0.113.9").announce(await other.get_pass(share.share_id), first)
    assert cut(reply[b"peers"]) == compact(("203.0.113.1", 6881))
    assert b"peers6" not in reply


async def test_publisher_on_the_trackers_host_is_found_from_the_lan_and_from_outside(
    share: ShareFiles, first: str, person: Login
) -> None:
    """Publisher and tracker on one host behind a NAT with forwarded ports; B on that LAN, C far away."""
    lan, public = Endpoint("192.168.1.10", 6881), Endpoint("198.51.100.5", 16881)
    publisher = share.owner
    b = await member(share, person, "192.168.1.20")
    c = await member(share, person, "203.0.113.9")
    stated = [lan, public, Endpoint("127.0.0.1", 6881), Endpoint("172.17.0.1", 6881)]
    seed = await state(publisher, share, first, 0)
    reply = await publisher.announce([seed], addresses=stated)
    assert reply.observed == "127.0.0.1"
    b_state, c_state = await state(b, share, first), await state(c, share, first)
    to_b = (await b.announce([b_state], addresses=[Endpoint("192.168.1.20", 6881)])).swarms[0].peers
    assert to_b[0] == lan
    assert set(to_b) <= {lan, public}
    to_c = (await c.announce([c_state], port=7001, addresses=[Endpoint("10.0.0.3", 7001)])).swarms[0].peers
    assert to_c == [public], "neither the LAN nor anybody's loopback, and B has no public address"
    to_publisher = (await publisher.announce([seed], addresses=stated)).swarms[0].peers
    assert set(to_publisher) == {Endpoint("192.168.1.20", 6881), Endpoint("203.0.113.9", 7001)}


async def test_neighbours_behind_one_nat_exchange_lan_addresses_and_others_see_none(
    share: ShareFiles, first: str, person: Login
) -> None:
    a, b = await member(share, person, "203.0.113.5"), await member(share, person, "203.0.113.5")
    far = await member(share, person, "203.0.113.6")
    lan_a, lan_b = Endpoint("10.1.1.2", 6881), Endpoint("10.1.1.3", 6882)
    await a.announce([await state(a, share, first)], addresses=[lan_a])
    to_b = (await b.announce([await state(b, share, first)], port=6882, addresses=[lan_b])).swarms[0].peers
    assert to_b[0] == lan_a
    assert set(to_b) == {lan_a, Endpoint("203.0.113.5", 6881)}
    to_a = (await a.announce([await state(a, share, first)], addresses=[lan_a])).swarms[0].peers
    assert to_a[0] == lan_b
    to_far = (await far.announce([await state(far, share, first)])).swarms[0].peers
    assert set(to_far) == {Endpoint("203.0.113.5", 6881), Endpoint("203.0.113.5", 6882)}


async def test_members_are_told_who_announced_the_addresses_that_they_are_told(
    share: ShareFiles, first: str, person: Login
) -> None:
    a, b = await member(share, person, "203.0.113.5"), await member(share, person, "203.0.113.5")
    far = await member(share, person, "203.0.113.6")
    lan = Endpoint("10.1.1.2", 6881)
    await a.announce([await state(a, share, first)], addresses=[lan])
    path, public = f"/shares/{share.share_id}/peers", {"host": "203.0.113.5", "port": 6881}
    near = {"identity": a.identity, "address": {"host": lan.host, "port": lan.port}}
    assert await far.good("GET", path) == [{"identity": a.identity, "address": public}]
    told = await b.good("GET", path)
    assert near in told and {"identity": a.identity, "address": public} in told and len(told) == 2
    await share.owner.good("PUT", f"/shares/{share.share_id}/members/{far.identity}", {"role": "viewer"})
    assert (await far.call("GET", path)).status == 403
    await a.announce([await state(a, share, first, event=SwarmEvent.STOPPED)], addresses=[lan])
    assert await b.good("GET", path) == []


async def test_everything_on_one_machine(share: ShareFiles, first: str, person: Login) -> None:
    other = await member(share, person)
    await share.owner.announce([await state(share.owner, share, first, 0)], port=6881)
    reply = await other.announce([await state(other, share, first)], port=6882)
    assert reply.swarms[0].peers == [Endpoint("127.0.0.1", 6881)]
    assert (reply.swarms[0].seeds, reply.swarms[0].leechers) == (1, 1)


async def test_a_public_address_that_nobody_can_vouch_for_is_not_handed_out(
    tracker: Tracker, share: ShareFiles, first: str, person: Login, session: aiohttp.ClientSession
) -> None:
    victim, mapped = Endpoint("93.184.215.14", 6881), Endpoint("93.184.215.15", 6881)
    dialled: list[Endpoint] = []

    async def dial(where: Endpoint) -> bool:
        dialled.append(where)
        return where == mapped

    tracker._dial_back._dial = dial
    liar, asker = await member(share, person, "203.0.113.5"), await member(share, person, "203.0.113.6")
    waiting = await state(asker, share, first)
    await asker.announce([waiting])
    async with Events(asker, session) as events:
        await events.next()
        privileged = Endpoint("93.184.215.14", 22)
        await liar.announce([await state(liar, share, first)], addresses=[victim, privileged, mapped])
        assert (await events.wait_for(PeersFound)).peers == [Endpoint("203.0.113.5", 6881)]
        later = await events.wait_for(PeersFound)
        assert set(later.peers) == {mapped, Endpoint("203.0.113.5", 6881)}
    peers = (await asker.announce([waiting])).swarms[0].peers
    assert set(peers) == {mapped, Endpoint("203.0.113.5", 6881)}
    assert set(dialled) == {victim, mapped}


async def test_one_swarm_of_an_announce_is_refused_and_the_others_stand(
    share: ShareFiles, first: str, person: Login
) -> None:
    other = await member(share, person)
    foreign = await state(share.owner, share, first)
    swarms = [
        await state(other, share, first),
        await state(other, share, "ab" * 32),
        foreign,
        SwarmState(first, "p2pp_none", 0),
    ]
    reply = await other.announce(swarms)
    assert [bool(each.failure) for each in reply.swarms] == [False, True, True, True]
    assert reply.interval >= 60
    for wrong in ({"peer_id": "zz"}, {"port": 0}, {"swarms": [{"info_hash": "x"}]}, {"addresses": [{}] * 20}):
        body = {"peer_id": "ab" * 20, "port": 1, "addresses": [], "swarms": []} | wrong
        assert (await other.call("POST", "/announce", body)).status == 400


async def test_two_machines_of_one_member_are_counted_and_not_introduced(share: ShareFiles, first: str) -> None:
    seed = await state(share.owner, share, first, 0)
    await share.owner.announce([seed], peer_id="aa" * 20)
    reply = (await share.owner.announce([await state(share.owner, share, first)], peer_id="bb" * 20)).swarms[0]
    assert (reply.seeds, reply.leechers, reply.peers) == (1, 1, [])


async def test_a_revocation_empties_the_swarm_and_is_told_at_once(
    tracker: Tracker, session: aiohttp.ClientSession, share: ShareFiles, first: str, person: Login
) -> None:
    gone = await member(share, person, "203.0.113.5")
    secret = await gone.get_pass(share.share_id)
    await gone.announce([SwarmState(first, secret, 0)])
    client = Stock(session, tracker, "203.0.113.5")
    await client.announce(secret, first)
    async with Events(gone, session) as events:
        await events.next()
        path = f"/shares/{share.share_id}/members/{gone.identity}"
        assert (await share.owner.call("DELETE", path)).status == 204
        await events.wait_for(Revoked)
    assert b"failure reason" in await client.announce(secret, first)
    assert (await gone.announce([SwarmState(first, secret, 0)])).swarms[0].failure
    assert (await gone.call("POST", f"/shares/{share.share_id}/pass")).status == 404
    reply = (await share.owner.announce([await state(share.owner, share, first)])).swarms[0]
    assert (reply.seeds, reply.leechers, reply.peers) == (0, 1, [])


async def test_a_demotion_to_viewer_ends_announcing(share: ShareFiles, first: str, person: Login) -> None:
    demoted = await member(share, person)
    mine = await state(demoted, share, first)
    assert not (await demoted.announce([mine])).swarms[0].failure
    path = f"/shares/{share.share_id}/members/{demoted.identity}"
    await share.owner.good("PUT", path, {"role": "viewer"})
    assert (await demoted.announce([mine])).swarms[0].failure
    await share.owner.good("PUT", path, {"role": "downloader"})
    assert (await demoted.announce([mine])).swarms[0].failure, "passes do not come back to life"


async def test_an_open_stream_tells_of_new_peers_that_are_of_use(
    tracker: Tracker, session: aiohttp.ClientSession, share: ShareFiles, first: str, person: Login
) -> None:
    leecher = await member(share, person, "203.0.113.5")
    seed, idle = await member(share, person, "203.0.113.6"), await member(share, person, "203.0.113.8")
    await leecher.announce([await state(leecher, share, first)])
    await seed.announce([await state(seed, share, first, 0)])
    stock = Stock(session, tracker, "203.0.113.7")
    async with Events(leecher, session) as a, Events(seed, session) as b, Events(idle, session) as c:
        for stream in (a, b, c):
            await stream.next()
        secret = await share.owner.get_pass(share.share_id)
        await stock.announce(secret, first, left=0, event="started")
        assert await a.next() == PeersFound(first, [Endpoint("203.0.113.7", 6881)])
        await stock.announce(secret, first, event="stopped")
        await stock.announce(secret, first, left=5)
        for stream in (a, b):
            assert await stream.next() == PeersFound(first, [Endpoint("203.0.113.7", 6881)])
        await share.owner.good("PUT", f"/shares/{share.share_id}/members/{idle.identity}", {"role": "viewer"})
        assert type(await c.next()).__name__ == "MembersChanged", "who is not in the swarm hears nothing of it"


async def test_a_partial_seed_is_no_partner_for_a_seed(share: ShareFiles, first: str, person: Login) -> None:
    mirror, seed, leecher = [await member(share, person) for _ in range(3)]
    await mirror.announce([await state(mirror, share, first, 5, partial_seed=True)], port=1001)
    reply = (await seed.announce([await state(seed, share, first, 0)], port=1002)).swarms[0]
    assert (reply.peers, reply.leechers) == ([], 1)
    reply = (await leecher.announce([await state(leecher, share, first)], port=1003)).swarms[0]
    assert {each.port for each in reply.peers} == {1001, 1002}


async def test_stopping_takes_a_daemon_out(share: ShareFiles, first: str) -> None:
    stopped = await state(share.owner, share, first, event=SwarmEvent.STOPPED)
    await share.owner.announce([await state(share.owner, share, first)])
    for _ in range(2):
        reply = (await share.owner.announce([stopped])).swarms[0]
        assert (reply.seeds, reply.leechers, reply.failure) == (0, 0, "")


async def test_anybody_with_an_account_joins_a_public_swarm(person: Login) -> None:
    owner, stranger = await person(), await person()
    files = ShareFiles(owner, (await owner.good("GET", "/tracker"))["online_key"])
    await files.create("public")
    info_hash = await files.publish(1)
    await owner.announce([await state(owner, files, info_hash, 0)])
    reply = (await stranger.announce([await state(stranger, files, info_hash)], port=7000)).swarms[0]
    assert reply.peers == [Endpoint("127.0.0.1", 6881)]


async def test_too_many_streams_are_refused_and_all_end_with_the_tracker(
    tracker: Tracker, session: aiohttp.ClientSession, person: Login
) -> None:
    someone = await person()
    streams = [Events(someone, session) for _ in range(16)]
    for stream in streams:
        await stream.__aenter__()
        await stream.next()
    assert (await someone.call("GET", "/events")).status == 429
    tracker._hub.close()
    for stream in streams:
        assert await stream.next() is None
        await stream.__aexit__()


async def test_health_and_metrics(tracker: Tracker, session: aiohttp.ClientSession, share: ShareFiles) -> None:
    base = f"http://127.0.0.1:{tracker.ops_port}"
    for path in ("/livez", "/readyz"):
        async with session.get(base + path) as answer:
            assert answer.status == 200
    async with session.get(base + "/metrics") as answer:
        text = await answer.text()
    assert "p2pckpt_tracker_shares 1\n" in text
    assert "# TYPE p2pckpt_tracker_announces_answered_total counter\n" in text
