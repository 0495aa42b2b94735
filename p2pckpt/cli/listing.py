"""``ls``: jobs, or with ``--shares`` the shares."""

from __future__ import annotations

from collections.abc import Sequence

import click

from p2pckpt.cli import text
from p2pckpt.cli.options import Command, Invocation
from p2pckpt.cli.progress import activity
from p2pckpt.cli.session import label, talk
from p2pckpt.cli.table import Column, table, terminal_width
from p2pckpt.control.messages import Job, JobState, ShareRow

_JOB_COLUMNS = [
    Column("JOB"),
    Column("VERSION"),
    Column("STATE"),
    Column("SIZE", right=True),
    Column("DONE", right=True),
    Column("DOWN", right=True),
    Column("UP", right=True),
    Column("SEEDS", right=True),
    Column("LEFT", right=True),
]
_SHARE_COLUMNS = [
    Column("SHARE"),
    Column("ROLE"),
    Column("FOR"),
    Column("LATEST", right=True),
    Column("SIZE", right=True),
    Column("STORED", right=True),
    Column("SEEDS", right=True),
    Column("MEMBERS", right=True),
    Column("UPDATED"),
    Column("TAGS"),
]


@click.command(cls=Command)
@click.option("--shares", "list_shares", is_flag=True, help="List shares instead of jobs.")
@click.pass_obj
def ls(invocation: Invocation, list_shares: bool) -> None:
    """List the jobs: what is published, received, checked and seeded here."""
    report = invocation.report
    if list_shares:
        shares = talk(invocation, lambda client: client.shares())
        report.items(shares, ids=(share.name for share in shares), text=lambda: share_lines(shares, terminal_width()))
        if not shares:
            report.narrate("no shares yet; make one with: p2pckpt share DIR")
        return
    jobs = talk(invocation, lambda client: client.jobs())
    report.items(jobs, ids=(job.id for job in jobs), text=lambda: job_lines(jobs, terminal_width()))
    if not jobs:
        report.narrate("nothing yet; start with: p2pckpt share DIR, or: p2pckpt get LINK")


def job_lines(jobs: Sequence[Job], width: int | None) -> list[str]:
    """One line a job; the reason of a failed one in place of its activity."""
    return table(_JOB_COLUMNS, [_job_cells(job) for job in jobs], width=width)


def _job_cells(job: Job) -> list[str]:
    failed = job.state is JobState.FAILED and job.failure is not None
    return [
        job.id,
        label(job),
        f"failed: {job.failure.fact}" if failed and job.failure else activity(job),
        text.size(job.size) if job.size else "-",
        text.percent(job.done, job.size),
        text.rate(job.rate_down),
        text.rate(job.rate_up),
        str(job.seeds),
        text.span(job.eta) if job.eta >= 0 and not job.state.ended else "-",
    ]


def share_lines(shares: Sequence[ShareRow], width: int | None, now: float | None = None) -> list[str]:
    """One line a share."""
    rows = [
        [
            share.name,
            str(share.role),
            str(share.visibility),
            f"v{share.latest}" if share.latest else "-",
            text.size(share.size) if share.size else "-",
            text.size(share.stored),
            str(share.seeds),
            str(share.members),
            text.ago(share.updated_at, now),
            " ".join(f"{tag}=v{number}" for tag, number in sorted(share.tags.items())),
        ]
        for share in shares
    ]
    return table(_SHARE_COLUMNS, rows, width=width)
