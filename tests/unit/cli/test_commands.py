"""Commands against a daemon that answers from a script: what is asked, what is printed where, how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from p2pckpt import qr
from p2pckpt.cli.main import run
from p2pckpt.config import Config
from p2pckpt.control import access_messages as am
from p2pckpt.control import health_messages as hm
from p2pckpt.control import messages as m
from p2pckpt.control import publish_messages as pm
from p2pckpt.tracker_protocol import Role, Visibility
from p2pckpt.trust.identity import pem, words
from tests.support import replay_feed as replay
from tests.support.canned_daemon import CannedDaemon, job, preview, share, status, version, version_detail
from tests.support.replay_feed import leave_plan, verify_report
from tests.unit.cli.conftest import Cli

LINK = "p2pckpt:tracker.example:4433/s/abc#secret"
PUBLISHING = job(kind=m.JobKind.PUBLISH, share="", version=0, phase=m.Phase.PACKING, path="/data/run7", seeds=0)
PUBLISHED = job(kind=m.JobKind.PUBLISH, state=m.JobState.SEEDING, done=100_000_000, link=LINK)
DETAIL = m.ShareDetail(share(), (version(3), version(2), version(1)))
MEMBER = am.MemberRow("ef" * 32, "lusab-babad", "bob", Role.VIEWER, 1_000_000, "", False)


@pytest.fixture
def publisher(daemon: CannedDaemon) -> CannedDaemon:
    daemon.replies["POST", "/v1/publish"] = PUBLISHING
    daemon.replies["GET", "/v1/shares/cars%2Fsd15"] = DETAIL
    daemon.follow(PUBLISHING, PUBLISHED)
    return daemon


@pytest.fixture
def receiver(daemon: CannedDaemon) -> CannedDaemon:
    daemon.replies["POST", "/v1/fetch/plan"] = preview()
    daemon.replies["POST", "/v1/fetch"] = job()
    daemon.follow(job(), job(state=m.JobState.SEEDING, done=100_000_000))
    return daemon


def test_share_prints_only_the_link_on_stdout(publisher: CannedDaemon, cli: Cli, tmp_path: Path) -> None:
    outcome = cli("share", ".", "--name", "cars/sd15", "--metric", "loss=0.5", "--step", "3", "--tag", "best")
    assert (outcome.code, outcome.out) == (0, LINK + "\n")
    assert "whoever has the link" in outcome.err
    assert "p2pckpt watch j12" in outcome.err
    [body] = publisher.asked("POST", "/v1/publish")
    assert body["path"] == str(tmp_path)
    assert (body["name"], body["metrics"], body["step"], body["tags"]) == ("cars/sd15", {"loss": 0.5}, 3, ["best"])
    assert (body["to"], body["expires_at"], body["password"]) == ("link", 0, "")


def test_share_tells_the_reach_the_share_really_has(publisher: CannedDaemon, cli: Cli) -> None:
    publisher.replies["GET", "/v1/shares/cars%2Fsd15"] = m.ShareDetail(share(visibility=Visibility.MEMBERS), ())
    assert "only members" in cli("share", ".", "--to", "public").err


def test_share_takes_its_password_from_stdin(publisher: CannedDaemon, cli: Cli) -> None:
    cli("share", ".", "--password-stdin", stdin="hunter2\n")
    assert publisher.asked("POST", "/v1/publish")[0]["password"] == "hunter2"


def test_share_quietly_says_nothing_but_the_link(publisher: CannedDaemon, cli: Cli) -> None:
    assert cli("share", ".", "-q") == (0, LINK + "\n", "")


def test_share_as_json_prints_the_finished_job(publisher: CannedDaemon, cli: Cli) -> None:
    assert json.loads(cli("share", ".", "--json").out)["link"] == LINK


def test_share_as_jsonl_prints_every_state(publisher: CannedDaemon, cli: Cli) -> None:
    lines = [json.loads(line) for line in cli("--format", "jsonl", "share", ".").out.splitlines()]
    assert [line["state"] for line in lines] == ["running", "seeding"]


def test_share_detached_prints_the_job(publisher: CannedDaemon, cli: Cli) -> None:
    outcome = cli("share", ".", "--detach")
    assert (outcome.code, outcome.out) == (0, "j12\n")
    assert publisher.asked("GET", "/v1/events") == []


def _look(daemon: CannedDaemon, **changes: object) -> None:
    base = pm.FolderReport("/data", "run7", None, (), 1, 1, "", ("org/base",), ("t",), True, (), 10**12)
    daemon.replies["POST", "/v1/publish/look"] = msgspec.structs.replace(base, **changes)


@pytest.mark.parametrize(("typed", "card"), [("mit\n", ("mit", ["org/base"], ["t"])), ("\n", None)])
def test_a_new_share_without_a_licence_is_asked_for_one_once(
    publisher: CannedDaemon,
    terminal: Callable[[str], None],
    capsys: pytest.CaptureFixture[str],
    typed: str,
    card: tuple[object, ...] | None,
) -> None:
    _look(publisher)
    terminal(typed)
    assert run(["share", "."]) == 0
    assert "apache-2.0, mit, " in capsys.readouterr().err
    asked = publisher.asked("POST", "/v1/publish")[0]["card"]
    assert asked == (card and dict(zip(("licence", "base_model", "tags"), card, strict=True)))


@pytest.mark.parametrize(
    ("look", "flags"),
    [
        ({"licence": "MIT"}, ()),
        ({"known_as": Visibility.LINK}, ()),
        ({}, ("--no-input",)),
        ({}, ("--allow-no-licence",)),
        ({}, ("--json",)),
    ],
)
def test_nobody_is_asked_for_a_licence_that_is_there_or_was_asked_for_before(
    publisher: CannedDaemon,
    terminal: Callable[[str], None],
    capsys: pytest.CaptureFixture[str],
    look: dict[str, object],
    flags: tuple[str, ...],
) -> None:
    _look(publisher, **look)
    terminal("mit\n")
    assert run(["share", ".", *flags]) == 0
    assert "licence" not in capsys.readouterr().err
    assert publisher.asked("POST", "/v1/publish")[0]["card"] is None


def test_a_dry_run_of_share_only_asks_for_the_plan(daemon: CannedDaemon, cli: Cli) -> None:
    daemon.replies["POST", "/v1/publish/plan"] = pm.PublishPlan(
        share="cars/sd15", version=4, files=5, size=10**9, new_size=10**6, stored_size=660_000,
        new_files=(pm.NewFile("a.safetensors", 5 * 10**6, 10**6, "2 of 9 tensors changed"),), new_file_count=3,
        warnings=("no card",), disk_needed=10**6, disk_free=10**12,
    )  # fmt: skip
    outcome = cli("share", ".", "-n")
    assert "cars/sd15@v4" in outcome.out
    assert "1.0 MB of 5.0 MB     a.safetensors: 2 of 9 tensors changed" in outcome.out
    assert "and 2 more" in outcome.out
    assert "about 660.0 kB, compressed\n" in outcome.out
    assert outcome.err == "warning: no card\n"
    assert daemon.asked("POST", "/v1/publish") == []


def test_a_dry_run_says_what_differences_would_save_unless_it_is_about_them(daemon: CannedDaemon, cli: Cli) -> None:
    daemon.replies["POST", "/v1/publish/plan"] = pm.PublishPlan(
        share="cars/sd15", version=4, files=5, size=10**9, new_size=10**6, stored_size=660_000, new_files=(),
        new_file_count=3, warnings=(), disk_needed=10**6, disk_free=10**12, delta_size=230_000,
    )  # fmt: skip
    assert "about 660.0 kB, compressed; with --delta about 230.0 kB\n" in cli("share", ".", "-n").out
    assert "--delta" not in cli("share", ".", "-n", "--delta").out


def test_a_failed_job_ends_with_the_exit_code_of_its_failure(publisher: CannedDaemon, cli: Cli) -> None:
    failure = m.Failure("no_space", "the disk is full", "what was packed", "free 3 GB")
    publisher.follow(PUBLISHING, job(state=m.JobState.FAILED, failure=failure))
    outcome = cli("share", ".")
    assert (outcome.code, outcome.out) == (10, "")
    assert outcome.err.endswith("error: the disk is full\nkept: what was packed\nnext: free 3 GB\n")


def test_a_job_removed_by_somebody_else_ends_as_cancelled(publisher: CannedDaemon, cli: Cli) -> None:
    publisher.events = [m.Snapshot(status(), (PUBLISHING,), ()), m.JobRemoved("j12")]
    assert cli("share", ".").code == 130


def test_a_daemon_that_goes_away_ends_with_8(publisher: CannedDaemon, cli: Cli) -> None:
    publisher.follow(PUBLISHING)
    assert cli("share", ".").code == 8


def test_ctrl_c_detaches_and_the_daemon_goes_on(daemon: CannedDaemon, config: Config, tmp_path: Path) -> None:
    # the stream's first event is the interrupt's cue: the program sends it to itself, so nothing is timed
    program = (
        "import os, signal, sys\nfrom p2pckpt.cli import progress\nfrom p2pckpt.cli.main import run\n"
        "progress.Progress.update = lambda self, job: os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.exit(run(['share', '.']))"
    )
    daemon.replies["POST", "/v1/publish"] = PUBLISHING
    daemon.follow(PUBLISHING)
    daemon.hold_stream = True
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (130, "")
    assert "the daemon goes on with run7" in done.stderr
    assert "cancel: p2pckpt rm j12" in done.stderr
    assert not [path for method, path, _ in daemon.requests if method == "DELETE"]


def test_get_shows_the_preview_and_prints_the_checkout(receiver: CannedDaemon, cli: Cli, tmp_path: Path) -> None:
    outcome = cli("get", LINK, "--only", "weights", "--to", "out", "--no-seed", "--allow-unsafe-pickle")
    assert (outcome.code, outcome.out) == (0, "/models/sd15\n")
    assert "publisher" in outcome.err
    assert "50.0 MB" in outcome.err
    [body] = receiver.asked("POST", "/v1/fetch")
    assert body == {
        "source": LINK,
        "to": str(tmp_path / "out"),
        "base": str(tmp_path),
        "only": ["weights"],
        "seed": False,
        "password": "",
        "allow_unsafe_pickle": True,
        "accept_licence": "",
        "paused": False,
    }
    assert receiver.asked("POST", "/v1/fetch/plan") == [body]


def test_get_reads_a_link_from_stdin(receiver: CannedDaemon, cli: Cli) -> None:
    cli("get", "-", stdin=LINK + "\n")
    assert receiver.asked("POST", "/v1/fetch")[0]["source"] == LINK


def test_get_seeds_as_the_settings_say(receiver: CannedDaemon, cli: Cli) -> None:
    cli("get", LINK)
    receiver.replies["POST", "/v1/settings/reload"] = replay.settings(seed_after_get=False)
    cli("config", "set", "seed_after_get", "no")
    cli("get", LINK)
    assert [body["seed"] for body in receiver.asked("POST", "/v1/fetch")] == [True, False]


def test_a_dry_run_of_get_fetches_nothing(receiver: CannedDaemon, cli: Cli) -> None:
    outcome = cli("get", LINK, "-n", "--json")
    assert json.loads(outcome.out)["wire_size"] == 50_000_000
    assert receiver.asked("POST", "/v1/fetch") == []


def test_a_refused_link_ends_with_4(receiver: CannedDaemon, cli: Cli) -> None:
    receiver.replies["POST", "/v1/fetch/plan"] = m.Failure("not_allowed", "this link is used up")
    outcome = cli("get", LINK)
    assert (outcome.code, outcome.out, outcome.err) == (4, "", "error: this link is used up\n")


def test_ls_in_its_formats(daemon: CannedDaemon, cli: Cli) -> None:
    daemon.replies["GET", "/v1/jobs"] = [job(), job(id="j13")]
    daemon.replies["GET", "/v1/shares"] = [share()]
    assert cli("ls", "-q").out == "j12\nj13\n"
    assert [row["id"] for row in json.loads(cli("ls", "--json").out)] == ["j12", "j13"]
    assert len(cli("ls", "--format", "jsonl").out.splitlines()) == 2
    assert cli("ls", "--shares", "-q").out == "cars/sd15\n"


def test_escape_sequences_in_a_job_name_never_reach_any_output(daemon: CannedDaemon, cli: Cli) -> None:
    hostile = "x\x1b]52;c;b3duZWQ=\x07\x9b2J\u202ey"
    daemon.replies["GET", "/v1/jobs"] = [
        job(share=hostile, state=m.JobState.FAILED, failure=m.Failure("failed", hostile))
    ]
    for argv in (["ls"], ["ls", "--json"], ["ls", "-v"]):
        outcome = cli(*argv)
        assert outcome.code == 0
        assert not set(outcome.out + outcome.err) & set("\x1b\x07\x9b\u202e")


@pytest.mark.parametrize(
    ("name", "ids"),
    [
        ("j1", ["j1"]),
        ("cars/sd15", ["j1", "j2"]),
        ("cars/sd15@v2", ["j1"]),
        ("cars/sd15@3", ["j2"]),
        ("cars/sd15@step-3000", ["j2"]),
        ("cars/sd15@stable", ["j1"]),
    ],
)
def test_jobs_are_found_by_id_share_and_version(name: str, ids: list[str], daemon: CannedDaemon, cli: Cli) -> None:
    daemon.replies["GET", "/v1/jobs"] = [job(id="j1", version=2, version_name="step-2000"), job(id="j2")]
    daemon.replies["GET", "/v1/shares"] = [share()]
    for each in ids:
        daemon.replies["POST", f"/v1/jobs/{each}/pause"] = job(id=each, state=m.JobState.PAUSED)
    outcome = cli("pause", name, "-q")
    assert (outcome.code, outcome.out.split()) == (0, ids)


def test_a_job_that_does_not_exist_is_not_found(daemon: CannedDaemon, cli: Cli) -> None:
    daemon.replies["GET", "/v1/jobs"] = [job()]
    assert cli("resume", "j99").code == 5
    assert cli("resume", "@v3").code == 5


@pytest.fixture
def removable(daemon: CannedDaemon) -> CannedDaemon:
    daemon.replies["GET", "/v1/jobs"] = [job(state=m.JobState.SEEDING, seeds=0)]
    daemon.replies["GET", "/v1/shares"] = []
    daemon.replies["DELETE", "/v1/jobs/j12?data=0"] = None
    daemon.replies["DELETE", "/v1/jobs/j12?data=1"] = None
    return daemon


def _deletions(daemon: CannedDaemon) -> list[str]:
    return [path for method, path, _ in daemon.requests if method == "DELETE"]


def test_rm_without_data_does_not_ask(removable: CannedDaemon, cli: Cli) -> None:
    assert cli("rm", "j12").code == 0
    assert _deletions(removable) == ["/v1/jobs/j12?data=0"]


def test_rm_of_what_is_done_leaves_everything_else(removable: CannedDaemon, cli: Cli) -> None:
    states = [m.JobState.SEEDING, m.JobState.DONE, m.JobState.FAILED, m.JobState.PAUSED, m.JobState.DONE]
    removable.replies["GET", "/v1/jobs"] = [job(id=f"j{number}", state=state) for number, state in enumerate(states)]
    for number in (1, 4):
        removable.replies["DELETE", f"/v1/jobs/j{number}?data=0"] = None
    assert cli("rm", "--done", "-q").out == "j1\nj4\n"
    assert _deletions(removable) == ["/v1/jobs/j1?data=0", "/v1/jobs/j4?data=0"]
    assert cli("rm").code == 2


def test_rm_of_data_takes_versions_without_a_job(daemon: CannedDaemon, cli: Cli) -> None:
    daemon.replies["GET", "/v1/jobs"] = []
    daemon.replies["GET", "/v1/shares"] = [share()]
    daemon.replies["DELETE", "/v1/versions/cars%2Fsd15@v1"] = am.Freed(1_000_000)
    assert cli("rm", "cars/sd15@v1").code == 5
    outcome = cli("rm", "cars/sd15@v1", "--data", "-y")
    assert (outcome.code, outcome.err) == (0, "cars/sd15@v1: 1.0 MB freed\n")


def test_rm_of_data_needs_a_person_or_yes(removable: CannedDaemon, cli: Cli) -> None:
    outcome = cli("rm", "j12", "--data", "--no-input")
    assert outcome.code == 2
    assert "next: add -y" in outcome.err
    assert _deletions(removable) == []
    assert cli("rm", "j12", "--data", "-y").code == 0
    assert _deletions(removable) == ["/v1/jobs/j12?data=1"]


@pytest.mark.parametrize(("answer", "code"), [("\n", 130), ("y\n", 0)])
def test_rm_of_data_asks_and_takes_nothing_for_no(
    answer: str, code: int, removable: CannedDaemon, terminal: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    terminal(answer)
    assert run(["rm", "j12", "--data"]) == code
    assert "no other seed is known" in capsys.readouterr().err
    assert len(_deletions(removable)) == (code == 0)


@pytest.fixture
def left(daemon: CannedDaemon) -> CannedDaemon:
    daemon.replies["GET", "/v1/leave?share=cars/sd15"] = leave_plan("ab" * 32)
    daemon.replies["POST", f"/v1/leave?share={'ab' * 32}"] = am.LeaveReply("ab" * 32, "cars/sd15", 209_700_000)
    return daemon


@pytest.mark.parametrize(("answer", "code"), [("\n", 130), ("y\n", 0)])
def test_leave_says_what_it_means_asks_and_takes_nothing_for_no(
    answer: str, code: int, left: CannedDaemon, terminal: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    terminal(answer)
    assert run(["leave", "cars/sd15"]) == code
    told = capsys.readouterr()
    assert "Nobody else is known to seed v2, v3" in told.err
    assert "to come back: p2pckpt get p2pckpt:abc" in told.err
    assert ("left cars/sd15, 209.7 MB freed" in told.out) == (code == 0)
    assert [method for method, _, _ in left.requests].count("POST") == (code == 0)


def test_leave_without_a_person_needs_yes(left: CannedDaemon, cli: Cli) -> None:
    outcome = cli("leave", "cars/sd15", "--no-input")
    assert (outcome.code, "next: add -y" in outcome.err) == (2, True)
    assert json.loads(cli("leave", "cars/sd15", "-n", "--json").out)["alone"] == [2, 3]
    assert {method for method, _, _ in left.requests} == {"GET"}
    assert cli("leave", "cars/sd15", "-y", "-q").out == "ab" * 32 + "\n"


def test_watch_one_job_to_its_end(receiver: CannedDaemon, cli: Cli) -> None:
    receiver.replies["GET", "/v1/jobs"] = [job()]
    outcome = cli("watch", "j12")
    assert outcome.code == 0
    assert outcome.out.startswith("cars/sd15@v3: 100.0 MB received")
    lines = [json.loads(line) for line in cli("watch", "j12", "--json").out.splitlines()]
    assert [line["state"] for line in lines] == ["running", "seeding"]


def test_watch_everything_as_json_is_the_event_stream(daemon: CannedDaemon, cli: Cli) -> None:
    daemon.events = [m.Snapshot(status(), (job(),), ()), m.Notice("info", "bob joined")]
    outcome = cli("watch", "--json")
    assert [json.loads(line)["type"] for line in outcome.out.splitlines()] == ["snapshot", "notice"]
    assert outcome.code == 8


def test_verify_that_found_damage_ends_with_6(daemon: CannedDaemon, cli: Cli, tmp_path: Path) -> None:
    failure = m.Failure("verification_failed", "2 files are damaged", next_step="p2pckpt verify --repair out")
    daemon.replies["POST", "/v1/verify"] = job(kind=m.JobKind.VERIFY)
    daemon.follow(job(kind=m.JobKind.VERIFY, state=m.JobState.FAILED, failure=failure))
    daemon.replies["GET", "/v1/jobs/j12/report"] = verify_report("j12")
    (tmp_path / "out").mkdir()
    outcome = cli("verify", "out", "--full")
    assert outcome.code == 6
    assert "✗ chunks     35,597 of 35,600" in outcome.out
    assert "model-00017-of-00030.safetensors  19204" in outcome.out
    assert "2 files are damaged" in outcome.err
    assert daemon.asked("POST", "/v1/verify") == [{"name": str(tmp_path / "out"), "full": True, "repair": False}]


def test_verify_as_json_prints_the_report_also_of_damage(daemon: CannedDaemon, cli: Cli) -> None:
    failure = m.Failure("verification_failed", "2 files are damaged")
    daemon.replies["POST", "/v1/verify"] = job(kind=m.JobKind.VERIFY)
    daemon.follow(job(kind=m.JobKind.VERIFY, state=m.JobState.FAILED, failure=failure))
    daemon.replies["GET", "/v1/jobs/j12/report"] = verify_report("j12")
    outcome = cli("verify", "cars/sd15", "--json")
    report = json.loads(outcome.out)
    assert (outcome.code, report["damaged"], report["checks"][2]["outcome"]) == (6, 3, "bad")


def test_verify_by_name_passes_the_name_on(daemon: CannedDaemon, cli: Cli) -> None:
    daemon.replies["POST", "/v1/verify"] = job(kind=m.JobKind.VERIFY)
    daemon.follow(job(kind=m.JobKind.VERIFY, state=m.JobState.DONE, done=100_000_000, wire_done=0))
    fine = hm.CheckRow("files", hm.Outcome.OK, "2 of 2")
    daemon.replies["GET", "/v1/jobs/j12/report"] = verify_report("j12", checks=(fine,), damage=(), damaged=0)
    outcome = cli("verify", "cars/sd15@v3", "--repair")
    assert (outcome.code, outcome.out) == (0, "✔ files  2 of 2\ncars/sd15@v3: 100.0 MB checked\n")
    assert daemon.asked("POST", "/v1/verify")[0]["name"] == "cars/sd15@v3"


def test_show_and_its_parts(daemon: CannedDaemon, cli: Cli) -> None:
    daemon.replies["GET", "/v1/shares/cars%2Fsd15"] = DETAIL
    daemon.replies["GET", "/v1/versions/cars%2Fsd15"] = version_detail()
    daemon.replies["GET", "/v1/versions/cars%2Fsd15/manifest"] = {"files": [1]}
    shown = cli("show", "cars/sd15").out
    for expected in ("apache-2.0", "# A card", "11,520 parameters", "v2"):
        assert expected in shown
    assert "320×4×3×3" in cli("show", "cars/sd15", "--tensors").out
    assert "unet/model.safetensors" in cli("show", "cars/sd15", "--files").out
    assert json.loads(cli("show", "cars/sd15", "--manifest").out) == {"files": [1]}
    assert cli("show", "cars/sd15", "-q").out.split() == ["cars/sd15@v3", "cars/sd15@v2", "cars/sd15@v1"]
    assert json.loads(cli("show", "cars/sd15", "--json").out)["version"]["licence"] == "apache-2.0"
    assert cli("show", "cars/sd15", "--files", "--tensors").code == 2


def test_diff_leaves_out_what_is_the_same_and_sums_up(daemon: CannedDaemon, cli: Cli) -> None:
    rows = (m.DiffRow("a", "changed", 10, 12, 5), m.DiffRow("b", "same", 7, 7, 0))
    daemon.replies["GET", "/v1/diff?a=x@1&b=x@2"] = m.DiffReply("x@1", "x@2", rows, 5, 4, ("t",), (), ())
    outcome = cli("diff", "x@1", "x@2")
    assert [line.split()[:2] for line in outcome.out.splitlines()[:2]] == [["CHANGE", "FILE"], ["changed", "a"]]
    assert "1 file differ" in outcome.out
    assert "same " in cli("diff", "x@1", "x@2", "-v").out
    assert cli("diff", "x@1", "x@2", "-q").out == "a\n"


def test_tags_are_listed_moved_and_removed(daemon: CannedDaemon, cli: Cli) -> None:
    daemon.replies["GET", "/v1/shares/cars%2Fsd15"] = DETAIL
    daemon.replies["POST", "/v1/tags"] = DETAIL
    assert json.loads(cli("tag", "cars/sd15", "--json").out) == {"latest": 3, "stable": 2}
    assert cli("tag", "cars/sd15@v2", "stable").code == 0
    assert cli("tag", "--remove", "cars/sd15", "stable").code == 0
    assert daemon.asked("POST", "/v1/tags") == [
        {"name": "cars/sd15@v2", "tag": "stable", "remove": False},
        {"name": "cars/sd15", "tag": "stable", "remove": True},
    ]
    assert cli("tag", "cars/sd15", "stable").code == 2
    assert cli("tag", "cars/sd15", "--remove").code == 2


def test_members_are_found_by_name_and_never_guessed(daemon: CannedDaemon, cli: Cli) -> None:
    namesake = am.MemberRow("aa" * 32, "x", "bob", Role.VIEWER, 0, "", False)
    daemon.replies["GET", "/v1/members?share=cars/sd15"] = [MEMBER]
    daemon.replies["POST", "/v1/members"] = am.MembersReply((MEMBER,), ("new keys",))
    unasked = cli("member", "set", "cars/sd15", "bob", "--role", "publisher", "--no-input")
    assert (unasked.code, daemon.asked("POST", "/v1/members")) == (2, [])
    assert cli("member", "set", "cars/sd15", "bob", "--role", "publisher", "--yes").code == 0
    assert cli("member", "rm", "cars/sd15", "efefef").code == 0
    assert [(b["identity"], b["role"]) for b in daemon.asked("POST", "/v1/members")] == [
        ("ef" * 32, "publisher"),
        ("ef" * 32, None),
    ]
    daemon.replies["GET", "/v1/members?share=cars/sd15"] = [MEMBER, namesake]
    assert cli("member", "rm", "cars/sd15", "bob").code == 2
    assert cli("member", "rm", "cars/sd15", "carol").code == 5
    assert cli("member", "ls", "cars/sd15", "-q").out.split() == ["ef" * 32, "aa" * 32]


def test_links_are_made_listed_and_revoked(daemon: CannedDaemon, cli: Cli) -> None:
    daemon.replies["POST", "/v1/links"] = am.LinkReply(LINK, "https://t/s#x", "anyone on this network")
    daemon.replies["DELETE", "/v1/links/l1?share=cars/sd15"] = None
    outcome = cli("link", "new", "cars/sd15", "--max-uses", "1")
    assert outcome.out == LINK + "\n"
    assert "anyone on this network" in outcome.err
    assert cli("link", "revoke", "cars/sd15", "l1").out == "l1 revoked\n"
    daemon.replies["GET", "/v1/link?share=cars/sd15&id=l1"] = am.LinkReply(LINK, "", "")
    assert cli("link", "show", "cars/sd15", "l1").out == f"{LINK}\n"
    assert cli("link", "qr", "-", stdin=LINK).code == 0
    assert cli("link", "qr", "-", stdin="cars/sd15").code == 2


def test_qr_draws_the_link_that_was_made(
    daemon: CannedDaemon, cli: Cli, terminal: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("LINES", "60")
    terminal("")
    daemon.replies["POST", "/v1/links"] = am.LinkReply(LINK, "", "")
    drawn = [row for row in cli("link", "new", "cars/sd15", "--qr").err.splitlines() if "\x1b[30;107m" in row]
    assert len(drawn) == len(qr.draw(LINK, 100, 58))
    assert "\x1b[30;107m" not in cli("link", "new", "cars/sd15").err


def test_key_show_quietly_is_what_one_sends(daemon: CannedDaemon, cli: Cli) -> None:
    daemon.replies["GET", "/v1/key"] = m.KeyInfo("cd" * 32, "lusab", "p2pckpt-id:abc", "alice", 0, "/keys")
    assert cli("key", "show", "-q").out == "p2pckpt-id:abc\n"
    assert "p2pckpt-id:abc" in cli("key", "show").out


def test_an_identity_survives_backup_and_restore(
    cli: Cli, config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from p2pckpt.trust import identity_file

    monkeypatch.setenv("P2PCKPT_KEY_STORE", "file")
    made = identity_file.load_or_create(config.keys_dir, "alice")
    assert cli("key", "backup", "kept.txt", "--passphrase-stdin", stdin="sesame\n").out == "kept.txt\n"
    assert (tmp_path / "kept.txt").stat().st_mode & 0o777 == 0o600
    assert cli("key", "backup", "kept.txt", "--passphrase-stdin", stdin="sesame\n").code == 2
    assert cli("key", "backup", "other.txt", "--no-input").code == 2
    other = ["--home", str(tmp_path / "other")]
    assert cli("key", "restore", "kept.txt", "--passphrase-stdin", *other, stdin="wrong\n").code == 6
    assert cli("key", "restore", "kept.txt", "--passphrase-stdin", *other, stdin="sesame\n").code == 0
    assert identity_file.load(tmp_path / "other" / "data" / "keys").hex == made.hex


def test_a_passphrase_is_set_changed_and_removed(
    cli: Cli, config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from p2pckpt.trust import identity_file

    made = identity_file.load_or_create(config.keys_dir, "alice")
    for command in (["change", "--passphrase-stdin"], ["remove"]):
        early = cli("key", "passphrase", *command, stdin="sesame")
        assert (early.code, "p2pckpt key passphrase set" in early.err) == (2, True)
    assert "with a passphrase" in cli("key", "passphrase", "set", "--passphrase-stdin", stdin="one\n").out
    again = cli("key", "passphrase", "set", "--passphrase-stdin", stdin="two\n")
    assert (again.code, "p2pckpt key passphrase change" in again.err) == (2, True)
    assert cli("key", "passphrase", "remove").code == 2
    assert cli("key", "backup", "kept.txt", "--passphrase-stdin", stdin="sesame").code == 2
    monkeypatch.setenv("P2PCKPT_PASSPHRASE_FILE", str(tmp_path / "present"))
    (tmp_path / "present").write_text("wrong\n")
    assert cli("key", "passphrase", "change", "--passphrase-stdin", stdin="two\n").code == 6
    (tmp_path / "present").write_text("one\n")
    changed = cli("key", "passphrase", "change", "--passphrase-stdin", stdin="two\n")
    assert f"put the new passphrase into {tmp_path / 'present'}" in changed.err
    (tmp_path / "present").write_text("two\n")
    assert cli("key", "backup", "kept.txt", "--passphrase-stdin", stdin="sesame").code == 0
    assert cli("key", "passphrase", "remove").code == 0
    assert identity_file.load(config.keys_dir).hex == made.hex


def test_the_identity_is_moved_into_the_keyring_and_back(
    cli: Cli, config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from p2pckpt.trust import identity_file

    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "tests.support.keyrings.Shelf")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]), prepend=os.pathsep)
    monkeypatch.setenv("TEST_KEYRING", str(tmp_path / "shelf.json"))
    made = identity_file.load_or_create(config.keys_dir, "alice")
    assert "the OS keyring" in cli("key", "store", "keyring").out
    refused = cli("key", "passphrase", "set", "--passphrase-stdin", stdin="sesame")
    assert (refused.code, "p2pckpt key store file" in refused.err) == (2, True)
    assert made.hex in (tmp_path / "shelf.json").read_text()
    assert cli("key", "store", "file").code == 0
    assert identity_file.load(config.keys_dir).hex == made.hex


def test_somebody_elses_key_is_shown_as_words_and_as_pem(cli: Cli) -> None:
    from tests.unit.trust.people import STRANGER

    spoken = words(STRANGER.public_bytes)
    for text in (STRANGER.public.text, STRANGER.hex):
        assert spoken in cli("key", "show", text).out
    assert json.loads(cli("key", "show", STRANGER.hex, "--json").out) == {"identity": STRANGER.hex, "words": spoken}
    assert cli("key", "show", STRANGER.public.text, "--pem").out == pem(STRANGER.public.model_key)
    assert cli("key", "show", STRANGER.hex, "--pem").code == 2
    assert cli("key", "show", "nonsense").code == 2


def test_the_signing_key_of_a_version_is_printed_as_pem(daemon: CannedDaemon, cli: Cli) -> None:
    key = "-----BEGIN PUBLIC KEY-----\nx\n-----END PUBLIC KEY-----\n"
    daemon.replies["GET", "/v1/versions/cars%2Fsd15"] = version_detail(signing_key=key)
    assert cli("show", "cars/sd15", "--signing-key").out == key
    daemon.replies["GET", "/v1/versions/cars%2Fsd15"] = version_detail()
    assert cli("show", "cars/sd15", "--signing-key").code == 5


def test_a_running_daemon_keeps_its_identity(daemon: CannedDaemon, cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "kept.txt").write_text("x")
    outcome = cli("key", "restore", "kept.txt", "--passphrase-stdin", stdin="sesame")
    assert outcome.code == 2
    assert "p2pckpt daemon stop" in outcome.err


def test_daemon_status_and_stop_start_nothing(cli: Cli, home: Path) -> None:
    assert cli("daemon", "status").code == 8
    assert cli("daemon", "stop").code == 0
    assert cli("doctor").code in (0, 1)
    assert not home.exists()


def test_daemon_status_of_a_running_one(daemon: CannedDaemon, cli: Cli) -> None:
    assert cli("daemon", "status", "-q").out == "4711\n"
    assert "connected, runs beside the daemon" in cli("daemon", "status").out


def test_the_log_is_printed_from_its_end(cli: Cli, config: Config) -> None:
    assert cli("daemon", "logs").code == 5
    config.state_dir.mkdir(parents=True)
    config.daemon_log.write_text("one\ntwo\x1b[2J\nthree\n")
    assert cli("daemon", "logs", "-n", "2").out == "two\ufffd[2J\nthree\n"


def test_install_writes_a_unit_for_this_home(
    cli: Cli, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    unit = tmp_path / "xdg" / "systemd" / "user" / "p2pckpt.service"
    assert cli("daemon", "install").out == f"{unit}\n"
    assert f"P2PCKPT_HOME={home}\n" in unit.read_text()
    assert cli("daemon", "install", "--print").out == unit.read_text()


def test_doctor_fails_on_keys_that_others_can_read(daemon: CannedDaemon, cli: Cli, config: Config) -> None:
    from p2pckpt.trust import identity_file

    identity_file.load_or_create(config.keys_dir, "alice")
    (config.keys_dir / "identity.json").chmod(0o644)
    outcome = cli("doctor", "--json")
    rows = {row["name"]: row for row in json.loads(outcome.out)}
    assert outcome.code == 1
    assert rows["keys"]["level"] == "fail"
    assert "chmod" in rows["keys"]["next_step"]
    assert rows["daemon"]["level"] == "ok"
    assert rows["tracker"]["level"] == "ok"
    (config.keys_dir / "identity.json").chmod(0o600)
    assert {row["level"] for row in json.loads(cli("doctor", "--json").out)} <= {"ok", "warn"}
    (config.keys_dir / "identity.json").write_bytes(b"")
    damaged = {row["name"]: row for row in json.loads(cli("doctor", "--json").out)}["keys"]
    assert damaged["level"] == "fail"
    assert "key restore" in damaged["next_step"]


def test_doctor_finds_a_tracker_that_does_not_answer(daemon: CannedDaemon, cli: Cli) -> None:
    daemon.replies["GET", "/v1/status"] = status(tracker="https://127.0.0.1:1", tracker_state="unreachable")
    outcome = cli("doctor")
    assert outcome.code == 1
    assert "fail  tracker     https://127.0.0.1:1 is not reachable" in outcome.out


def test_shares_and_jobs_are_completed_from_a_running_daemon(daemon: CannedDaemon, home: Path) -> None:
    daemon.replies["GET", "/v1/shares"] = [share(), share(name="dogs")]
    environment = {
        **os.environ,
        "_P2PCKPT_COMPLETE": "bash_complete",
        "COMP_WORDS": "p2pckpt show ca",
        "COMP_CWORD": "2",
    }
    done = subprocess.run(
        [sys.executable, "-m", "p2pckpt"], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "plain,cars/sd15\n"


@pytest.mark.parametrize(
    "argv",
    [
        ["get"],
        ["share", "no-such-directory"],
        ["share", ".", "--expires", "soon"],
        ["share", ".", "--to", "everybody"],
        ["share", ".", "--metric", "loss"],
        ["share", ".", "--max-uses", "0"],
        ["get", "x", "--bogus"],
        ["get", "-", "--password-stdin"],
        ["member"],
        ["member", "add", "x"],
        ["link", "new", "x", "--role", "owner"],
        ["ls", "--format", "xml"],
        ["rm"],
        ["completion", "tcsh"],
        ["tui"],
    ],
)
def test_usage_errors_end_with_2_and_one_way_on(argv: list[str], cli: Cli) -> None:
    outcome = cli(*argv)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith("error: ") or argv == ["member"]
    assert "Traceback" not in outcome.err


def test_the_tracker_is_run_in_place_with_its_own_arguments(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []
    monkeypatch.setattr(os, "execve", lambda _path, argv, _environment: seen.append(argv))
    assert cli("tracker", "serve", "--listen", "[::1]:0", "--json", "-v").code == 0
    assert seen == [[sys.executable, "-m", "p2pckpt_tracker.main", "serve", "--listen", "[::1]:0", "--json", "-v"]]


def test_sigint_is_left_as_it_was_found(cli: Cli) -> None:
    cli("daemon", "status")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


ASKING = am.RequestRow("ab" * 32, "lusab-babad", "bob", "from the lab", 1_000_000, 0)
LOG = am.LogReply(
    "cars/sd15",
    (
        am.LogRow(1, 1_000_000, "ef" * 32, "bob\x1b[2J", "join", "0123456789abcdef", ""),
        am.LogRow(2, 1_000_001, "", "", "link-burnt", "0123456789abcdef", ""),
        am.LogRow(3, 1_000_002, "cd" * 32, "", "role", "ef" * 32 + " viewer", "bob"),
        am.LogRow(4, 1_000_003, "ef" * 32, "bob", "fetched", "aa" * 32, "v3"),
    ),
    4,
    3,
    1_000_100,
)


def test_a_log_names_people_and_versions_and_says_what_was_verified(daemon: CannedDaemon, cli: Cli) -> None:
    daemon.replies["POST", "/v1/log"] = LOG
    outcome = cli("log", "cars/sd15", "--since", "1h", "-n", "5")
    assert outcome.code == 0
    rows = [line.split(None, 3)[3] for line in outcome.out.splitlines()[1:]]
    assert [" ".join(row.split()) for row in rows] == [
        "bob\ufffd[2J (efefefef) join 0123456789abcdef",
        "- link-burnt 0123456789abcdef",
        "cdcdcdcdcdcdcdcd role bob (efefefef) viewer",
        "bob (efefefef) fetched v3",
    ]
    assert "\x1b" not in outcome.out
    assert outcome.err == (
        "verified up to row 3, signed 1970-01-12 13:48:20 UTC; 1 newer row will be signed within a minute\n"
    )
    assert json.loads(cli("log", "cars/sd15", "--json").out)["verified"] == 4
    [first, _] = daemon.asked("POST", "/v1/log")
    assert (first["share"], first["limit"], first["anew"]) == ("cars/sd15", 5, False)


@pytest.mark.parametrize(("answer", "code"), [("\n", 130), ("y\n", 0)])
def test_whoever_is_approved_by_name_has_their_words_compared_first(
    answer: str, code: int, daemon: CannedDaemon, terminal: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    from p2pckpt.cli.main import run

    daemon.replies["GET", "/v1/requests?share=cars/sd15"] = [ASKING]
    daemon.replies["POST", "/v1/requests"] = None
    daemon.replies["GET", "/v1/members?share=cars/sd15"] = [MEMBER]
    terminal(answer)
    assert run(["member", "approve", "cars/sd15", "bob", "--role", "viewer"]) == code
    assert "lusab-babad" in capsys.readouterr().err
    decided = daemon.asked("POST", "/v1/requests")
    assert decided == ([{"share": "cars/sd15", "identity": "ab" * 32, "role": "viewer"}] if code == 0 else [])


def test_two_who_ask_under_one_name_are_told_apart_by_words(daemon: CannedDaemon, cli: Cli) -> None:
    other = am.RequestRow("cd" * 32, "kovop-zazig", "bob", "", 1_000_000, 900_000)
    daemon.replies["GET", "/v1/requests?share=cars/sd15"] = [ASKING, other]
    daemon.replies["POST", "/v1/requests"] = None
    assert cli("member", "deny", "cars/sd15", "bob").code == 2
    assert cli("member", "deny", "cars/sd15", "KOVOP-zazig").code == 0
    assert daemon.asked("POST", "/v1/requests")[0]["identity"] == "cd" * 32
    listed = cli("member", "requests", "cars/sd15")
    assert "removed" in listed.out.splitlines()[2]
    assert "compare the words" in listed.err


def test_waiting_and_messages_go_with_a_request(receiver: CannedDaemon, cli: Cli) -> None:
    assert cli("get", LINK, "--wait").code == 2
    assert cli("get", LINK, "--message", "hello").code == 2
    receiver.replies["POST", "/v1/fetch/plan"] = m.Failure("untrusted_key", "another certificate")
    assert cli("get", LINK, "--request").code == 7, "a tracker that is not the link's is asked for nothing"
