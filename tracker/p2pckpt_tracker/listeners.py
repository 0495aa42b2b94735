"""Sockets: starts the applications, and closes connections that hold one without using it."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass, field

from aiohttp import web

from .settings import Listen

IDLE_LIMIT = 10.0
"""Seconds for a connection without a complete request, and for a TLS handshake."""
_LINGER = 2.0
"""Seconds that the rest of a refused body is read, so that the answer is not lost to a reset."""
_SHUTDOWN = 3.0
"""Seconds that running requests get when the tracker stops."""
_SWEEP = 3.0
_STUCK_SWEEPS = 4
"""A reader that takes nothing of what waits for it for so many sweeps is cut off."""


@dataclass(slots=True)
class Listener:
    """One application on one address."""

    runner: web.AppRunner
    server: asyncio.Server
    port: int
    _stuck: dict[asyncio.Transport, tuple[int, int]] = field(default_factory=dict)

    async def stop(self) -> None:
        """Accept no more, let running requests finish for a moment, then close."""
        self.server.close()
        await self.runner.cleanup()

    def sweep(self) -> None:
        """Abort connections whose unsent bytes have not become fewer for several sweeps."""
        seen: dict[asyncio.Transport, tuple[int, int]] = {}
        server = self.runner.server
        for connection in server.connections if server is not None else ():
            transport = connection.transport
            if not isinstance(transport, asyncio.Transport):
                continue
            waiting = transport.get_write_buffer_size()
            if not waiting:
                continue
            before, sweeps = self._stuck.get(transport, (waiting + 1, 0))
            sweeps = sweeps + 1 if waiting >= before else 0
            if sweeps >= _STUCK_SWEEPS:
                transport.abort()
            else:
                seen[transport] = (waiting, sweeps)
        self._stuck = seen


async def listen(app: web.Application, where: Listen, context: ssl.SSLContext | None = None) -> Listener:
    """Serve ``app``. Idle and half-sent requests are closed by aiohttp's keep-alive timer. Raises OSError."""
    runner = web.AppRunner(
        app,
        access_log=None,
        keepalive_timeout=IDLE_LIMIT,
        lingering_time=_LINGER,
        shutdown_timeout=_SHUTDOWN,
    )
    await runner.setup()
    assert runner.server is not None
    try:
        server = await asyncio.get_running_loop().create_server(
            runner.server,
            where.host,
            where.port,
            ssl=context,
            ssl_handshake_timeout=IDLE_LIMIT if context is not None else None,
            backlog=1024,
        )
    except OSError:
        await runner.cleanup()
        raise
    return Listener(runner, server, server.sockets[0].getsockname()[1])


async def sweep_for_ever(listeners: list[Listener]) -> None:
    """Sweep all listeners every few seconds."""
    while True:
        await asyncio.sleep(_SWEEP)
        for listener in listeners:
            listener.sweep()
