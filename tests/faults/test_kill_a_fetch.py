"""The receiver's daemon is killed in the middle: the next one goes on with what the journal has."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from p2pckpt.control import messages as m

from ..support.homes import Home, seeded_bytes, tree, write_files
from .rounds import check_objects, is_under_way, seeds, stored_objects

pytestmark = pytest.mark.asyncio(loop_scope="package")
MIB = 1 << 20
LIMIT = 16 * MIB
"""Bytes a second that the receiver takes, so that a kill lands in the middle."""
LOSS = 32 * MIB + 8 * MIB
"""Bytes that may have to be fetched again: the engine's write queue, and pieces on their way."""


@seeds
async def test_a_killed_fetch_goes_on_from_its_journal(
    publisher: Home, published: m.Job, checkpoint: Path, tmp_path: Path, seed: int, record: Callable[[str], None]
) -> None:
    chance = random.Random(seed)
    target = tmp_path / "target"
    if seed % 3 == 1:  # one file is there already, one has to make way
        target.mkdir()
        shutil.copy(checkpoint / "optimizer.bin", target)
        write_files(target, {"zeros.bin": b"mine"})
    notes = []
    async with Home(tmp_path / "receiver", download_limit=LIMIT) as receiver:
        job = await receiver.client.fetch(m.FetchRequest(source=published.link, to=str(target)))
        job = await receiver.wait_until(job.id, is_under_way)
        total, before = job.wire_size, 0
        for _ in range(chance.randint(1, 2)):
            fraction = min(1.0, max(0.0, chance.uniform(-0.1, 1.1)))
            reached = fraction * job.wire_size
            job = await receiver.wait_until(
                job.id, lambda job, reached=reached: is_under_way(job) and job.wire_done >= reached
            )
            arrived = before + job.wire_done
            await receiver.kill()
            check_objects(receiver.store)
            before = sum(stored.journalled for stored in stored_objects(receiver.store).values())
            await receiver.start()
            job = await receiver.wait_until(job.id, is_under_way)
            assert job.wire_size <= total - before
            assert arrived - (total - job.wire_size) <= LOSS
            before = total - job.wire_size
            notes.append(f"killed at {fraction:.2f} with {arrived} of {total} arrived and {before} kept;")
        done = await receiver.wait_job(job.id)
        assert done.wire_done == done.wire_size
        assert tree(target, leave_out=(".p2pckpt-replaced",)) == tree(checkpoint)
        if seed % 3 == 1:
            (aside,) = (target / ".p2pckpt-replaced").iterdir()
            assert (aside / "zeros.bin").read_bytes() == b"mine"
        await receiver.verify(str(target), full=True)
        check_objects(receiver.store)
    assert not list(tmp_path.glob(".*partial"))
    record(" ".join(notes))


async def test_at_full_speed_a_kill_costs_no_more_than_the_write_queue(
    publisher: Home, tmp_path: Path, record: Callable[[str], None]
) -> None:
    source = write_files(tmp_path / "source", {"model.bin": seeded_bytes(96 * MIB, 7)})
    published = await publisher.share(source, name="fast")
    async with Home(tmp_path / "receiver") as receiver:
        job = await receiver.client.fetch(m.FetchRequest(source=published.link, to=str(tmp_path / "target")))
        job = await receiver.wait_until(job.id, lambda job: is_under_way(job) and job.wire_done >= 0.6 * job.wire_size)
        total, arrived = job.wire_size, job.wire_done
        await receiver.kill()
        await receiver.start()
        job = await receiver.wait_until(job.id, is_under_way)
        kept = total - job.wire_size
        record(f"{arrived} of {total} arrived, {kept} kept")
        assert arrived - kept <= LOSS
        await receiver.wait_job(job.id)
    assert tree(tmp_path / "target") == tree(source)
