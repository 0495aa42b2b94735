"""``limit``: how fast jobs may go, each and all together, and the slow mode."""

from __future__ import annotations

import time
from collections.abc import Sequence

import click

from p2pckpt.cli import text
from p2pckpt.cli.completing import complete_job
from p2pckpt.cli.options import Command, Invocation
from p2pckpt.cli.session import find_all, label, talk
from p2pckpt.cli.table import Column, facts, table, terminal_width
from p2pckpt.control.client import ControlClient
from p2pckpt.control.messages import Job
from p2pckpt.control.settings_messages import JobLimitRequest, Limits, SetRequest, TurtleRequest
from p2pckpt.units import exact_size


@click.command(cls=Command)
@click.argument("names", metavar="[JOB|NAME[@VERSION]]...", nargs=-1, shell_complete=complete_job)
@click.option("--down", type=text.Size(), metavar="SIZE", help="Bytes per second received: 500K, 5M, none.")
@click.option("--up", type=text.Size(), metavar="SIZE", help="Bytes per second sent.")
@click.option(
    "--turtle", type=click.Choice(["on", "off", "auto", "toggle"]), help="Slow mode; auto: within turtle_hours."
)
@click.pass_obj
def limit(invocation: Invocation, names: tuple[str, ...], down: int | None, up: int | None, turtle: str | None) -> None:
    """Show or set the limits of jobs; without any, of everything together.

    Both are kept: those of a job with it, those of everything as settings.
    """
    if not names:
        _limit_all(invocation, down, up, turtle)
        return
    if turtle is not None:
        raise click.UsageError("slow mode is of everything together: name no job with --turtle")

    async def change(client: ControlClient) -> list[Job]:
        jobs = await find_all(client, names)
        if down is None and up is None:
            return jobs
        return [await client.limit_job(job.id, JobLimitRequest(down, up)) for job in jobs]

    jobs = talk(invocation, change)
    invocation.report.items(jobs, ids=(job.id for job in jobs), text=lambda: job_lines(jobs, terminal_width()))


def _limit_all(invocation: Invocation, down: int | None, up: int | None, turtle: str | None) -> None:
    async def change(client: ControlClient) -> Limits:
        for key, value in (("download_limit", down), ("upload_limit", up)):
            if value is not None:
                await client.set_setting(SetRequest(key, value))
        if turtle is not None:
            return await client.turtle(TurtleRequest(turtle))
        return await client.limits()

    limits = talk(invocation, change)
    if invocation.report.as_text:
        for row in lines(limits):
            invocation.report.line(row)
    else:
        invocation.report.json(limits)


def job_lines(jobs: Sequence[Job], width: int | None) -> list[str]:
    """One line a job."""
    columns = [Column("JOB"), Column("VERSION"), Column("DOWN", right=True), Column("UP", right=True)]
    return table(
        columns, [[job.id, label(job), _rate(job.limit_down), _rate(job.limit_up)] for job in jobs], width=width
    )


def lines(limits: Limits, now: float | None = None) -> list[str]:
    """The limits in force as ``name  value`` lines."""
    mode = "on" if limits.slow else "off"
    if limits.turtle == "auto":
        mode += f", by turtle_hours {text.clean(limits.hours)}" if limits.hours else ""
        if limits.changes_at:
            at = time.strftime("%a %H:%M", time.localtime(limits.changes_at))
            mode += f", until {at}, {text.ago(limits.changes_at, now)}"
    return facts([("down", _rate(limits.down)), ("up", _rate(limits.up)), ("slow mode", mode)])


def _rate(count: int) -> str:
    return f"{exact_size(count)}/s" if count else "no limit"
