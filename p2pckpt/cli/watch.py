"""``watch``: the daemon's events as lines, for people or as JSON lines."""

from __future__ import annotations

import time
from collections.abc import Iterator

import click

from p2pckpt.cli import text
from p2pckpt.cli.completing import complete_job
from p2pckpt.cli.options import Command, Invocation
from p2pckpt.cli.progress import Progress, activity, summary
from p2pckpt.cli.session import follow, label, one_job, talk
from p2pckpt.control import messages as m
from p2pckpt.control.client import ControlClient

_TENTHS = 10


@click.command(cls=Command)
@click.argument("job", required=False, metavar="[JOB|NAME[@VERSION]]", shell_complete=complete_job)
@click.pass_obj
def watch(invocation: Invocation, job: str | None) -> None:
    """Follow one job to its end, or everything until Ctrl-C.

    With --json or --format jsonl, each event is one JSON line: of the whole daemon, or the states of JOB.
    """
    talk(invocation, lambda client: _watch_one(invocation, client, job) if job else _watch_all(invocation, client))


async def _watch_one(invocation: Invocation, client: ControlClient, name: str) -> None:
    job = await one_job(client, name, "watch")
    progress = Progress(invocation.report, stream=not invocation.report.as_text)
    ended = await follow(client, job.id, progress.update, progress.notice)
    if invocation.report.as_text:
        invocation.report.line(summary(ended))


async def _watch_all(invocation: Invocation, client: ControlClient) -> None:
    report = invocation.report
    log = EventLog()
    async for event in client.events():
        if not report.as_text:
            report.event(event)
            continue
        for line in log.lines(event):
            report.line(f"{time.strftime('%H:%M:%S')} {line}")


class EventLog:
    """Turns events into the lines worth reading: a line when a job's activity changes or a tenth is done."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[str, int]] = {}

    def lines(self, event: m.Event) -> Iterator[str]:
        match event:
            case m.Snapshot():
                for job in event.jobs:
                    yield from self._job(job)
            case m.JobChanged():
                yield from self._job(event.job)
            case m.JobRemoved():
                self._seen.pop(event.id, None)
                yield f"{event.id} removed"
            case m.ShareRemoved():
                yield f"share {event.share_id} removed"
            case m.Notice():
                yield f"{event.level}: {event.text}"

    def _job(self, job: m.Job) -> Iterator[str]:
        tenth = job.done * _TENTHS // job.size if job.size and not job.state.ended else 0
        now = (activity(job), tenth)
        if self._seen.get(job.id) == now:
            return
        self._seen[job.id] = now
        line = f"{job.id} {label(job)} {now[0]}"
        if job.failure is not None and job.state is m.JobState.FAILED:
            line += f": {job.failure.fact}"
        elif job.size and not job.state.ended:
            line += f" {text.percent(job.done, job.size)} of {text.size(job.size)}"
            if job.rate_down:
                line += f" at {text.rate(job.rate_down)}"
        yield line
