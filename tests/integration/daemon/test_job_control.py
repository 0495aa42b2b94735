"""Pausing, resuming and removing jobs: what was received is kept, what others need is not deleted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from p2pckpt.control import messages as m
from p2pckpt.control import publish_messages as pm

from ...support.homes import Home, failure, seeded_bytes, tree, until, write_files
from .halves import half_seeded

pytestmark = pytest.mark.asyncio(loop_scope="package")
MIB = 1 << 20


def objects(home: Home) -> dict[str, int]:
    """Files of the store's objects with their sizes."""
    return {path.name: path.stat().st_size for path in (home.store / "objects").rglob("*") if path.is_file()}


async def test_a_paused_fetch_keeps_what_it_has_and_goes_on_when_resumed(
    alice: Home, bob: Home, carol: Home, tmp_path: Path
) -> None:
    half = await half_seeded(alice, bob, tmp_path, "paused")
    job = await half.caught(carol, tmp_path / "target")
    paused = await carol.cli("pause", job.id)
    assert paused.returncode == 0, paused.stderr
    job = await carol.client.job(job.id)
    assert (job.state, job.rate_down, job.peers) == (m.JobState.PAUSED, 0, 0)
    assert not (tmp_path / "target").exists()
    await carol.client.pause(job.id)
    await half.seed_the_rest()
    await carol.client.resume(job.id)
    done = await carol.wait_job(job.id)
    assert done.wire_done == done.wire_size < half.job.wire_size
    assert tree(tmp_path / "target") == tree(half.source)


def _delete(path: Path) -> None:
    path.unlink()


def _edit(path: Path) -> None:
    path.write_bytes(b"an afterthought")


@pytest.mark.parametrize("spoil", [_delete, _edit])
async def test_files_that_were_in_place_may_go_while_a_fetch_is_paused(
    alice: Home, bob: Home, carol: Home, tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    half = await half_seeded(alice, bob, tmp_path, f"gone/{spoil.__name__}")
    target = write_files(tmp_path / "target", {"README.md": (half.source / "README.md").read_bytes()})
    job = await half.caught(carol, target)
    await carol.client.pause(job.id)
    spoil(target / "README.md")
    await half.seed_the_rest()
    await carol.client.resume(job.id)
    await carol.wait_job(job.id)
    assert tree(target, leave_out=(".p2pckpt-replaced",)) == tree(half.source)


async def test_files_may_be_put_in_place_while_a_fetch_is_paused(
    alice: Home, bob: Home, carol: Home, tmp_path: Path
) -> None:
    half = await half_seeded(alice, bob, tmp_path, "put/there")
    target = tmp_path / "target"
    job = await half.caught(carol, target)
    await carol.client.pause(job.id)
    write_files(target, {"README.md": (half.source / "README.md").read_bytes()})
    await half.seed_the_rest()
    await carol.client.resume(job.id)
    await carol.wait_job(job.id)
    assert tree(target) == tree(half.source)


async def test_a_paused_publish_goes_on_when_resumed(alice: Home, bob: Home, tmp_path: Path) -> None:
    source = write_files(tmp_path / "source", {"model.bin": seeded_bytes(40 * MIB, 40)})
    request = pm.PublishRequest(path=str(source), name="paused/publish", allow_no_licence=True)
    job = await alice.client.publish(request)
    await alice.wait_until(job.id, lambda job: job.phase is m.Phase.PACKING or job.state.ended)
    await alice.client.pause(job.id)
    assert (await alice.client.job(job.id)).state is m.JobState.PAUSED
    assert (await alice.client.resume(job.id)).state is not m.JobState.PAUSED
    done = await alice.wait_job(job.id)
    assert (done.state, done.version) == (m.JobState.SEEDING, 1)
    await bob.get(done.link, tmp_path / "target")
    assert tree(tmp_path / "target") == tree(source)


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


async def test_an_unfinished_fetch_that_is_removed_with_data_leaves_nothing(
    alice: Home, bob: Home, carol: Home, tmp_path: Path
) -> None:
    half = await half_seeded(alice, bob, tmp_path, "unfinished")
    before = objects(carol)
    job = await half.caught(carol, tmp_path / "out" / "target", durable=False)
    await carol.client.remove(job.id, data=True)
    assert list((tmp_path / "out").iterdir()) == []
    assert objects(carol) == before


async def test_an_unfinished_fetch_that_is_removed_goes_on_when_it_is_asked_for_again(
    alice: Home, bob: Home, carol: Home, tmp_path: Path
) -> None:
    half = await half_seeded(alice, bob, tmp_path, "forgotten")
    job = await half.caught(carol, tmp_path / "target")
    await carol.client.remove(job.id)
    assert job.id not in [job.id for job in await carol.client.jobs()]
    await half.seed_the_rest()
    again = await carol.get("forgotten", tmp_path / "target")
    assert again.wire_size < half.job.wire_size
    assert tree(tmp_path / "target") == tree(half.source)


async def test_asking_for_the_same_checkout_twice_is_one_job(
    alice: Home, bob: Home, carol: Home, tmp_path: Path
) -> None:
    half = await half_seeded(alice, bob, tmp_path, "twice")
    job = await half.caught(carol, tmp_path / "target")
    request = m.FetchRequest(source=half.job.link, to=str(tmp_path / "target"))
    assert (await carol.client.fetch(request)).id == job.id
    await half.seed_the_rest()
    await carol.wait_job(job.id)
    assert (await carol.client.fetch(request)).id == job.id
    await carol.wait_job(job.id)
    assert len([job for job in await carol.client.jobs() if job.path == str(tmp_path / "target")]) == 1
    assert tree(tmp_path / "target") == tree(half.source)


async def test_two_checkouts_of_one_version_at_once_fetch_it_once(
    alice: Home, bob: Home, carol: Home, tmp_path: Path
) -> None:
    half = await half_seeded(alice, bob, tmp_path, "parallel")
    first = await half.caught(carol, tmp_path / "one", durable=False)
    second = await carol.client.fetch(m.FetchRequest(source="parallel", to=str(tmp_path / "two")))
    await carol.wait_until(second.id, lambda job: job.phase in (m.Phase.CONNECTING, m.Phase.DOWNLOADING))
    await half.seed_the_rest()
    await carol.wait_job(first.id)
    await carol.wait_job(second.id)
    assert tree(tmp_path / "one") == tree(tmp_path / "two") == tree(half.source)
    sent = 0

    async def counted() -> bool:
        nonlocal sent
        jobs = [job for home in (alice, bob) for job in await home.client.jobs() if job.share == "parallel"]
        sent = sum(job.uploaded for job in jobs)
        return sent >= half.job.wire_size

    await until(counted, "the seeds have counted what they sent")
    assert sent < half.job.wire_size + 3 * MIB


async def test_jobs_that_nobody_knows_are_not_found(bob: Home) -> None:
    for command in ("pause", "resume", "rm", "watch"):
        assert (await bob.cli(command, "j999999")).returncode == 5, command
    for call in (bob.client.pause, bob.client.resume, bob.client.job, bob.client.job_detail):
        assert (await failure(call("j999999"))).code == "not_found"
