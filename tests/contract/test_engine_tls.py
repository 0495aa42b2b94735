"""Torrents for members: what an engine does about certificates, kept by libtorrent and by the fake alike.

Who is refused, cell by cell, is in tests/integration/swarms.
"""

from __future__ import annotations

import pytest

from p2pckpt.tracker_protocol import Endpoint
from tests.contract.conftest import NewNode
from tests.contract.nodes import OBJECTS, TORRENT_NAME, Sample
from tests.support.swarm_certificates import SwarmAuthority

SLOW = 1 << 20
"""Bytes per second at which a sample takes three seconds."""

pytestmark = pytest.mark.parametrize("new_engine", ["libtorrent", "fake"], indirect=True)


@pytest.fixture
def sample(request: pytest.FixtureRequest) -> Sample:
    return Sample(request.node.name)


async def test_another_certificate_of_the_same_authority_breaks_no_transfer(
    new_node: NewNode, sample: Sample, authority: SwarmAuthority
) -> None:
    """In the middle of a slow transfer."""
    seed, leech = await new_node("seed"), await new_node("leech")
    seed.tls, leech.tls = authority.member(TORRENT_NAME), authority.member(TORRENT_NAME)
    leech.engine.limit(SLOW, 0)
    seed.add(sample, sample.pieces)
    leech.add(sample)
    leech.want(sample, sample.pieces)
    leech.connect(sample, seed)
    await leech.until(lambda: bool(leech.arrived(sample)), "the first piece arrived")
    for node in (seed, leech):
        node.engine.renew(sample.info_hash, authority.member(TORRENT_NAME))
    await leech.received(sample, sample.pieces)
    assert len(leech.arrivals(sample)) == len(sample.pieces)


async def test_another_authority_cuts_who_has_the_old_one_until_they_have_the_new_one(
    new_node: NewNode, sample: Sample, authority: SwarmAuthority
) -> None:
    seed, leech = await new_node("seed"), await new_node("leech")
    seed.tls, leech.tls = authority.member(TORRENT_NAME), authority.member(TORRENT_NAME)
    first = {(0, 0)}
    seed.add(sample, sample.pieces)
    leech.add(sample)
    leech.engine.stay_connected(True)
    leech.want(sample, first)
    leech.connect(sample, seed)
    await leech.received(sample, first)
    successor = SwarmAuthority()
    seed.engine.remove(sample.info_hash)
    seed.tls = successor.member(TORRENT_NAME)
    seed.add(sample, sample.pieces)
    leech.want(sample, sample.pieces)  # only now: however slow the machine is, it had no chance before
    leech.connect(sample, seed)
    third = await new_node("third")  # somebody who does get everything shows that the other one could
    third.tls = successor.member(TORRENT_NAME)
    third.add(sample)
    third.want(sample, sample.pieces)
    third.connect(sample, seed)
    await third.received(sample, sample.pieces)
    assert leech.arrived(sample) == first

    await leech.flushed(sample)
    leech.engine.remove(sample.info_hash)
    leech.tls = successor.member(TORRENT_NAME)
    leech.add(sample, first)
    leech.want(sample, sample.pieces)
    leech.connect(sample, seed)
    await leech.received(sample, sample.pieces)
    assert len(leech.arrivals(sample)) == len(sample.pieces)


@pytest.mark.parametrize("seed_has_tls", [True, False])
async def test_plain_and_tls_do_not_meet_on_either_port(
    new_node: NewNode, sample: Sample, authority: SwarmAuthority, seed_has_tls: bool
) -> None:
    seed, leech, fine = await new_node("seed"), await new_node("leech"), await new_node("fine")
    seed.tls = fine.tls = authority.member(TORRENT_NAME) if seed_has_tls else None
    leech.tls = None if seed_has_tls else authority.member(TORRENT_NAME)
    seed.add(sample, sample.pieces)
    for node in (leech, fine):
        node.add(sample)
        node.want(sample, sample.pieces)
    for port in (seed.engine.port, seed.engine.tls_port):
        leech.engine.connect(sample.info_hash, [Endpoint("127.0.0.1", port)])
    fine.connect(sample, seed)
    await fine.received(sample, sample.pieces)
    assert leech.arrived(sample) == set()


async def test_a_torrent_of_members_and_a_public_one_live_in_one_engine(
    new_node: NewNode, authority: SwarmAuthority
) -> None:
    seed, leech = await new_node("seed"), await new_node("leech")
    public, members = Sample("public", OBJECTS[1:], private=False), Sample("members", OBJECTS[1:])
    for sample, tls in ((public, False), (members, True)):
        for node in (seed, leech):
            node.tls = authority.member(TORRENT_NAME) if tls else None
        seed.add(sample, sample.pieces)
        leech.add(sample)
        leech.want(sample, sample.pieces)
        leech.connect(sample, seed)
    for sample in (public, members):
        await leech.received(sample, sample.pieces)
