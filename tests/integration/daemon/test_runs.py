"""Training runs: saves become versions by themselves, bad ones do not, and the newest good one comes back."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from p2pckpt.control.run_messages import Restored, RestoreRequest, SaveRequest, SaveState
from p2pckpt.errors import BadUsage, ChangedWhileReading, NotFound, VerificationFailed
from p2pckpt.jobs.saves import survey
from p2pckpt.jobs.scanning import fingerprint

from ...support.homes import Home, failure, tree, until
from ...support.runs import Trainer, ended, watch
from ...support.training import safetensors
from ...unit.checkpoint.builders import torch_bytes

pytestmark = pytest.mark.asyncio(loop_scope="package")


async def restore(home: Home, source: str, to: Path | None = None, **fields: object) -> Restored:
    request = RestoreRequest(source=source, to=str(to or ""), base=str(home.path), **fields)  # type: ignore[arg-type]
    job = await home.wait_job((await home.client.restore(request)).id)
    assert job.restored is not None
    return job.restored


async def test_every_save_becomes_a_version_also_what_was_there_before(alice: Home, tmp_path: Path) -> None:
    trainer = Trainer(tmp_path / "run")
    trainer.save()
    trainer.save()
    await watch(alice, trainer.directory, "run/watched")
    saves = await ended(alice, "run/watched", "checkpoint-10", "checkpoint-20")
    assert [saves[f"checkpoint-{step}"].version for step in (10, 20)] == [1, 2]
    trainer.save()
    newest = (await ended(alice, "run/watched", "checkpoint-30"))["checkpoint-30"]
    assert (newest.state, newest.step, newest.version) == (SaveState.PUBLISHED, 30, 3)
    detail = await alice.client.share_detail("run/watched")
    assert detail.share.tags == {"latest": 3, "stable": 3}
    assert [(v.name, v.step) for v in detail.versions] == [
        ("checkpoint-30", 30),
        ("checkpoint-20", 20),
        ("checkpoint-10", 10),
    ]
    assert detail.versions[0].metrics["loss"] == pytest.approx(100 / 30)
    manifest = await alice.client.manifest("run/watched@3")
    assert any(chunk["base"] is not None for chunk in manifest["chunks"])  # as differences
    # nothing of ours is left between the trainer's files
    assert not list(trainer.directory.rglob(".p2pckpt*"))
    job = await alice.verify("run/watched@3")  # of which nothing but frames is here, as far as anybody can rely on
    assert job.done == job.size > 0
    report = await alice.client.verify_report(job.id)
    assert {check.name: check.text for check in report.checks}["files"] == "no checkout on this machine"


async def test_a_directory_may_come_into_being_after_it_is_watched(alice: Home, tmp_path: Path) -> None:
    trainer = Trainer(tmp_path / "later")
    await watch(alice, trainer.directory, "run/later")
    trainer.save()
    assert (await ended(alice, "run/later", "checkpoint-10"))["checkpoint-10"].state is SaveState.PUBLISHED


async def test_what_a_hook_hands_over_may_be_deleted_at_once(alice: Home, bob: Home, tmp_path: Path) -> None:
    trainer = Trainer(tmp_path / "run")
    path = trainer.save()
    there = tree(path)
    row = await alice.client.save(SaveRequest(name="run/hooked", path=str(path), step=11, metrics={"eval_loss": 1.5}))
    shutil.rmtree(path)
    assert row.name == "checkpoint-10"
    save = (await ended(alice, "run/hooked", "checkpoint-10"))["checkpoint-10"]
    assert (save.state, save.step, save.metrics["eval_loss"]) == (SaveState.PUBLISHED, 11, 1.5)
    restored = await restore(alice, "run/hooked", tmp_path / "back")
    assert (restored.version, restored.path) == (1, str(tmp_path / "back"))
    assert tree(tmp_path / "back") == there


async def test_a_save_that_is_one_file_comes_back_as_that_file(alice: Home, tmp_path: Path) -> None:
    trainer = Trainer(tmp_path / "run")
    path = tmp_path / "run" / "epoch=1-step=20.safetensors"
    path.parent.mkdir()
    path.write_bytes(safetensors(trainer.tensors))
    await alice.client.save(SaveRequest(name="run/one-file", path=str(path)))
    save = (await ended(alice, "run/one-file", path.name))[path.name]
    assert (save.state, save.step) == (SaveState.PUBLISHED, 20)
    restored = await restore(alice, "run/one-file", tmp_path / "back")
    assert restored.path == str(tmp_path / "back" / path.name)
    assert Path(restored.path).read_bytes() == path.read_bytes()


async def test_a_torn_or_not_finite_save_is_never_published_and_the_one_before_comes_back(
    alice: Home, tmp_path: Path
) -> None:
    trainer = Trainer(tmp_path / "run")
    await watch(alice, trainer.directory, "run/torn")
    good = tree(trainer.save())
    await ended(alice, "run/torn", "checkpoint-10")
    trainer.train()
    torn = trainer.begin()
    (torn / "model.safetensors").write_bytes(safetensors(trainer.tensors, "F32")[:-100])
    trainer.end(torn)
    trainer.train()
    trainer.tensors["layer.1.weight"][3, 3] = np.nan
    poisoned = trainer.begin()
    trainer.end(poisoned)
    trainer.train()
    trainer.tensors["layer.1.weight"][3, 3] = 0
    incomplete = trainer.begin()
    (incomplete / "optimizer.pt").unlink()
    trainer.end(incomplete)
    saves = await ended(alice, "run/torn", torn.name, poisoned.name, incomplete.name)
    for path, word in ((torn, "model.safetensors"), (poisoned, "layer.1.weight"), (incomplete, "optimizer")):
        assert saves[path.name].state is SaveState.REJECTED
        assert word in saves[path.name].why
        assert f"{path.name} of run/torn was not published" in alice.log
    assert (await alice.client.share_detail("run/torn")).share.tags == {"latest": 1, "stable": 1}
    restored = await restore(alice, "run/torn", tmp_path / "back")
    assert (restored.version, restored.tried) == (1, ())
    assert tree(tmp_path / "back") == good


async def test_what_is_written_into_after_it_was_looked_at_is_not_published(alice: Home, tmp_path: Path) -> None:
    path = Trainer(tmp_path / "run").save()
    looked_at = fingerprint(survey(path)[0])
    with (path / "model.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"?")
    error = await failure(alice.share(path, name="run/overwritten", expected=looked_at))
    assert isinstance(error, ChangedWhileReading)
    assert (await alice.share(path, name="run/overwritten", expected=fingerprint(survey(path)[0]))).version == 1


async def test_the_newest_save_once_more_under_another_name_is_no_version(alice: Home, tmp_path: Path) -> None:
    directory = tmp_path / "run"
    directory.mkdir()
    named, last = directory / "epoch=1-step=20.ckpt", directory / "last.ckpt"
    for path in (named, last):
        path.write_bytes(torch_bytes())
        await alice.client.save(SaveRequest(name="run/last", path=str(path), step=20))
    saves = await ended(alice, "run/last", named.name, last.name)
    assert [saves[path.name].state for path in (named, last)] == [SaveState.PUBLISHED, SaveState.SUPERSEDED]


async def test_what_was_rejected_is_looked_at_again_when_the_run_is_watched_otherwise(
    alice: Home, tmp_path: Path
) -> None:
    trainer = Trainer(tmp_path / "run")
    trainer.tensors["layer.0.norm"][0] = -np.inf
    await watch(alice, trainer.directory, "run/masked")
    trainer.save()
    assert (await ended(alice, "run/masked", "checkpoint-10"))["checkpoint-10"].state is SaveState.REJECTED
    await watch(alice, trainer.directory, "run/masked", allow_nonfinite=("*.norm",))
    await until(lambda: _has(alice, "run/masked", SaveState.PUBLISHED), "it is published after all")
    assert (await restore(alice, "run/masked", tmp_path / "back")).version == 1


async def test_a_version_that_was_shared_although_it_is_not_finite_is_passed_over(alice: Home, tmp_path: Path) -> None:
    trainer = Trainer(tmp_path / "run")
    await alice.share(trainer.save(), name="run/by-hand", step=10)
    trainer.tensors["layer.0.norm"][0] = np.inf
    await alice.share(trainer.save(), name="run/by-hand", step=20)
    restored = await restore(alice, "run/by-hand", tmp_path / "back")
    assert restored.version == 1
    assert [tried.version for tried in restored.tried] == [2]
    assert "layer.0.norm" in restored.tried[0].why


async def test_another_machine_restores_from_the_swarm_and_falls_back_where_nobody_has_the_newest(
    alice: Home, bob: Home, tmp_path: Path
) -> None:
    trainer = Trainer(tmp_path / "run")
    await watch(alice, trainer.directory, "run/moved", to="link")
    there = tree(trainer.save())
    await ended(alice, "run/moved", "checkpoint-10")
    jobs = [job for job in await alice.client.jobs() if job.share == "run/moved"]
    await bob.get(jobs[0].link.partition("@")[0], tmp_path / "bob")
    trainer.save()
    await ended(alice, "run/moved", "checkpoint-20")
    # version 2 is signed, and gone before anybody has it
    await alice.client.drop_version("run/moved@2")
    restored = await restore(bob, "run/moved", tmp_path / "back", patience=3.0)
    assert restored.version == 1
    assert "nobody sent" in restored.tried[0].why
    assert tree(tmp_path / "back") == there


async def test_what_is_restored_into_the_run_is_no_new_save(alice: Home, tmp_path: Path) -> None:
    trainer = Trainer(tmp_path / "run")
    await watch(alice, trainer.directory, "run/restarted")
    path = trainer.save()
    there = tree(path)
    await ended(alice, "run/restarted", path.name)
    (path / "optimizer.pt").write_bytes(b"torn")
    await until(lambda: _has(alice, "run/restarted", SaveState.REJECTED), "the damaged save was looked at")
    restored = await restore(alice, "run/restarted")
    assert restored.path == str(path)  # where the run saves
    assert tree(path, leave_out=[name.name for name in path.iterdir() if name.name.startswith(".")]) == there
    trainer.save()
    await ended(alice, "run/restarted", "checkpoint-20")
    versions = (await alice.client.share_detail("run/restarted")).versions
    assert [version.name for version in versions] == ["checkpoint-20", "checkpoint-10"]


async def test_what_an_earlier_restore_left_is_no_part_of_the_next_one(alice: Home, tmp_path: Path) -> None:
    trainer = Trainer(tmp_path / "run")
    await alice.share(trainer.save(), name="run/thinner", step=10)
    weights = trainer.save()
    of_the_optimizer = (weights / "optimizer.pt").read_bytes()
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
        (weights / name).unlink()
    await alice.share(weights, name="run/thinner", step=20)
    back = tmp_path / "back"
    assert (await restore(alice, "run/thinner@1", back)).version == 1
    first = tree(back)
    hidden = [".p2pckpt-replaced"]
    assert (await restore(alice, "run/thinner", back)).version == 2
    assert tree(back, leave_out=hidden) == tree(weights)
    (kept,) = (back / ".p2pckpt-replaced").glob("*/optimizer.pt")
    assert kept.read_bytes() == of_the_optimizer
    (tmp_path / "link").symlink_to(back)
    restored = await restore(alice, "run/thinner@1", tmp_path / "link")
    assert (restored.version, restored.path, restored.tried) == (1, str(back), ())
    assert tree(back, leave_out=hidden) == first


async def test_what_else_lies_in_a_directory_is_neither_judged_nor_touched(alice: Home, tmp_path: Path) -> None:
    trainer = Trainer(tmp_path / "run")
    path = trainer.save()
    await alice.share(path, name="run/crowded", step=10)
    trainer.tensors["layer.0.norm"][0] = np.nan
    other = trainer.save()
    before = tree(trainer.directory)
    error = await failure(restore(alice, "run/crowded", trainer.directory))
    assert isinstance(error, BadUsage)
    assert f"--to {trainer.directory / 'crowded-v1'}" in error.next_step
    assert tree(trainer.directory) == before
    shutil.copy(other / "model.safetensors", path / "more.safetensors")
    restored = await restore(alice, "run/crowded", path)
    assert (restored.version, restored.tried) == (1, ())
    assert not (path / "more.safetensors").exists()
    (aside,) = (path / ".p2pckpt-replaced").iterdir()
    assert [each.name for each in aside.iterdir()] == ["more.safetensors"]


async def test_a_version_that_is_passed_over_leaves_nothing_at_the_target(alice: Home, tmp_path: Path) -> None:
    trainer = Trainer(tmp_path / "run")
    await alice.share(trainer.save(), name="run/poisoned", step=10)
    trainer.tensors["layer.0.norm"][0] = np.nan
    await alice.share(trainer.save(), name="run/poisoned", step=20)
    base = tmp_path / "base"
    base.mkdir()
    (base / "poisoned-v2").mkdir()
    request = RestoreRequest(source="run/poisoned", base=str(base))
    job = await alice.wait_job((await alice.client.restore(request)).id)
    assert job.restored is not None
    assert [each.version for each in job.restored.tried] == [2]
    assert sorted(each.name for each in base.iterdir()) == ["poisoned-v1", "poisoned-v2"]
    assert not list((base / "poisoned-v2").iterdir())


async def test_without_tracker_and_publisher_the_newest_version_that_is_here_is_restored(
    bob: Home, tmp_path: Path
) -> None:
    trainer = Trainer(tmp_path / "run")
    async with Home(tmp_path / "carol") as carol:
        shared = await carol.share(trainer.save(), name="run/alone", to="link", step=10)
        await bob.get(shared.link.partition("@")[0], tmp_path / "bob")
        await carol.share(trainer.save(), name="run/alone", step=20)
        await until(lambda: _knows(bob, "run/alone", 2), "bob has heard of the second version")
    restored = await restore(bob, "run/alone", tmp_path / "back", patience=3.0)
    assert (restored.version, [each.version for each in restored.tried]) == (1, [2])
    assert "tracker" in restored.tried[0].why


async def test_a_directory_that_is_saved_to_over_and_over_again_is_published_each_time_and_restored_in_place(
    alice: Home, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    state.mkdir()
    await watch(alice, state, "run/one-place", quiet=0.3)
    for step in (1, 2):
        (state / "model.safetensors").write_bytes(safetensors({"weight": np.full(64, step, np.float32)}, "F32"))
        for name in ("optimizer.bin", "random_states_0.pkl"):
            (state / name).write_bytes(torch_bytes())
        there = tree(state)
        await until(partial(_has_published, alice, "run/one-place", step), f"save {step} was published")
    (state / "model.safetensors").write_bytes(b"torn")
    restored = await restore(alice, "run/one-place")
    assert (restored.version, restored.path) == (2, str(state))
    assert tree(state, leave_out=[".p2pckpt-replaced"]) == there


async def test_with_everything_bad_a_restore_says_why_and_what_to_do(alice: Home, tmp_path: Path) -> None:
    trainer = Trainer(tmp_path / "run")
    trainer.tensors["layer.0.norm"][0] = np.nan
    await alice.share(trainer.save(), name="run/hopeless")
    request = RestoreRequest(source="run/hopeless", to=str(tmp_path / "back"))
    job = await alice.client.restore(request)
    error = await failure(alice.wait_job(job.id))
    assert isinstance(error, VerificationFailed)
    assert "v1: " in error.fact
    assert "layer.0.norm" in error.fact
    assert "--allow-nonfinite" in error.next_step
    assert not (tmp_path / "back").exists()
    assert isinstance(await failure(restore(alice, "run/unknown", tmp_path)), NotFound)


async def test_a_killed_daemon_catches_up(tmp_path: Path) -> None:
    trainer = Trainer(tmp_path / "run")
    async with Home(tmp_path / "home") as home:
        await watch(home, trainer.directory, "run/killed")
        trainer.save()
        await until(lambda: _is_noticed(home, "run/killed"), "a save was noticed")
        await home.kill()
        trainer.save()
        trainer.save()
        await home.start()
        names = ("checkpoint-10", "checkpoint-20", "checkpoint-30")
        saves = await ended(home, "run/killed", *names)
        assert [saves[name].version for name in names] == [1, 2, 3]
        assert not list(trainer.directory.rglob(".p2pckpt*"))


async def test_while_nothing_can_be_published_only_the_newest_is_kept_and_the_trainer_goes_on(tmp_path: Path) -> None:
    trainer = Trainer(tmp_path / "run")
    async with Home(tmp_path / "home", tracker="127.0.0.1:1") as home:
        for _ in range(4):
            path = trainer.save()
            trainer.rotate(1)
            await home.client.save(SaveRequest(name="run/offline", path=str(path)))
        held = [path.parent.name for path in trainer.directory.glob(".p2pckpt/*/checkpoint-*")]
        assert len(held) <= 2  # the one that is tried, and the newest
        await until(lambda: _has_problem(home, "run/offline"), "it is told why nothing happens")
        await home.stop()
        home.set(tracker="")
        await home.start()
        saves = await ended(home, "run/offline", "checkpoint-40")
        assert saves["checkpoint-40"].state is SaveState.PUBLISHED
        assert saves["checkpoint-20"].state is not SaveState.PUBLISHED
        versions = (await home.client.share_detail("run/offline")).versions
        assert versions[0].name == "checkpoint-40"


async def test_a_save_that_can_not_travel_stops_no_other(alice: Home, tmp_path: Path) -> None:
    trainer = Trainer(tmp_path / "run")
    (tmp_path / "elsewhere").mkdir()
    (trainer.save() / "link").symlink_to(tmp_path / "elsewhere")
    trainer.save()
    await watch(alice, trainer.directory, "run/linked")
    saves = await ended(alice, "run/linked", "checkpoint-10", "checkpoint-20")
    assert (saves["checkpoint-10"].state, saves["checkpoint-20"].state) == (SaveState.REJECTED, SaveState.PUBLISHED)
    assert "link to a directory" in saves["checkpoint-10"].why


async def test_a_publish_that_is_paused_waits_and_one_that_is_removed_is_no_version(
    alice: Home, tmp_path: Path
) -> None:
    trainer = Trainer(tmp_path / "run", width=512)
    await alice.client.save(SaveRequest(name="run/paused", path=str(trainer.save())))
    await until(lambda: _publishes(alice, "run/paused"), "it is being published")
    job = next(job for job in await alice.client.jobs() if job.path.startswith(str(trainer.directory)))
    await alice.client.pause(job.id)
    if not (await alice.client.job(job.id)).ended_at:
        await until(lambda: _has_problem(alice, "run/paused"), "it is told that it is paused")
        assert (await alice.client.run_detail("run/paused")).saves[0].state is SaveState.PUBLISHING
    await alice.client.resume(job.id)
    save = (await ended(alice, "run/paused", "checkpoint-10"))["checkpoint-10"]
    assert (save.state, save.version) == (SaveState.PUBLISHED, 1)


async def test_saves_that_are_made_otherwise_on_purpose_are_taken_after_a_while(alice: Home, tmp_path: Path) -> None:
    trainer = Trainer(tmp_path / "run")
    await watch(alice, trainer.directory, "run/other")
    trainer.train()
    path = trainer.begin()
    (path / "scaler.pt").write_bytes(torch_bytes())
    trainer.end(path)
    await ended(alice, "run/other", "checkpoint-10")
    for _ in range(3):
        path = trainer.save()
        await ended(alice, "run/other", path.name)
    saves = await ended(alice, "run/other", path.name)
    states = [saves[f"checkpoint-{step}"].state for step in (10, 20, 30, 40)]
    assert states == [SaveState.PUBLISHED, SaveState.REJECTED, SaveState.REJECTED, SaveState.PUBLISHED]


async def test_a_run_ends_with_its_share(alice: Home, tmp_path: Path) -> None:
    trainer = Trainer(tmp_path / "run")
    await watch(alice, trainer.directory, "run/left")
    trainer.save()
    await ended(alice, "run/left", "checkpoint-10")
    plan = await alice.client.leave_plan("run/left")
    assert f"! The saves in {trainer.directory} are published no more." in plan.consequences
    await alice.client.leave("run/left")
    assert "run/left" not in [run.name for run in await alice.client.runs()]
    assert isinstance(await failure(alice.client.run_detail("run/left")), NotFound)


async def test_a_run_is_published_to_its_own_share_whatever_others_are_called(
    alice: Home, bob: Home, tmp_path: Path
) -> None:
    other = await alice.share(Trainer(tmp_path / "hers").save(), name="run/twins", step=10)
    trainer = Trainer(tmp_path / "his")
    await watch(bob, trainer.directory, "run/twins")
    trainer.save()
    await ended(bob, "run/twins", "checkpoint-10")
    await bob.get(other.link, tmp_path / "joined")
    trainer.save()
    save = (await ended(bob, "run/twins", "checkpoint-20"))["checkpoint-20"]
    assert (save.state, save.version) == (SaveState.PUBLISHED, 2)


async def test_one_directory_is_watched_for_one_run_until_it_is_no_more(alice: Home, tmp_path: Path) -> None:
    trainer = Trainer(tmp_path / "run")
    await watch(alice, trainer.directory, "run/first")
    assert isinstance(await failure(watch(alice, trainer.directory, "run/second")), BadUsage)
    trainer.save()
    await ended(alice, "run/first", "checkpoint-10")
    row = await alice.client.unwatch_run("run/first")
    assert (row.watching, row.published) == (False, 1)
    await watch(alice, trainer.directory, "run/second")
    await ended(alice, "run/second", "checkpoint-10")
    assert len((await alice.client.share_detail("run/first")).versions) == 1


async def _has(home: Home, run: str, state: SaveState) -> bool:
    return any(save.state is state for save in (await home.client.run_detail(run)).saves)


async def _has_published(home: Home, run: str, count: int) -> bool:
    return (await home.client.run_detail(run)).run.published >= count


async def _knows(home: Home, run: str, version: int) -> bool:
    return any((share.name, share.latest) == (run, version) for share in await home.client.shares())


async def _is_noticed(home: Home, run: str) -> bool:
    return bool((await home.client.run_detail(run)).saves)


async def _has_problem(home: Home, run: str) -> bool:
    return bool((await home.client.run_detail(run)).run.problem)


async def _publishes(home: Home, run: str) -> bool:
    before = (SaveState.WAITING, SaveState.CHECKING)
    return any(save.state not in before for save in (await home.client.run_detail(run)).saves)
