"""The first bytes of a file: waited for as long as a client waits, and fetched on while it is told to come back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Hashable
from contextlib import aclosing, asynccontextmanager
from typing import Final

from p2pckpt.errors import NoSeeds

_MOST: Final = 16
"""Beginnings that are fetched on for clients who were told to come back: fewer than may be read at once, and each may
keep a version open."""


class Beginnings:
    """``patience`` is how long a first byte may take, ``linger`` how long it is fetched on after that, in seconds."""

    def __init__(self, patience: float, *, linger: float) -> None:
        self._patience = patience
        self._linger = linger
        self._lingering: dict[Hashable, asyncio.Task[None]] = {}

    @asynccontextmanager
    async def begun(
        self, pieces: AsyncGenerator[bytes, None], name: Hashable
    ) -> AsyncIterator[AsyncGenerator[bytes, None]]:
        """``pieces``, once the first of them is here.

        Raises what they raise before it, and ``NoSeeds`` when it takes too long: because nobody has it, or since a
        chunk is verified before any of it is handed out, which over a slow line takes longer than a client waits.
        """
        first = asyncio.ensure_future(anext(pieces, b""))
        try:
            done, _ = await asyncio.wait({first}, timeout=self._patience)
        except asyncio.CancelledError:
            await _give_up(pieces, first)
            raise
        if not done:
            self._fetch_on(pieces, first, name)
            raise NoSeeds(
                f"no peer gave what is needed within {self._patience:g} s",
                kept="what arrived before",
                next_step="try again, or ask the publisher to seed",
            )
        async with aclosing(pieces), aclosing(_chained(first.result(), pieces)) as reading:
            yield reading

    async def close(self) -> None:
        for task in self._lingering.values():
            task.cancel()
        await asyncio.gather(*self._lingering.values(), return_exceptions=True)

    def _fetch_on(self, pieces: AsyncGenerator[bytes, None], first: asyncio.Task[bytes], name: Hashable) -> None:
        linger = 0.0 if name in self._lingering or len(self._lingering) >= _MOST else self._linger
        key = name if linger else first
        self._lingering[key] = task = asyncio.ensure_future(self._wait_on(pieces, first, linger))
        task.add_done_callback(lambda _: self._lingering.pop(key, None))

    async def _wait_on(self, pieces: AsyncGenerator[bytes, None], first: asyncio.Task[bytes], linger: float) -> None:
        try:
            await asyncio.wait({first}, timeout=linger)
        finally:
            await _give_up(pieces, first)


async def _give_up(pieces: AsyncGenerator[bytes, None], first: asyncio.Task[bytes]) -> None:
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    await pieces.aclose()


async def _chained(first: bytes, rest: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    yield first
    async for piece in rest:
        yield piece
