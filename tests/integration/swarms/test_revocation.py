"""A member is removed while they download: real daemons, all at 127.0.0.1, so that no address tells them apart."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from p2pckpt.control import access_messages as am
from p2pckpt.control import messages as m
from p2pckpt.errors import NotAllowed
from p2pckpt.tracker_protocol import SwarmState
from p2pckpt.trust.links import Link

from ...support.homes import Home, failure, seeded_bytes, tree, write_files
from ..tracker.people import Person
from .relay import Relay
from .strangers import Stranger
from .test_refusals import credentials

MIB = 1 << 20
SLOW = 2 * MIB
"""Bytes per second until a removal is in force."""
SIZE = 64 * MIB
"""So much that no transfer has ended by then."""
BOUND = 60.0
"""Seconds after which a removed member must receive nothing any more."""


@pytest.fixture
async def alice(tmp_path: Path) -> AsyncIterator[Home]:
    """The owner, who seeds; the tracker runs beside her daemon."""
    async with Home(tmp_path / "alice") as home:
        yield home


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_files(tmp_path / "source", {"model.bin": seeded_bytes(SIZE, 7)})


async def begin(home: Home, link: str, to: Path) -> m.Job:
    """A fetch under way: some of it is here, most of it is not."""
    await home.limit(SLOW)
    job = await home.client.fetch(m.FetchRequest(source=link, to=str(to)))
    return await home.wait_until(job.id, lambda job: job.wire_done >= 2 * MIB)


async def goes_on(home: Home, job: m.Job, source: Path) -> None:
    """Let a fetch that runs have all there is, and return once it has ended well."""
    await home.limit(0)
    await home.wait_job(job.id)
    assert tree(Path(job.path)) == tree(source)


async def remove(owner: Home, share: str, identity: str) -> None:
    await owner.client.set_member(am.SetMemberRequest(share, identity, None))


async def test_whoever_is_removed_stops_and_the_others_go_on(alice: Home, source: Path, tmp_path: Path) -> None:
    link = (await alice.share(source, name="m")).link
    async with (
        Home(tmp_path / "stays") as stays,
        Home(tmp_path / "leaves") as leaves,
    ):
        staying = await begin(stays, link, tmp_path / "to stay")
        leaving = await begin(leaves, link, tmp_path / "to leave")
        removed = time.monotonic()
        await remove(alice, "m", (await leaves.client.key()).identity)
        ended = await leaves.wait_job(leaving.id, m.JobState.FAILED)
        assert time.monotonic() - removed < BOUND
        assert ended.failure is not None
        assert "your access to this share was taken away" in ended.failure.fact
        assert ended.failure.kept == "everything that arrived so far"
        assert ended.wire_done < ended.wire_size
        await goes_on(stays, staying, source)
        assert isinstance(await failure(leaves.get(link, tmp_path / "again")), NotAllowed)
        assert not (tmp_path / "again").exists()


async def test_whoever_ignores_their_removal_is_cut_off_and_let_in_by_nobody(
    alice: Home, source: Path, tmp_path: Path
) -> None:
    """The removed member runs a program that heeds nothing, with a certificate that is valid for another day."""
    link = (await alice.share(source, name="m")).link
    connector = aiohttp.TCPConnector(ssl=False, keepalive_timeout=5)
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        Home(tmp_path / "stays") as stays,
    ):
        thief = Person(session, f"https://127.0.0.1:{alice.tracker_ready['api_port']}")
        thief.certificate = alice.tracker_ready["certificate_sha256"]
        parsed = Link.parse(link)
        assert parsed.secret is not None
        await thief.login()
        auth = parsed.secret.keys("", b"").auth.hex()
        await thief.good("POST", f"/links/{parsed.secret.link_id}/redeem", {"auth": auth, "binding": "0b" * 32})
        share_id = parsed.share_id.hex()
        announce_pass = await thief.get_pass(share_id)
        tls = await credentials(thief, share_id)
        info_hash = (await alice.client.version_detail("m")).info_hashes[0]
        torrent = (await thief.call("GET", f"/shares/{share_id}/blobs/torrent/{info_hash}")).body
        staying = await begin(stays, link, tmp_path / "to stay")
        ports = [(await home.client.status()).listen_ports[1] for home in (alice, stays)]
        with Stranger(SLOW) as stranger:
            stranger.want(torrent, bytes.fromhex(info_hash), tls)
            stranger.connect(*ports)
            await stranger.until_received(2 * MIB)
            removed = time.monotonic()
            await remove(alice, "m", thief.identity)
            seconds = await stranger.last_byte(2) - removed
            assert seconds < BOUND
            at_the_end = stranger.received
            with Stranger() as again:
                again.want(torrent, bytes.fromhex(info_hash), tls)
                again.connect(*ports)
                await again.until_turned_away(2)
                assert again.received == 0
            await goes_on(stays, staying, source)
            assert stranger.received == at_the_end < SIZE
        (reply,) = (await thief.announce([SwarmState(info_hash, announce_pass, 1)])).swarms
        assert (reply.failure, reply.peers) == ("pass unknown, expired or revoked", [])


async def test_a_member_who_does_not_hear_of_it_goes_on_once_they_do(alice: Home, source: Path, tmp_path: Path) -> None:
    """The wire to the tracker is cut when the other one is removed: the next announce tells of the new authority."""
    link = (await alice.share(source, name="m")).link
    async with (
        Relay(alice.tracker_ready["api_port"]) as relay,
        Home(tmp_path / "stays") as stays,
        Home(tmp_path / "leaves") as leaves,
    ):
        port = str(alice.tracker_ready["api_port"])
        assert link.count(port) == 1
        leaving = await begin(leaves, link, tmp_path / "to leave")
        staying = await begin(stays, link.replace(port, str(relay.port)), tmp_path / "to stay")
        relay.cut()
        await remove(alice, "m", (await leaves.client.key()).identity)
        await leaves.wait_job(leaving.id, m.JobState.FAILED)
        cut_off = await stays.wait_until(staying.id, lambda job: job.peers == 0)
        assert cut_off.wire_done < cut_off.wire_size
        relay.mend()
        await goes_on(stays, staying, source)
