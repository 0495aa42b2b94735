"""One finished save, one call."""

from __future__ import annotations

from pathlib import Path

import pytest

import p2pckpt
from p2pckpt.control.messages import Failure
from p2pckpt.control.run_messages import Retention, RunDetail, RunRow, SaveRow, SaveState
from p2pckpt.errors import DaemonUnavailable, NoSpace, P2pckptError, VerificationFailed

from ....support.canned_daemon import CannedDaemon
from .conftest import SAVES, row


class Number:
    """What a tensor of one number is to us."""

    def __float__(self) -> float:
        return 0.25


def detail(save: SaveRow) -> RunDetail:
    run = RunRow(
        name="my/run", path="", kind="files", watching=False, retention=Retention(), published=0, rejected=0, last=save
    )
    return RunDetail(run, (row(noticed_at=9), save))


def test_a_save_is_handed_over_with_step_metrics_and_the_options_of_its_run(daemon: CannedDaemon, save: Path) -> None:
    saved = p2pckpt.save_checkpoint(
        save,
        name="my/run",
        step=7,
        metrics={"loss": Number(), "broken": float("nan"), "words": "none", "all": [1, 2]},
        to="public",
        delta=False,
        retention=Retention(last=3),
        allow_nonfinite=["*.mask"],
    )
    assert daemon.asked(*SAVES) == [
        {
            "name": "my/run",
            "path": str(save),
            "step": 7,
            "metrics": {"loss": 0.25},
            "to": "public",
            "delta": False,
            "retention": {"last": 3, "every": 0, "best": 0, "metric": "", "highest": False},
            "allow_nonfinite": ["*.mask"],
        }
    ]
    assert saved == p2pckpt.Saved("my/run", save, 7, SaveState.WAITING, 0)


def test_what_is_waited_for_is_returned_with_its_version(daemon: CannedDaemon, save: Path) -> None:
    daemon.replies["GET", "/v1/runs/my%2Frun"] = detail(row(SaveState.PUBLISHED, version=4))
    saved = p2pckpt.save_checkpoint(save, name="my/run", step=7, wait=True)
    assert saved is not None
    assert (saved.state, saved.version) == (SaveState.PUBLISHED, 4)


@pytest.mark.parametrize(
    ("state", "error"), [(SaveState.REJECTED, VerificationFailed), (SaveState.FAILED, P2pckptError)]
)
def test_what_is_waited_for_and_not_published_says_why(
    daemon: CannedDaemon, save: Path, state: SaveState, error: type[P2pckptError]
) -> None:
    daemon.replies["GET", "/v1/runs/my%2Frun"] = detail(row(state, why="layer.0.weight has 3 NaN"))
    with pytest.raises(error, match=r"layer\.0\.weight has 3 NaN"):
        p2pckpt.save_checkpoint(save, name="my/run", step=7, wait=True)


def test_other_ranks_hand_nothing_over(save: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    assert p2pckpt.save_checkpoint(save, name="my/run") is None


def test_a_link_to_a_save_is_another_name_of_it(daemon: CannedDaemon, save: Path, tmp_path: Path) -> None:
    (tmp_path / "last").symlink_to(save)
    p2pckpt.save_checkpoint(tmp_path / "last", name="my/run")
    assert daemon.asked(*SAVES)[0]["path"] == str(save)


def test_a_daemon_that_must_not_be_started_is_missed(save: Path) -> None:
    with pytest.raises(DaemonUnavailable):
        p2pckpt.save_checkpoint(save, name="my/run", start_daemon=False)


def test_the_daemons_errors_are_raised_as_what_they_are(daemon: CannedDaemon, save: Path) -> None:
    daemon.replies[SAVES] = Failure("no_space", "the disk is full")
    with pytest.raises(NoSpace, match="the disk is full"):
        p2pckpt.save_checkpoint(save, name="my/run")


def test_an_option_that_there_is_not_is_a_type_error(save: Path) -> None:
    with pytest.raises(TypeError, match="detla"):
        p2pckpt.save_checkpoint(save, name="my/run", detla=False)  # type: ignore[call-arg]
