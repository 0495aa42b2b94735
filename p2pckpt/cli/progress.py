"""How a job looks while it works: one redrawn line on a terminal, one line a phase elsewhere."""

from __future__ import annotations

import shutil

from p2pckpt.cli import text
from p2pckpt.cli.report import Report
from p2pckpt.cli.session import label
from p2pckpt.control.messages import Job, JobKind, JobState, Notice

_BAR = 20
"""Columns of the bar: enough to see it move, short enough to leave 60 for words on an 80-column terminal."""
_MOVED = {JobKind.PUBLISH: "packed", JobKind.FETCH: "received", JobKind.VERIFY: "checked", JobKind.RESTORE: "restored"}


def bar(done: int, total: int, width: int = _BAR) -> str:
    """``done`` of ``total`` drawn with line characters; full only when complete."""
    filled = min(width, done * width // total) if total > 0 else 0
    return "━" * filled + "─" * (width - filled)


def activity(job: Job) -> str:
    """What the job is doing, in a word or two."""
    return str(job.phase or job.state) if job.state is JobState.RUNNING else str(job.state)


def progress_line(job: Job, width: int) -> str:
    """One line of at most ``width`` columns; what matters least is at its end, where it is cut."""
    parts = [f"{text.clean(label(job), 40)} {activity(job)}"]
    if job.size:
        parts.append(f"{bar(job.done, job.size)} {text.percent(job.done, job.size)}")
    if job.rate_down:
        parts.append(f"↓ {text.rate(job.rate_down)}")
    if job.eta >= 0 and not job.state.ended:
        parts.append(f"{text.span(job.eta)} left")
    if job.size:
        parts.append(f"{text.size(job.done)} of {text.size(job.size)}")
    if job.kind.receives:
        parts.append(f"{text.count(job.seeds, 'seed')}, {text.count(job.peers, 'peer')}")
    if job.rate_up:
        parts.append(f"↑ {text.rate(job.rate_up)}")
    return text.cut("  ".join(parts), width)


def summary(job: Job) -> str:
    """What the work came to, once it has ended."""
    parts = [f"{text.size(job.size)} {_MOVED[job.kind]}"]
    if job.reused:
        parts.append(f"{text.size(job.reused)} of it reused")
    if job.wire_size and job.kind is JobKind.PUBLISH:
        parts.append(f"{text.size(job.wire_size)} new in the swarm")
    elif job.wire_done:
        parts.append(f"{text.size(job.wire_done)} fetched")
    if job.ended_at > job.created_at > 0:
        parts.append(f"in {text.span(job.ended_at - job.created_at)}")
    return f"{label(job)}: " + ", ".join(parts)


class Progress:
    """Shows the changes of one job on stderr; with ``--format jsonl`` on stdout as data."""

    def __init__(self, report: Report, *, stream: bool = False) -> None:
        self._report = report
        self._stream = stream
        """Whether each change is also data: one JSON line."""
        self._said = ""
        self._warned: set[str] = set()
        self.latest: Job | None = None

    def update(self, job: Job) -> None:
        self.latest = job
        for warning in job.warnings:
            if warning not in self._warned:
                self._warned.add(warning)
                self._report.narrate(f"warning: {warning}", colour="yellow")
        if self._stream:
            self._report.event(job)
        elif self._report.draws_progress and not job.state.ended:
            self._report.progress(progress_line(job, shutil.get_terminal_size().columns - 1))
        if self._report.as_text:
            self._say_phase(job)

    def notice(self, notice: Notice) -> None:
        if notice.level == "error":
            return  # the job's failure says it, with what was kept and what to do
        self._report.narrate(notice.text if notice.level == "info" else f"{notice.level}: {notice.text}")

    def _say_phase(self, job: Job) -> None:
        now = activity(job)
        if job.state is JobState.PAUSED:
            now += f"; p2pckpt resume {job.id}"
        # a terminal shows phases in the progress line; only what stops the work deserves a line of its own
        if (
            now != self._said
            and not job.state.ended
            and (not self._report.draws_progress or job.state is JobState.PAUSED)
        ):
            self._report.narrate(f"{label(job)}: {now}")
        self._said = now
