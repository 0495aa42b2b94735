"""A daemon that only tells events: the real feed behind a real socket, 5,000 jobs, and nobody who works on them."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import msgspec
from aiohttp import web

from p2pckpt.control import messages as m
from p2pckpt.daemon import server
from p2pckpt.daemon.feed import Feed
from tests.support import replay_feed as replay

ROWS: Final = 5_000
EVENTS: Final = 2_000
"""A second."""
_BUSY: Final = 50
"""Rows at the top of the list that get a fifth of the events: every row on screen changes several times a second."""
_TICK: Final = 0.01


def jobs() -> dict[str, m.Job]:
    """Of every state, by id."""
    states = list(m.JobState)
    made = (
        replay.job(f"j{n}", share=f"lab/share-{n:04}", size=(n + 1) << 20, done=n << 18, state=states[n % len(states)])
        for n in range(ROWS)
    )
    return {job.id: job for job in made}


def changed(job: m.Job, chance: random.Random) -> m.Job:
    """The job a moment later."""
    done, rate, eta = chance.randrange(job.size), chance.randrange(1 << 24), chance.randrange(999)
    return msgspec.structs.replace(job, done=done, rate_down=rate, eta=eta)


class EventSource:
    """What answers on the socket. ``busy`` says whether events are being made."""

    def __init__(self) -> None:
        self.feed = Feed()
        self.jobs = jobs()
        self.busy = False
        self.sent = 0

    async def play(self) -> None:
        """Change rows for ever, as many a second as ``EVENTS`` while busy."""
        loop, chance, ids = asyncio.get_running_loop(), random.Random(1), list(self.jobs)
        due = loop.time()
        while True:
            due = max(due + _TICK, loop.time() - 1)
            await asyncio.sleep(due - loop.time())
            for number in range(int(EVENTS * _TICK) if self.busy else 0):
                job_id = ids[chance.randrange(_BUSY if number % 5 == 0 else ROWS)]
                self.jobs[job_id] = changed(self.jobs[job_id], chance)
                self.feed.send(m.JobChanged(self.jobs[job_id]))
                self.sent += 1

    async def snapshot(self) -> m.Event:
        return replay.snapshot(tuple(self.jobs.values()))

    async def _status(self, request: web.Request) -> web.StreamResponse:
        return _json(replay.snapshot().status)

    async def _events(self, request: web.Request) -> web.StreamResponse:
        return await server.stream(request, self.feed, self.snapshot)

    async def _detail(self, request: web.Request) -> web.StreamResponse:
        return _json(replay.job_detail(self.jobs[request.match_info["id"]]))

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(1)
            self.feed.send(m.StatusChanged(replay.status(rate_down=random.randrange(1 << 30))))

    @contextlib.asynccontextmanager
    async def serving(self, socket: Path) -> AsyncIterator[None]:
        """Answer on ``socket``."""
        socket.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        app = web.Application()
        app.router.add_get("/v1/status", self._status)
        app.router.add_get("/v1/events", self._events)
        app.router.add_get("/v1/jobs/{id}/detail", self._detail)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0)
        await runner.setup()
        await web.UnixSite(runner, str(socket)).start()
        tasks = [asyncio.create_task(self.play()), asyncio.create_task(self._tick())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            self.feed.close()
            await runner.cleanup()


def _json(value: object) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), content_type="application/json")
