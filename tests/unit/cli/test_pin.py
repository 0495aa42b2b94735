"""``pin``: what is asked of the daemon, and how its answer is told; and what pinned versions are safe from."""

from __future__ import annotations

import json

import msgspec
import pytest

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
    assert (
        "is pinned no more; it stays until something else takes it away" in cli("pin", "cars/sd15@v2", "--remove").err
    )
    assert daemon.asked("POST", "/v1/pins") == [
        {"name": "cars/sd15@stable", "remove": False},
        {"name": "cars/sd15", "remove": False},
        {"name": "cars/sd15@v2", "remove": True},
    ]


def test_of_what_was_retired_here_it_is_said_how_it_is_taken_back(daemon: CannedDaemon, cli: Cli) -> None:
    daemon.replies["POST", "/v1/pins"] = msgspec.structs.replace(ROWS[1], retired_here=True)
    told = "it was retired, and is deleted in a day unless p2pckpt run prune lab/run --undo takes it back"
    assert f"lab/run@v7 is pinned no more; {told}" in cli("pin", "lab/run@7", "--remove").err
    daemon.replies["POST", "/v1/pins"] = ROWS[1]  # by another owner: nothing deletes it by itself
    assert "it stays until" in cli("pin", "lab/run@7", "--remove").err


def test_of_a_share_that_can_not_be_read_it_is_not_said_that_its_versions_are_offered(
    daemon: CannedDaemon, cli: Cli
) -> None:
    daemon.replies["GET", "/v1/pins"] = [msgspec.structs.replace(ROWS[0], name="", retired=None)]
    cells = cli("pin").out.splitlines()[1].split()
    assert (cells[:3], cells[-1]) == (["cars/sd15@v2", "-", "-"], "-")


def test_what_is_let_go_has_to_be_named(cli: Cli) -> None:
    for arguments in (("pin", "--remove"), ("pin", "cars/sd15", "--remove")):
        assert cli(*arguments).code == 2


def test_what_can_not_be_pinned_is_said_with_the_next_command(daemon: CannedDaemon, cli: Cli) -> None:
    step = "p2pckpt get cars/sd15@v1, then pin it"
    daemon.replies["POST", "/v1/pins"] = m.Failure("not_found", "cars/sd15@v1 is not on this machine", next_step=step)
    outcome = cli("pin", "cars/sd15@v1")
    assert (outcome.code, outcome.out) == (5, "")
    assert f"next: {step}" in outcome.err


@pytest.mark.parametrize(
    "pinned", ["j2", *(f"cars/sd15@{two}" for two in ("4", "v4", "kept", "step-4000")), f"{'ab' * 8}@4"]
)
def test_nothing_is_removed_when_one_of_the_versions_is_pinned_with_or_without_a_job(
    pinned: str, daemon: CannedDaemon, cli: Cli
) -> None:
    daemon.replies["GET", "/v1/shares"] = [share(latest=5, tags={"latest": 5, "kept": 4}, pinned=(2, 4))]
    daemon.replies["GET", f"/v1/shares/{'ab' * 32}"] = m.ShareDetail(share(), (version(5), version(4)))
    daemon.replies["GET", "/v1/jobs"] = [job(id="j1", version=1), job(id="j2", version=2)]
    outcome = cli("rm", "j1", "cars/sd15@5", pinned, "--data", "-y")
    number = 2 if pinned == "j2" else 4
    assert outcome.code == 4
    assert f"cars/sd15@v{number} is pinned on this machine" in outcome.err
    assert f"next: p2pckpt pin --remove cars/sd15@v{number}" in outcome.err
    assert {method for method, _, _ in daemon.requests} == {"GET"}
    assert daemon.asked("GET", "/v1/pins") == []


def test_what_is_done_and_pinned_is_passed_over_and_the_rest_removed(daemon: CannedDaemon, cli: Cli) -> None:
    daemon.replies["GET", "/v1/shares"] = [share(pinned=(2,))]
    jobs = [
        job(id="j1", version=1),
        job(id="j2", version=2),
        job(id="j3", version=2),
        job(id="j4", version=2, kind=m.JobKind.VERIFY),
    ]
    daemon.replies["GET", "/v1/jobs"] = [msgspec.structs.replace(each, state=m.JobState.DONE) for each in jobs]
    for gone in ("j1", "j4"):
        daemon.replies["DELETE", f"/v1/jobs/{gone}?data=1"] = None
    outcome = cli("rm", "--done", "--data", "-y")
    assert outcome.code == 0
    assert [line.split()[0] for line in outcome.out.splitlines()] == ["j1", "j4"]
    assert outcome.err == (
        "passed over, pinned on this machine: cars/sd15@v2; to let go: p2pckpt pin --remove cars/sd15@v2\n"
    )
    assert cli("rm", "j2", "--done", "--data", "-y").code == 4, "what is named is refused"
    daemon.replies["GET", "/v1/jobs"] = [msgspec.structs.replace(jobs[1], state=m.JobState.DONE)]
    assert cli("rm", "--done", "--data", "--no-input").code == 0, "nothing is left to ask about"


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
