"""First bytes that come in time, too late, or never."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator

import pytest
import pytest_asyncio

from p2pckpt.bridges.hub_gateway.beginnings import Beginnings
from p2pckpt.errors import NoSeeds, UnsafeContent

AT_ONCE, LONG = 0.01, 60.0
DEADLINE = 30.0


class Slow:
    """Three pieces, the first of which waits to be let go."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.given = asyncio.Event()
        self.closed = asyncio.Event()

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        try:
            await self.go.wait()
            self.given.set()
            for piece in (b"a", b"b", b"c"):
                yield piece
        finally:
            self.closed.set()


@pytest_asyncio.fixture
async def slow() -> AsyncIterator[Slow]:
    async with asyncio.timeout(DEADLINE):
        yield Slow()


async def test_what_comes_in_time_is_handed_on_from_its_first_piece(slow: Slow) -> None:
    slow.go.set()
    async with Beginnings(LONG, linger=LONG).begun(slow.pieces(), "x") as reading:
        assert [piece async for piece in reading] == [b"a", b"b", b"c"]
    assert slow.closed.is_set()


async def test_what_is_read_half_is_closed(slow: Slow) -> None:
    slow.go.set()
    async with Beginnings(LONG, linger=LONG).begun(slow.pieces(), "x") as reading:
        assert await anext(reading) == b"a"
    assert slow.closed.is_set()


async def test_what_takes_too_long_is_fetched_on_for_who_comes_back(slow: Slow) -> None:
    beginnings = Beginnings(AT_ONCE, linger=LONG)
    with pytest.raises(NoSeeds):
        async with beginnings.begun(slow.pieces(), "x"):
            pass
    assert not slow.closed.is_set()
    slow.go.set()
    await slow.given.wait()
    await slow.closed.wait()


async def test_it_is_fetched_on_for_a_while_and_once(slow: Slow) -> None:
    beginnings = Beginnings(AT_ONCE, linger=LONG)
    again = Slow()
    for each in (slow, again):
        with pytest.raises(NoSeeds):
            async with beginnings.begun(each.pieces(), "x"):
                pass
    await again.closed.wait()
    assert not slow.closed.is_set()
    await beginnings.close()
    assert slow.closed.is_set()
    with pytest.raises(NoSeeds):
        async with Beginnings(AT_ONCE, linger=AT_ONCE).begun((brief := Slow()).pieces(), "x"):
            pass
    await brief.closed.wait()


async def test_what_fails_before_the_first_piece_is_raised() -> None:
    async def fails() -> AsyncGenerator[bytes, None]:
        raise UnsafeContent("no")
        yield b""

    with pytest.raises(UnsafeContent):
        async with Beginnings(LONG, linger=LONG).begun(fails(), "x"):
            pass


async def test_whoever_leaves_while_waiting_has_nothing_fetched_on(slow: Slow) -> None:
    async def wait() -> None:
        async with Beginnings(LONG, linger=LONG).begun(slow.pieces(), "x"):
            pass

    waiting = asyncio.ensure_future(wait())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    waiting.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await waiting
    assert slow.closed.is_set()
