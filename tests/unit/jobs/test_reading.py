"""Reading over the fake engine: real stores, real manifests and torrents, no tracker."""

from __future__ import annotations

import asyncio
import contextlib
import errno
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from p2pckpt.checkpoint.pieces import count as piece_count
from p2pckpt.checkpoint.plan import pieces_of_chunk
from p2pckpt.control.messages import FetchRequest
from p2pckpt.errors import BadUsage, NoSeeds, NoSpace, NotFound, P2pckptError
from p2pckpt.jobs import inflow, reading
from p2pckpt.jobs import readers as pools
from p2pckpt.jobs.chunk_cache import ChunkCache
from p2pckpt.jobs.fetch_plan import find
from p2pckpt.jobs.readers import Readers
from p2pckpt.jobs.reading import Parts, VersionReader
from p2pckpt.store.scrub import damaged_pieces
from tests.contract.nodes import DEADLINE
from tests.support import fake_engine
from tests.support.homes import flip_bit
from tests.unit.jobs import test_fetch
from tests.unit.jobs.test_fetch import FILES, Receiver
from tests.unit.store.versions import manifest_of

MODEL = FILES["model.bin"]
JOB = "read it"
receiver = test_fetch.receiver


class Reader:
    """A reader of the receiver's version, with swarms that find the seed at once."""

    def __init__(self, of: Receiver, reader: VersionReader) -> None:
        self.of = of
        self.version = reader

    async def all(self, path: str = "model.bin", start: int = 0, end: int | None = None, **options: Any) -> bytes:
        stop = len(FILES[path]) if end is None else end
        finding = asyncio.create_task(self.find_the_seed())
        try:
            async with (
                asyncio.timeout(DEADLINE),
                contextlib.aclosing(self.version.read(path, start, stop, **options)) as blocks,
            ):
                return b"".join([bytes(block) async for block in blocks])
        finally:
            finding.cancel()

    async def find_the_seed(self) -> None:
        """As a tracker would have it, again whenever the torrent was left and joined."""
        while True:
            self.of.engine.connect(self.of.version.info_hash, [self.of.seed])
            await asyncio.sleep(0)

    @property
    def is_in(self) -> bool:
        return self.of.version.info_hash in self.of.engine._torrents

    @property
    def wanted(self) -> set[tuple[int, int]]:
        """What the engine is still to fetch."""
        return set(self.of.engine._torrents[self.of.version.info_hash].missing())


async def opened(of: Receiver, job: str = JOB, turns: asyncio.Semaphore | None = None) -> Reader:
    source = await find(of.services, FetchRequest(source="cars/sd15"))
    return Reader(of, VersionReader(of.services, source, ChunkCache(0), turns or asyncio.Semaphore(2), job))


@pytest_asyncio.fixture
async def reader(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Reader]:
    monkeypatch.setattr(inflow, "_LOOK_SECONDS", 0.01)
    made = await opened(receiver)
    yield made
    await made.version.close()


async def test_ranges_are_right_and_nothing_is_fetched_twice(reader: Reader) -> None:
    for start, end in ((1_000_000, 1_000_001), (999_999, 2_100_000), (0, 0), (len(MODEL), len(MODEL)), (0, len(MODEL))):
        assert await reader.all(start=start, end=end) == MODEL[start:end]
    assert await reader.all("run/notes.txt") == b"notes"
    assert len(set(reader.of.arrivals())) == len(reader.of.arrivals())
    await reader.version.close()
    reader.of.assert_promises_hold()
    assert not reader.is_in


async def test_readers_of_one_range_share_what_arrives(reader: Reader) -> None:
    found = await asyncio.gather(*(reader.all(start=500_000, end=2_500_000) for _ in range(4)))
    assert found == [MODEL[500_000:2_500_000]] * 4
    assert len(set(reader.of.arrivals())) == len(reader.of.arrivals())


async def test_who_leaves_wants_nothing_any_more(reader: Reader) -> None:
    await reader.all(end=1)
    reader.of.engine.allow(0)
    waiting = asyncio.create_task(reader.all(start=1_500_000))
    await reader.of.until(lambda: bool(reader.wanted))
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert reader.wanted == set()
    reader.of.engine.allow(None)


async def test_wanting_is_told_by_what_changes_and_takes_nothing_from_others(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    of, source = reader.of, reader.version.source
    await reader.all(end=1)
    of.engine.allow(0)
    where = source.share.share_id, source.share.tracker, of.version.torrent
    pieces = range(piece_count(of.version.torrent.objects[0].length))
    await of.swarms.join("another", *where, {1: set(pieces)}, 0, tls=False)
    before, told = reader.wanted, list[tuple[Any, ...]]()
    rewant = of.engine.rewant
    monkeypatch.setattr(of.engine, "rewant", lambda *change: (told.append(change), rewant(*change)))
    monkeypatch.delattr(of.engine.__class__, "want")  # all of it is not told again
    waiting = asyncio.create_task(reader.all())
    await of.until(lambda: len(reader.wanted) > len(before))
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert reader.wanted == before
    assert len(told) > 1
    monkeypatch.undo()
    of.engine.allow(None)


async def test_a_range_comes_before_what_a_fetch_wants_besides(reader: Reader, tmp_path: Any) -> None:
    of = reader.of
    of.engine.allow(0)
    fetching = of.begin(tmp_path / "out")
    await of.connected()
    ranged = asyncio.create_task(reader.all(start=len(MODEL) - 10))
    await of.until(lambda: bool(of.engine._torrents[of.version.info_hash].urgent))
    urgent = list(of.engine._torrents[of.version.info_hash].urgent)
    of.engine.allow(None)
    assert await ranged == MODEL[-10:]
    await asyncio.wait_for(fetching, DEADLINE)
    assert of.arrivals()[: len(urgent)] == urgent
    assert len(set(of.arrivals())) == len(of.arrivals())
    assert (tmp_path / "out" / "model.bin").read_bytes() == MODEL


async def test_what_arrived_and_was_never_noted_is_found_by_its_hashes(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inflow, "_BATCH_SECONDS", 1000.0)
    await reader.all(end=2_000_000)
    assert reader.of.durable() == 0
    before = reader.of.arrivals()
    await reader.of.swarms.leave(JOB)  # as if it had been killed: nothing is noted any more
    again = await opened(reader.of, "read it again")
    try:
        assert await again.all(end=2_000_000, patience=0.5) == MODEL[:2_000_000]
    finally:
        await again.version.close()
    assert reader.of.arrivals() == before
    reader.of.assert_promises_hold()


async def test_nobody_there_is_said_after_a_while_and_the_next_try_may_be_luckier(reader: Reader) -> None:
    reader.of.engine.allow(0)
    with pytest.raises(NoSeeds) as caught:
        await reader.all(patience=0.05)
    assert caught.value.exit_code == 9
    assert "get cars/sd15@v1 waits" in caught.value.next_step
    reader.of.engine.allow(None)
    assert await reader.all() == MODEL


async def test_a_full_disk_is_said_and_reading_goes_on_once_there_is_space(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(fake_engine._Torrent, "write_out", full)
        with pytest.raises(NoSpace):
            await reader.all()
    assert reader.of.durable() == 0
    assert await reader.all() == MODEL
    reader.of.assert_promises_hold()


async def test_a_disk_that_was_full_is_tried_again_while_somebody_else_stays_in_the_swarm(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    of = reader.of
    await reader.all(end=1)
    source = reader.version.source
    await of.swarms.join("another", source.share.share_id, source.share.tracker, of.version.torrent, {}, 0, tls=False)

    def full(self: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(fake_engine._Torrent, "write_out", full)
        with pytest.raises(NoSpace):
            await reader.all()
    assert await reader.all() == MODEL
    of.assert_promises_hold()


async def test_who_reads_what_is_closed_is_told_and_nothing_stays_behind(reader: Reader) -> None:
    services = reader.of.services
    await reader.all(end=10)
    reader.of.engine.allow(0)
    waiting = asyncio.create_task(reader.all(start=2_000_000))
    await reader.of.until(lambda: bool(reader.wanted))
    begun = reader.version.read("model.bin", 0, len(MODEL))
    assert MODEL.startswith(bytes(await anext(begun)))
    await reader.version.close()
    for read in (waiting, anext(begun), reader.all(start=2_000_000), reader.all(end=1)):
        with pytest.raises(NotFound, match="not read any more"):
            await asyncio.wait_for(read, DEADLINE)
    assert not reader.is_in
    assert not services.swarms._stay


async def test_a_reader_that_is_closed_while_it_joins_has_left_afterwards(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    swarms = reader.of.services.swarms
    join, may_join, joins = swarms.join, asyncio.Event(), asyncio.Event()

    async def slowly(*arguments: Any, **options: Any) -> None:
        joins.set()
        await may_join.wait()
        await join(*arguments, **options)

    monkeypatch.setattr(swarms, "join", slowly)
    joining = asyncio.create_task(reader.all())
    await joins.wait()
    await reader.version.close()
    may_join.set()
    with pytest.raises(NotFound, match="not read any more"):
        await asyncio.wait_for(joining, DEADLINE)
    assert not reader.is_in


async def test_who_waits_for_the_swarm_takes_nobodys_turn(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inflow, "_LOOK_SECONDS", 0.01)
    turns = asyncio.Semaphore(1)
    reader = await opened(receiver, turns=turns)
    assert await reader.all("other.bin") == FILES["other.bin"]
    receiver.engine.allow(0)
    waiting = [asyncio.create_task(reader.all()) for _ in range(3)]
    await receiver.until(lambda: bool(reader.wanted))
    assert await reader.all("other.bin", patience=0.5) == FILES["other.bin"]
    begun = reader.version.read("other.bin", 0, 10)
    await anext(begun)  # it is being handed over
    with pytest.raises(P2pckptError, match="too much is being read at once"):
        await reader.all("other.bin", patience=0.05)
    await begun.aclose()
    receiver.engine.allow(None)
    assert await asyncio.gather(*waiting) == [MODEL] * 3
    assert not turns.locked()
    await reader.version.close()


async def test_nothing_is_remembered_of_chunks_that_were_read(reader: Reader) -> None:
    await reader.all()
    inside = reader.version._inflow
    await reader.of.until(lambda: not inside._decoded and not inside._written)
    sets = (inside._awaited, inside._arrived, inside._wishes, inside._written, inside._decoded)
    assert not any(map(len, sets))
    assert set(inside._rechecked) <= set(reader.of.version.manifest.chunk_objects.tolist())


async def test_only_pieces_under_a_damaged_chunk_are_hashed(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    assert await reader.all() == MODEL
    await reader.of.until(lambda: not reader.version._inflow._decoded)
    hashed: set[tuple[bytes, int]] = set()

    def counted(path: Any, row: Any, pieces: Any) -> set[int]:
        hashed.update((row.root, piece) for piece in pieces)
        return damaged_pieces(path, row, pieces)

    monkeypatch.setattr(reading, "damaged_pieces", counted)
    manifest = reader.of.version.manifest
    (file,) = [file for file in manifest.body.files if file.path == "model.bin"]
    chunk = int(manifest.chunks_of(file)[-1])
    root = manifest.root(int(manifest.chunk_objects[chunk]))
    reader.of.services.objects.forget(root)
    flip_bit(reader.of.workshop.layout.object(root), int(manifest.frame_offsets[chunk]) + 9)
    assert await reader.all(start=len(MODEL) - 1) == MODEL[-1:]
    assert hashed == {(root, piece) for piece in pieces_of_chunk(manifest, chunk)}
    reader.of.assert_promises_hold()


async def test_bytes_that_will_be_asked_for_next_are_fetched_and_not_waited_for(reader: Reader) -> None:
    assert await reader.all(end=10, ahead=1_500_000) == MODEL[:10]
    await reader.of.until(lambda: len(reader.of.arrivals()) > 1 and not reader.wanted)
    before = reader.of.arrivals()
    assert await reader.all(start=10, end=1_000_000) == MODEL[10:1_000_000]
    assert reader.of.arrivals() == before


async def test_what_is_not_there_is_refused(reader: Reader) -> None:
    with pytest.raises(NotFound, match=r"no file 'nothing'"):
        await anext(reader.version.read("nothing", 0, 1))
    for start, end in ((-1, 1), (2, 1), (0, len(MODEL) + 1)):
        with pytest.raises(BadUsage):
            await anext(reader.version.read("model.bin", start, end))


async def test_versions_are_closed_once_nobody_has_read_them_for_a_while(
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pool = Readers(receiver.services, linger=0.0)
    async with pool.reader("cars/sd15") as first, pool.reader("cars/sd15@1") as second:
        assert first is second
        await pool.tidy()
        assert len(pool._open) == 1
    await pool.tidy()
    assert len(pool._open) == 0
    monkeypatch.setattr(pools, "_OPEN", 0)
    with pytest.raises(P2pckptError, match="at once"):
        async with pool.reader("cars/sd15"):
            pass
    await pool.close()


@given(st.lists(st.integers(1, 9), max_size=6), st.data())
def test_the_parts_of_a_range_are_the_range(lengths: list[int], data: st.DataObject) -> None:
    chunks = [bytes([65 + place]) * length for place, length in enumerate(lengths)]
    manifest = manifest_of({"f": chunks})
    whole = b"".join(chunks)
    start = data.draw(st.integers(0, len(whole)))
    end = data.draw(st.integers(start, len(whole)))
    raw = {manifest.chunk_id(n): n for n in range(manifest.chunk_count)}
    assert len(raw) == manifest.chunk_count
    parts = Parts(manifest, manifest.body.files[0], start, end)
    found = b""
    for part in map(parts.__getitem__, range(len(parts))):
        found += whole[part.offset : part.offset + part.length][part.start : part.end]
        assert part.start < part.end <= part.length
    assert found == whole[start:end]
    assert len(parts.window(0)) == len(parts)
