"""Names that a shell can complete, asked of a daemon that is already running; none when there is none."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import click

from p2pckpt.cli.options import Invocation
from p2pckpt.control.client import ControlClient
from p2pckpt.errors import P2pckptError


def _ask(ctx: click.Context, question: Callable[[ControlClient], Awaitable[list[str]]]) -> list[str]:
    from p2pckpt.cli.session import talk

    invocation = ctx.find_root().obj
    try:
        return talk(invocation if isinstance(invocation, Invocation) else Invocation(), question, start=False)
    except (P2pckptError, OSError):
        return []


def complete_share(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Names of the shares this daemon knows."""

    async def names(client: ControlClient) -> list[str]:
        return [share.name for share in await client.shares() if share.name.startswith(incomplete)]

    return _ask(ctx, names)


def complete_job(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Ids of the jobs, and names of their shares."""

    async def names(client: ControlClient) -> list[str]:
        found = {name for job in await client.jobs() for name in (job.id, job.share)}
        return sorted(name for name in found if name and name.startswith(incomplete))

    return _ask(ctx, names)
