"""Who is connected, banning and taking it back, and announcing on demand: real daemons on one machine."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from p2pckpt.control import messages as m
from p2pckpt.control.health_messages import BanRequest
from p2pckpt.errors import BadUsage
from tests.support.homes import Home, failure, seeded_bytes, until, write_files

pytestmark = pytest.mark.asyncio(loop_scope="package")
MIB = 1 << 20


@pytest_asyncio.fixture(loop_scope="package")
async def bob(tmp_path: Path) -> AsyncIterator[Home]:
    """Who receives, so slowly that connections stay open for as long as a test takes."""
    async with Home(tmp_path / "bob", download_limit=64 << 10) as home:
        yield home


async def slow_fetch(alice: Home, bob: Home, tmp_path: Path, name: str) -> tuple[m.Job, m.Job]:
    """Alice's publish, and Bob's fetch of it, connected."""
    source = write_files(tmp_path / "source", {"model.bin": seeded_bytes(8 * MIB, 7)})
    published = await alice.share(source, name=name)
    job = await bob.client.fetch(m.FetchRequest(source=published.link, to=str(tmp_path / "target")))

    async def connected() -> bool:
        return (await bob.client.peers()).count > 0

    await until(connected, "Bob is connected")
    return published, job


async def test_peers_are_shown_with_what_is_known_of_them(alice: Home, bob: Home, tmp_path: Path) -> None:
    published, job = await slow_fetch(alice, bob, tmp_path, "peers/shown")

    async def moving() -> bool:
        return any(row.total_down for row in (await bob.client.peers()).peers)

    await until(moving, "bytes are counted")
    reply = await bob.client.peers()
    (row,) = reply.peers
    tls_port = (await alice.client.status()).listen_ports[1]
    assert (row.address, row.shares, row.jobs) == (f"127.0.0.1:{tls_port}", ("peers/shown",), (job.id,))
    assert (row.place, row.transport, row.member, row.have) == ("here", "TCP", True, 1000)
    assert "T" in row.flags and "S" in row.flags and "→" in row.flags
    assert row.since >= published.ended_at
    assert "tracker" in row.found
    assert (reply.count, reply.listening) == (1, (await bob.client.status()).listen_ports)
    assert (reply.mapped, reply.port_mapping, reply.dht, reply.lan) == ((), False, False, False)
    (back,) = (await alice.client.peers()).peers
    assert ("→" in back.flags, back.member) == (False, True)
    assert "incoming" in back.found

    async def named() -> bool:
        return (await bob.client.peers()).peers[0].who == (await alice.client.key()).identity

    await until(named, "the tracker said who announced this address")
    assert [peer.who for peer in (await alice.client.peers()).peers] == [""], "who dialled us is not known by address"

    detail = await bob.client.job_detail(job.id)
    assert [peer.address for peer in detail.peers] == [row.address]
    assert len(detail.copies) == len(detail.pieces)
    assert (set(detail.copies), detail.spread) == ({1}, 1000)
    assert (await alice.client.job_detail(published.id)).copies == b""

    printed = await bob.cli("peers", "ls")
    assert row.address in printed.stdout
    assert "1 peer;" in printed.stderr
    assert json.loads((await bob.cli("peers", "ls", "--json")).stdout)["peers"][0]["address"] == row.address


async def test_a_ban_cuts_off_survives_a_restart_and_can_be_taken_back(alice: Home, bob: Home, tmp_path: Path) -> None:
    _, job = await slow_fetch(alice, bob, tmp_path, "peers/banned")
    assert (await bob.cli("peers", "ban", "127.0.0.1")).returncode == 2  # nobody is there to be asked
    done = await bob.cli("peers", "ban", "127.0.0.1", "-y", "--note", "too slow")
    assert (done.returncode, done.stdout) == (0, "127.0.0.1 banned\n")

    async def alone() -> bool:
        return (await bob.client.peers()).count == 0

    await until(alone, "the connection is gone")
    await bob.restart()
    (row,) = await bob.client.bans()
    assert (row.network, row.note) == ("127.0.0.1", "too slow")
    await bob.wait_until(job.id, lambda job: job.phase is m.Phase.CONNECTING)
    await bob.client.announce(job.id)
    assert (await bob.client.peers()).count == 0
    assert (await bob.cli("peers", "unban", "127.0.0.1")).returncode == 0
    assert (await bob.cli("peers", "unban", "127.0.0.1")).returncode == 5
    bob.set(download_limit=0)
    await bob.restart()
    await bob.wait_job(job.id)
    assert await bob.client.bans() == []


async def test_a_job_is_announced_on_demand(alice: Home, bob: Home, tmp_path: Path) -> None:
    published, _ = await slow_fetch(alice, bob, tmp_path, "peers/announced")
    reply = await alice.client.announce(published.id)
    assert (reply.torrents, reply.sought) == (1, 0)
    assert (await alice.cli("peers", "announce", "peers/announced")).returncode == 0
    await alice.client.pause(published.id)
    error = await failure(alice.client.announce(published.id))
    assert isinstance(error, BadUsage)
    assert error.next_step == f"p2pckpt resume {published.id}"
    assert isinstance(await failure(alice.client.ban(BanRequest("everybody"))), BadUsage)
