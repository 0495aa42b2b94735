"""No space, and nobody who has the pieces: what arrived is kept, and the work goes on once it can."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from p2pckpt.control import messages as m

from ...support.homes import Home, failure, seeded_bytes, small_disk, tree, write_files
from .halves import HALF, half_seeded

pytestmark = pytest.mark.asyncio(loop_scope="package")
MIB = 1 << 20


class Ballast:
    """A file that takes all the space there is left."""

    def __init__(self, disk: Path) -> None:
        self._path = disk / "ballast"

    def fill(self) -> None:
        with self._path.open("ab", buffering=0) as file:
            for step in (MIB, 4096, 1):
                try:
                    while True:
                        file.write(bytes(step))
                except OSError as exc:
                    assert exc.errno == errno.ENOSPC

    def drop(self) -> None:
        self._path.unlink()


async def test_a_fetch_that_does_not_fit_is_refused_before_anything_is_written(alice: Home, tmp_path: Path) -> None:
    source = write_files(tmp_path / "source", {"model.bin": seeded_bytes(12 * MIB, 1)})
    published = await alice.share(source, name="too/large")
    with small_disk(tmp_path / "disk", 10 * MIB) as disk:
        async with Home(tmp_path / "dave") as dave:
            done = await dave.cli("get", published.link, "--to", disk / "target")
            assert done.returncode == 10, done.stderr
            assert list(disk.iterdir()) == []
            (job,) = await dave.client.jobs()
            assert job.failure is not None
            assert (job.failure.code, job.wire_done) == ("no_space", 0)
            preview = await dave.client.fetch_plan(m.FetchRequest(source=published.link, to=str(disk / "target")))
            assert preview.disk_needed > preview.disk_free


Place = Callable[[Path, Path], tuple[Path, Path, dict[str, Any]]]
"""Base directory and disk → home, target, settings."""
PLACES: dict[str, Place] = {
    "target": lambda base, disk: (base / "dave", disk / "target", {}),
    "store": lambda base, disk: (base / "dave", base / "target", {"store": disk / "store"}),
    "everything": lambda base, disk: (disk / "dave", disk / "target", {}),
}


@pytest.mark.parametrize("place", PLACES)
async def test_a_disk_that_fills_up_stops_a_fetch_which_goes_on_once_there_is_space(
    alice: Home, bob: Home, tmp_path: Path, place: str
) -> None:
    half = await half_seeded(alice, bob, tmp_path, f"full/{place}")
    with small_disk(tmp_path / "disk", 48 * MIB) as disk:
        home, target, settings = PLACES[place](tmp_path, disk)
        ballast = Ballast(disk)
        async with Home(home, **settings) as dave:
            job = await half.caught(dave, target)
            ballast.fill()
            await half.seed_the_rest()
            error = await failure(dave.wait_job(job.id))
            assert (error.code, error.exit_code) == ("no_space", 10), error.fact
            assert error.kept.startswith("everything ")
            assert error.next_step
            assert (await dave.cli("watch", job.id)).returncode == 10
            assert not target.exists()
            assert (await dave.client.status()).jobs == 1
            ballast.drop()
            await dave.client.resume(job.id)
            done = await dave.wait_job(job.id)
            assert done.wire_size < half.job.wire_size
            assert tree(target) == tree(half.source)
            await dave.verify(str(target), full=True)


async def test_a_publish_on_a_full_disk_fails_and_succeeds_once_there_is_space(bob: Home, tmp_path: Path) -> None:
    source = write_files(tmp_path / "source", {"model.bin": seeded_bytes(24 * MIB, 3)})
    with small_disk(tmp_path / "disk", 40 * MIB) as disk:
        ballast = write_files(disk, {"ballast": bytes(20 * MIB)}) / "ballast"
        async with Home(tmp_path / "erin", store=disk / "store") as erin:
            error = await failure(erin.share(source, name="no/room"))
            assert (error.code, error.exit_code) == ("no_space", 10), error.fact
            assert (await erin.cli("share", source, "--name", "no/room", "--allow-no-licence")).returncode == 10
            assert not [path for path in (disk / "store" / "packing").iterdir() if path.is_file()]
            ballast.unlink()
            published = await erin.share(source, name="no/room")
            assert published.version == 1
            await bob.get(published.link, tmp_path / "target")
    assert tree(tmp_path / "target") == tree(source)


async def test_a_fetch_without_seeds_waits_and_goes_on_when_one_returns(
    alice: Home, bob: Home, carol: Home, tmp_path: Path
) -> None:
    half = await half_seeded(alice, bob, tmp_path, "seedless")
    (partial,) = [job for job in await bob.client.jobs() if job.share == "seedless"]
    await bob.client.pause(partial.id)
    gave_up = await carol.cli("get", half.job.link, "--to", tmp_path / "target", "--patience", "1s")
    assert gave_up.returncode == 9, gave_up.stderr
    (job,) = [job for job in await carol.client.jobs() if job.share == "seedless"]
    assert (job.state, job.phase, job.seeds) == (m.JobState.RUNNING, m.Phase.CONNECTING, 0)
    await bob.client.resume(partial.id)
    await carol.wait_until(job.id, lambda job: job.wire_done >= HALF)
    # the only one who had something leaves in the middle, and another one comes
    await bob.client.pause(partial.id)
    await carol.wait_until(job.id, lambda job: job.phase is m.Phase.CONNECTING)
    await half.seed_the_rest()
    await carol.wait_job(job.id)
    assert tree(tmp_path / "target") == tree(half.source)


async def test_several_partial_seeds_together_are_enough(alice: Home, bob: Home, carol: Home, tmp_path: Path) -> None:
    source = write_files(
        tmp_path / "source", {"one.bin": seeded_bytes(17 * MIB, 5), "two.bin": seeded_bytes(17 * MIB, 6)}
    )
    published = await alice.share(source, name="halves")
    await bob.get(published.link, tmp_path / "bob", only=("one.bin",))
    await carol.get(published.link, tmp_path / "carol", only=("two.bin",))
    async with Home(tmp_path / "dave") as dave:
        await dave.client.fetch_plan(m.FetchRequest(source=published.link, to=str(tmp_path / "dave's")))
        await alice.client.pause(published.id)
        await dave.get("halves", tmp_path / "dave's")
    assert tree(tmp_path / "dave's") == tree(source)
