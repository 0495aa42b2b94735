"""Pausing, resuming and removing jobs: what was received is kept, what others need is not deleted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from p2pckpt.control import messages as m

from ...support.homes import Home, failure, seeded_bytes, tree, until, write_files

pytestmark = pytest.mark.asyncio(loop_scope="package")
MIB = 1 << 20
SLOW = 6 * MIB
"""Bytes a second: slow enough that a fetch of 16 MiB can be caught on its way."""


def objects(home: Home) -> dict[str, int]:
    """Files of the store's objects with their sizes."""
    return {path.name: path.stat().st_size for path in (home.store / "objects").rglob("*") if path.is_file()}


async def caught(home: Home, link: str, target: Path, at: int = 5 * MIB) -> m.Job:
    """A fetch of which ``at`` bytes have arrived."""
    job = await home.client.fetch(m.FetchRequest(source=link, to=str(target)))
    return await home.wait_until(job.id, lambda job: job.wire_done >= at)


async def test_a_paused_fetch_keeps_what_it_has_and_goes_on_when_resumed(alice: Home, tmp_path: Path) -> None:
    source = write_files(tmp_path / "source", {"model.bin": seeded_bytes(16 * MIB, 1)})
    published = await alice.share(source, name="paused")
    async with Home(tmp_path / "dave", download_limit=SLOW) as dave:
        job = await caught(dave, published.link, tmp_path / "target")
        paused = await dave.cli("pause", job.id)
        assert paused.returncode == 0, paused.stderr
        job = await dave.client.job(job.id)
        assert (job.state, job.rate_down, job.peers) == (m.JobState.PAUSED, 0, 0)
        assert not (tmp_path / "target").exists()
        await dave.client.pause(job.id)
        await dave.client.resume(job.id)
        done = await dave.wait_job(job.id)
        assert done.wire_size < published.wire_size
        assert done.wire_done == done.wire_size
    assert tree(tmp_path / "target") == tree(source)


def _delete(path: Path) -> None:
    path.unlink()


def _edit(path: Path) -> None:
    path.write_bytes(b"an afterthought")


@pytest.mark.parametrize("spoil", [_delete, _edit])
async def test_files_that_were_in_place_may_go_while_a_fetch_is_paused(
    alice: Home, tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    files = {"a.bin": seeded_bytes(3 * MIB, 21), "b.bin": seeded_bytes(16 * MIB, 22), "c.bin": seeded_bytes(MIB, 23)}
    source = write_files(tmp_path / "source", files)
    published = await alice.share(source, name=f"gone{spoil.__name__}")
    target = write_files(tmp_path / "target", {"a.bin": files["a.bin"]})
    async with Home(tmp_path / "dave", download_limit=SLOW) as dave:
        job = await caught(dave, published.link, target, at=8 * MIB)
        await dave.wait_until(job.id, lambda job: job.done > 6 * MIB)
        await dave.client.pause(job.id)
        spoil(target / "a.bin")
        await dave.client.resume(job.id)
        await dave.wait_job(job.id)
        assert tree(target, leave_out=(".p2pckpt-replaced",)) == tree(source)


async def test_files_may_be_put_in_place_while_a_fetch_is_paused(alice: Home, tmp_path: Path) -> None:
    files = {"a.bin": seeded_bytes(3 * MIB, 31), "b.bin": seeded_bytes(16 * MIB, 32), "c.bin": seeded_bytes(MIB, 33)}
    source = write_files(tmp_path / "source", files)
    published = await alice.share(source, name="put/there")
    target = tmp_path / "target"
    async with Home(tmp_path / "dave", download_limit=SLOW) as dave:
        job = await caught(dave, published.link, target, at=8 * MIB)
        await dave.wait_until(job.id, lambda job: job.done > 6 * MIB)
        await dave.client.pause(job.id)
        write_files(target, {"a.bin": files["a.bin"]})
        await dave.client.resume(job.id)
        await dave.wait_job(job.id)
        assert tree(target) == tree(source)


async def test_a_paused_seed_offers_nothing_until_it_is_resumed(alice: Home, bob: Home, tmp_path: Path) -> None:
    source = write_files(tmp_path / "source", {"model.bin": seeded_bytes(MIB, 2)})
    published = await alice.share(source, name="paused/seed")
    assert (await alice.client.pause(published.id)).state is m.JobState.PAUSED
    job = await bob.client.fetch(m.FetchRequest(source=published.link, to=str(tmp_path / "target")))
    await bob.wait_until(job.id, lambda job: job.phase is m.Phase.CONNECTING)
    assert (await alice.client.resume(published.id)).state is m.JobState.SEEDING
    assert (await bob.wait_job(job.id)).wire_done > 0


async def test_a_removed_job_leaves_its_checkout_and_with_data_takes_its_objects(
    alice: Home, carol: Home, tmp_path: Path
) -> None:
    source = write_files(tmp_path / "source", {"model.bin": seeded_bytes(3 * MIB, 3)})
    published = await alice.share(source, name="removed")
    before = objects(carol)
    kept = await carol.get(published.link, tmp_path / "target")
    added = objects(carol).keys() - before.keys()
    assert added
    await carol.client.remove(kept.id)
    assert (await failure(carol.client.job(kept.id))).exit_code == 5
    assert added <= objects(carol).keys()
    again = await carol.get("removed", tmp_path / "target")
    assert again.wire_size == 0
    removed = await carol.cli("rm", again.id, "--data", "-y")
    assert removed.returncode == 0, removed.stderr
    assert objects(carol) == before
    assert tree(tmp_path / "target") == tree(source)
    refetched = await carol.get("removed", tmp_path / "target 2")
    assert refetched.wire_size > 3 * MIB
    assert tree(tmp_path / "target 2") == tree(source)


async def test_removing_one_version_with_data_keeps_what_another_one_needs(
    alice: Home, carol: Home, tmp_path: Path
) -> None:
    source = write_files(tmp_path / "source", {"a.bin": seeded_bytes(18 * MIB, 4), "b.bin": seeded_bytes(MIB, 5)})
    published = await alice.share(source, name="two")
    before = objects(carol)
    first = await carol.get(published.link, tmp_path / "v1")
    (source / "b.bin").write_bytes(seeded_bytes(MIB, 6))
    await alice.share(source, name="two")
    second = await carol.get("two", tmp_path / "v2")
    held = sum(objects(carol).values())
    await carol.client.remove(first.id, data=True)
    assert sum(objects(carol).values()) <= held
    await carol.verify("two@2", full=True)
    assert tree(tmp_path / "v2") == tree(source)
    rows = {row.version: row.held for row in (await carol.client.share_detail("two")).versions}
    assert rows == {1: False, 2: True}
    await carol.client.remove(second.id, data=True)
    assert objects(carol) == before


async def test_removing_a_publish_with_data_leaves_the_published_directory(alice: Home, tmp_path: Path) -> None:
    source = write_files(tmp_path / "source", {"model.bin": seeded_bytes(2 * MIB, 7)})
    before, there = objects(alice), tree(source)
    published = await alice.share(source, name="unpublished")
    await alice.client.remove(published.id, data=True)
    assert objects(alice) == before
    assert tree(source) == there


async def test_an_unfinished_fetch_that_is_removed_with_data_leaves_nothing(alice: Home, tmp_path: Path) -> None:
    source = write_files(tmp_path / "source", {"model.bin": seeded_bytes(16 * MIB, 8)})
    published = await alice.share(source, name="unfinished")
    async with Home(tmp_path / "dave", download_limit=SLOW) as dave:
        job = await caught(dave, published.link, tmp_path / "out" / "target", at=9 * MIB)
        await dave.client.remove(job.id, data=True)
        assert list((tmp_path / "out").iterdir()) == []
        assert objects(dave) == {}


async def test_an_unfinished_fetch_that_is_removed_goes_on_when_it_is_asked_for_again(
    alice: Home, tmp_path: Path
) -> None:
    source = write_files(tmp_path / "source", {"model.bin": seeded_bytes(16 * MIB, 9)})
    published = await alice.share(source, name="forgotten")
    async with Home(tmp_path / "dave", download_limit=SLOW) as dave:
        job = await caught(dave, published.link, tmp_path / "target", at=9 * MIB)
        await dave.client.remove(job.id)
        assert await dave.client.jobs() == []
        again = await dave.get("forgotten", tmp_path / "target")
        assert again.wire_size < published.wire_size
    assert tree(tmp_path / "target") == tree(source)


async def test_asking_for_the_same_checkout_twice_is_one_job(alice: Home, tmp_path: Path) -> None:
    source = write_files(tmp_path / "source", {"model.bin": seeded_bytes(8 * MIB, 10)})
    published = await alice.share(source, name="twice")
    async with Home(tmp_path / "dave", download_limit=SLOW) as dave:
        job = await caught(dave, published.link, tmp_path / "target", at=MIB)
        request = m.FetchRequest(source=published.link, to=str(tmp_path / "target"))
        assert (await dave.client.fetch(request)).id == job.id
        await dave.wait_job(job.id)
        assert len(await dave.client.jobs()) == 1
    assert tree(tmp_path / "target") == tree(source)


async def test_two_checkouts_of_one_version_at_once_fetch_it_once(alice: Home, tmp_path: Path) -> None:
    source = write_files(tmp_path / "source", {"model.bin": seeded_bytes(8 * MIB, 11)})
    published = await alice.share(source, name="parallel")
    uploaded_before = (await alice.client.job(published.id)).uploaded
    async with Home(tmp_path / "dave", download_limit=SLOW) as dave:
        first = await caught(dave, published.link, tmp_path / "one", at=MIB)
        second = await dave.client.fetch(m.FetchRequest(source="parallel", to=str(tmp_path / "two")))
        await dave.wait_job(first.id)
        await dave.wait_job(second.id)

        async def counted() -> bool:
            return (await alice.client.job(published.id)).uploaded - uploaded_before >= published.wire_size

        await until(counted, "the publisher has counted what it sent")
        assert (await alice.client.job(published.id)).uploaded - uploaded_before < published.wire_size + 2 * MIB
    assert tree(tmp_path / "one") == tree(tmp_path / "two") == tree(source)


async def test_jobs_that_nobody_knows_are_not_found(bob: Home) -> None:
    for command in ("pause", "resume", "rm", "watch"):
        assert (await bob.cli(command, "j999999")).returncode == 5, command
    for call in (bob.client.pause, bob.client.resume, bob.client.job, bob.client.job_detail):
        assert (await failure(call("j999999"))).code == "not_found"
