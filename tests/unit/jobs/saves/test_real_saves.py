"""Saves of real trainers, as they are: found, finished, taken, described, and passed by the check."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from p2pckpt.jobs.saves import Facts, Role, Save, Writer, check, facts, find, look, take

SAVES = {
    "transformers/checkpoint-4": Writer.TRANSFORMERS,
    "transformers/checkpoint-6": Writer.TRANSFORMERS,
    "accelerate/checkpoint-3": Writer.FILES,
    "distributed/step_7": Writer.DCP,
    "distributed/step_8": Writer.DCP,
    "distributed/step_9": Writer.DCP,
    "files/step_3.pt": Writer.FILES,
    "files/old_4.pt": Writer.FILES,
    "files/model-00005.pt": Writer.FILES,
    "files/step-6": Writer.FILES,
    "sharded/model": Writer.FILES,
}
LIGHTNING = "lightning/version_0/checkpoints"
FULL = {Role.WEIGHTS, Role.OPTIMIZER, Role.SCHEDULER, Role.PROGRESS}


def taken(runs: Path, path: str, to: Path) -> tuple[Path, Save]:
    save = look(runs / path)
    return take(save, to / save.name), save


def last_of_lightning(runs: Path) -> str:
    best = [save for save in find(runs / "lightning") if "val_loss" in save.name]
    return str(best[-1].path.relative_to(runs))


@pytest.mark.parametrize(("path", "writer"), SAVES.items())
def test_a_save_as_its_trainer_left_it_passes(runs: Path, tmp_path: Path, path: str, writer: Writer) -> None:
    snapshot, save = taken(runs, path, tmp_path)
    assert save.writer is writer
    found = check(snapshot)
    assert found.problems == ()
    assert found.warnings == ()
    assert found.bytes == save.size
    assert check(snapshot, found.shape).problems == ()


def test_every_save_of_lightning_passes_although_its_callbacks_hold_infinities(runs: Path, tmp_path: Path) -> None:
    saves = find(runs / "lightning")
    assert len(saves) == 7
    for save in saves:
        assert save.writer is Writer.LIGHTNING
        assert save.marked
        found = check(take(save, tmp_path / save.name))
        assert found.problems == ()
        assert {role for role, _ in found.shape.parts} == FULL
        assert found.tensors > 8


def test_a_save_is_marked_by_what_its_writer_writes_last(runs: Path) -> None:
    marked = {path for path in SAVES if look(runs / path).marked}
    assert marked == {
        "transformers/checkpoint-4",
        "transformers/checkpoint-6",
        "distributed/step_7",
        "distributed/step_8",
        "distributed/step_9",
        "files/step_3.pt",
        "files/model-00005.pt",
    }


def test_a_run_lists_its_saves_by_step(runs: Path) -> None:
    assert [save.name for save in find(runs / "transformers")] == ["checkpoint-4", "checkpoint-6"]
    assert [save.step for save in find(runs / "distributed")] == [7, 8, 9]


def test_the_trainers_rotation_and_resume_do_not_see_our_directory(runs: Path) -> None:
    run = runs / "transformers"
    assert (run / ".p2pckpt" / "checkpoint-9").is_dir()
    assert not (run / "checkpoint-2").exists()
    assert json.loads((run / "checkpoint-6" / "trainer_state.json").read_text())["global_step"] == 6


def test_what_a_save_says_of_itself_is_read(runs: Path, tmp_path: Path) -> None:
    evaluated = facts(*taken(runs, "transformers/checkpoint-4", tmp_path))
    assert (evaluated.step, evaluated.epoch) == (4, 1.0)
    assert evaluated.metrics.keys() == {"loss", "grad_norm", "learning_rate", "eval_loss"}
    assert facts(*taken(runs, "distributed/step_7", tmp_path)) == Facts(step=7)
    assert facts(*taken(runs, "distributed/step_8", tmp_path)) == Facts(step=8)
    assert facts(*taken(runs, "distributed/step_9", tmp_path)) == Facts(step=9)
    assert facts(*taken(runs, "files/step_3.pt", tmp_path)) == Facts(7, None, {"val_loss": 0.5})
    assert facts(*taken(runs, "files/old_4.pt", tmp_path)) == Facts(7, None, {"val_loss": 0.5})
    assert facts(*taken(runs, "files/step-6", tmp_path)) == Facts(6, 0.5, {"val_loss": 0.25})
    assert facts(*taken(runs, "accelerate/checkpoint-3", tmp_path)) == Facts(step=3)


def test_an_evaluation_of_an_earlier_step_is_no_metric_of_a_save(runs: Path, tmp_path: Path) -> None:
    snapshot, save = taken(runs, "transformers/checkpoint-6", tmp_path)
    assert "eval_loss" in facts(snapshot, save).metrics  # the last step is evaluated as well
    state = json.loads((snapshot / "trainer_state.json").read_text())
    state["log_history"] = [entry for entry in state["log_history"] if entry["step"] < 6]
    (snapshot / "trainer_state.json").unlink()
    (snapshot / "trainer_state.json").write_text(json.dumps(state))
    assert facts(snapshot, save).metrics.keys() == {"loss", "grad_norm", "learning_rate"}


def test_lightnings_monitored_metric_is_that_of_the_save_itself(runs: Path, tmp_path: Path) -> None:
    best = facts(*taken(runs, last_of_lightning(runs), tmp_path))
    assert (best.step, best.epoch) == (4, 1.0)
    assert 0 < best.metrics["val_loss"] < 10
    assert round(best.metrics["val_loss"], 2) != best.metrics["val_loss"]  # the name has two digits
    assert facts(*taken(runs, f"{LIGHTNING}/every-step=3.ckpt", tmp_path)) == Facts(3, 1.0)
    assert facts(*taken(runs, f"{LIGHTNING}/last.ckpt", tmp_path)) == best


def test_a_check_counts_tensors_of_every_file(runs: Path, tmp_path: Path) -> None:
    counts = {path: check(taken(runs, path, tmp_path)[0]).tensors for path in SAVES}
    assert counts["sharded/model"] == 25
    assert counts["distributed/step_7"] == 8
    assert counts["files/step_3.pt"] == counts["files/old_4.pt"] == 8
