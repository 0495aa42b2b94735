"""Lightning's Trainer with the callback."""

from __future__ import annotations

from pathlib import Path

import pytest

from p2pckpt.bridges.training.resume import restore_async
from p2pckpt.control.run_messages import SaveState

from ...support.homes import Home
from ...support.trainings import Training
from .conftest import goes_on_alike, published_one_by_one

pytestmark = pytest.mark.asyncio(loop_scope="package")


@pytest.mark.parametrize("writes_later", [False, True])
async def test_every_save_is_published_though_one_is_kept_and_training_goes_on_from_it(
    alice: Home, tmp_path: Path, writes_later: bool
) -> None:
    run = f"pl/run{writes_later:d}"
    training = Training(
        "lightning",
        tmp_path / "out",
        tmp_path / "log",
        steps=12,
        keep=1,
        hook=run,
        home=alice.path,
        save_takes=0.2,
        writes_later=writes_later,
    )
    names = [f"epoch=0-step={step}.ckpt" for step in (4, 8, 12)]
    saves = await published_one_by_one(alice, training, names)
    assert [path.name for path in training.out.iterdir() if path.suffix == ".ckpt"] == [names[-1]]
    assert [(saves[name].state, saves[name].step) for name in names] == [
        (SaveState.PUBLISHED, step) for step in (4, 8, 12)
    ]
    assert [saves[name].metrics["loss"] for name in names] == [training.losses()[step] for step in (4, 8, 12)]

    restored = await restore_async(f"{run}@2", to=tmp_path / "restored", config=alice.config)
    assert (restored.version, restored.step, restored.path.name) == (2, 8, names[1])
    await goes_on_alike(training, str(restored.path), after=8)
