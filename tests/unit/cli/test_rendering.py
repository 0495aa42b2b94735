"""Jobs, progress, previews and events as people see them; pure functions of messages."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from p2pckpt.cli import text
from p2pckpt.cli.get import preview_lines
from p2pckpt.cli.jobs import consequences
from p2pckpt.cli.links import link_lines
from p2pckpt.cli.listing import job_lines, share_lines
from p2pckpt.cli.options import Invocation
from p2pckpt.cli.progress import Progress, bar, progress_line, summary
from p2pckpt.cli.watch import EventLog
from p2pckpt.control import access_messages as am
from p2pckpt.control import messages as m
from p2pckpt.tracker_protocol import Role
from tests.support.canned_daemon import job, preview, share, status

HOSTILE = "evil\x1b[2J\x9b31m\u202egpj"


def test_a_running_job_in_the_list() -> None:
    assert [line.split() for line in job_lines([job()], None)] == [
        ["JOB", "VERSION", "STATE", "SIZE", "DONE", "DOWN", "UP", "SEEDS", "LEFT"],
        ["j12", "cars/sd15@v3", "downloading", "100.0", "MB", "40%", "12.0", "MB/s", "-", "2", "1m05s"],
    ]


def test_a_failed_job_says_why() -> None:
    failed = job(state=m.JobState.FAILED, failure=m.Failure("no_seeds", "nobody has piece 7"))
    assert "failed: nobody has piece 7" in job_lines([failed], None)[1]


def test_a_publish_without_a_name_yet_is_called_by_its_directory() -> None:
    assert " run7 " in job_lines([job(share="", version=0, path="/data/run7", size=0)], None)[1]


@pytest.mark.parametrize("width", [None, 60])
def test_a_hostile_name_cannot_reach_the_terminal(width: int | None) -> None:
    lines = job_lines([job(share=HOSTILE)], width) + share_lines([share(name=HOSTILE, tags={HOSTILE: 1})], width)
    lines.append(progress_line(job(share=HOSTILE), 80))
    assert not set("".join(lines)) & set("\x1b\x9b\u202e")


def test_a_share_with_its_tags() -> None:
    line = share_lines([share()], None, now=1_000_000 + 7200)[1]
    assert "2 hours ago" in line
    assert "latest=v3 stable=v2" in line


@pytest.mark.parametrize(
    ("done", "total", "shown"), [(0, 0, "────"), (0, 8, "────"), (7, 8, "━━━─"), (8, 8, "━━━━"), (9, 8, "━━━━")]
)
def test_the_bar_is_full_only_when_complete(done: int, total: int, shown: str) -> None:
    assert bar(done, total, 4) == shown


def test_the_progress_line_says_how_far_how_fast_and_how_long() -> None:
    line = progress_line(job(), 200)
    assert line == (
        "cars/sd15@v3 downloading  ━━━━━━━━──────────── 40%  ↓ 12.0 MB/s  1m05s left  40.0 MB of 100.0 MB  "
        "2 seeds, 4 peers"
    )
    assert all(text.cells(progress_line(job(), width)) <= width for width in range(1, 120))


def test_the_summary_counts_what_was_not_moved() -> None:
    done = job(state=m.JobState.SEEDING, done=100_000_000, reused=30_000_000, wire_done=50_000_000, ended_at=1_000_090)
    assert summary(done) == "cars/sd15@v3: 100.0 MB received, 30.0 MB of it reused, 50.0 MB fetched, in 1m30s"


def test_without_a_terminal_each_phase_and_warning_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress(Invocation().report)
    for change in (
        job(phase=m.Phase.CONNECTING),
        job(done=1),
        job(done=2, warnings=("the disk is slow",)),
        job(done=3, warnings=("the disk is slow",)),
        job(state=m.JobState.PAUSED),
        job(state=m.JobState.SEEDING),
    ):
        progress.update(change)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "cars/sd15@v3: finding peers",
        "cars/sd15@v3: downloading",
        "warning: the disk is slow",
        "cars/sd15@v3: paused; p2pckpt resume j12",
    ]


def test_on_a_terminal_one_line_is_redrawn_and_erased(
    terminal: Callable[[str], None], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal("")
    monkeypatch.setenv("COLUMNS", "60")
    invocation = Invocation()
    progress = Progress(invocation.report)
    progress.update(job(share=HOSTILE))
    progress.update(job(share=HOSTILE, done=50_000_000))
    invocation.report.narrate("done")
    shown = capsys.readouterr().err
    drawn = shown.split("\r\x1b[2K")
    assert len(drawn) == 4
    assert drawn[0] == ""
    assert drawn[3] == "done\n"
    assert all(text.cells(line) <= 59 for line in drawn[:3])
    assert "\x1b" not in "".join(drawn)


def test_quiet_draws_and_says_nothing(terminal: Callable[[str], None], capsys: pytest.CaptureFixture[str]) -> None:
    terminal("")
    invocation = Invocation()
    invocation.quiet = True
    Progress(invocation.report).update(job(warnings=("slow",)))
    assert capsys.readouterr() == ("", "")


def test_the_preview_answers_what_people_ask_before_they_start() -> None:
    lines = "\n".join(preview_lines(preview()))
    for expected in ("cd" * 32, "apache-2.0", "100.0 MB in 1 file", "30.0 MB that", "50.0 MB", "150.0 MB needed"):
        assert expected in lines
    assert "differs, will be moved aside: README.md" in lines
    assert "none reachable now" in "\n".join(preview_lines(preview(seeds=0, licence="")))
    assert "none stated" in "\n".join(preview_lines(preview(licence="")))


def test_many_conflicts_are_counted_not_listed() -> None:
    lines = preview_lines(preview(conflicts=tuple(f"f{i}" for i in range(25))))
    assert lines[-1] == "  and 15 more"


def test_watching_says_a_change_of_activity_and_each_tenth_once() -> None:
    log = EventLog()
    steps = [m.Snapshot(status(), (job(done=0),), ())]
    changes = [job(done=n * 1_000_000) for n in range(1, 25)]
    failed = job(state=m.JobState.FAILED, failure=m.Failure("failed", "lost"))
    events: list[m.Event] = [*steps, *(m.JobChanged(j) for j in changes), m.JobChanged(failed), m.JobRemoved("j12")]
    lines = [line for event in events for line in log.lines(event)]
    assert [line.split(" of ")[0] for line in lines] == [
        "j12 cars/sd15@v3 downloading 0%",
        "j12 cars/sd15@v3 downloading 10%",
        "j12 cars/sd15@v3 downloading 20%",
        "j12 cars/sd15@v3 failed: lost",
        "j12 removed",
    ]


def test_deleting_the_last_known_copy_is_said() -> None:
    last = consequences([job(state=m.JobState.SEEDING, seeds=0)])[0]
    assert "no other seed is known" in last
    assert "no other seed" not in consequences([job(state=m.JobState.SEEDING, seeds=1)])[0]


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({}, "open"),
        ({"revoked": True}, "revoked"),
        ({"expires_at": 1_999}, "expired"),
        ({"expires_at": 2_001}, "open"),
        ({"max_uses": 2, "uses": 2}, "used up"),
        ({"max_uses": 2, "uses": 1}, "open"),
    ],
)
def test_a_link_says_why_it_is_dead(changes: dict[str, int], state: str) -> None:
    fields = {"expires_at": 0, "max_uses": 0, "uses": 0, "created_at": 1_000, "revoked": False}
    row = am.LinkRow(link_id="0011223344556677", share="cars/sd15", role=Role.DOWNLOADER, **{**fields, **changes})  # type: ignore[arg-type]
    assert f" {state} " in link_lines([row], None, now=2_000)[1]
