"""``pause``, ``resume`` and ``rm``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

import click

from p2pckpt.cli import text
from p2pckpt.cli.completing import complete_job
from p2pckpt.cli.options import Command, Invocation
from p2pckpt.cli.progress import activity
from p2pckpt.cli.session import find_all, find_jobs, is_share, label, talk
from p2pckpt.control.client import ControlClient
from p2pckpt.control.messages import Job, JobKind, JobState, ShareRow
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
        pins = {row.share_id: row for row in await client.shares() if row.pinned} if data else {}
        await _require_unpinned(client, pins, jobs, versions)
        if done:
            named = {job.id for job in jobs}
            others = [job for job in await client.jobs() if job.state is JobState.DONE and job.id not in named]
            if kept := [job for job in others if _is_pinned(pins, job)]:
                report.narrate(_passed_over(kept))
            jobs += [job for job in others if job not in kept]
        if data and not yes and (jobs or versions):
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


async def _require_unpinned(
    client: ControlClient, pins: Mapping[str, ShareRow], jobs: Sequence[Job], versions: Sequence[str]
) -> None:
    """The daemon refuses each; here all are refused before the first one is gone."""
    for job in jobs:
        if _is_pinned(pins, job):
            raise pinned(job.share, [job.version])
    for name in versions:
        share, _, selector = name.partition("@")
        for row in pins.values():
            if (
                is_share(share, row.name, row.share_id)
                and (number := await _number(client, row, selector)) in row.pinned
            ):
                raise pinned(row.name, [number])


def _is_pinned(pins: Mapping[str, ShareRow], job: Job) -> bool:
    """Whether the daemon would not delete what the job has here."""
    return job.kind is not JobKind.VERIFY and job.share_id in pins and job.version in pins[job.share_id].pinned


async def _number(client: ControlClient, share: ShareRow, selector: str) -> int:
    """The number of the version that ``selector`` says; 0 for none."""
    digits = selector.removeprefix("v")
    number = int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 10 else 0
    if number in share.pinned or 0 < number <= share.latest:
        return number
    if selector in share.tags or not selector:
        return share.tags.get(selector, share.latest)
    listed = (await client.share_detail(share.share_id)).versions
    return max((row.version for row in listed if row.name == selector), default=0)


def _passed_over(jobs: Sequence[Job]) -> str:
    """What is said of jobs that ``--done`` leaves because their versions are pinned."""
    names = list(dict.fromkeys(map(label, jobs)))
    step = f"p2pckpt pin --remove {names[0] if len(names) == 1 else 'NAME@VERSION'}"
    return f"passed over, pinned on this machine: {', '.join(names)}; to let go: {step}"


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
