"""What every engine does: the contract of ``p2pckpt.swarm.engine``, kept by libtorrent and by the fake alike."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from ipaddress import ip_network
from pathlib import Path

import psutil
import pytest

from p2pckpt.checkpoint.pieces import count as piece_count
from p2pckpt.checkpoint.plan import PIECE_LENGTH
from p2pckpt.errors import P2pckptError
from p2pckpt.swarm.engine import Flushed, PeerStats, TorrentStats
from p2pckpt.tracker_protocol import Endpoint
from tests.contract.conftest import NewEngine, NewNode, over_tls_too
from tests.contract.nodes import DEADLINE, OBJECTS, Node, Sample
from tests.support.homes import small_disk

UNKNOWN = bytes(32)
MIB = 1 << 20
SLOW = 64 << 10
"""Bytes per second at which a sample of three megabytes takes far longer than any test."""


@pytest.fixture
def sample(request: pytest.FixtureRequest) -> Sample:
    return Sample(request.node.name)


async def eventually(ask: Callable[[], Awaitable[object]], what: str) -> None:
    """Ask again until the answer is true: nothing tells when connections come and go."""
    try:
        async with asyncio.timeout(DEADLINE):
            while not await ask():
                pass
    except TimeoutError:
        raise AssertionError(f"waited in vain until {what}") from None


def assert_holds(node: Node, sample: Sample) -> None:
    for file, content in enumerate(sample.contents):
        assert node.path(sample, file).read_bytes() == content


# -- moving pieces


@over_tls_too
async def test_a_whole_torrent_goes_from_a_seed_to_a_leech(new_node: NewNode, sample: Sample) -> None:
    seed, leech = await new_node("seed"), await new_node("leech")
    seed.add(sample, sample.pieces)
    leech.add(sample)
    leech.want(sample, sample.pieces)
    leech.connect(sample, seed)
    await leech.received(sample, sample.pieces)
    assert sorted(leech.arrivals(sample)) == sorted(sample.pieces)
    await leech.flushed(sample)
    assert_holds(leech, sample)
    assert seed.arrivals(sample) == []


@over_tls_too
async def test_the_seed_may_be_the_one_who_connects(new_node: NewNode, sample: Sample) -> None:
    seed, leech = await new_node("seed"), await new_node("leech")
    seed.add(sample, sample.pieces)
    leech.add(sample)
    leech.want(sample, sample.pieces)
    seed.connect(sample, leech)
    await leech.received(sample, sample.pieces)


async def test_a_public_torrent_moves_as_well(new_node: NewNode) -> None:
    sample = Sample("public", private=False)
    seed, leech = await new_node("seed"), await new_node("leech")
    seed.add(sample, sample.pieces)
    leech.add(sample)
    leech.want(sample, sample.pieces)
    leech.connect(sample, seed)
    await leech.received(sample, sample.pieces)


async def test_a_torrent_without_objects_moves_its_manifest(new_node: NewNode) -> None:
    sample = Sample("only a manifest", ())
    seed, leech = await new_node("seed"), await new_node("leech")
    seed.add(sample, sample.pieces)
    leech.add(sample)
    leech.want(sample, {(0, 0)})
    leech.connect(sample, seed)
    await leech.received(sample, {(0, 0)})
    await leech.flushed(sample)
    assert_holds(leech, sample)


async def test_only_wanted_pieces_arrive_and_more_can_be_wanted_later(new_node: NewNode, sample: Sample) -> None:
    seed, leech = await new_node("seed"), await new_node("leech")
    seed.add(sample, sample.pieces)
    leech.add(sample)
    large = sample.file_of_length(OBJECTS[0])
    first = {(large, 1), (0, 0)}
    leech.want(sample, first)
    leech.connect(sample, seed)
    await leech.received(sample, first)
    await leech.flushed(sample)
    assert leech.arrived(sample) == first
    assert leech.on_disk(sample, large, 1) == sample.piece(large, 1)
    assert leech.on_disk(sample, large, 0) == bytes(PIECE_LENGTH)

    leech.want(sample, sample.pieces)
    leech.connect(sample, seed)
    await leech.received(sample, sample.pieces)
    assert len(leech.arrivals(sample)) == len(sample.pieces)
    await leech.flushed(sample)
    assert_holds(leech, sample)


async def test_wanting_replaces_what_was_wanted_before(new_node: NewNode, sample: Sample) -> None:
    seed, leech = await new_node("seed"), await new_node("leech")
    seed.add(sample, sample.pieces)
    leech.add(sample)
    large = sample.file_of_length(OBJECTS[0])
    leech.want(sample, {(large, 0), (large, 2)})
    leech.engine.hurry(sample.info_hash, [(large, 0), (large, 2)])
    leech.want(sample, {(large, 1)})
    leech.connect(sample, seed)
    await leech.received(sample, {(large, 1)})
    await leech.flushed(sample)
    assert leech.arrived(sample) == {(large, 1)}


async def test_wanting_is_changed_by_its_difference(new_node: NewNode, sample: Sample) -> None:
    seed, leech = await new_node("seed"), await new_node("leech")
    seed.add(sample, sample.pieces)
    leech.add(sample)
    large = sample.file_of_length(OBJECTS[0])
    leech.want(sample, {(large, 0), (large, 2)})
    leech.engine.hurry(sample.info_hash, [(large, 0)])
    leech.engine.rewant(sample.info_hash, {0: {0}, large: {1, 2}}, {large: {0}})
    leech.engine.rewant(UNKNOWN, {0: {0}}, {})
    wanted = {(0, 0), (large, 1), (large, 2)}
    leech.connect(sample, seed)
    await leech.received(sample, wanted)
    await leech.flushed(sample)
    assert leech.arrived(sample) == wanted


@over_tls_too
async def test_pieces_that_are_here_are_neither_fetched_nor_reported(new_node: NewNode, sample: Sample) -> None:
    seed, leech = await new_node("seed"), await new_node("leech")
    large = sample.file_of_length(OBJECTS[0])
    here = {(large, 0), (large, 2), (0, 0)}
    seed.add(sample, sample.pieces)
    leech.add(sample, here)
    leech.want(sample, sample.pieces)
    leech.connect(sample, seed)
    await leech.received(sample, sample.pieces - here)
    await leech.flushed(sample)
    assert sorted(leech.arrivals(sample)) == sorted(sample.pieces - here)
    assert_holds(leech, sample)
    moved = (await leech.engine.stats())[sample.info_hash].downloaded
    assert moved == sum(len(sample.piece(*piece)) for piece in sample.pieces - here)


async def test_two_seeds_with_different_halves_make_a_whole(new_node: NewNode, sample: Sample) -> None:
    one, other, leech = await new_node("one"), await new_node("other"), await new_node("leech")
    half = set(sorted(sample.pieces)[::2])
    one.add(sample, half)
    other.add(sample, sample.pieces - half)
    leech.add(sample)
    leech.want(sample, sample.pieces)
    leech.connect(sample, one, other)
    await leech.received(sample, sample.pieces)
    await leech.flushed(sample)
    assert_holds(leech, sample)


@over_tls_too
async def test_a_partial_seed_serves_what_it_fetched_to_a_third(new_node: NewNode, sample: Sample) -> None:
    seed, middle, third = await new_node("seed"), await new_node("middle"), await new_node("third")
    large = sample.file_of_length(OBJECTS[0])
    part = {(large, 0), (large, 1)}
    seed.add(sample, sample.pieces)
    middle.add(sample)
    middle.want(sample, part)
    middle.connect(sample, seed)
    await middle.received(sample, part)
    await seed.engine.stop()

    third.add(sample)
    third.want(sample, sample.pieces)
    third.connect(sample, middle)
    await third.received(sample, part)
    await third.flushed(sample)
    assert third.arrived(sample) == part
    assert all(third.on_disk(sample, *piece) == sample.piece(*piece) for piece in part)


async def test_two_torrents_of_one_name_move_side_by_side(new_node: NewNode) -> None:
    samples = Sample("side"), Sample("by side")
    seed, leech = await new_node("seed"), await new_node("leech")
    for sample in samples:
        seed.add(sample, sample.pieces)
        leech.add(sample)
        leech.want(sample, sample.pieces)
        leech.connect(sample, seed)
    for sample in samples:
        await leech.received(sample, sample.pieces)
        await leech.flushed(sample)
        assert_holds(leech, sample)


# -- what goes wrong


@pytest.mark.parametrize("whole", [True, False], ids=["seed", "partial seed"])
async def test_a_piece_that_is_corrupt_on_a_seeds_disk_never_arrives(
    new_node: NewNode, sample: Sample, whole: bool
) -> None:
    bad, good, leech = await new_node("bad"), await new_node("good"), await new_node("leech")
    large = sample.file_of_length(OBJECTS[0])
    held = sample.pieces if whole else sample.pieces - {(large, 2)}
    wanted = held - {(0, 0)}
    bad.add(sample, held)
    damaged = bytearray(bad.path(sample, large).read_bytes())
    damaged[PIECE_LENGTH + 77] ^= 1
    bad.path(sample, large).write_bytes(damaged)
    good.add(sample, sample.pieces)
    leech.add(sample)
    leech.want(sample, wanted)
    leech.connect(sample, bad)
    await leech.until(lambda: len(leech.events) > 0, "something arrived from the bad seed")
    leech.connect(sample, good)
    await leech.received(sample, wanted)
    await leech.flushed(sample)
    assert leech.on_disk(sample, large, 1) == sample.piece(large, 1)
    assert all(leech.on_disk(sample, *piece) == sample.piece(*piece) for piece in wanted)
    assert sorted(leech.arrivals(sample)) == sorted(wanted)


async def test_a_dead_address_is_harmless(new_node: NewNode, sample: Sample) -> None:
    seed, leech = await new_node("seed"), await new_node("leech")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        nobody = Endpoint("127.0.0.1", probe.getsockname()[1])
    seed.add(sample, sample.pieces)
    leech.add(sample)
    leech.want(sample, sample.pieces)
    strange = [Endpoint("no address at all", 1), Endpoint("127.0.0.1", 70_000), Endpoint("127.0.0.1", -1)]
    leech.engine.connect(sample.info_hash, [nobody, *strange, leech.endpoint, seed.endpoint])
    await leech.received(sample, sample.pieces)


@over_tls_too
async def test_connecting_to_known_peers_again_is_harmless(new_node: NewNode, sample: Sample) -> None:
    seed, leech = await new_node("seed"), await new_node("leech")
    seed.add(sample, sample.pieces)
    leech.add(sample)
    leech.connect(sample, seed, seed)
    leech.want(sample, sample.pieces)
    leech.connect(sample, seed)
    seed.connect(sample, leech)
    await leech.received(sample, sample.pieces)
    assert sorted(leech.arrivals(sample)) == sorted(sample.pieces)


async def test_a_peer_without_the_torrent_gets_and_gives_nothing(new_node: NewNode, sample: Sample) -> None:
    seed, stranger, leech = await new_node("seed"), await new_node("stranger"), await new_node("leech")
    other = Sample("of another share")
    seed.add(sample, sample.pieces)
    stranger.add(other)
    stranger.want(other, other.pieces)
    leech.add(sample)
    leech.want(sample, sample.pieces)
    stranger.connect(other, seed)
    leech.connect(sample, stranger, seed)
    await leech.received(sample, sample.pieces)
    assert stranger.events == [] or stranger.arrivals(other) == []


@over_tls_too
async def test_a_file_that_cannot_be_written_is_one_problem_and_can_be_tried_again(
    new_node: NewNode, sample: Sample
) -> None:
    seed, leech = await new_node("seed"), await new_node("leech")
    seed.add(sample, sample.pieces)
    leech.add(sample)
    large = sample.file_of_length(OBJECTS[0])
    leech.path(sample, large).mkdir()
    leech.want(sample, {(large, 0), (large, 1), (large, 2)})
    leech.connect(sample, seed)
    await leech.until(lambda: bool(leech.problems(sample)), "the problem was reported")
    (problem,) = leech.problems(sample)
    assert problem.text
    assert not problem.disk_full
    await leech.flushed(sample)
    assert leech.problems(sample) == [problem]

    leech.events.clear()  # what was reported before the problem and not flushed is not here
    leech.path(sample, large).rmdir()
    leech.engine.remove(sample.info_hash)
    leech.add(sample)
    leech.want(sample, {(large, 0), (large, 1), (large, 2)})
    leech.connect(sample, seed)
    await leech.received(sample, {(large, 0), (large, 1), (large, 2)})
    await leech.flushed(sample)
    assert leech.path(sample, large).read_bytes() == sample.contents[large]
    assert leech.problems(sample) == []


async def test_a_problem_is_reported_before_the_flush_that_it_spoils(new_node: NewNode, sample: Sample) -> None:
    seed, leech = await new_node("seed"), await new_node("leech")
    seed.add(sample, sample.pieces)
    leech.add(sample)
    small = sample.file_of_length(OBJECTS[2])
    leech.path(sample, small).mkdir()
    leech.want(sample, {(small, 0)})
    leech.connect(sample, seed)
    await leech.received(sample, {(small, 0)})
    await leech.flushed(sample)
    assert leech.problems(sample)


async def test_a_full_disk_is_called_full(new_node: NewNode, sample: Sample, tmp_path: Path) -> None:
    with small_disk(tmp_path / "leech", 1 << 20):
        seed, leech = await new_node("seed"), await new_node("leech")
        seed.add(sample, sample.pieces)
        leech.add(sample)
        large = sample.file_of_length(OBJECTS[0])
        both = {(large, 0), (large, 1)}
        leech.want(sample, both)
        leech.connect(sample, seed)
        await leech.until(lambda: bool(leech.problems(sample)) or leech.arrived(sample) == both, "the disk was full")
        await leech.flushed(sample)
        (problem,) = leech.problems(sample)
        assert problem.disk_full
        await leech.engine.stop()


async def test_a_taken_port_is_an_error_that_says_so(new_engine: NewEngine, new_node: NewNode) -> None:
    first = await new_node("first")
    for ports in ((first.engine.port, 0), (0, first.engine.tls_port)):
        second = new_engine(*ports)
        with pytest.raises(P2pckptError, match="can't connect"):
            await second.start(lambda event: None)
        await second.stop()


async def test_a_torrent_cannot_be_added_twice(new_node: NewNode, sample: Sample) -> None:
    node = await new_node("node")
    node.add(sample)
    with pytest.raises(P2pckptError):
        node.engine.add(node.placement(sample, set()))


# -- leaving


async def test_a_removed_torrent_leaves_its_files_and_serves_nobody(new_node: NewNode, sample: Sample) -> None:
    seed, other, leech = await new_node("seed"), await new_node("other"), await new_node("leech")
    seed.add(sample, sample.pieces)
    other.add(sample, sample.pieces)
    seed.engine.remove(sample.info_hash)
    assert_holds(seed, sample)
    leech.add(sample)
    leech.want(sample, sample.pieces)
    leech.connect(sample, seed, other)
    await leech.received(sample, sample.pieces)
    await leech.flushed(sample)
    leech.engine.remove(sample.info_hash)
    assert_holds(leech, sample)
    assert await leech.engine.peers(sample.info_hash) == []
    assert await leech.engine.availability(sample.info_hash) == ()
    assert sample.info_hash not in await leech.engine.stats()


async def test_a_removed_torrent_can_come_back(new_node: NewNode, sample: Sample) -> None:
    seed, leech = await new_node("seed"), await new_node("leech")
    seed.add(sample, sample.pieces)
    seed.engine.remove(sample.info_hash)
    seed.engine.add(seed.placement(sample, sample.pieces))
    leech.add(sample)
    leech.want(sample, sample.pieces)
    leech.connect(sample, seed)
    await leech.received(sample, sample.pieces)


async def test_unknown_torrents_are_ignored(new_node: NewNode) -> None:
    node = await new_node("node")
    node.engine.remove(UNKNOWN)
    node.engine.connect(UNKNOWN, [Endpoint("127.0.0.1", 1)])
    node.engine.flush(UNKNOWN)
    assert await node.engine.peers(UNKNOWN) == []
    assert await node.engine.availability(UNKNOWN) == ()
    assert not node.engine.seek(UNKNOWN)
    assert UNKNOWN not in await node.engine.stats()
    assert node.events == []


async def test_stopping_cuts_open_transfers_and_no_event_follows(new_node: NewNode, sample: Sample) -> None:
    seed, leech = await new_node("seed"), await new_node("leech")
    leech.engine.limit(SLOW, 0)
    seed.add(sample, sample.pieces)
    leech.add(sample)
    leech.want(sample, sample.pieces)
    leech.connect(sample, seed)
    await eventually(lambda: leech.engine.peers(sample.info_hash), "the leech is connected")
    await leech.engine.stop()
    told = len(leech.events)
    assert leech.arrived(sample) < sample.pieces
    await eventually(lambda: _without_peers(seed, sample), "the seed saw it go")
    assert len(leech.events) == told
    await leech.engine.stop()  # again is fine


async def _without_peers(node: Node, sample: Sample) -> bool:
    return await node.engine.peers(sample.info_hash) == []


async def test_its_port_is_free_again_after_stopping(new_engine: NewEngine) -> None:
    for _ in range(5):  # another program may be given the port meanwhile
        first = new_engine(0)
        await first.start(lambda event: None)
        ports = first.port, first.tls_port
        assert all(0 < port < 1 << 16 for port in ports)
        assert ports[0] != ports[1]
        await first.stop()
        second = new_engine(*ports)
        try:
            await second.start(lambda event: None)
        except P2pckptError:
            held = {each.laddr.port for each in psutil.Process().net_connections() if each.laddr}
            assert held.isdisjoint(ports), "the engine itself holds on to them"
            continue
        finally:
            await second.stop()
        assert (second.port, second.tls_port) == ports
        return
    raise AssertionError("it never was")


async def test_an_engine_that_never_started_can_be_stopped(new_engine: NewEngine) -> None:
    await new_engine(0).stop()


# -- limits


@over_tls_too
@pytest.mark.parametrize("side", ["down", "up"])
async def test_a_torrent_s_limit_holds_also_over_open_connections(new_node: NewNode, side: str) -> None:
    sample, limit, loop = Sample(f"limited {side}", (8 * MIB,)), 4 * MIB, asyncio.get_running_loop()
    seed, leech = await new_node("seed"), await new_node("leech")
    seed.add(sample, sample.pieces)
    leech.add(sample)

    def allow(rate: int) -> None:
        limited = leech if side == "down" else seed
        limited.engine.limit_torrent(sample.info_hash, *((rate, 0) if side == "down" else (0, rate)))

    allow(SLOW)
    leech.want(sample, sample.pieces)
    leech.connect(sample, seed)
    await eventually(lambda: leech.engine.peers(sample.info_hash), "the leech is connected")
    assert leech.arrived(sample) < sample.pieces
    allow(limit)
    begun = loop.time()

    def within() -> bool:
        # an event is heard later than what it tells of was moved; and engines save up some of a limit
        moved = sum(len(sample.piece(*piece)) for piece in leech.arrived(sample))
        assert moved <= limit * (loop.time() - begun) + limit // 2 + MIB
        return leech.arrived(sample) == sample.pieces

    await leech.until(within, "all of it arrived")


async def test_a_torrent_without_its_limit_is_as_fast_as_before(new_node: NewNode, sample: Sample) -> None:
    seed, leech = await new_node("seed"), await new_node("leech")
    seed.add(sample, sample.pieces)
    leech.add(sample)
    leech.engine.limit_torrent(sample.info_hash, SLOW, 0)
    leech.engine.limit_torrent(UNKNOWN, 1, 1)
    leech.want(sample, sample.pieces)
    leech.connect(sample, seed)
    await eventually(lambda: leech.engine.peers(sample.info_hash), "the leech is connected")
    assert leech.arrived(sample) < sample.pieces
    leech.engine.limit_torrent(sample.info_hash, 0, 0)
    await leech.received(sample, sample.pieces)


async def test_a_limit_beyond_what_engines_count_is_none(new_node: NewNode, sample: Sample) -> None:
    seed, leech = await new_node("seed"), await new_node("leech")
    seed.add(sample, sample.pieces)
    leech.add(sample)
    leech.engine.limit(1 << 40, 1 << 31)
    leech.engine.limit_torrent(sample.info_hash, 1 << 40, 1 << 31)
    leech.want(sample, sample.pieces)
    leech.connect(sample, seed)
    await leech.received(sample, sample.pieces)


# -- looking


@over_tls_too
async def test_a_flush_is_answered_even_when_nothing_arrived(new_node: NewNode, sample: Sample) -> None:
    node = await new_node("node")
    node.add(sample)
    await node.flushed(sample)
    assert Flushed(sample.info_hash) in node.events


@over_tls_too
async def test_peers_stats_and_availability_describe_an_open_transfer(new_node: NewNode, sample: Sample) -> None:
    seed, part, leech = await new_node("seed"), await new_node("part"), await new_node("leech")
    leech.engine.limit(SLOW, 0)
    seed.add(sample, sample.pieces)
    part.add(sample, {(0, 0)})
    leech.add(sample)
    leech.want(sample, sample.pieces)
    leech.connect(sample, seed, part)
    found: list[PeerStats] = []

    async def both() -> bool:
        found[:] = await leech.engine.peers(sample.info_hash)
        return len(found) == 2 and any(peer.seed for peer in found) and any(0 < peer.progress < 1 for peer in found)

    await eventually(both, "both peers told what they have")
    whole, half = sorted(found, key=lambda peer: not peer.seed)
    assert (whole.progress, whole.seed, half.seed) == (1.0, True, False)
    assert (whole.outgoing, half.outgoing) == (True, True)
    assert {whole.address, half.address} == {f"127.0.0.1:{node.endpoint.port}" for node in (seed, part)}
    assert whole.tls is (seed.tls is not None)
    assert whole.client
    assert min(whole.rate_down, whole.rate_up, half.rate_down, half.rate_up) >= 0

    async def counted() -> bool:
        stats = (await leech.engine.stats()).get(sample.info_hash)
        return stats is not None and (stats.peers, stats.seeds) == (2, 1)

    await eventually(counted, "the stats count both")

    async def all_copies() -> bool:
        copies = await leech.engine.availability(sample.info_hash)
        assert [len(file) for file in copies] == [piece_count(len(content)) for content in sample.contents]
        return (copies[0], {count for file in copies[1:] for count in file}) == (b"\x02", {1})

    await eventually(all_copies, "the copies of both are counted")
    assert min(b"".join(await part.engine.availability(sample.info_hash))) == 0
    assert whole.uploaded == half.uploaded == 0
    assert whole.utp is half.utp is False

    leech.engine.limit(0, 0)
    await leech.received(sample, sample.pieces)
    stats = (await leech.engine.stats())[sample.info_hash]
    assert isinstance(stats, TorrentStats)
    assert stats.downloaded >= sum(map(len, sample.contents))
    await eventually(lambda: _served(seed, sample), "the seed counted what it sent")


async def _served(node: Node, sample: Sample) -> bool:
    return (await node.engine.stats())[sample.info_hash].uploaded > 0


async def test_who_is_banned_is_cut_off_and_stays_out_until_taken_back(new_node: NewNode, sample: Sample) -> None:
    seed, leech = await new_node("seed"), await new_node("leech")
    leech.engine.limit(SLOW, 0)
    seed.add(sample, sample.pieces)
    leech.add(sample)
    leech.want(sample, sample.pieces)
    leech.connect(sample, seed)
    await eventually(lambda: leech.engine.peers(sample.info_hash), "the seed is connected")
    leech.engine.ban([ip_network("10.0.0.0/8")])
    assert await leech.engine.peers(sample.info_hash)
    leech.engine.ban([ip_network("127.0.0.1")])
    await eventually(lambda: _without_peers(leech, sample), "the connection is gone")
    leech.connect(sample, seed)
    seed.connect(sample, leech)
    leech.engine.limit(0, 0)
    assert await leech.engine.peers(sample.info_hash) == []
    leech.engine.ban([])

    async def back() -> bool:
        leech.connect(sample, seed)
        await asyncio.sleep(0.05)
        return bool(await leech.engine.peers(sample.info_hash)) or sample.pieces <= leech.arrived(sample)

    await eventually(back, "the seed is connected again")
    await leech.received(sample, sample.pieces)


async def test_private_torrents_are_looked_for_nowhere(new_node: NewNode, sample: Sample) -> None:
    node = await new_node("node")
    node.add(sample)
    assert not node.engine.seek(sample.info_hash)
    network = node.engine.network()
    assert (network.mapped, network.mapped_tls, network.dht, network.lan) == (None, None, False, False)


async def test_other_addresses_keep_the_port(new_node: NewNode, sample: Sample) -> None:
    seed, leech = await new_node("seed"), await new_node("leech")
    ports = seed.engine.port, seed.engine.tls_port
    seed.engine.listen_on(["127.0.0.1"])
    assert (seed.engine.port, seed.engine.tls_port) == ports
    seed.add(sample, sample.pieces)
    leech.add(sample)
    leech.want(sample, {(0, 0)})
    leech.connect(sample, seed)
    await leech.received(sample, {(0, 0)})


async def test_pieces_in_a_hurry_come_before_the_rest(new_node: NewNode) -> None:
    sample = Sample("a hurry", (12 * PIECE_LENGTH,))
    seed, leech = await new_node("seed"), await new_node("leech")
    large = sample.file_of_length(12 * PIECE_LENGTH)
    seed.add(sample, sample.pieces)
    leech.add(sample, {(0, 0)})
    leech.engine.limit_torrent(sample.info_hash, 8 * PIECE_LENGTH, 0)
    leech.want(sample, sample.pieces - {(large, 4)})
    leech.engine.hurry(sample.info_hash, [(large, 10), (large, 7), (large, 4), (0, 0)])
    leech.connect(sample, seed)
    await leech.received(sample, sample.pieces - {(large, 4), (0, 0)})
    # one that the seed gave before it knew us may be first
    assert {(large, 10), (large, 7)} < set(leech.arrivals(sample)[:3])
    assert (large, 4) not in leech.arrived(sample)
    leech.engine.hurry(b"?" * 32, [(0, 0)])  # unknown: nothing to do


async def test_who_is_about_to_want_more_stays_connected(new_node: NewNode, sample: Sample) -> None:
    seed, leech = await new_node("seed"), await new_node("leech")
    seed.add(sample, sample.pieces)
    leech.engine.stay_connected(True)
    leech.add(sample)
    large = sample.file_of_length(OBJECTS[0])
    leech.connect(sample, seed)
    for piece in range(3):
        leech.want(sample, {(large, piece)})
        await leech.received(sample, {(large, piece)})
        await leech.flushed(sample)
        assert len(await leech.engine.peers(sample.info_hash)) == 1
