"""The one reader of the daemon's event stream: connect, fold events into the state, flush, reconnect.

Events come in batches, of thousands perhaps; the app hears of each batch once, and at most ten times a second. A lost
daemon is looked for again after a growing pause; only a key press (``wake(start=True)``) or the first attempt starts
one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, aclosing
from typing import Final, cast

from textual.message import Message

from p2pckpt.control.client import ControlClient
from p2pckpt.control.messages import Event, Notice
from p2pckpt.errors import P2pckptError
from p2pckpt.tui.messages import NoticeArrived, StateChanged
from p2pckpt.tui.state import Changes, State

ClientFactory = Callable[[bool], Awaitable[ControlClient]]
"""Gives an entered client; with True a daemon that does not run is started. Raises ``P2pckptError``."""

FLUSH_INTERVAL: Final = 0.1
"""Seconds between two messages about events."""
_GATHER: Final = 0.02
"""Seconds from the first event of a batch to the message about it: the others come meanwhile."""
BACKOFF: Final = (0.5, 1.0, 2.0, 4.0, 5.0)
"""Seconds between attempts to reconnect; the last one repeats."""
_BREATHE: Final = 256
"""Events between two turns of the loop: a stream that never runs dry must not starve the keyboard."""


class Feed:
    """Keeps ``state`` at what the daemon says, and ``client`` at the connection to it."""

    def __init__(
        self,
        factory: ClientFactory,
        post: Callable[[Message], object],
        *,
        start: bool = True,
        backoff: Sequence[float] = BACKOFF,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.state = State()
        self.client: ControlClient | None = None
        """None while there is no connection."""
        self._factory = factory
        self._post = post
        self._start = start
        self._backoff = backoff
        self._now = now
        self._changes = Changes()
        self._timer: asyncio.TimerHandle | None = None
        self._flushed = 0.0
        """On the loop's clock."""
        self._wake = asyncio.Event()

    def wake(self, *, start: bool = False) -> None:
        """Try again at once, and with ``start`` start a daemon if none answers."""
        self._start = self._start or start
        self._wake.set()

    async def run(self) -> None:
        """Read until cancelled."""
        attempt = 0
        try:
            while True:
                self._wake.clear()
                started = self._start
                try:
                    await self._follow()
                except P2pckptError as error:
                    attempt = 0 if self.state.connected else attempt + 1
                    # why it went, or why it would not start, says more than that it is still away
                    if started or self.state.down is None:
                        self.state.lose(error, self._changes)
                pause = self._backoff[min(attempt, len(self._backoff) - 1)]
                self._flush()
                await self._pause(pause)
        finally:
            if self._timer is not None:
                self._timer.cancel()

    async def _follow(self) -> None:
        start, self._start = self._start, False
        client = await self._factory(start)
        async with AsyncExitStack() as stack:
            stack.push_async_exit(client.__aexit__)
            self.client = client
            stack.callback(self._forget_client)
            stream = cast("AsyncGenerator[Event, None]", client.events())
            events = await stack.enter_async_context(aclosing(stream))
            count = 0
            async for event in events:
                if isinstance(event, Notice):
                    self._post(NoticeArrived(event))
                    continue
                first = not self.state.connected
                self.state.apply(event, self._changes, self._now())
                if first:
                    self._flush()
                else:
                    self._flush_soon()
                count += 1
                if count % _BREATHE == 0:
                    await asyncio.sleep(0)

    def _forget_client(self) -> None:
        self.client = None

    async def _pause(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._wake.wait(), seconds)
        except TimeoutError:
            return

    def _flush_soon(self) -> None:
        if self._timer is None:
            loop = asyncio.get_running_loop()
            due = max(loop.time() + _GATHER, self._flushed + FLUSH_INTERVAL)
            self._timer = loop.call_at(due, self._flush)

    def _flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._flushed = asyncio.get_running_loop().time()
        changes, self._changes = self._changes, Changes()
        self._post(StateChanged(changes))
