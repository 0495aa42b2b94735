"""What readers of the event stream get: everything that matters, in order, and each row once at most once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pckpt.control import messages as m
from p2pckpt.daemon import feed as feeds
from p2pckpt.daemon.feed import Feed, pause_after
from tests.support import replay_feed as replay

FIRST = m.Notice("info", "first")
Stream = AsyncGenerator[list[m.Event], None]


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pauses between batches, but in the tests about them."""
    monkeypatch.setattr(feeds, "pause_after", lambda events: 0.0)


async def first() -> m.Event:
    return FIRST


def job(number: int, done: int = 0) -> m.JobChanged:
    return m.JobChanged(replay.job(f"j{number}", done=done))


def share(number: int, versions: int = 0) -> m.ShareChanged:
    return m.ShareChanged(replay.share(f"{number:064}", "cars/sd15", versions=versions))


async def batch(stream: Stream) -> list[m.Event]:
    return await asyncio.wait_for(anext(stream), 10)


async def rest(stream: Stream) -> list[m.Event]:
    return [event async for events in stream for event in events]


async def follow(feed: Feed) -> Stream:
    """A reader that has its snapshot."""
    stream = feed.follow(first())
    assert await batch(stream) == [FIRST]
    return stream


async def test_a_reader_gets_a_snapshot_first_and_then_what_is_sent() -> None:
    feed = Feed()
    feed.send(job(1))
    stream = await follow(feed)
    feed.send(job(2))
    assert await batch(stream) == [job(2)]
    reading = asyncio.create_task(batch(stream))
    await asyncio.sleep(0)
    feed.send(job(3))
    assert await reading == [job(3)]


async def test_what_is_sent_while_the_snapshot_is_made_is_not_lost() -> None:
    feed, asked, made = Feed(), asyncio.Event(), asyncio.Event()

    async def slow() -> m.Event:
        asked.set()
        await made.wait()
        return FIRST

    stream = feed.follow(slow())
    reading = asyncio.create_task(batch(stream))
    await asked.wait()
    feed.send(job(1))
    feed.send(m.JobRemoved("j2"))
    made.set()
    assert await reading == [FIRST]
    assert await batch(stream) == [job(1), m.JobRemoved("j2")]


async def test_every_reader_gets_everything_at_its_own_pace() -> None:
    feed = Feed()
    quick, slow = await follow(feed), await follow(feed)
    for done in range(5):
        feed.send(job(1, done))
        assert await batch(quick) == [job(1, done)]
    assert await batch(slow) == [job(1, 4)]


async def test_of_each_row_the_latest_state_waits_where_its_first_change_stood() -> None:
    feed = Feed()
    stream = await follow(feed)
    for done in range(1000):
        for number in (3, 1, 2):
            feed.send(job(number, done))
            feed.send(share(number, done))
    status = replay.snapshot().status
    feed.send(m.StatusChanged(status))
    feed.send(m.StatusChanged(msgspec.structs.replace(status, rate_down=7)))
    latest = [event for number in (3, 1, 2) for event in (job(number, 999), share(number, 999))]
    assert await batch(stream) == [*latest, m.StatusChanged(msgspec.structs.replace(status, rate_down=7))]


async def test_a_removal_replaces_the_changes_before_it_and_precedes_those_after_it() -> None:
    feed = Feed()
    stream = await follow(feed)
    for _ in range(100):
        feed.send(job(1, 1))
        feed.send(m.JobRemoved("j1"))
    feed.send(job(2))
    assert await batch(stream) == [m.JobRemoved("j1"), job(2)]
    for done in range(100):
        feed.send(job(1, 1))
        feed.send(m.JobRemoved("j1"))
        feed.send(job(1, done))
    assert await batch(stream) == [m.JobRemoved("j1"), job(1, 99)]


async def test_no_change_overtakes_a_notice_about_its_row() -> None:
    feed = Feed()
    stream = await follow(feed)
    about_job, about_share = m.Notice("error", "it failed", "j1"), m.AccessGranted(f"{1:064}")
    sent: list[m.Event] = [job(1, 1), share(1, 1), about_job, about_share, job(1, 2), share(1, 2)]
    for event in sent:
        feed.send(event)
    feed.send(about_job)
    assert await batch(stream) == [*sent, about_job]


def test_the_pause_after_a_batch_is_the_longer_the_larger_it_was() -> None:
    assert [pause_after(count) for count in (1, 100, 200, 5000)] == [0.1, 0.1, 0.15, 0.15]


async def test_only_who_reads_nothing_while_notices_come_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeds, "_KEPT", 3)
    feed = Feed()
    dead, quick = await follow(feed), await follow(feed)
    notices = [m.Notice("info", str(number)) for number in range(5)]
    for notice in notices:
        feed.send(notice)
        for done in range(100):
            feed.send(job(1, done))
        assert await batch(quick) == [notice, job(1, 99)]
    assert await asyncio.wait_for(rest(dead), 10) == [notices[0], job(1, 99), *notices[1:4]]


async def test_closing_ends_every_stream_after_what_was_sent() -> None:
    feed = Feed()
    waiting, behind = await follow(feed), await follow(feed)
    reading = asyncio.create_task(rest(waiting))
    await asyncio.sleep(0)
    feed.send(job(1))
    feed.close()
    feed.send(job(2))
    assert await asyncio.wait_for(reading, 10) == [job(1)]
    assert await asyncio.wait_for(rest(behind), 10) == [job(1)]


async def test_closing_does_not_wait_for_a_pause_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeds, "pause_after", lambda events: 3600.0)
    feed = Feed()
    stream = await follow(feed)
    feed.send(job(1))
    assert await batch(stream) == [job(1)]
    feed.send(job(2))
    reading = asyncio.create_task(rest(stream))
    await asyncio.sleep(0)
    feed.close()
    assert await asyncio.wait_for(reading, 10) == [job(2)]


async def test_a_reader_that_left_is_forgotten() -> None:
    feed = Feed()
    stream = await follow(feed)
    assert len(feed._readers) == 1
    await stream.aclose()
    assert not feed._readers
    feed.send(job(1))


async def test_a_reader_whose_snapshot_fails_is_forgotten() -> None:
    feed = Feed()

    async def broken() -> m.Event:
        raise RuntimeError("no snapshot")

    with pytest.raises(RuntimeError):
        await batch(feed.follow(broken()))
    assert not feed._readers


# -- whatever happens in whatever order


class Daemon:
    """A state that changes, and tells of every change as the real one does."""

    def __init__(self, feed: Feed) -> None:
        self.feed = feed
        self.rows: dict[str, dict[str, int]] = {"job": {}, "share": {}}
        self.told: list[m.Event] = []
        self._count = 0

    def snapshot(self) -> m.Snapshot:
        jobs = tuple(replay.job(row, done=value) for row, value in self.rows["job"].items())
        shares = tuple(replay.share(row, row, versions=value) for row, value in self.rows["share"].items())
        return replay.snapshot(jobs, shares)

    def do(self, act: str, kind: str, number: int) -> None:
        self._count += 1
        row, rows = f"j{number}", self.rows[kind]
        if act == "change":
            rows[row] = self._count
            job, share = replay.job(row, done=self._count), replay.share(row, row, versions=self._count)
            self.feed.send(m.JobChanged(job) if kind == "job" else m.ShareChanged(share))
        elif act == "remove" and rows.pop(row, None) is not None:
            self.feed.send(m.JobRemoved(row) if kind == "job" else m.ShareRemoved(row))
        elif act == "notice":
            # says how the row was, so that a reader can tell whether it has seen more than that already
            said = m.Notice("info", str(rows.get(row, 0)), row) if kind == "job" else m.AccessGranted(row)
            self.told.append(said)
            self.feed.send(said)


class Reader:
    """Folds everything, as a front end does."""

    def __init__(self, daemon: Daemon) -> None:
        self._stream = daemon.feed.follow(self._snapshot(daemon))
        self._reading: asyncio.Task[list[m.Event]] | None = None
        self.made = asyncio.Event()
        self.rows: dict[str, dict[str, int]] = {"job": {}, "share": {}}
        self.told: list[m.Event] = []

    async def _snapshot(self, daemon: Daemon) -> m.Event:
        snapshot = daemon.snapshot()
        await self.made.wait()
        return snapshot

    async def read(self) -> None:
        """Take a batch if there is one."""
        if self._reading is None:
            self._reading = asyncio.ensure_future(anext(self._stream))
        for _ in range(10):
            await asyncio.sleep(0)
        if self._reading.done():
            events, self._reading = self._reading.result(), None
            for event in events:
                self._fold(event)

    def _fold(self, event: m.Event) -> None:
        match event:
            case m.Snapshot():
                self.rows = {
                    "job": {job.id: job.done for job in event.jobs},
                    "share": {share.share_id: share.versions for share in event.shares},
                }
            case m.JobChanged(job):
                assert job.done > self.rows["job"].get(job.id, -1), "a row went back"
                self.rows["job"][job.id] = job.done
            case m.ShareChanged(share):
                self.rows["share"][share.share_id] = share.versions
            case m.JobRemoved(row):
                self.rows["job"].pop(row, None)
            case m.ShareRemoved(row):
                self.rows["share"].pop(row, None)
            case m.Notice():
                self.told.append(event)
                assert self.rows["job"].get(event.job, 0) <= int(event.text), "a change overtook a notice"
            case m.AccessGranted():
                self.told.append(event)

    async def end(self) -> None:
        self.made.set()
        for _ in range(3):
            await self.read()
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
        await self._stream.aclose()


ACTS = st.tuples(
    st.sampled_from(["change"] * 4 + ["remove", "notice"]), st.sampled_from(["job", "share"]), st.integers(0, 3)
)
READS = st.tuples(st.just("read"), st.sampled_from(["quick", "slow"]), st.just(0))
MADE = st.tuples(st.just("made"), st.sampled_from(["quick", "slow"]), st.just(0))


@settings(deadline=None, max_examples=150)
@given(st.lists(ACTS, max_size=8), st.lists(ACTS | ACTS | ACTS | READS | MADE, max_size=60))
def test_a_reader_that_folds_everything_ends_with_the_daemons_state(
    before: list[tuple[str, str, int]], script: list[tuple[str, str, int]]
) -> None:
    asyncio.run(_play(before, script))


async def _play(before: list[tuple[str, str, int]], script: list[tuple[str, str, int]]) -> None:
    daemon = Daemon(Feed())
    for act in before:
        daemon.do(*act)
    daemon.told.clear()
    readers: dict[str, Any] = {"quick": Reader(daemon), "slow": Reader(daemon)}
    for reader in readers.values():
        await reader.read()
    for act, which, number in script:
        if act == "read":
            await readers[which].read()
        elif act == "made":
            readers[which].made.set()
        else:
            daemon.do(act, which, number)
        for waiting in daemon.feed._readers:
            assert len(waiting._waiting) <= 2 * 2 * 4 + 3 * len(daemon.told)
    for reader in readers.values():
        await reader.end()
        # also the order, which is that of creation
        assert [list(rows.items()) for rows in reader.rows.values()] == [list(r.items()) for r in daemon.rows.values()]
        assert reader.told == daemon.told


async def test_that_the_access_to_a_share_changed_is_said_once_a_batch() -> None:
    feed = Feed()
    stream = await follow(feed)
    for event in (share(1), m.AccessChanged("aa"), m.AccessChanged("bb"), m.AccessChanged("aa")):
        feed.send(event)
    assert await batch(stream) == [share(1), m.AccessChanged("aa"), m.AccessChanged("bb")]
