"""Saves that are no checkpoints to go back to: never tagged, never restored, and it is said why."""

from __future__ import annotations

from pathlib import Path

import pytest

from p2pckpt.bridges.training.resume import restore_async
from p2pckpt.control.run_messages import SaveState
from p2pckpt.errors import VerificationFailed

from ...support.homes import Home, failure
from ...support.runs import ended, watch
from ...support.trainings import KINDS, Training, finish

pytestmark = pytest.mark.asyncio(loop_scope="package")


def saves_of(training: Training) -> dict[int, str]:
    """Names of the saves, by step."""
    name = {"transformers": "checkpoint-{}", "lightning": "epoch=0-step={}.ckpt"}[training.kind]
    return {step: name.format(step) for step in range(training.save_every, training.steps + 1, training.save_every)}


@pytest.mark.parametrize("kind", KINDS)
async def test_a_save_with_nan_is_neither_published_nor_stable_nor_restored(
    alice: Home, tmp_path: Path, kind: str
) -> None:
    run = f"nan/{kind}"
    training = Training(kind, tmp_path / "out", tmp_path / "log", steps=12, keep=None, nan_at=6)
    names = saves_of(training)
    await finish(training)
    await watch(alice, training.out, run)
    saves = await ended(alice, run, *names.values())
    assert [saves[name].state for name in names.values()] == [
        SaveState.PUBLISHED,
        SaveState.REJECTED,
        SaveState.REJECTED,
    ], saves
    assert "NaN" in saves[names[8]].why
    assert f"{names[8]} of {run} was not published" in alice.log
    assert "NaN" in alice.log
    (share,) = [share for share in await alice.client.shares() if share.name == run]
    assert (share.versions, share.tags) == (1, {"latest": 1, "stable": 1})
    restored = await restore_async(run, to=tmp_path / "restored", config=alice.config)
    assert (restored.version, restored.step) == (1, 4)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_save_that_was_cut_off_is_neither_published_nor_restored(
    alice: Home, tmp_path: Path, kind: str
) -> None:
    run = f"torn/{kind}"
    training = Training(kind, tmp_path / "out", tmp_path / "log", steps=8, keep=None)
    names = saves_of(training)
    await finish(training)
    newest = training.out / names[8]
    torn = newest if newest.is_file() else newest / "optimizer.pt"
    with torn.open("r+b") as file:
        file.truncate(torn.stat().st_size * 2 // 3)
    await watch(alice, training.out, run)
    saves = await ended(alice, run, *names.values())
    assert [saves[name].state for name in names.values()] == [SaveState.PUBLISHED, SaveState.REJECTED], saves
    assert torn.name in saves[names[8]].why
    assert f"{names[8]} of {run} was not published: {saves[names[8]].why}" in alice.log
    assert (await restore_async(run, to=tmp_path / "restored", config=alice.config)).step == 4


async def test_a_save_with_nan_that_somebody_publishes_by_hand_is_passed_over_by_restore(
    alice: Home, tmp_path: Path
) -> None:
    training = Training("transformers", tmp_path / "out", tmp_path / "log", steps=8, keep=None, nan_at=6)
    await finish(training)
    for step in (4, 8):
        save = training.out / f"checkpoint-{step}"
        await alice.share(save, name="nan/byhand", step=step, allow_unsafe_pickle=True, tags=("stable",))
    restored = await restore_async("nan/byhand", to=tmp_path / "restored", config=alice.config)
    assert (restored.version, restored.step) == (1, 4)
    assert [tried.version for tried in restored.tried] == [2]
    assert "NaN" in restored.tried[0].why


async def test_a_run_of_nothing_but_nan_is_not_restored(alice: Home, tmp_path: Path) -> None:
    training = Training("lightning", tmp_path / "out", tmp_path / "log", steps=4, nan_at=2)
    await finish(training)
    await alice.share(training.out, name="nan/only", allow_unsafe_pickle=True)
    error = await failure(restore_async("nan/only", to=tmp_path / "restored", config=alice.config))
    assert isinstance(error, VerificationFailed)
    assert "NaN" in error.fact
    assert not (tmp_path / "restored").exists()
