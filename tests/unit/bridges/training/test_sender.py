"""Saves behind the trainer's back."""

from __future__ import annotations

import asyncio
import copy
import logging
import pickle
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from p2pckpt import SaveSender
from p2pckpt.control.messages import Failure
from p2pckpt.errors import NoSpace

from ....support.canned_daemon import CannedDaemon
from .conftest import SAVES, make_save, row

DEADLINE = 30


@pytest.fixture
def sender() -> SaveSender:
    return SaveSender("my/run", start_daemon=False)


def taken(daemon: CannedDaemon) -> list[str]:
    return [Path(request["path"]).name for request in daemon.asked(*SAVES)]


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_save_that_waits_is_replaced_by_a_newer_one_while_one_is_handed_over(
    daemon: CannedDaemon, sender: SaveSender, tmp_path: Path
) -> None:
    gate = daemon.gates[SAVES] = threading.Event()
    first, second, third = (make_save(tmp_path / f"checkpoint-{step}") for step in (1, 2, 3))
    sender.send(first, step=1)
    deadline = time.monotonic() + DEADLINE
    while not taken(daemon) and time.monotonic() < deadline:
        time.sleep(0.005)
    sender.send(second, step=2)
    sender.send(third, step=3)
    gate.set()
    assert sender.close(DEADLINE)
    assert taken(daemon) == ["checkpoint-1", "checkpoint-3"]


def test_a_save_is_handed_over_once_all_of_it_is_written(
    daemon: CannedDaemon, sender: SaveSender, tmp_path: Path
) -> None:
    written = threading.Event()
    sender.send(make_save(tmp_path / "checkpoint-1"), written=written.is_set)
    assert not sender.close(patience=0)
    assert taken(daemon) == []
    written.set()
    assert sender.close(DEADLINE)
    assert taken(daemon) == ["checkpoint-1"]


def test_a_save_that_is_still_written_is_left_out_for_a_newer_one(
    daemon: CannedDaemon, sender: SaveSender, tmp_path: Path
) -> None:
    sender.send(make_save(tmp_path / "checkpoint-1"), written=lambda: False)
    sender.send(make_save(tmp_path / "checkpoint-2"))
    assert sender.close(DEADLINE)
    assert taken(daemon) == ["checkpoint-2"]


def test_metrics_count_as_they_were_when_the_save_was_sent(
    daemon: CannedDaemon, sender: SaveSender, save: Path
) -> None:
    written = threading.Event()
    metrics = {"loss": 1.5}
    sender.send(save, metrics=metrics, written=written.is_set)
    metrics["loss"] = 0.0
    written.set()
    assert sender.close(DEADLINE)
    assert [request["metrics"] for request in daemon.asked(*SAVES)] == [{"loss": 1.5}]


def test_a_daemon_that_is_away_is_warned_of_once_and_so_is_its_return(
    sender: SaveSender, config: object, save: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        sender.send(save)
        assert sender.close(DEADLINE)
    assert len(warnings(caplog)) == 1
    assert "checkpoint-7 was not handed over, training goes on: the daemon does not answer" in warnings(caplog)[0]
    with CannedDaemon(config.socket_path) as daemon:  # type: ignore[attr-defined]
        daemon.replies[SAVES] = row()
        sender.send(save)
        assert sender.close(DEADLINE)
    assert warnings(caplog)[1:] == ["checkpoint-7 was handed over: saves are published again"]


def test_every_new_reason_is_warned_of(
    daemon: CannedDaemon, sender: SaveSender, save: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for fact in ("the disk is full", "the disk is full", "no such visibility"):
        daemon.replies[SAVES] = Failure("no_space", fact)
        sender.send(save)
        assert sender.close(DEADLINE)
    assert [message.rpartition(": ")[2] for message in warnings(caplog)] == ["the disk is full", "no such visibility"]


def test_a_fault_of_our_own_is_a_warning_too(
    daemon: CannedDaemon, sender: SaveSender, save: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> bool:
        raise ZeroDivisionError("a fault")

    sender.send(save, written=broken)
    assert sender.close(DEADLINE)
    with sender.guard(save):
        raise KeyError("another")
    assert [message.partition("goes on: ")[2] for message in warnings(caplog)] == [
        "ZeroDivisionError: a fault",
        "KeyError: 'another'",
    ]


def test_a_strict_sender_raises_what_went_wrong(daemon: CannedDaemon, save: Path) -> None:
    sender = SaveSender("my/run", strict=True, start_daemon=False)
    sender.send(save)
    assert taken(daemon) == ["checkpoint-7"]
    daemon.replies[SAVES] = Failure("no_space", "the disk is full")
    with pytest.raises(NoSpace):
        sender.send(save)
    with pytest.raises(KeyError), sender.guard(save):
        raise KeyError("it")


def test_a_strict_sender_works_where_a_loop_runs(daemon: CannedDaemon, save: Path) -> None:
    async def cell_of_a_notebook() -> None:
        SaveSender("my/run", strict=True, start_daemon=False).send(save)

    asyncio.run(cell_of_a_notebook())
    assert taken(daemon) == ["checkpoint-7"]


def test_other_ranks_send_nothing(
    daemon: CannedDaemon, sender: SaveSender, save: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "3")
    sender.send(save)
    assert sender.close(patience=0)
    assert taken(daemon) == []


def test_a_daemon_that_hangs_does_not_hold_the_end_of_a_training(
    daemon: CannedDaemon, sender: SaveSender, save: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gate = daemon.gates[SAVES] = threading.Event()
    sender.send(save)
    assert not sender.close(patience=0.05)
    assert "not waiting any longer" in warnings(caplog)[0]
    gate.set()
    assert sender.close(DEADLINE)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda sender: pickle.loads(pickle.dumps(sender))])
def test_a_copy_sends_for_the_same_run(daemon: CannedDaemon, sender: SaveSender, save: Path, copied: object) -> None:
    sender.send(save)
    other = copied(sender)  # type: ignore[operator]
    assert sender.close(DEADLINE)
    other.send(save)
    assert other.close(DEADLINE)
    assert {request["name"] for request in daemon.asked(*SAVES)} == {"my/run"}


def test_a_process_that_ends_at_once_hands_its_last_save_over(daemon: CannedDaemon, save: Path) -> None:
    script = "import sys, p2pckpt; p2pckpt.SaveSender('my/run').send(sys.argv[1], step=7)"
    subprocess.run([sys.executable, "-c", script, str(save)], check=True, timeout=DEADLINE)
    assert taken(daemon) == ["checkpoint-7"]


def test_a_child_of_multiprocessing_hands_its_last_save_over(daemon: CannedDaemon, save: Path) -> None:
    script = (
        "import sys, multiprocessing, p2pckpt\n"
        "def main(): p2pckpt.SaveSender('my/run').send(sys.argv[1], step=7)\n"
        "child = multiprocessing.get_context('fork').Process(target=main)\n"
        "child.start(); child.join(); sys.exit(child.exitcode)"
    )
    subprocess.run([sys.executable, "-c", script, str(save)], check=True, timeout=DEADLINE)
    assert taken(daemon) == ["checkpoint-7"]


def test_a_child_that_is_ended_with_its_parent_has_handed_over_what_it_sent(daemon: CannedDaemon, save: Path) -> None:
    script = (
        "import sys, multiprocessing, p2pckpt\n"
        "context = multiprocessing.get_context('fork')\n"
        "sent = context.Event()\n"
        "def main():\n"
        "    p2pckpt.SaveSender('my/run').send(sys.argv[1], step=7)\n"
        "    sent.set()\n"
        "child = context.Process(target=main, daemon=True)\n"
        "child.start(); sent.wait(); child.kill()"
    )
    subprocess.run([sys.executable, "-c", script, str(save)], check=True, timeout=DEADLINE)
    assert taken(daemon) == ["checkpoint-7"]
