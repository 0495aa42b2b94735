"""``verify``: check what is held, and repair it."""

from __future__ import annotations

import click

from p2pckpt.cli.completing import complete_share
from p2pckpt.cli.options import Command, Invocation
from p2pckpt.cli.progress import Progress, summary
from p2pckpt.cli.session import directory_or_name, follow, talk
from p2pckpt.cli.share import detached
from p2pckpt.control import messages as m
from p2pckpt.control.client import ControlClient


@click.command(cls=Command)
@click.argument("name", metavar="NAME[@VERSION]|DIR", shell_complete=complete_share)
@click.option("--full", is_flag=True, help="Also the SHA-256 of each whole file.")
@click.option("--repair", is_flag=True, help="Fetch and rewrite what is damaged.")
@click.pass_obj
def verify(invocation: Invocation, name: str, full: bool, repair: bool) -> None:
    """Check a version held here, or a checkout, against what its publisher signed.

    Damage that was found and not repaired ends with exit code 6.
    """
    report = invocation.report
    request = m.VerifyRequest(name=directory_or_name(name), full=full, repair=repair)
    progress = Progress(report, stream=invocation.format == "jsonl")

    async def check(client: ControlClient) -> m.Job:
        job = await client.verify(request)
        progress.latest = job
        return await follow(client, job.id, progress.update, progress.notice)

    try:
        job = talk(invocation, check)
    except KeyboardInterrupt:
        raise detached(invocation, progress.latest) from None
    if invocation.format == "json":
        report.json(job)
    elif report.as_text:
        report.line(job.id if report.quiet else summary(job))
