"""``limit``: what is shown, and what is asked of the daemon."""

from __future__ import annotations

import json

import pytest

from p2pckpt.cli.limit import lines
from p2pckpt.control.messages import Failure
from p2pckpt.control.settings_messages import Limits
from tests.support import replay_feed as replay
from tests.support.canned_daemon import CannedDaemon, job, status
from tests.unit.cli.conftest import Cli

LIMITS = ("GET", "/v1/limits")
SETTINGS = ("POST", "/v1/settings")
TURTLE = ("POST", "/v1/limits/turtle")


def test_limits_are_shown(cli: Cli, daemon: CannedDaemon) -> None:
    daemon.replies[LIMITS] = Limits(down=5 << 20, up=0)
    assert cli("limit").out == "down       5M/s\nup         no limit\nslow mode  off\n"
    assert json.loads(cli("limit", "--json").out)["down"] == 5 << 20


def test_slow_mode_by_the_hours_says_until_when() -> None:
    now = 1_790_000_000
    shown = lines(Limits(1 << 20, 1 << 20, slow=True, hours="09:00-18:00", changes_at=now + 7200), now)
    assert shown[2].startswith("slow mode  on, by turtle_hours 09:00-18:00, until ")
    assert shown[2].endswith(", 2 hours from now")


def test_limits_over_everything_are_settings(cli: Cli, daemon: CannedDaemon) -> None:
    daemon.replies[LIMITS] = Limits(down=5 << 20)
    daemon.replies[SETTINGS] = replay.settings().rows[0]
    assert cli("limit", "--down", "5M", "--up", "none").code == 0
    assert daemon.asked(*SETTINGS) == [
        {"key": "download_limit", "value": 5 << 20},
        {"key": "upload_limit", "value": 0},
    ]


def test_the_turtle_is_turned(cli: Cli, daemon: CannedDaemon) -> None:
    daemon.replies[TURTLE] = Limits(1 << 20, 1 << 20, slow=True, turtle="on")
    assert "slow mode  on\n" in cli("limit", "--turtle", "toggle").out
    assert daemon.asked(*TURTLE) == [{"mode": "toggle"}]


@pytest.mark.parametrize("arguments", [("--down", "fast"), ("--up", "-1"), ("--turtle", "maybe")])
def test_what_makes_no_sense_asks_nothing(arguments: tuple[str, ...], cli: Cli, daemon: CannedDaemon) -> None:
    assert cli("limit", *arguments).code == 2
    assert daemon.requests == []


def test_a_refusal_is_an_error(cli: Cli, daemon: CannedDaemon) -> None:
    daemon.replies[TURTLE] = Failure("not_allowed", "environment P2PCKPT_TURTLE says what turtle is")
    outcome = cli("limit", "--turtle", "on")
    assert outcome.code == 4
    assert "environment P2PCKPT_TURTLE says" in outcome.err


JOBS = ("GET", "/v1/jobs")


def test_a_job_s_limits_are_shown(cli: Cli, daemon: CannedDaemon) -> None:
    daemon.replies[JOBS] = [job(limit_down=5 << 20), job(id="j13", version=4)]
    assert [line.split() for line in cli("limit", "cars/sd15").out.splitlines()] == [
        ["JOB", "VERSION", "DOWN", "UP"],
        ["j12", "cars/sd15@v3", "5M/s", "no", "limit"],
        ["j13", "cars/sd15@v4", "no", "limit", "no", "limit"],
    ]


def test_a_job_is_limited_and_what_was_not_named_stays(cli: Cli, daemon: CannedDaemon) -> None:
    route = ("POST", "/v1/jobs/j12/limit")
    daemon.replies |= {JOBS: [job()], route: job(limit_up=1000)}
    assert "1KB/s" in cli("limit", "j12", "--up", "1KB").out
    assert cli("limit", "j12", "--down", "none", "-q").out == "j12\n"
    assert daemon.asked(*route) == [{"down": None, "up": 1000}, {"down": 0, "up": None}]


def test_slow_mode_is_of_no_job(cli: Cli, daemon: CannedDaemon) -> None:
    assert cli("limit", "j12", "--turtle", "on").code == 2
    assert daemon.requests == []


def test_a_job_that_is_not_there_is_not_found(cli: Cli, daemon: CannedDaemon) -> None:
    daemon.replies[JOBS] = []
    assert cli("limit", "j99", "--up", "1M").code == 5


def test_the_daemon_s_status_tells_limits_in_force(cli: Cli, daemon: CannedDaemon) -> None:
    assert "limits" not in cli("daemon", "status").out
    daemon.replies["GET", "/v1/status"] = status(limits=Limits(5 << 20, 0, slow=True))
    line = next(line for line in cli("daemon", "status").out.splitlines() if line.startswith("limits"))
    assert line.split() == ["limits", "↓", "5M/s", "(slow", "mode)"]
