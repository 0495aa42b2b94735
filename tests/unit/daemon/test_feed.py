from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from p2pckpt.control.messages import Event, JobRemoved, Notice
from p2pckpt.daemon import feed as feeds
from p2pckpt.daemon.feed import Feed

FIRST = Notice("info", "first")


async def first() -> Event:
    return FIRST


def events(*numbers: int) -> list[Event]:
    return [JobRemoved(f"j{number}") for number in numbers]


async def take(stream: AsyncIterator[Event], count: int) -> list[Event]:
    return [await asyncio.wait_for(anext(stream), 10) for _ in range(count)]


async def rest(stream: AsyncIterator[Event]) -> list[Event]:
    return [event async for event in stream]


async def test_a_reader_gets_a_snapshot_first_and_then_what_is_sent() -> None:
    feed = Feed()
    feed.send(JobRemoved("j0"))
    stream = feed.follow(first())
    assert await take(stream, 1) == [FIRST]
    for event in events(1, 2):
        feed.send(event)
    assert await take(stream, 2) == events(1, 2)


async def test_what_is_sent_while_the_snapshot_is_made_is_not_lost() -> None:
    feed, asked, made = Feed(), asyncio.Event(), asyncio.Event()

    async def slow() -> Event:
        asked.set()
        await made.wait()
        return FIRST

    stream = feed.follow(slow())
    reading = asyncio.create_task(take(stream, 3))
    await asked.wait()
    for event in events(1, 2):
        feed.send(event)
    made.set()
    assert await reading == [FIRST, *events(1, 2)]


async def test_every_reader_gets_everything() -> None:
    feed = Feed()
    streams = [feed.follow(first()) for _ in range(5)]
    for stream in streams:
        await take(stream, 1)
    feed.send(JobRemoved("j1"))
    assert [await take(stream, 1) for stream in streams] == [events(1)] * 5


async def test_a_slow_reader_is_let_go_and_gets_what_was_kept_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeds, "_BACKLOG", 3)
    feed = Feed()
    slow, quick = feed.follow(first()), feed.follow(first())
    await take(slow, 1)
    await take(quick, 1)
    for event in events(1, 2, 3, 4, 5):
        feed.send(event)
        assert await take(quick, 1) == [event]
    assert await asyncio.wait_for(rest(slow), 10) == events(1, 2, 3)
    feed.send(JobRemoved("j6"))
    assert await take(quick, 1) == events(6)


async def test_closing_ends_every_stream_after_what_was_sent() -> None:
    feed = Feed()
    waiting, behind = feed.follow(first()), feed.follow(first())
    await take(waiting, 1)
    await take(behind, 1)
    reading = asyncio.create_task(rest(waiting))
    await asyncio.sleep(0)
    feed.send(JobRemoved("j1"))
    feed.close()
    assert await asyncio.wait_for(reading, 10) == events(1)
    assert await asyncio.wait_for(rest(behind), 10) == events(1)


async def test_closing_ends_a_stream_that_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeds, "_BACKLOG", 2)
    feed = Feed()
    stream = feed.follow(first())
    await take(stream, 1)
    for event in events(1, 2):
        feed.send(event)
    feed.close()
    assert len(await asyncio.wait_for(rest(stream), 10)) <= 2


async def test_a_reader_that_left_is_forgotten() -> None:
    feed = Feed()
    stream = feed.follow(first())
    await take(stream, 1)
    assert len(feed._readers) == 1
    await stream.aclose()  # type: ignore[attr-defined]
    assert not feed._readers
    feed.send(JobRemoved("j1"))


async def test_a_reader_whose_snapshot_fails_is_forgotten() -> None:
    feed = Feed()

    async def broken() -> Event:
        raise RuntimeError("no snapshot")

    with pytest.raises(RuntimeError):
        await take(feed.follow(broken()), 1)
    assert not feed._readers
