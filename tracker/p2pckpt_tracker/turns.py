"""One change of a share at a time, whoever makes it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from weakref import WeakValueDictionary


class Turns:
    """Lives on the event loop."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @contextlib.asynccontextmanager
    async def of(self, share_id: str) -> AsyncIterator[None]:
        """Nobody else changes the share's files until this ends."""
        lock = self._locks.setdefault(share_id, asyncio.Lock())
        async with lock:
            yield
