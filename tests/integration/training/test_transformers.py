"""transformers' Trainer with the callback."""

from __future__ import annotations

from pathlib import Path

import pytest

from p2pckpt.control.run_messages import SaveState

from ...support.homes import Home
from ...support.trainings import Training
from .conftest import goes_on_alike, published_one_by_one

pytestmark = pytest.mark.asyncio(loop_scope="package")


async def test_every_save_is_published_though_the_trainer_keeps_one_and_training_goes_on_from_it(
    alice: Home, tmp_path: Path
) -> None:
    training = Training(
        "transformers", tmp_path / "out", tmp_path / "log", steps=12, keep=1, hook="hf/run", home=alice.path
    )
    names = [f"checkpoint-{step}" for step in (4, 8, 12)]
    saves = await published_one_by_one(alice, training, names)
    assert [path.name for path in training.out.glob("checkpoint-*")] == ["checkpoint-12"]
    assert [(saves[name].state, saves[name].step) for name in names] == [
        (SaveState.PUBLISHED, step) for step in (4, 8, 12)
    ]
    assert [saves[name].metrics["loss"] for name in names] == [training.losses()[step] for step in (4, 8, 12)]
    await alice.verify("hf/run")

    done = await alice.cli("run", "restore", "hf/run@2", "--to", tmp_path / "restored")
    assert done.returncode == 0, done.stderr
    await goes_on_alike(training, done.stdout.strip(), after=8)
