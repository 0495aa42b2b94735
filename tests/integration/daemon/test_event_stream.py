"""Front ends of one daemon stay in step: what each folds from its events is what the daemon has, whatever happens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from p2pckpt.control import messages as m
from p2pckpt.control.client import ControlClient
from p2pckpt.tui.feed import Feed

from ...support.homes import Home, until, write_files

pytestmark = pytest.mark.asyncio(loop_scope="package")


@asynccontextmanager
async def reader(home: Home) -> AsyncIterator[Feed]:
    """The terminal UI's own reader, without a screen."""

    async def connect(start: bool) -> ControlClient:
        client = await ControlClient(home.config.socket_path).__aenter__()
        await client.status()
        return client

    feed = Feed(connect, lambda message: None, start=False, backoff=(0.05,))
    task = asyncio.create_task(feed.run())
    try:
        yield feed
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def in_step(home: Home, *feeds: Feed) -> None:
    """Wait until every reader has exactly the daemon's rows, in its order."""

    async def same() -> bool:
        jobs, shares = await home.client.jobs(), await home.client.shares()
        return all(
            feed.state.connected
            and list(feed.state.jobs.values()) == jobs
            and {row: share.name for row, share in feed.state.shares.items()}
            == {share.share_id: share.name for share in shares}
            for feed in feeds
        )

    await until(same, "the readers have what the daemon has")


async def test_readers_stay_in_step_with_the_daemon_and_find_the_next_one(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        home = await stack.enter_async_context(Home(tmp_path / "home"))
        early = await stack.enter_async_context(reader(home))
        source = write_files(tmp_path / "model", {"weights.bin": b"w" * 300_000})
        published = await home.share(source, name="cars/in-step")
        late = await stack.enter_async_context(reader(home))
        await in_step(home, early, late)

        verifies = await asyncio.gather(*(home.verify("cars/in-step@v1") for _ in range(8)))
        await asyncio.gather(*(home.client.remove(job.id) for job in verifies[::2]))
        await home.client.pause(published.id)
        await in_step(home, early, late)
        assert early.state.jobs[published.id].state is m.JobState.PAUSED
        assert len(early.state.jobs) == 5

        await home.stop()
        await until(lambda: _lost(early, late), "both have noticed")
        assert len(early.state.jobs) == 5, "the lists stay"
        await home.start()
        await home.client.remove(verifies[1].id)
        await in_step(home, early, late)
        assert early.state.jobs == late.state.jobs
        assert len(late.state.jobs) == 4


async def _lost(*feeds: Feed) -> bool:
    return all(feed.state.down is not None for feed in feeds)
