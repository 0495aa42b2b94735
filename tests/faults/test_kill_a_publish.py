"""The publisher's daemon is killed while it packs, signs or registers: the next one finishes, once."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from p2pckpt.control import messages as m

from ..support.homes import DEADLINE, Home, seeded_bytes, tree, write_files
from .rounds import Rounds, check_objects, seeds

pytestmark = pytest.mark.asyncio(loop_scope="package")
MIB = 1 << 20
_POLL = 0.002
"""Seconds between two looks at files whose coming no event tells of."""

Moment = Callable[[Home], bool]


def _objects(count: int) -> Moment:
    """So many objects have their final name."""
    return lambda home: sum(path.is_file() for path in (home.store / "objects").rglob("*")) >= count


def _in_tracker(pattern: str) -> Moment:
    """The tracker has stored such a file."""
    return lambda home: any((home.config.tracker_dir / "blobs").glob(pattern))


def _packing(home: Home) -> bool:
    return any((home.store / "packing").iterdir())


def _described(home: Home) -> bool:
    return any((home.store / "torrents").glob("*/torrent"))


MOMENTS: dict[str, Moment] = {
    "at once": lambda home: True,
    "packing": _packing,
    "1 object": _objects(1),
    "2 objects": _objects(2),
    "described": _described,
    "manifest sent": _in_tracker("*/manifest/*"),
    "torrent sent": _in_tracker("*/torrent/*"),
    "targets sent": _in_tracker("*/metadata/2.targets.json"),
    "targets signed": _in_tracker("*/metadata/2.snapshot.json"),
}


@seeds()
async def test_a_killed_publish_goes_on_by_itself_and_makes_one_version(
    reader: Home, tmp_path: Path, rounds: Rounds, seed: int
) -> None:
    async def killed_publish(seed: int, directory: Path) -> str:
        chance = random.Random(seed)
        source = write_files(
            directory / "source",
            {"model.bin": seeded_bytes(17 * MIB, seed), "sub/zeros.bin": bytes(2 * MIB), "empty": b""},
        )
        there, name = tree(source), f"killed-{seed}"
        moments = chance.sample(list(MOMENTS), chance.randint(1, 2))
        both = chance.random() < 0.3
        async with Home(directory / "publisher", workers=1) as publisher:
            job = await publisher.client.publish(
                m.PublishRequest(path=str(source), name=name, allow_no_licence=True, version_name="step-1")
            )
            for moment in sorted(moments, key=list(MOMENTS).index):
                await reached(publisher, job.id, MOMENTS[moment])
                await publisher.kill(tracker=both and publisher.tracker_pid != 0)
                check_objects(publisher.store)
                await publisher.start()
            done = await publisher.wait_job(job.id, m.JobState.SEEDING)
            assert (done.version, done.version_name, done.size) == (1, "step-1", 19 * MIB)
            (share,) = await publisher.client.shares()
            assert (share.share_id, share.versions) == (done.share_id, 1)
            assert list((publisher.store / "packing").iterdir()) == []
            check_objects(publisher.store)
            await publisher.verify(name, full=True)
            await reader.get(done.link, directory / "target")
            assert tree(directory / "target") == there == tree(source)
        return f"killed at {' and '.join(moments)}{' with its tracker' if both else ''}"

    await rounds.result(seed, killed_publish)


async def reached(home: Home, job_id: str, moment: Moment) -> None:
    """Return at ``moment``, or when the publish has ended."""
    ended = asyncio.create_task(home.wait_job(job_id, m.JobState.SEEDING))
    try:
        async with asyncio.timeout(DEADLINE):
            while not moment(home) and not ended.done():
                await asyncio.sleep(_POLL)
    finally:
        ended.cancel()
        await asyncio.gather(ended, return_exceptions=True)
