"""``prune``: what is asked of the daemon, and how its answer is told."""

from __future__ import annotations

import json

import pytest

from p2pckpt.cli import registry
from p2pckpt.control.run_messages import PruneReply, PruneRow
from tests.support.canned_daemon import CannedDaemon

from .conftest import Cli

ROWS = (
    PruneRow(9, "step-4500", 4500, "newest, one of the last 2", 0),
    PruneRow(8, "", 4000, "", 28_000_000),
    PruneRow(7, "", None, "not a save: no step", 0),
)
REPLY = PruneReply(ROWS, 28_000_000, 1_900_000_000)


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.COMMANDS, "prune", registry.Entry("Versions", "p2pckpt.cli.prune:prune", "Retire."))


def test_the_policy_reaches_the_daemon_and_every_version_is_told_with_its_reason(
    daemon: CannedDaemon, cli: Cli
) -> None:
    daemon.replies["POST", "/v1/prune"] = REPLY
    policy = ("--keep-last", "2", "--keep-every", "1000", "--keep-best", "3", "--metric", "acc", "--highest")
    outcome = cli("prune", "run/lm", *policy)
    assert daemon.asked("POST", "/v1/prune") == [
        {
            "name": "run/lm",
            "retention": {"last": 2, "every": 1000, "best": 3, "metric": "acc", "highest": True},
            "dry_run": False,
            "at_once": False,
        }
    ]
    assert [line.split(maxsplit=4) for line in outcome.out.splitlines()] == [
        ["VERSION", "NAME", "STEP", "FREED", "WHY"],
        ["v9", "step-4500", "4,500", "-", "newest, one of the last 2"],
        ["v8", "-", "4,000", "28.0", "MB  retired"],
        ["v7", "-", "-", "-", "not a save: no step"],
    ]
    assert "1 version retired; 28.0 MB are freed here after 2030-" in outcome.err
    assert "p2pckpt run prune run/lm --undo" in outcome.err


@pytest.mark.parametrize(
    ("flags", "said"),
    [(("-n",), "1 version would be retired, 28.0 MB freed here; nothing was changed"), (("--now",), "as soon as")],
)
def test_a_dry_run_and_deleting_now_say_what_they_are(
    daemon: CannedDaemon, cli: Cli, flags: tuple[str, ...], said: str
) -> None:
    daemon.replies["POST", "/v1/prune"] = REPLY
    outcome = cli("prune", "run/lm", *flags)
    assert said in outcome.err
    (request,) = daemon.asked("POST", "/v1/prune")
    assert (request["retention"], request["dry_run"] or request["at_once"]) == (None, True)


def test_quietly_only_what_was_retired_is_told_and_json_has_all(daemon: CannedDaemon, cli: Cli) -> None:
    daemon.replies["POST", "/v1/prune"] = REPLY
    assert cli("prune", "run/lm", "-q") == (0, "v8\n", "")
    assert [row["version"] for row in json.loads(cli("prune", "run/lm", "--json").out)["rows"]] == [9, 8, 7]
    daemon.replies["POST", "/v1/prune"] = PruneReply(ROWS[:1], 0, 0)
    assert "every version is kept" in cli("prune", "run/lm").err


def test_undo_stands_alone(daemon: CannedDaemon, cli: Cli) -> None:
    back = PruneReply((PruneRow(8, "", 4000, "taken back", 0),), 0, 0, {7: "its manifest is gone"})
    daemon.replies["POST", "/v1/prune/undo?name=run/lm"] = back
    outcome = cli("prune", "run/lm", "--undo")
    assert "taken back" in outcome.out
    assert "v7 can't be taken back: its manifest is gone" in outcome.err
    for other in (("--keep-last", "3"), ("-n",), ("--now",)):
        assert cli("prune", "run/lm", "--undo", *other).code == 2


@pytest.mark.parametrize(
    "policy", [("--keep-best", "3"), ("--metric", "loss"), ("--highest",), ("--keep-last", "0"), ("--keep-every", "x")]
)
def test_a_policy_that_makes_no_sense_is_refused_before_anybody_is_asked(cli: Cli, policy: tuple[str, ...]) -> None:
    assert cli("prune", "run/lm", *policy).code == 2
