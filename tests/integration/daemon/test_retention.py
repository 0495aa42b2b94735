"""Versions of a run that are retired: who sees what, what stays to be had, how they come back, what becomes free."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from p2pckpt.control import access_messages as am
from p2pckpt.control import messages as m
from p2pckpt.control.run_messages import PruneReply, PruneRequest, Retention
from p2pckpt.errors import BadUsage, NotAllowed, NotFound
from p2pckpt.store.catalogue import Catalogue
from p2pckpt.store.retired import RetiredRow

from ...support.homes import Home, failure, flip_bit, seeded_bytes, tree, until, write_files
from ...support.training import Tensors, later, safetensors, weights

pytestmark = pytest.mark.asyncio(loop_scope="package")

LAST_TWO = Retention(last=2)


class Run:
    """A run's directory, saved again and again as a difference to an earlier version; what each save was."""

    def __init__(self, home: Home, directory: Path, name: str) -> None:
        self._home = home
        self.directory = directory
        self.name = name
        self.saves: list[dict[str, str]] = []
        self._tensors: Tensors = weights(width=160, layers=2)

    async def save(self, **files: bytes) -> m.Job:
        step = len(self.saves) + 1
        self._tensors = later(self._tensors, step)
        write_files(self.directory, {"model.safetensors": safetensors(self._tensors), **files})
        self.saves.append(tree(self.directory))
        return await self._home.share(
            self.directory, name=self.name, step=step, metrics={"eval_loss": abs(step - 4.2)}, delta=True
        )

    async def saved(self, count: int) -> m.Job:
        jobs = [await self.save() for _ in range(count)]
        return jobs[-1]

    async def prune(self, retention: Retention, **fields: bool) -> PruneReply:
        return await self._home.client.prune(PruneRequest(name=self.name, retention=retention, **fields))

    def copy(self, version: int) -> dict[str, str]:
        return self.saves[version - 1]


async def offered(home: Home, name: str) -> list[int]:
    return [row.version for row in (await home.client.share_detail(name)).versions]


def retired(reply: PruneReply) -> list[int]:
    return [row.version for row in reply.rows if not row.keep]


def stored(home: Home, besides: Collection[str] = ()) -> dict[str, int]:
    """What objects and torrents take of the disk, but for what was there before."""
    found: dict[str, int] = {}
    for path in [*(home.store / "objects").glob("*/*"), *(home.store / "torrents").glob("*/*")]:
        name = str(path.relative_to(home.store))
        if name not in besides:
            with contextlib.suppress(FileNotFoundError):  # it is being deleted just now
                found[name] = path.stat().st_blocks * 512
    return found


def objects(paths: Iterable[str]) -> set[str]:
    return {Path(path).name for path in paths if path.startswith("objects/")}


async def needed(home: Home, name: str, versions: Sequence[int]) -> set[str]:
    """Names of the objects and torrents that these versions need."""
    found: set[str] = set()
    for version in versions:
        manifest = await home.client.manifest(f"{name}@{version}")
        detail = await home.client.version_detail(f"{name}@{version}")
        found |= {each["root"] for each in manifest["objects"]} | set(detail.info_hashes)
    return found


async def test_a_run_is_pruned_taken_back_and_pruned_for_good(
    alice: Home, bob: Home, carol: Home, tmp_path: Path
) -> None:
    others = stored(alice).keys()
    run = Run(alice, tmp_path / "run", "retention/whole")
    first = await run.saved(3)
    held = await bob.get(first.link, tmp_path / "bob3")
    last = await run.saved(9)
    await alice.client.tag(m.TagRequest("retention/whole@2", "stable"))
    policy = Retention(last=2, every=6, best=1, metric="eval_loss")
    before = stored(alice, others)
    told = await run.prune(policy, dry_run=True)
    assert {row.version: row.keep for row in told.rows} == {
        12: "newest, one of the last 2, step is a multiple of 6",
        11: "one of the last 2",
        6: "step is a multiple of 6",
        4: "best by eval_loss",
        2: "tagged stable",
        **dict.fromkeys((10, 9, 8, 7, 5, 3, 1), ""),
    }
    assert (told.undo_until, await offered(alice, run.name)) == (0, list(range(12, 0, -1)))
    assert stored(alice, others) == before, "telling changes nothing"

    done = await run.prune(policy)
    assert (done.rows, done.freed) == (told.rows, told.freed)
    assert done.undo_until > 0
    kept = [12, 11, 6, 4, 2]
    assert await offered(alice, run.name) == kept
    assert stored(alice, others).items() >= before.items(), "a day later, not now"

    # who holds one that is retired can use it, and is told; nobody else gets it
    assert await offered(bob, run.name) == kept
    refused = await failure(bob.get(f"{run.name}@3", tmp_path / "again"))
    assert isinstance(refused, NotFound) and "version 3 of retention/whole was retired" in refused.fact
    assert refused.next_step
    await bob.verify(f"{run.name}@3", full=True)
    await bob.client.pause(held.id)
    await bob.client.resume(held.id)
    await bob.wait_job(held.id, m.JobState.SEEDING)
    assert (await bob.client.job_detail(held.id)).piece_count
    assert isinstance(await failure(bob.client.prune(PruneRequest(name=run.name, retention=policy))), NotAllowed)

    back = await alice.client.undo_prune(run.name)
    assert [(row.version, row.keep) for row in back.rows] == [(n, "taken back") for n in (10, 9, 8, 7, 5, 3, 1)]
    assert await offered(alice, run.name) == list(range(12, 0, -1))
    await bob.get(f"{run.name}@1", tmp_path / "bob1")
    assert tree(tmp_path / "bob1") == run.copy(1)
    assert isinstance(await failure(alice.client.undo_prune(run.name)), NotFound)

    before = stored(alice, others)
    for_good = await run.prune(policy, at_once=True)
    assert (for_good.freed, for_good.undo_until) == (told.freed, 0)
    after = stored(alice, others)
    assert sum(before.values()) - sum(after.values()) == for_good.freed > 0
    assert isinstance(await failure(alice.client.undo_prune(run.name)), NotFound)
    seeding = {job.version for job in await alice.client.jobs() if job.share == run.name}
    assert seeding == set(kept), "jobs of what is gone are gone"
    rows = (await alice.client.log(am.LogRequest(run.name))).rows
    assert {(row.action, row.subject) for row in rows} >= {("retire", "v3"), ("restore", "v3")}

    # what is left can be had by somebody new, differences to a whole version that was retired among it
    for job in await bob.client.jobs():
        if job.share == run.name and job.kind is m.JobKind.FETCH:
            await bob.client.pause(job.id)
    assert objects(after) <= await needed(alice, run.name, kept)
    await carol.get(last.link.partition("@")[0], tmp_path / "carol12")
    assert tree(tmp_path / "carol12") == run.copy(12)
    for version in (2, 4, 6, 11):
        await carol.get(f"{run.name}@{version}", tmp_path / f"carol{version}")
        assert tree(tmp_path / f"carol{version}") == run.copy(version)
    await run.save()
    await carol.get(f"{run.name}@13", tmp_path / "carol13")
    assert tree(tmp_path / "carol13") == run.copy(13)
    await alice.verify(f"{run.name}@13", full=True)


async def test_objects_that_last_find_a_new_home_before_a_version_needs_too_many_torrents(
    alice: Home, carol: Home, tmp_path: Path
) -> None:
    run = Run(alice, tmp_path / "run", "retention/homes")
    torrents = []
    for number in range(1, 14):
        job = await run.save(**{f"{number}.bin": seeded_bytes(70_000, 900 + number)})
        await run.prune(LAST_TWO, at_once=True)
        torrents.append(len((await alice.client.version_detail(f"{run.name}@{number}")).info_hashes))
    assert max(torrents) == 8, "eight, and then one again"
    assert torrents[-1] < 8
    assert await offered(alice, run.name) == [13, 12]
    await carol.get(job.link.partition("@")[0], tmp_path / "carol13")
    assert tree(tmp_path / "carol13") == run.copy(13)
    await carol.get(f"{run.name}@12", tmp_path / "carol12")
    assert tree(tmp_path / "carol12") == run.copy(12)


async def test_what_is_due_is_deleted_with_its_jobs_and_what_is_left_is_whole(alice: Home, tmp_path: Path) -> None:
    others = stored(alice).keys()
    run = Run(alice, tmp_path / "run", "retention/due")
    await run.saved(5)
    reply = await run.prune(LAST_TWO)
    assert retired(reply) == [3, 2, 1]
    before = sum(stored(alice, others).values())
    await alice.stop()
    catalogue = Catalogue(alice.store / "catalogue.db")
    rows = catalogue.retired()
    catalogue.note_retired([replace(row, due=1) for row in rows])
    catalogue.close()
    assert {row.version for row in rows} == {1, 2, 3}
    await alice.start()

    async def gone() -> bool:
        return before - sum(stored(alice, others).values()) == reply.freed

    await until(gone, "what is due is deleted")
    assert {job.version for job in await alice.client.jobs() if job.share == run.name} == {4, 5}
    assert objects(stored(alice, others)) <= await needed(alice, run.name, [4, 5])
    assert isinstance(await failure(alice.client.undo_prune(run.name)), NotFound)
    # the data of one version can be dropped by its number, also once it is retired
    await run.save()
    assert retired(await run.prune(LAST_TWO)) == [4]
    assert (await alice.client.drop_version(f"{run.name}@4")).freed > 0
    assert isinstance(await failure(alice.client.undo_prune(run.name)), NotFound)


async def test_publishing_and_pruning_at_once_lose_nothing(alice: Home, carol: Home, tmp_path: Path) -> None:
    run = Run(alice, tmp_path / "run", "retention/races")
    await run.saved(3)
    for _ in range(4):
        job, _ = await asyncio.gather(run.save(), run.prune(LAST_TWO, at_once=True))
    assert job.version == 7
    assert set(await offered(alice, run.name)) >= {6, 7}
    await alice.verify(f"{run.name}@7", full=True)
    await carol.get(job.link.partition("@")[0], tmp_path / "carol7")
    assert tree(tmp_path / "carol7") == run.copy(7)


async def test_the_newest_that_verifies_is_kept_where_the_newest_is_damaged(alice: Home, tmp_path: Path) -> None:
    run = Run(alice, tmp_path / "run", "retention/verified")
    others = stored(alice).keys()
    await run.saved(3)
    own = [await needed(alice, run.name, [version]) for version in (1, 2, 3)]
    (name,) = (own[2] - own[1] - own[0]) & objects(stored(alice, others))
    path = alice.store / "objects" / name[:2] / name
    flip_bit(path, path.stat().st_size // 2)
    assert "damaged" in (await failure(alice.verify(run.name))).fact
    # an earlier save whose directory has moved on looks damaged there, and is whole in the store
    assert "damaged" in (await failure(alice.verify(f"{run.name}@2"))).fact
    reply = await run.prune(Retention(last=1), dry_run=True)
    assert {row.version: row.keep for row in reply.rows} == {
        3: "newest, the last one",
        2: "the last one that verifies",
        1: "",
    }


async def test_a_note_of_a_version_that_was_never_retired_changes_nothing(alice: Home, tmp_path: Path) -> None:
    """As a daemon leaves it that was killed, or lost the race with a tag, before the signed list had changed."""
    run = Run(alice, tmp_path / "run", "retention/noted")
    job = await run.saved(2)
    await alice.stop()
    catalogue = Catalogue(alice.store / "catalogue.db")
    catalogue.note_retired([RetiredRow(bytes.fromhex(job.share_id), 1, 2, b"{}", 1)])
    await alice.start()
    try:

        async def forgotten() -> bool:
            return not catalogue.retired(bytes.fromhex(job.share_id))

        await until(forgotten, "the note is dropped")
    finally:
        catalogue.close()
    assert await offered(alice, run.name) == [2, 1]
    assert {job.version for job in await alice.client.jobs() if job.share == run.name} == {1, 2}
    assert isinstance(await failure(alice.client.undo_prune(run.name)), NotFound)


async def test_a_policy_that_says_nothing_is_refused(alice: Home, tmp_path: Path) -> None:
    run = Run(alice, tmp_path / "run", "retention/none")
    await run.save()
    for request in (PruneRequest(name=run.name), PruneRequest(name=run.name, retention=Retention())):
        refused = await failure(alice.client.prune(request))
        assert isinstance(refused, BadUsage) and "--keep-last" in refused.next_step
    assert isinstance(await failure(run.prune(Retention(best=1))), BadUsage)
    assert retired(await run.prune(Retention(last=1))) == []
