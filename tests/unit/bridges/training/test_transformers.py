"""What the callback for transformers makes of a trainer's arguments and state; the trainer itself is not needed."""

from __future__ import annotations

import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from p2pckpt.bridges.training import transformers

from ....support.canned_daemon import CannedDaemon
from .conftest import SAVES, make_save


def arguments(output: Path, **fields: Any) -> Any:
    return SimpleNamespace(**{"output_dir": str(output), "world_size": 1, "save_only_model": False, **fields})


def state(**fields: Any) -> Any:
    return SimpleNamespace(**{"is_world_process_zero": True, "global_step": 7, "log_history": [], **fields})


@pytest.fixture
def callback() -> Any:
    return transformers._Saves("my/run", start_daemon=False)


def told(daemon: CannedDaemon, callback: Any, args: Any, state: Any) -> list[dict[str, Any]]:
    """What the daemon heard of a save, once the training has ended."""
    callback.on_save(args, state, None, model=None)
    callback.on_train_end(args, state, None)
    return daemon.asked(*SAVES)


def test_metrics_are_the_newest_loss_and_what_was_evaluated_at_the_very_step(
    daemon: CannedDaemon, callback: Any, save: Path
) -> None:
    history = [
        {"step": 5, "loss": 2.0, "eval_loss": 3.0, "learning_rate": 0.1, "epoch": 0.5},
        {"step": 6, "loss": 1.0, "epoch": 0.6},
        {"step": 7, "eval_accuracy": 0.5, "eval_runtime": 9.0, "eval_samples_per_second": 4.0, "epoch": 0.7},
    ]
    (request,) = told(daemon, callback, arguments(save.parent), state(log_history=history))
    assert (request["path"], request["step"]) == (str(save), 7)
    assert request["metrics"] == {"loss": 1.0, "eval_accuracy": 0.5}


def test_a_trial_of_a_hyperparameter_search_saves_below_a_directory_of_its_own(
    daemon: CannedDaemon, callback: Any, tmp_path: Path
) -> None:
    for number, trial in enumerate(("run-0", "run-1")):
        (tmp_path / trial).mkdir()
        save = make_save(tmp_path / trial / "checkpoint-7")
        os.utime(save, (number, number))
    (request,) = told(daemon, callback, arguments(tmp_path), state())
    assert request["path"] == str(tmp_path / "run-1" / "checkpoint-7")


def test_ranks_that_do_not_speak_for_the_training_say_nothing(daemon: CannedDaemon, callback: Any, save: Path) -> None:
    assert told(daemon, callback, arguments(save.parent), state(is_world_process_zero=False)) == []


def test_a_save_is_handed_over_once_every_rank_has_written_its_random_state(
    daemon: CannedDaemon, save: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    written = transformers._others_have_written(arguments(save.parent, world_size=4), save)
    assert written is not None
    for rank in (0, 1):
        assert not written()
        (save / f"rng_state_{rank}.pth").write_bytes(b"random")
    assert not written(), "the last one may not be whole yet"
    for rank in (0, 1):
        os.utime(save / f"rng_state_{rank}.pth", (time.time() - 5,) * 2)
    assert written()
    assert transformers._others_have_written(arguments(save.parent, save_only_model=True), save) is None


def test_what_the_trainer_does_not_have_any_more_breaks_nothing(
    daemon: CannedDaemon, callback: Any, save: Path, caplog: pytest.LogCaptureFixture
) -> None:
    callback.on_save(arguments(save.parent), SimpleNamespace(is_world_process_zero=True, global_step=7), None)
    assert "checkpoint-7 was not handed over, training goes on: AttributeError" in caplog.text
