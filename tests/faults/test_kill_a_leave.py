"""The daemon is killed while it leaves a share: afterwards the share is known here as before, or nothing of it is."""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path

import pytest

from p2pckpt.control import messages as m
from p2pckpt.store.catalogue import Catalogue

from ..support.homes import Home, tree, until
from .rounds import Rounds, check_objects, seeds

pytestmark = pytest.mark.asyncio(loop_scope="package")


@seeds(0, 1, 2)
async def test_a_killed_leave_leaves_nothing_half(
    published: m.Job, checkpoint: Path, rounds: Rounds, seed: int
) -> None:
    async def killed_leave(seed: int, directory: Path) -> str:
        chance, target = random.Random(seed), directory / "target"
        async with Home(directory / "receiver") as receiver:
            await receiver.get(published.link, target)
            leaving = asyncio.ensure_future(receiver.client.leave(published.share_id))
            await asyncio.wait({leaving}, timeout=chance.uniform(0, 0.03))
            await receiver.kill()
            await asyncio.gather(leaving, return_exceptions=True)
            await receiver.start()
            left = not await receiver.client.shares()
            if left:
                assert await receiver.client.jobs() == []

                async def gone() -> bool:
                    # while the daemon deletes: ``walk`` minds no directory that is gone by then
                    walks = (os.walk(receiver.store / name) for name in ("objects", "torrents", "trust"))
                    kept = [file for walk in walks for _, _, files in walk for file in files]
                    return not kept and not _leaving(receiver)

                await until(gone, "what it had is deleted")
            else:
                (job,) = await receiver.client.jobs()
                await receiver.wait_job(job.id)
                check_objects(receiver.store)
                await receiver.verify(str(target), full=True)
                await receiver.client.leave(published.share_id)
            assert tree(target) == tree(checkpoint)
            again = await receiver.get(published.link, directory / "again")
            assert again.state is m.JobState.SEEDING
        return "left" if left else "still there"

    await rounds.result(seed, killed_leave)


def _leaving(home: Home) -> bool:
    catalogue = Catalogue(home.store / "catalogue.db")
    try:
        return bool(catalogue.leaving())
    finally:
        catalogue.close()
