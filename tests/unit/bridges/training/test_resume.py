"""A training gets its newest good checkpoint back."""

from __future__ import annotations

from pathlib import Path

import pytest

import p2pckpt
from p2pckpt.control import messages as m
from p2pckpt.control import run_messages as rm
from p2pckpt.errors import NoSeeds

from ....support.canned_daemon import CannedDaemon, job

RESTORE = ("POST", "/v1/restore")


@pytest.fixture
def restoring(daemon: CannedDaemon) -> CannedDaemon:
    """A daemon that passes version 3 over."""
    daemon.replies[RESTORE] = job()
    result = rm.Restored(2, 20, "/runs/checkpoint-20", (rm.Tried(3, "torn"),))
    daemon.follow(job(), job(state=m.JobState.DONE, restored=result))
    return daemon


def test_restore_gives_what_the_trainer_resumes_from(restoring: CannedDaemon, tmp_path: Path) -> None:
    seen: list[m.Job] = []
    restored = p2pckpt.restore("my/run", to=tmp_path / "here", patience=5, on_progress=seen.append)
    assert restored == p2pckpt.Restored(2, 20, Path("/runs/checkpoint-20"), (rm.Tried(3, "torn"),))
    (request,) = restoring.asked(*RESTORE)
    assert (request["source"], request["to"], request["patience"]) == ("my/run", str(tmp_path / "here"), 5)
    assert [each.state for each in seen] == [m.JobState.RUNNING, m.JobState.DONE]


def test_without_a_target_the_daemon_knows_where(restoring: CannedDaemon) -> None:
    p2pckpt.restore("my/run")
    assert restoring.asked(*RESTORE)[0]["to"] == ""


def test_the_last_checkpoint_is_what_a_trainer_takes(restoring: CannedDaemon) -> None:
    assert p2pckpt.last_checkpoint("my/run") == "/runs/checkpoint-20"


def test_a_run_that_has_nothing_yet_has_no_last_checkpoint(daemon: CannedDaemon) -> None:
    daemon.replies[RESTORE] = m.Failure("not_found", "there is no share my/run")
    assert p2pckpt.last_checkpoint("my/run") is None


def test_a_run_whose_checkpoints_are_out_of_reach_does_not_start_from_zero(daemon: CannedDaemon) -> None:
    failed = job(state=m.JobState.FAILED, failure=m.Failure("no_seeds", "nobody has it"))
    daemon.replies[RESTORE] = job()
    daemon.follow(job(), failed)
    with pytest.raises(NoSeeds):
        p2pckpt.last_checkpoint("my/run")
