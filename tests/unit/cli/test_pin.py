"""``pin``: what is asked of the daemon, and how its answer is told; and what pinned versions are safe from."""

from __future__ import annotations

import json

from p2pckpt.control import access_messages as am
from p2pckpt.control import messages as m
from p2pckpt.control.pin_messages import PinRow
from tests.support.canned_daemon import CannedDaemon, job, share, version, version_detail
from tests.support.replay_feed import leave_plan

from .conftest import Cli

ROWS = [
    PinRow("ab" * 32, "cars/sd15", 2, "step-2000", 1_000_000, 70_000_000),
    PinRow("cd" * 32, "lab/run", 7, "", 900_000, 5_000_000, retired=True),
]


def test_pins_are_listed_with_what_they_have_here(daemon: CannedDaemon, cli: Cli) -> None:
    daemon.replies["GET", "/v1/pins"] = ROWS
    outcome = cli("pin")
    header, first, second = (line.split() for line in outcome.out.splitlines())
    assert header == ["VERSION", "NAME", "HERE", "PINNED", "OFFERED"]
    assert (first[:4], first[-1]) == (["cars/sd15@v2", "step-2000", "70.0", "MB"], "yes")
    assert (second[:4], second[-1]) == (["lab/run@v7", "-", "5.0", "MB"], "retired")
    assert cli("pin", "-q") == (0, "cars/sd15@v2\nlab/run@v7\n", "")
    assert [row["version"] for row in json.loads(cli("pin", "--json").out)] == [2, 7]
    daemon.replies["GET", "/v1/pins"] = []
    assert cli("pin") == (0, "", "nothing is pinned on this machine\n")


def test_a_version_is_pinned_and_let_go(daemon: CannedDaemon, cli: Cli) -> None:
    daemon.replies["POST", "/v1/pins"] = ROWS[0]
    outcome = cli("pin", "cars/sd15@stable")
    assert "cars/sd15@v2" in outcome.out
    assert "it stays here until: p2pckpt pin --remove cars/sd15@v2" in outcome.err
    assert cli("pin", "cars/sd15", "-q").out == "cars/sd15@v2\n"
    assert "pinned no more" in cli("pin", "cars/sd15@v2", "--remove").err
    assert daemon.asked("POST", "/v1/pins") == [
        {"name": "cars/sd15@stable", "remove": False},
        {"name": "cars/sd15", "remove": False},
        {"name": "cars/sd15@v2", "remove": True},
    ]


def test_what_is_let_go_has_to_be_named(cli: Cli) -> None:
    for arguments in (("pin", "--remove"), ("pin", "cars/sd15", "--remove")):
        assert cli(*arguments).code == 2


def test_what_can_not_be_pinned_is_said_with_the_next_command(daemon: CannedDaemon, cli: Cli) -> None:
    step = "p2pckpt get cars/sd15@v1, then pin it"
    daemon.replies["POST", "/v1/pins"] = m.Failure("not_found", "cars/sd15@v1 is not on this machine", next_step=step)
    outcome = cli("pin", "cars/sd15@v1")
    assert (outcome.code, outcome.out) == (5, "")
    assert f"next: {step}" in outcome.err


def test_nothing_is_removed_when_one_of_the_versions_is_pinned(daemon: CannedDaemon, cli: Cli) -> None:
    daemon.replies["GET", "/v1/pins"] = ROWS
    daemon.replies["GET", "/v1/jobs"] = [job(id="j1", version=1), job(id="j2", version=2)]
    outcome = cli("rm", "j1", "j2", "--data", "-y")
    assert outcome.code == 4
    assert "cars/sd15@v2 is pinned on this machine" in outcome.err
    assert "next: p2pckpt pin --remove cars/sd15@v2" in outcome.err
    assert {method for method, _, _ in daemon.requests} == {"GET"}


def test_a_share_with_pins_is_left_only_by_who_lets_go_of_them(daemon: CannedDaemon, cli: Cli) -> None:
    daemon.replies["GET", "/v1/leave?share=cars/sd15"] = leave_plan("ab" * 32, pinned=(2, 3))
    path = f"/v1/leave?share={'ab' * 32}&unpin=1"
    daemon.replies["POST", path] = am.LeaveReply("ab" * 32, "cars/sd15", 209_700_000)
    outcome = cli("leave", "cars/sd15", "-y")
    assert outcome.code == 4
    assert "cars/sd15@v2, cars/sd15@v3 are pinned on this machine" in outcome.err
    assert "next: p2pckpt leave cars/sd15 --unpin" in outcome.err
    assert cli("leave", "cars/sd15", "-n").code == 0
    assert daemon.asked("POST", path) == []
    assert cli("leave", "cars/sd15", "-y", "--unpin", "-q").out == "ab" * 32 + "\n"


def test_show_says_what_is_pinned(daemon: CannedDaemon, cli: Cli) -> None:
    rows = (version(3), version(2, pinned=True), version(1, held=False))
    daemon.replies["GET", "/v1/shares/cars%2Fsd15"] = m.ShareDetail(share(), rows)
    daemon.replies["GET", "/v1/versions/cars%2Fsd15@2"] = version_detail(version=rows[1])
    out = cli("show", "cars/sd15@2").out
    assert "yes, pinned" in out
    held = {line.split()[0]: line for line in out.splitlines() if line.startswith("v") and "step-" in line}
    assert ("pinned" in held["v2"], "pinned" in held["v3"]) == (True, False)
