"""The publisher's daemon is killed while it packs, signs or registers: the next one finishes, once."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from p2pckpt.control import messages as m
from p2pckpt.control import publish_messages as pm

from ..support.homes import DEADLINE, Home, seeded_bytes, tree, until, write_files
from ..support.tracker_process import TrackerProcess, start_tracker
from .rounds import Rounds, check_objects, seeds

pytestmark = pytest.mark.asyncio(loop_scope="package")
MIB = 1 << 20
_POLL = 0.002
"""Seconds between two looks at files whose coming no event tells of."""

Moment = Callable[[Path, Path], bool]
"""Whether it has come, seen from the publisher's store and the share's directory at the tracker."""


def _objects(count: int) -> Moment:
    """So many objects have their final name."""
    return lambda store, share: sum(path.is_file() for path in (store / "objects").rglob("*")) >= count


def _in_tracker(pattern: str) -> Moment:
    """The tracker has stored such a file."""
    return lambda store, share: any(share.glob(pattern))


MOMENTS: dict[str, Moment] = {
    "the start": lambda store, share: True,
    "packing": lambda store, share: any((store / "packing").iterdir()),
    "1 object": _objects(1),
    "2 objects": _objects(2),
    "described": lambda store, share: any((store / "torrents").glob("*/torrent")),
    "manifest sent": _in_tracker("manifest/*"),
    "torrent sent": _in_tracker("torrent/*"),
    "targets sent": _in_tracker("metadata/2.targets.json"),
    "targets signed": _in_tracker("metadata/2.snapshot.json"),
}


@pytest.fixture(scope="module")
def shared_tracker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrackerProcess]:
    """A tracker of its own for the rounds that need not start one."""
    with start_tracker(tmp_path_factory.mktemp("tracker") / "data") as tracker:
        yield tracker


FEW = (*range(15), 16)
"""Seeds of rounds that together are killed at every moment, with and without a tracker beside."""


@dataclass(frozen=True)
class Plan:
    """What a round does, from its seed."""

    moments: list[str]
    beside: bool
    """Whether its tracker runs beside the daemon."""
    with_tracker: bool
    """Whether that one is killed, too."""

    @classmethod
    def of(cls, seed: int) -> Plan:
        chance = random.Random(seed)
        moments = sorted(chance.sample(list(MOMENTS), 1 + (chance.random() < 0.3)), key=list(MOMENTS).index)
        beside = seed % 3 == 0
        return cls(moments, beside, beside and chance.random() < 0.5)


async def test_the_few_rounds_are_killed_at_every_moment() -> None:
    plans = [Plan.of(seed) for seed in FEW]
    assert {moment for plan in plans for moment in plan.moments} == MOMENTS.keys()
    assert {(plan.beside, plan.with_tracker) for plan in plans} == {(False, False), (True, False), (True, True)}


@seeds(*FEW)
async def test_a_killed_publish_goes_on_by_itself_and_makes_one_version(
    reader: Home, shared_tracker: TrackerProcess, rounds: Rounds, seed: int
) -> None:
    async def killed_publish(seed: int, directory: Path) -> str:
        plan = Plan.of(seed)
        source = write_files(
            directory / "source",
            {"model.bin": seeded_bytes(17 * MIB, seed), "sub/zeros.bin": bytes(2 * MIB), "empty": b""},
        )
        there, name = tree(source), f"killed-{seed}"
        publisher = Home(directory / "publisher", workers=1)
        if not plan.beside:
            publisher.set(tracker=shared_tracker.url)
        data = publisher.config.tracker_dir if plan.beside else shared_tracker.data_dir
        async with publisher:
            job = await publisher.client.publish(
                pm.PublishRequest(path=str(source), name=name, allow_no_licence=True, version_name="step-1")
            )
            for moment in plan.moments:
                await reached(publisher, job.id, MOMENTS[moment], data / "blobs")
                await publisher.kill(tracker=plan.with_tracker and publisher.tracker_pid != 0)
                check_objects(publisher.store)
                await publisher.start()
            done = await publisher.wait_job(job.id, m.JobState.SEEDING)
            assert (done.version, done.version_name, done.size) == (1, "step-1", 19 * MIB)
            (share,) = await publisher.client.shares()
            assert (share.share_id, share.versions) == (done.share_id, 1)
            assert list((publisher.store / "packing").iterdir()) == []
            check_objects(publisher.store)
            await publisher.verify(name)
            if plan.beside:
                await until(publisher.has_tracker, "the tracker runs again")
            await reader.get(done.link, directory / "target")
            assert tree(directory / "target") == there == tree(source)
        return f"killed at {' and '.join(plan.moments)}{' with its tracker' if plan.with_tracker else ''}"

    await rounds.result(seed, killed_publish)


async def reached(home: Home, job_id: str, moment: Moment, blobs: Path) -> None:
    """Return at ``moment``, or when the publish has ended."""
    job = await home.client.job(job_id)

    async def follow() -> None:
        nonlocal job
        async for job in home.job_events(job_id):
            if job.state.ended:
                return

    following = asyncio.create_task(follow())
    try:
        async with asyncio.timeout(DEADLINE):
            while not moment(home.store, blobs / (job.share_id or "unknown")) and not following.done():
                await asyncio.sleep(_POLL)
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
