"""Pinned versions: what policies and commands leave on this machine, and what lets go of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from p2pckpt.control import messages as m
from p2pckpt.control.health_messages import Outcome
from p2pckpt.control.pin_messages import PinRequest
from p2pckpt.control.run_messages import PruneReply, PruneRequest, Retention
from p2pckpt.errors import NotAllowed, NotFound, VerificationFailed

from ...support.homes import Home, failure, flip_bit, seeded_bytes, tree, write_files

pytestmark = pytest.mark.asyncio(loop_scope="package")
MIB = 1 << 20


async def saved(home: Home, directory: Path, name: str, count: int) -> list[m.Job]:
    """So many saves of a run, each with a file of its own."""
    jobs = []
    for step in range(1, count + 1):
        write_files(directory, {"model.bin": seeded_bytes(MIB, f"{name} {step}")})
        jobs.append(await home.share(directory, name=name, step=step))
    return jobs


async def pin(home: Home, *names: str, remove: bool = False) -> None:
    for name in names:
        await home.client.pin(PinRequest(name, remove))


async def pinned(home: Home, name: str) -> list[int]:
    return sorted(row.version for row in await home.client.pins() if row.share == name)


async def prune(home: Home, name: str, **fields: bool) -> PruneReply:
    return await home.client.prune(PruneRequest(name=name, retention=Retention(last=1), **fields))


def reasons(reply: PruneReply) -> dict[int, str]:
    return {row.version: row.keep for row in reply.rows}


async def is_whole(home: Home, name: str, versions: Sequence[int]) -> bool:
    """Every frame of these versions is in the store and is what was signed, whatever their directories hold by now."""
    for version in versions:
        job = await home.client.verify(m.VerifyRequest(name=f"{name}@{version}"))
        await home.wait_job(job.id, m.JobState.DONE, m.JobState.FAILED)
        checks = {check.name: check.outcome for check in (await home.client.verify_report(job.id)).checks}
        if checks["store"] is not Outcome.OK:
            return False
    return True


async def test_a_pinned_version_outlasts_policies_a_kill_and_rm_until_its_pin_is_gone(tmp_path: Path) -> None:
    name = "pins/kept"
    async with Home(tmp_path / "dora") as dora:
        jobs = await saved(dora, tmp_path / "run", name, 4)
        await pin(dora, f"{name}@2")
        rows = (await dora.client.share_detail(name)).versions
        assert [row.version for row in rows if row.pinned] == [2]
        assert reasons(await prune(dora, name, dry_run=True)) == {
            4: "newest, the last one",
            3: "",
            2: "pinned here",
            1: "",
        }
        assert (await prune(dora, name, at_once=True)).freed > 0
        await dora.kill()
        await dora.start()
        assert await pinned(dora, name) == [2]
        assert [row.version for row in (await dora.client.share_detail(name)).versions] == [4, 2]
        for refused in (
            await failure(dora.client.remove(jobs[1].id, data=True)),
            await failure(dora.client.drop_version(f"{name}@2")),
        ):
            assert isinstance(refused, NotAllowed) and refused.fact == f"{name}@v2 is pinned on this machine"
            assert (refused.kept, refused.next_step) == ("all that is here of it", f"p2pckpt pin --remove {name}@v2")
        assert (await dora.client.job(jobs[1].id)).state is m.JobState.SEEDING, "a refusal ends nothing"
        assert await is_whole(dora, name, [2])

        await pin(dora, f"{name}@2", remove=True)
        assert isinstance(await failure(dora.client.pin(PinRequest(f"{name}@2", remove=True))), NotFound)
        assert reasons(await prune(dora, name, at_once=True))[2] == ""
        assert (await dora.client.drop_version(f"{name}@4")).freed > MIB
        assert await dora.client.pins() == []


async def test_what_was_retired_and_then_pinned_is_kept_until_its_pin_is_gone(alice: Home, tmp_path: Path) -> None:
    name = "pins/retired"
    await saved(alice, tmp_path / "run", name, 4)
    await prune(alice, name)
    await pin(alice, f"{name}@2", f"{name}@3")
    told = await prune(alice, name, at_once=True)
    rows = [row for row in await alice.client.pins() if row.share == name]
    assert all(row.retired and row.size > MIB for row in rows) and len(rows) == 2
    assert told.freed < 2 * MIB, "v1 alone"
    assert await is_whole(alice, name, [2, 3])
    # due long since, and still to be had again
    assert [row.version for row in (await alice.client.undo_prune(name)).rows] == [3, 2]
    await prune(alice, name, at_once=True)
    assert [row.version for row in (await alice.client.share_detail(name)).versions] == [4, 3, 2]


async def test_what_nothing_pins_any_more_can_be_had_again_for_a_day_and_goes_once_it_is_given_up(
    alice: Home, tmp_path: Path
) -> None:
    name = "pins/due"
    await saved(alice, tmp_path / "run", name, 2)
    await prune(alice, name)
    await pin(alice, f"{name}@1")
    await prune(alice, name, at_once=True)
    assert await is_whole(alice, name, [1])
    await pin(alice, f"{name}@1", remove=True)
    assert [row.version for row in (await alice.client.undo_prune(name)).rows] == [1]
    assert (await prune(alice, name, at_once=True)).freed > MIB
    assert isinstance(await failure(alice.client.undo_prune(name)), NotFound)


async def test_what_owners_elsewhere_retire_stays_and_verifies_and_is_not_handed_out_anew(
    alice: Home, bob: Home, tmp_path: Path
) -> None:
    name = "pins/elsewhere"
    jobs = await saved(alice, tmp_path / "run", name, 3)
    await bob.get(jobs[0].link, tmp_path / "newest")
    first = await bob.get(f"{name}@1", tmp_path / "first")
    await pin(bob, f"{name}@1")
    before = tree(tmp_path / "first")
    await prune(alice, name, at_once=True)
    assert [row.version for row in (await bob.client.share_detail(name)).versions] == [3]
    (row,) = [row for row in await bob.client.pins() if row.share == name]
    assert (row.version, row.retired) == (1, True)
    assert await is_whole(bob, name, [1])
    assert (await bob.client.job(first.id)).state is m.JobState.SEEDING
    refused = await failure(bob.get(f"{name}@1", tmp_path / "again"))
    assert isinstance(refused, NotFound) and "retired" in refused.fact
    assert isinstance(await failure(bob.client.drop_version(f"{name}@1")), NotAllowed)
    assert tree(tmp_path / "first") == before
    await pin(bob, f"{name}@1", remove=True)
    assert (await bob.client.drop_version(f"{name}@1")).freed > MIB
    gone = await failure(bob.client.pin(PinRequest(f"{name}@1")))
    assert isinstance(gone, NotFound) and "retired" in gone.fact


async def test_only_what_is_whole_here_can_be_pinned_and_nothing_is_fetched_for_it(
    alice: Home, bob: Home, tmp_path: Path
) -> None:
    name = "pins/part"
    files = {"a.bin": seeded_bytes(2 * MIB, f"{name} a"), "b.bin": seeded_bytes(3 * MIB, f"{name} b")}
    shared = await alice.share(write_files(tmp_path / "source", files), name=name)
    await bob.get(shared.link, tmp_path / "target", only=("a.bin",))
    part = await failure(bob.client.pin(PinRequest(f"{name}@1")))
    assert isinstance(part, NotFound)
    assert (part.fact, part.kept) == (f"only a part of {name}@v1 is on this machine", "what is here")
    assert part.next_step == f"p2pckpt get {name}@v1 --to DIR, a new one, then pin it"
    await bob.client.drop_version(f"{name}@1")
    missing = await failure(bob.client.pin(PinRequest(name)))
    assert isinstance(missing, NotFound) and missing.fact == f"{name}@v1 is not on this machine"
    assert missing.next_step == f"p2pckpt get {name}@v1, then pin it"
    await bob.get(name, tmp_path / "new")
    await pin(bob, name)
    # what is not to be offered any more stays all the same
    await bob.get(name, tmp_path / "again", seed=False)
    assert await is_whole(bob, name, [1])
    assert isinstance(await failure(bob.client.pin(PinRequest(f"{name}@7"))), NotFound)


async def test_what_is_damaged_is_pinned_once_it_is_repaired(alice: Home, bob: Home, tmp_path: Path) -> None:
    name = "pins/damaged"
    jobs = await saved(alice, tmp_path / "run", name, 1)
    others = set((bob.store / "objects").glob("*/*"))
    await bob.get(jobs[0].link, tmp_path / "target")
    (stored,) = [each for each in set((bob.store / "objects").glob("*/*")) - others if each.stat().st_size > MIB]

    async def refused() -> bool:
        pinning = await failure(bob.client.pin(PinRequest(name)))
        assert pinning.next_step == f"p2pckpt verify {name}@v1 --repair, then pin it"
        return isinstance(pinning, VerificationFailed)

    flip_bit(stored, 5000)
    assert isinstance(await failure(bob.verify(name)), VerificationFailed)
    assert await refused()
    await bob.verify(f"{name}@v1", repair=True)
    await pin(bob, name)
    await pin(bob, f"{name}@1", remove=True)
    stored.unlink()
    assert await refused()
    await bob.verify(f"{name}@v1", repair=True)
    await pin(bob, name)
    assert await is_whole(bob, name, [1])


async def test_a_share_with_pins_is_left_only_by_who_says_so(alice: Home, bob: Home, tmp_path: Path) -> None:
    name = "pins/left"
    jobs = await saved(alice, tmp_path / "run", name, 1)
    await bob.get(jobs[0].link, tmp_path / "target")
    await pin(bob, name)
    plan = await bob.client.leave_plan(name)
    assert plan.pinned == (1,)
    assert plan.consequences[0] == "! Pinned here, to be kept: v1. Leaving deletes that, too."
    refused = await failure(bob.client.leave(name))
    assert isinstance(refused, NotAllowed) and refused.next_step == f"p2pckpt leave {name} --unpin"
    assert await is_whole(bob, name, [1])
    assert (await bob.client.leave(name, unpin=True)).freed > MIB
    await bob.get(jobs[0].link, tmp_path / "again")
    assert await pinned(bob, name) == []


async def test_the_command_pins_lists_and_lets_go(alice: Home, tmp_path: Path) -> None:
    name = "pins/command"
    await saved(alice, tmp_path / "run", name, 1)
    done = await alice.cli("pin", name)
    assert (done.returncode, f"{name}@v1" in done.stdout) == (0, True), done.stderr
    assert name in (await alice.cli("pin", "-q")).stdout
    refused = await alice.cli("rm", name, "--data", "-y")
    assert (refused.returncode, "pinned" in refused.stderr) == (4, True)
    assert (await alice.cli("pin", "--remove", f"{name}@v1")).returncode == 0
    assert (await alice.cli("rm", name, "--data", "-y")).returncode == 0
