"""The event stream over a socket: who reads slowly delays nobody, who reads nothing is let go."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio
from aiohttp import web

from p2pckpt.control import messages as m
from p2pckpt.control.client import ControlClient
from p2pckpt.daemon import feed as feeds
from p2pckpt.daemon import server
from p2pckpt.daemon.feed import Feed
from tests.support import replay_feed as replay

DEADLINE = 20.0
ROWS = 2_000


class Served:
    """A feed behind a real socket."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket
        self.feed = Feed()
        self.jobs = {f"j{n}": replay.job(f"j{n}") for n in range(ROWS)}

    async def snapshot(self) -> m.Event:
        return replay.snapshot(tuple(self.jobs.values()))

    async def handle(self, request: web.Request) -> web.StreamResponse:
        return await server.stream(request, self.feed, self.snapshot)

    def change(self, done: int) -> None:
        """Every row."""
        for row in self.jobs:
            self.jobs[row] = replay.job(row, done=done)
            self.feed.send(m.JobChanged(self.jobs[row]))

    async def until_readers(self, count: int) -> None:
        async with asyncio.timeout(DEADLINE):
            while len(self.feed._readers) != count:
                await asyncio.sleep(0.01)


@pytest_asyncio.fixture
async def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Served]:
    monkeypatch.setattr(feeds, "pause_after", lambda events: 0.0)
    made = Served(tmp_path / "daemon.sock")
    app = web.Application()
    app.router.add_get("/v1/events", made.handle)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    await web.UnixSite(runner, str(made.socket)).start()
    yield made
    made.feed.close()
    await runner.cleanup()


async def silent(served: Served) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A reader that asks for events and reads none until told to."""
    reader, writer = await asyncio.open_unix_connection(served.socket, limit=1 << 10)
    writer.write(b"GET /v1/events HTTP/1.0\r\n\r\n")
    await served.until_readers(1)
    return reader, writer


async def fold_until(served: Served, done: int) -> dict[str, m.Job]:
    """What a reader has once every row is at ``done``."""
    jobs: dict[str, m.Job] = {}
    async with (
        asyncio.timeout(DEADLINE),
        ControlClient(served.socket) as client,
        contextlib.aclosing(client.events()) as events,  # type: ignore[type-var]
    ):
        async for event in events:
            if isinstance(event, m.Snapshot):
                jobs = {job.id: job for job in event.jobs}
            elif isinstance(event, m.JobChanged):
                jobs[event.job.id] = event.job
            if jobs and all(job.done == done for job in jobs.values()):
                break
    return jobs


async def test_a_reader_that_pauses_delays_nobody_and_then_gets_the_latest_only(served: Served) -> None:
    reader, writer = await silent(served)
    quick = asyncio.create_task(fold_until(served, 50))
    await served.until_readers(2)
    for done in range(1, 51):
        served.change(done)
        await asyncio.sleep(0)
    assert await quick == served.jobs
    served.feed.close()
    read = await asyncio.wait_for(reader.read(), DEADLINE)
    writer.close()
    lines = [line for line in read.partition(b"\r\n\r\n")[2].splitlines() if line.startswith(b'{"type":"job"')]
    assert ROWS <= len(lines) <= 5 * ROWS, "a few states of each row of the fifty"
    assert lines[-1] == feeds_line(served.jobs[f"j{ROWS - 1}"])


def feeds_line(job: m.Job) -> bytes:
    return msgspec.json.encode(m.JobChanged(job))


async def test_a_reader_that_left_before_the_first_byte_is_no_error(tmp_path: Path) -> None:
    asked: asyncio.Future[web.Request] = asyncio.get_running_loop().create_future()
    ended: asyncio.Future[web.StreamResponse] = asyncio.get_running_loop().create_future()

    async def snapshot() -> m.Event:
        return replay.snapshot()

    async def handle(request: web.Request) -> web.StreamResponse:
        asked.set_result(request)
        while request.transport is not None:
            await asyncio.sleep(0.01)
        try:
            ended.set_result(await server.stream(request, Feed(), snapshot))
        except Exception as exc:
            ended.set_exception(exc)
        return ended.result()

    app = web.Application()
    app.router.add_get("/v1/events", handle)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    await web.UnixSite(runner, str(tmp_path / "daemon.sock")).start()
    _, writer = await asyncio.open_unix_connection(tmp_path / "daemon.sock")
    writer.write(b"GET /v1/events HTTP/1.0\r\n\r\n")
    await asyncio.wait_for(asked, DEADLINE)
    writer.close()
    await asyncio.wait_for(ended, DEADLINE)
    await runner.cleanup()


async def test_a_reader_that_reads_nothing_is_let_go(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_PATIENCE", 0.2)
    reader, writer = await silent(served)
    quick = asyncio.create_task(fold_until(served, 2))
    await served.until_readers(2)
    served.change(1)
    await served.until_readers(1)
    served.change(2)
    assert await quick == served.jobs
    with contextlib.suppress(ConnectionError):
        await asyncio.wait_for(reader.read(), DEADLINE)
    writer.close()
