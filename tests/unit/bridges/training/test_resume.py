"""A training gets its newest good checkpoint back."""

from __future__ import annotations

from pathlib import Path

import pytest

import p2pckpt
from p2pckpt.control import messages as m
from p2pckpt.control import run_messages as rm
from p2pckpt.errors import NoSeeds, NotFound

from ....support.canned_daemon import CannedDaemon, job, share

RESTORE = ("POST", "/v1/restore")
SHARES = ("GET", "/v1/shares")


@pytest.fixture
def restoring(daemon: CannedDaemon) -> CannedDaemon:
    """A daemon that passes version 3 over."""
    daemon.replies[RESTORE] = job()
    result = rm.Restored(2, 20, "/runs/checkpoint-20", (rm.Tried(3, "torn"),))
    daemon.follow(job(), job(state=m.JobState.DONE, restored=result))
    return daemon


def test_restore_gives_what_the_trainer_resumes_from(restoring: CannedDaemon, tmp_path: Path) -> None:
    seen: list[m.Job] = []
    restored = p2pckpt.restore(
        "my/run", to=tmp_path / "here", patience=5, allow_nonfinite=["*.mask"], on_progress=seen.append
    )
    assert restored == p2pckpt.Restored(2, 20, Path("/runs/checkpoint-20"), (rm.Tried(3, "torn"),))
    (request,) = restoring.asked(*RESTORE)
    assert (request["source"], request["to"], request["patience"]) == ("my/run", str(tmp_path / "here"), 5)
    assert request["allow_nonfinite"] == ["*.mask"]
    assert [each.state for each in seen] == [m.JobState.RUNNING, m.JobState.DONE]


def test_without_a_target_the_daemon_knows_where(restoring: CannedDaemon) -> None:
    p2pckpt.restore("my/run")
    assert restoring.asked(*RESTORE)[0]["to"] == ""


def test_the_last_checkpoint_is_what_a_trainer_takes(restoring: CannedDaemon) -> None:
    assert p2pckpt.last_checkpoint("my/run", allow_nonfinite=["*.mask"]) == "/runs/checkpoint-20"
    assert restoring.asked(*RESTORE)[0]["allow_nonfinite"] == ["*.mask"]


def test_a_run_that_has_nothing_yet_has_no_last_checkpoint(
    daemon: CannedDaemon, caplog: pytest.LogCaptureFixture
) -> None:
    daemon.replies[RESTORE] = m.Failure("not_found", "my/run has no version yet")
    daemon.replies[SHARES] = [share(name="my/run", versions=0, latest=0), share(name="another")]
    assert p2pckpt.last_checkpoint("my/run") is None
    assert not caplog.text


def test_a_run_that_is_not_known_here_has_no_last_checkpoint_and_that_is_said(
    daemon: CannedDaemon, caplog: pytest.LogCaptureFixture
) -> None:
    daemon.replies[RESTORE] = m.Failure("not_found", "there is no share my/run")
    daemon.replies[SHARES] = [share(name="another")]
    assert p2pckpt.last_checkpoint("my/run") is None
    assert "no run my/run is known on this machine: training starts from zero" in caplog.text


@pytest.mark.parametrize(
    "name", ["my/run", "abababab", "new/run@stable", f"p2pckpt:{'ab' * 32}", "https://t.example/l"]
)
def test_a_training_does_not_start_from_zero_for_what_is_there_and_not_let_in_or_mistyped(
    daemon: CannedDaemon, name: str
) -> None:
    daemon.replies[RESTORE] = m.Failure("not_found", "none for you")
    daemon.replies[SHARES] = [share(name="my/run", versions=3), share(name="new/run", share_id="cd" * 32, versions=0)]
    with pytest.raises(NotFound):
        p2pckpt.last_checkpoint(name)


def test_a_run_whose_checkpoints_are_out_of_reach_does_not_start_from_zero(daemon: CannedDaemon) -> None:
    failed = job(state=m.JobState.FAILED, failure=m.Failure("no_seeds", "nobody has it"))
    daemon.replies[RESTORE] = job()
    daemon.follow(job(), failed)
    with pytest.raises(NoSeeds):
        p2pckpt.last_checkpoint("my/run")
