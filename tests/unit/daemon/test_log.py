"""The ring of log records: what it keeps, how it is followed, and that the file says the same."""

from __future__ import annotations

import asyncio
import contextlib
import io
import threading
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
import structlog

from p2pckpt.control.health_messages import LogRecord
from p2pckpt.daemon.log import LogRing, configure


@pytest_asyncio.fixture
async def ring() -> AsyncIterator[LogRing]:
    ring = LogRing(100)
    yield ring
    ring.close()


async def take(records: int, ring: LogRing, since: int = 0, level: str = "") -> list[LogRecord]:
    """The first so many records of a follower."""
    found: list[LogRecord] = []
    async with asyncio.timeout(10), contextlib.aclosing(ring.follow(since, level)) as batches:
        async for batch in batches:
            found += batch
            if len(found) >= records:
                return found
    raise AssertionError(f"the stream ended after {found}")


async def test_records_are_counted_and_the_oldest_go(ring: LogRing) -> None:
    for number in range(250):
        ring.add("info", "jobs.fetch", f"event {number}", {})
    assert [record.seq for record in ring.read()] == list(range(151, 251))
    assert [record.event for record in ring.read(since=248)] == ["event 248", "event 249"]
    assert [record.seq for record in ring.read(since=10, limit=2)] == [249, 250]
    assert ring.read(limit=0) == []


async def test_a_number_of_an_earlier_daemon_means_from_the_beginning(ring: LogRing) -> None:
    ring.add("info", "", "ready", {})
    assert [record.event for record in ring.read(since=9000)] == ["ready"]


async def test_levels_weigh(ring: LogRing) -> None:
    for level in ("debug", "info", "warning", "error", "critical"):
        ring.add(level, "", level, {})
    assert [record.event for record in ring.read(level="warning")] == ["warning", "error", "critical"]
    assert len(ring.read(level="debug")) == 5


async def test_a_follower_gets_what_was_and_what_comes_from_any_thread(ring: LogRing) -> None:
    ring.add("info", "", "before", {})
    following = asyncio.create_task(take(1001, ring))
    await asyncio.sleep(0)
    writers = [
        threading.Thread(target=lambda: [ring.add("info", "", "later", {}) for _ in range(25)]) for _ in range(40)
    ]
    for writer in writers:
        writer.start()
        await asyncio.to_thread(writer.join)
        await asyncio.sleep(0)
    found = await following
    assert [record.seq for record in found] == sorted({record.seq for record in found})
    assert found[0].event == "before"


async def test_a_follower_of_errors_hears_of_nothing_else(ring: LogRing) -> None:
    following = asyncio.create_task(take(1, ring, level="error"))
    ring.add("info", "", "fine", {})
    ring.add("error", "", "not fine", {})
    assert [record.event for record in await following] == ["not fine"]


async def test_the_end_of_the_daemon_ends_the_stream(ring: LogRing) -> None:
    async def read() -> int:
        return sum([len(batch) async for batch in ring.follow()])

    following = asyncio.create_task(read())
    await asyncio.sleep(0)
    ring.add("info", "", "last", {})
    await asyncio.sleep(0)
    ring.close()
    assert await asyncio.wait_for(following, 10) <= 1


def test_file_and_ring_say_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    ring, sink = LogRing(), io.StringIO()
    before = structlog.get_config()
    try:
        configure("info", ring, sink)
        log = structlog.get_logger("p2pckpt.jobs.fetch")
        log.debug("not wanted")
        log.warning("a peer sent false data", peer="192.0.2.1:1", text="x" * 9000)
        try:
            raise ValueError("boom")
        except ValueError:
            log.exception("a job stumbled", job="j1")
    finally:
        structlog.configure(**before)
    warning, error = ring.read()
    assert (warning.seq, warning.level, warning.source) == (1, "warning", "jobs.fetch")
    assert (warning.event, warning.fields["peer"]) == ("a peer sent false data", "192.0.2.1:1")
    assert len(warning.fields["text"]) == 400
    assert "ValueError: boom" in error.fields["exception"]
    first, second = (line for line in sink.getvalue().splitlines() if line.startswith("timestamp="))
    assert "level='warning' source='jobs.fetch' event='a peer sent false data'" in first
    assert "event='a job stumbled'" in second
