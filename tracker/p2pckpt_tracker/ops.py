"""Health and metrics, on a listener of their own: they say more than strangers should know."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from aiohttp import web
from sqlalchemy import select

from .store.database import Database, StoreUnavailable
from .store.tables import facts

_BEAT = 0.05
"""Seconds between two looks at how late the event loop is."""


class LoopLag:
    """How long the event loop was held up: whatever runs on it delays every announce by as much."""

    def __init__(self) -> None:
        self.longest = 0.0
        """Seconds, since the start."""

    async def watch(self) -> None:
        """Measure for ever."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + _BEAT
            await asyncio.sleep(_BEAT)
            self.longest = max(self.longest, loop.time() - due)


def ops_app(database: Database, numbers: Callable[[], Mapping[str, float]]) -> web.Application:
    """``numbers``: metric name → present value; names that end in ``_total`` are counters."""

    async def live(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def ready(_: web.Request) -> web.Response:
        try:
            await database.read(lambda connection: connection.scalar(select(facts.c.value).limit(1)))
        except StoreUnavailable:
            return web.Response(status=503, text="database unavailable\n")
        return web.Response(text="ok\n")

    async def metrics(_: web.Request) -> web.Response:
        lines = []
        for name, value in numbers().items():
            kind = "counter" if name.endswith("_total") else "gauge"
            lines.append(f"# TYPE p2pckpt_tracker_{name} {kind}\np2pckpt_tracker_{name} {value:g}\n")
        return web.Response(body="".join(lines).encode(), headers={"Content-Type": "text/plain; version=0.0.4"})

    app = web.Application()
    app.router.add_get("/livez", live)
    app.router.add_get("/readyz", ready)
    app.router.add_get("/metrics", metrics)
    return app
