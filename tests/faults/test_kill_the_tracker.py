"""The tracker is killed while others fetch: transfers go on without it, and the daemon starts it again."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from p2pckpt.control import messages as m

from ..support.homes import Home, seeded_bytes, tree, until, write_files
from .rounds import Rounds, has_moved, seeds

pytestmark = pytest.mark.asyncio(loop_scope="package")
MIB = 1 << 20


@seeds(*range(5))
async def test_a_fetch_outlives_its_tracker_which_comes_back_where_it_was(
    reader: Home, rounds: Rounds, seed: int
) -> None:
    async def killed_tracker(seed: int, directory: Path) -> str:
        chance = random.Random(seed)
        source = write_files(directory / "source", {"model.bin": seeded_bytes(10 * MIB, seed)})
        async with (
            Home(directory / "publisher") as publisher,
            Home(directory / "receiver", download_limit=12 * MIB) as receiver,
        ):
            published = await publisher.share(source, name=f"tracked-{seed}")
            port = publisher.tracker_ready["api_port"]
            job = await receiver.client.fetch(m.FetchRequest(source=published.link, to=str(directory / "target")))
            fraction = max(0.0, chance.uniform(-0.2, 0.9))
            await receiver.wait_until(job.id, has_moved(fraction))
            with_daemon = chance.random() < 0.3
            if with_daemon:
                await publisher.kill(tracker=True)
                await publisher.start()
            else:
                await publisher.kill_tracker()
            await receiver.wait_job(job.id)
            assert tree(directory / "target") == tree(source)
            await until(publisher.has_tracker, "the tracker is back")
            assert publisher.tracker_ready["api_port"] == port
            await reader.get(published.link, directory / "reader")
            assert tree(directory / "reader") == tree(source)
        return f"killed at {fraction:.2f}{' with its daemon' if with_daemon else ''}"

    await rounds.result(seed, killed_tracker)
