"""``limit``: what is shown, and what is asked of the daemon."""

from __future__ import annotations

import json

import pytest

from p2pckpt.cli.limit import lines
from p2pckpt.control.messages import Failure
from p2pckpt.control.settings_messages import Limits
from tests.support import replay_feed as replay
from tests.support.canned_daemon import CannedDaemon
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
