"""``tui --inline``: which transfer is shown, and the line that is left of it."""

from __future__ import annotations

import re

from p2pckpt.cli.options import Invocation
from p2pckpt.cli.progress import activity, summary
from p2pckpt.cli.session import label, one_job, talk
from p2pckpt.control import messages as m
from p2pckpt.control.client import ControlClient
from p2pckpt.errors import NotFound


def show(invocation: Invocation, name: str | None) -> None:
    """Show the job that ``name`` means, or the newest that works, to its end; raises what it failed with."""
    job = talk(invocation, lambda client: one_job(client, name, "tui --inline") if name else _newest(client))
    from p2pckpt.tui.inline import run

    ending = run(invocation.config, job.id)
    if ending.error is not None:
        raise ending.error
    job, report = ending.job or job, invocation.report
    if not job.state.ended:
        paused = job.state is m.JobState.PAUSED
        more = f"p2pckpt resume {job.id}" if paused else f"it goes on; p2pckpt tui --inline {job.id}"
        report.narrate(f"{label(job)}: {activity(job)}; {more}")
    elif report.as_text:
        report.line(summary(job))
    else:
        report.event(job)


async def _newest(client: ControlClient) -> m.Job:
    jobs = [job for job in await client.jobs() if not job.state.ended]
    if not jobs:
        raise NotFound("no transfer is active", next_step="p2pckpt ls")
    # one that was paused on purpose is not what somebody wants to watch
    return max(jobs, key=lambda job: (job.state is not m.JobState.PAUSED, job.created_at, _number(job)))


def _number(job: m.Job) -> int:
    return int(re.sub(r"\D", "", job.id) or 0)
