"""Leaving a share: what goes, what stays, and the way back."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from p2pckpt.control import messages as m
from p2pckpt.errors import NotFound
from p2pckpt.store.catalogue import Catalogue

from ...support.homes import Home, failure, seeded_bytes, tree, until, write_files

pytestmark = pytest.mark.asyncio(loop_scope="package")
MIB = 1 << 20


def kept_of(home: Home, share_id: str, info_hashes: set[str]) -> list[str]:
    """Whatever is in the store of a share that should be gone."""
    found = [str(path) for path in (home.store / "trust").glob(f"{share_id}*")]
    return found + [str(path) for path in (home.store / "torrents").iterdir() if path.name in info_hashes]


def objects(home: Home) -> set[str]:
    return {path.name for path in (home.store / "objects").rglob("*") if path.is_file()}


async def known(home: Home) -> set[str]:
    return {share.name for share in await home.client.shares()}


async def test_a_member_leaves_and_comes_back(alice: Home, bob: Home, tmp_path: Path) -> None:
    other = write_files(tmp_path / "other", {"model.bin": seeded_bytes(3 * MIB, 40)})
    kept = await alice.share(other, name="leaving/kept")
    await bob.get(kept.link, tmp_path / "kept")
    before = objects(bob)
    source = write_files(tmp_path / "source", {"model.bin": seeded_bytes(6 * MIB, 41)})
    await alice.share(source, name="leaving/left")
    write_files(source, {"more.bin": seeded_bytes(2 * MIB, 42)})
    shared = await alice.share(source, name="leaving/left")
    got = await bob.get(shared.link, tmp_path / "target")
    await bob.get("leaving/left@v1", tmp_path / "first")
    rows = (await bob.client.share_detail("leaving/left")).versions
    plan = await bob.client.leave_plan("leaving/left")
    assert (plan.share, plan.role.value, len(plan.jobs)) == ("leaving/left", "downloader", 2)
    assert plan.stored == sum(row.wire_size for row in rows) - sum(
        (bob.store / "torrents" / row.info_hash / "manifest").stat().st_size for row in rows
    )
    assert plan.alone == ()
    assert any("member until they remove you" in line for line in plan.consequences)
    assert objects(bob) > before, "a plan changes nothing"

    removed = []
    async with contextlib.aclosing(bob.client.events()) as events:  # type: ignore[type-var]
        assert isinstance(await anext(events), m.Snapshot)
        reply = await bob.client.leave("leaving/left")
        async for event in events:
            if isinstance(event, m.ShareRemoved):
                removed.append(event.share_id)
                break
    assert removed == [reply.share_id] == [got.share_id]
    assert reply.freed >= 8 * MIB
    assert "leaving/left" not in await known(bob)
    assert not [job for job in await bob.client.jobs() if job.share == "leaving/left"]
    assert objects(bob) == before, "another share's objects stay"
    assert kept_of(bob, got.share_id, {row.info_hash for row in rows}) == []
    assert tree(tmp_path / "target") == tree(source)
    assert isinstance(await failure(bob.client.leave("leaving/left")), NotFound)
    await bob.restart()
    assert "leaving/left" not in await known(bob)

    again = await bob.get(shared.link, tmp_path / "again")
    assert again.wire_size >= 8 * MIB, "nothing of it was here any more"
    assert tree(tmp_path / "again") == tree(source)


async def test_a_version_s_data_goes_with_and_without_a_job(alice: Home, bob: Home, tmp_path: Path) -> None:
    source = write_files(tmp_path / "source", {"kept.bin": seeded_bytes(3 * MIB, 47)})
    before = objects(bob)
    await alice.share(source, name="leaving/versions")
    write_files(source, {"more.bin": seeded_bytes(2 * MIB, 48)})
    shared = await alice.share(source, name="leaving/versions")
    await bob.get(shared.link, tmp_path / "second")
    first = await bob.get("leaving/versions@1", tmp_path / "first")
    assert 2 * MIB <= (await bob.client.drop_version("leaving/versions@2")).freed < 3 * MIB, "v1 needs the rest"
    held = {row.version: row.held for row in (await bob.client.share_detail("leaving/versions")).versions}
    assert held == {1: True, 2: False}
    assert [job.id for job in await bob.client.jobs() if job.share == "leaving/versions"] == [first.id]
    await bob.client.remove(first.id)
    assert objects(bob) > before
    assert (await bob.client.drop_version("leaving/versions@1")).freed >= 3 * MIB
    assert objects(bob) == before
    assert tree(tmp_path / "second") == tree(source)
    assert isinstance(await failure(bob.client.drop_version("leaving/versions@9")), NotFound)


async def test_leaving_ends_a_transfer_in_the_middle(alice: Home, carol: Home, tmp_path: Path) -> None:
    source = write_files(tmp_path / "source", {"model.bin": seeded_bytes(24 * MIB, 43)})
    shared = await alice.share(source, name="leaving/middle")
    before = objects(carol)
    await carol.limit(2 * MIB)
    job = await carol.client.fetch(m.FetchRequest(source=shared.link, to=str(tmp_path / "target")))
    await carol.wait_until(job.id, lambda job: job.wire_done > 0)
    await carol.client.leave("leaving/middle")
    await carol.limit(0)
    assert objects(carol) == before
    assert not await carol.client.jobs() or job.id not in {each.id for each in await carol.client.jobs()}
    got = await carol.get(shared.link, tmp_path / "target")
    assert got.state is m.JobState.SEEDING
    assert tree(tmp_path / "target") == tree(source)


async def test_the_only_owner_is_told_what_ends_and_can_come_back(tmp_path: Path) -> None:
    source = write_files(tmp_path / "source", {"model.bin": seeded_bytes(2 * MIB, 44)})
    async with Home(tmp_path / "dora") as dora:
        first = await dora.share(source, name="leaving/mine")
        plan = await dora.client.leave_plan("leaving/mine")
        assert plan.alone == (1,)
        told = "\n".join(plan.consequences)
        for text in ("seed v1", "Nobody else can publish", "Nobody else owns it", "tracker runs beside this daemon"):
            assert text in told
        await dora.client.leave("leaving/mine")
        assert (await known(dora), objects(dora)) == (set(), set())
        assert tree(source)["model.bin"].startswith("file")
        await dora.restart()  # no share needs the tracker now: the link does
        assert dora.tracker_pid == 0
        preview = await dora.client.fetch_plan(m.FetchRequest(source=plan.link, to=str(tmp_path / "back")))
        assert (preview.share_id, preview.version) == (first.share_id, 1)
        write_files(source, {"more.bin": seeded_bytes(MIB, 45)})
        second = await dora.share(source, name="leaving/mine")
        assert (second.share_id, second.version) == (first.share_id, 2)
        (share,) = await dora.client.shares()
        assert (share.role.value, share.tracker) == ("owner", "beside")
        await dora.restart()
        await until(dora.has_tracker, "its tracker runs again")


async def test_a_daemon_that_was_killed_while_leaving_finishes_it_when_it_starts(alice: Home, tmp_path: Path) -> None:
    source = write_files(tmp_path / "source", {"model.bin": seeded_bytes(20 * MIB, 46)})
    shared = await alice.share(source, name="leaving/killed")
    async with Home(tmp_path / "erin") as erin:
        got = await erin.get(shared.link, tmp_path / "target")
        await erin.kill()
        catalogue = Catalogue(erin.store / "catalogue.db")
        catalogue.begin_leaving(bytes.fromhex(got.share_id))
        catalogue.close()
        next(path for path in (erin.store / "objects").rglob("*") if path.is_file()).unlink()
        await erin.start()
        assert (await known(erin), await erin.client.jobs()) == (set(), [])

        async def gone() -> bool:
            return not objects(erin) and not kept_of(erin, got.share_id, {got.share_id})

        await until(gone, "the rest was deleted")
        await erin.get(shared.link, tmp_path / "again")
        assert tree(tmp_path / "again") == tree(source) == tree(tmp_path / "target")
