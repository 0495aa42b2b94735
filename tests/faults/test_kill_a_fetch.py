"""The receiver's daemon is killed in the middle: the next one goes on with what the journal has."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from p2pckpt.control import messages as m

from ..support.homes import Home, seeded_bytes, tree, write_files
from .rounds import Rounds, check_objects, has_moved, is_under_way, seeds, stored_objects

pytestmark = pytest.mark.asyncio(loop_scope="package")
MIB = 1 << 20
LIMIT = 16 * MIB
"""Bytes a second that the receiver takes, so that a kill lands in the middle."""
LOSS = 32 * MIB + 8 * MIB
"""Bytes that may have to be fetched again: the engine's write queue, and pieces on their way."""


@seeds(*range(15))
async def test_a_killed_fetch_goes_on_from_its_journal(
    published: m.Job, checkpoint: Path, rounds: Rounds, seed: int
) -> None:
    async def killed_fetch(seed: int, directory: Path) -> str:
        chance = random.Random(seed)
        target = directory / "target"
        conflicts = seed % 3 == 1
        if conflicts:  # one file is there already, one has to make way
            target.mkdir()
            shutil.copy(checkpoint / "optimizer.bin", target)
            write_files(target, {"zeros.bin": b"mine"})
        notes = []
        async with Home(directory / "receiver", download_limit=LIMIT) as receiver:
            job = await receiver.client.fetch(m.FetchRequest(source=published.link, to=str(target)))
            job = await receiver.wait_until(job.id, is_under_way)
            total, kept = job.wire_size, 0
            for _ in range(1 + (chance.random() < 0.3)):
                fraction = min(1.0, max(0.0, chance.uniform(-0.1, 1.1)))
                job = await receiver.wait_until(job.id, has_moved(fraction))
                if job.state.ended:
                    break
                arrived = kept + job.wire_done
                await receiver.kill()
                check_objects(receiver.store)
                journalled = sum(stored.journalled for stored in stored_objects(receiver.store).values())
                await receiver.start()
                job = await receiver.wait_until(job.id, is_under_way)
                if job.state.ended:  # it had ended when it was killed, or needed no swarm any more
                    break
                assert job.wire_size <= total - journalled
                kept = total - job.wire_size
                assert arrived - kept <= LOSS
                notes.append(
                    f"killed at {fraction:.2f}: {arrived} of {total} arrived, {journalled} noted, {kept} kept;"
                )
            done = await receiver.wait_job(job.id)
            assert done.wire_done == done.wire_size
            assert tree(target, leave_out=(".p2pckpt-replaced",)) == tree(checkpoint)
            if conflicts:
                (aside,) = (target / ".p2pckpt-replaced").iterdir()
                assert (aside / "zeros.bin").read_bytes() == b"mine"
            check_objects(receiver.store)
        assert not list(directory.glob(".*partial"))
        return " ".join(notes)

    await rounds.result(seed, killed_fetch)


async def test_at_full_speed_a_kill_costs_no_more_than_the_write_queue(publisher: Home, tmp_path: Path) -> None:
    source = write_files(tmp_path / "source", {"model.bin": seeded_bytes(96 * MIB, 7)})
    published = await publisher.share(source, name="fast")
    async with Home(tmp_path / "receiver") as receiver:
        job = await receiver.client.fetch(m.FetchRequest(source=published.link, to=str(tmp_path / "target")))
        job = await receiver.wait_until(job.id, has_moved(0.6))
        total, arrived = job.wire_size, job.wire_done
        await receiver.kill()
        await receiver.start()
        job = await receiver.wait_until(job.id, is_under_way)
        assert arrived - (total - job.wire_size) <= LOSS
        await receiver.wait_job(job.id)
    assert tree(tmp_path / "target") == tree(source)
