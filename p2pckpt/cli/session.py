"""A command's conversation with the daemon: connect, call, follow a job to its end, find jobs by what people type."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from p2pckpt.cli.options import Invocation
from p2pckpt.control import client as control
from p2pckpt.control import messages as m
from p2pckpt.errors import BadUsage, Cancelled, NoSeeds, NotFound

_T = TypeVar("_T")
_SHORTEST_ID: Final = 8
"""Digits from which on a share is known by the beginning of its id."""


def talk(invocation: Invocation, work: Callable[[control.ControlClient], Awaitable[_T]], *, start: bool = True) -> _T:
    """What ``work`` returns, given a connected client; ``start`` as in ``control.client.connect``."""

    async def session() -> _T:
        async with AsyncExitStack() as stack:
            # connect() hands over a client that was entered already
            passphrase = partial(identity_passphrase, invocation, checked=True)
            client = await control.connect(invocation.config, start=start, passphrase=passphrase)
            stack.push_async_exit(client)
            return await work(client)

    return asyncio.run(session())


def identity_passphrase(invocation: Invocation, *, checked: bool = False) -> str:
    """The identity's passphrase, asked for on the terminal unless a file or credential has it; empty without one.

    Raises ``BadUsage`` where nobody can be asked, and with ``checked`` ``VerificationFailed`` for a wrong one.
    """
    from p2pckpt.trust import identity_file, passphrases

    keys_dir = invocation.config.keys_dir
    passphrases.stay_out_of_core_dumps()
    if not identity_file.needs_passphrase(keys_dir):
        return ""
    found = passphrases.find(invocation.config) or invocation.report.secret(
        "Passphrase of your identity", otherwise="the setting passphrase_file, or run it on a terminal"
    )
    if checked:
        identity_file.load(keys_dir, ask=lambda: found)
    return found


async def follow(
    client: control.ControlClient,
    job_id: str,
    on_change: Callable[[m.Job], None],
    on_notice: Callable[[m.Notice], None] | None = None,
    *,
    patience: float = 0,
) -> m.Job:
    """Report every state of a job until it has ended; the failure of a failed job is raised.

    Raises ``NotFound`` for a job the daemon does not know, ``Cancelled`` when it is removed meanwhile, and
    ``NoSeeds`` when it looked for peers in vain for ``patience`` seconds (0: never). The job itself goes on.
    """
    loop = asyncio.get_running_loop()
    alone_since: float | None = None
    async for event in client.events():
        if patience and alone_since is not None and loop.time() - alone_since > patience:
            raise NoSeeds(
                "nobody who has the missing pieces can be reached",
                kept="everything that arrived so far; the daemon keeps looking",
                next_step=f"p2pckpt watch {job_id}, or ask the publisher to start their daemon",
            )
        match event:
            case m.Snapshot():
                job = next((job for job in event.jobs if job.id == job_id), None)
                if job is None:
                    raise NotFound(f"there is no job {job_id}", next_step="p2pckpt ls")
            case m.JobChanged() if event.job.id == job_id:
                job = event.job
            case m.JobRemoved() if event.id == job_id:
                raise Cancelled(f"job {job_id} was removed")
            case m.Notice() if on_notice is not None and event.job == job_id:
                on_notice(event)
                continue
            case _:
                continue
        is_alone = job.phase is m.Phase.CONNECTING
        alone_since = (alone_since or loop.time()) if is_alone else None
        on_change(job)
        if job.failure is not None and job.state is m.JobState.FAILED:
            raise control.error_of(job.failure)
        if job.state.ended:
            return job
    raise AssertionError("the event stream ends with an exception")


async def find_jobs(client: control.ControlClient, text: str) -> list[m.Job]:
    """Jobs that ``text`` names: an id, a share's name (all its jobs) or NAME@VERSION; ``NotFound`` when none."""
    jobs = await client.jobs()
    if found := [job for job in jobs if job.id == text]:
        return found
    name, _, version = text.partition("@")
    found = [job for job in jobs if name and name in (job.share, job.share_id)]
    if version and found:
        numbers = {share.tags.get(version) for share in await client.shares() if share.name == name}
        found = [job for job in found if _is_version(job, version) or (job.version and job.version in numbers)]
    if not found:
        raise NotFound(f"no job, share or version is called {text!r}", next_step="p2pckpt ls")
    return found


async def find_all(client: control.ControlClient, names: Iterable[str]) -> list[m.Job]:
    """Jobs that any of ``names`` names, each once."""
    found = {job.id: job for name in names for job in await find_jobs(client, name)}
    return list(found.values())


async def one_job(client: control.ControlClient, text: str, command: str) -> m.Job:
    """The job that ``text`` names, among several the one that works; ``BadUsage`` with ``command`` to say which."""
    jobs = await find_jobs(client, text)
    working = [job for job in jobs if not job.state.ended] or jobs
    if len(working) > 1:
        ids = " ".join(job.id for job in working)
        raise BadUsage(f"{text!r} has several jobs: {ids}", next_step=f"p2pckpt {command} {working[-1].id}")
    return working[0]


def _is_version(job: m.Job, version: str) -> bool:
    return version == job.version_name or version in (str(job.version), f"v{job.version}")


def is_share(text: str, name: str, share_id: str) -> bool:
    """Whether ``text`` means this share, by its name or the beginning of its id."""
    return text == name or (len(text) >= _SHORTEST_ID and share_id.startswith(text.lower()))


def label(job: m.Job) -> str:
    """``cars/sd15@v3``, or the directory while a first publish has no name yet."""
    name = job.share or Path(job.path).name or job.id
    return f"{name}@v{job.version}" if job.version else name


def directory_or_name(text: str) -> str:
    """An absolute path when ``text`` is a directory or is written like a path, else ``text``, a share's name."""
    if text.startswith(("/", "./", "../", "~")) or text in (".", "..") or Path(text).is_dir():
        return str(Path(text).expanduser().absolute())
    return text


def one_version(text: str) -> str:
    """``text``, which must say which version it means."""
    if not text.partition("@")[2]:
        raise BadUsage(f"{text!r} names no version", next_step=f"write {text}@v1, or list them: p2pckpt show {text}")
    return text
