"""Events to front ends: a snapshot first, then what changed, coalesced. A reader that can't keep up is let go."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from typing import Final

from p2pckpt.control.messages import Event

_BACKLOG: Final = 20_000
"""Events a reader may be behind."""


class Feed:
    """Fans events out to any number of readers."""

    def __init__(self) -> None:
        self._readers: set[asyncio.Queue[Event | None]] = set()

    def send(self, event: Event) -> None:
        for queue in tuple(self._readers):
            try:
                queue.put_nowait(event)
            except asyncio.QueueFull:
                self._readers.discard(queue)  # it will see the stream end, reconnect, and get a snapshot

    async def follow(self, first: Awaitable[Event]) -> AsyncIterator[Event]:
        """``first``, then everything sent from now on, also while ``first`` was being made; until ``close``."""
        queue: asyncio.Queue[Event | None] = asyncio.Queue(_BACKLOG)
        self._readers.add(queue)
        try:
            yield await first
            while queue in self._readers or not queue.empty():
                event = await queue.get()
                if event is None:
                    return
                yield event
        finally:
            self._readers.discard(queue)

    def close(self) -> None:
        """End every reader's stream."""
        for queue in tuple(self._readers):
            self._readers.discard(queue)
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(None)
