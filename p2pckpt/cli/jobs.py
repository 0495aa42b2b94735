"""``pause``, ``resume`` and ``rm``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import click

from p2pckpt.cli import text
from p2pckpt.cli.completing import complete_job
from p2pckpt.cli.options import Command, Invocation
from p2pckpt.cli.progress import activity
from p2pckpt.cli.session import find_all, find_jobs, label, talk
from p2pckpt.control.client import ControlClient
from p2pckpt.control.messages import Job, JobKind, JobState
from p2pckpt.control.pin_messages import pinned
from p2pckpt.errors import Cancelled, NotFound

_JOBS = click.argument("names", metavar="JOB|NAME[@VERSION]...", nargs=-1, required=True, shell_complete=complete_job)


@click.command(cls=Command)
@_JOBS
@click.pass_obj
def pause(invocation: Invocation, names: tuple[str, ...]) -> None:
    """Stop moving bytes; everything received so far is kept."""
    _change(invocation, names, lambda client, job: client.pause(job.id))


@click.command(cls=Command)
@_JOBS
@click.pass_obj
def resume(invocation: Invocation, names: tuple[str, ...]) -> None:
    """Continue where a job was paused or has failed."""
    _change(invocation, names, lambda client, job: client.resume(job.id))


@click.command(cls=Command)
@click.argument("names", metavar="[JOB|NAME[@VERSION]...]", nargs=-1, shell_complete=complete_job)
@click.option("--done", is_flag=True, help="All jobs that are done and offer nothing.")
@click.option("--data", is_flag=True, help="Also delete objects that nothing else needs.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def rm(invocation: Invocation, names: tuple[str, ...], done: bool, data: bool, yes: bool) -> None:
    """Forget jobs, and stop seeding what they hold. A checkout is never touched."""
    report = invocation.report
    if not names and not done:
        raise click.UsageError("name the jobs to forget, or say --done")

    async def remove(client: ControlClient) -> list[Job]:
        jobs, versions = await _named(client, names, data=data)
        if done:
            named = {job.id for job in jobs}
            jobs += [job for job in await client.jobs() if job.state is JobState.DONE and job.id not in named]
        if data and jobs:
            await _require_unpinned(client, jobs)
        if data and not yes:
            for line in consequences(jobs):
                report.narrate(line)
            for name in versions:
                report.narrate(f"{name}, of which there is no job")
            if not report.ask(
                f"Delete the objects of {text.count(len(jobs) + len(versions), 'version')}?", otherwise="-y"
            ):
                raise Cancelled("nothing was removed")
        for job in jobs:
            await client.remove(job.id, data=data)
        for name in versions:
            report.narrate(f"{name}: {text.size((await client.drop_version(name)).freed)} freed")
        return jobs

    _print(invocation, talk(invocation, remove), "removed")


async def _require_unpinned(client: ControlClient, jobs: Sequence[Job]) -> None:
    """The daemon refuses each; here all are refused before the first one is gone."""
    pins = {(row.share_id, row.version) for row in await client.pins()}
    for job in jobs:
        if job.kind is not JobKind.VERIFY and (job.share_id, job.version) in pins:
            raise pinned(job.share, [job.version])


async def _named(client: ControlClient, names: Sequence[str], *, data: bool) -> tuple[list[Job], list[str]]:
    """The jobs, and with ``data`` the versions without one: what they have here can be deleted, too."""
    if not data:
        return await find_all(client, names), []
    found: dict[str, Job] = {}
    versions = []
    for name in names:
        try:
            found |= {job.id: job for job in await find_jobs(client, name)}
        except NotFound:
            if "@" not in name:
                raise
            versions.append(name)
    return list(found.values()), versions


def consequences(jobs: Sequence[Job]) -> list[str]:
    """What deleting the objects of these jobs means, one line each."""
    lines = []
    for job in jobs:
        line = f"{job.id} {label(job)}, {text.size(job.size)}"
        if job.state is JobState.SEEDING and job.seeds == 0:
            line += ": no other seed is known, others could not get it any more"
        lines.append(line)
    return lines


def _change(
    invocation: Invocation, names: tuple[str, ...], act: Callable[[ControlClient, Job], Awaitable[Job]]
) -> None:
    async def change(client: ControlClient) -> list[Job]:
        return [await act(client, job) for job in await find_all(client, names)]

    _print(invocation, talk(invocation, change))


def _print(invocation: Invocation, jobs: Sequence[Job], done: str = "") -> None:
    invocation.report.items(
        jobs,
        ids=(job.id for job in jobs),
        text=lambda: (f"{job.id} {label(job)} {done or activity(job)}" for job in jobs),
    )
