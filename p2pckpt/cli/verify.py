"""``verify``: check what is held, and repair it."""

from __future__ import annotations

import click

from p2pckpt.cli.completing import complete_share
from p2pckpt.cli.options import Command, Invocation
from p2pckpt.cli.progress import Progress, summary
from p2pckpt.cli.session import directory_or_name, follow, talk
from p2pckpt.cli.share import detached
from p2pckpt.cli.table import Column, table, terminal_width
from p2pckpt.control import messages as m
from p2pckpt.control.client import ControlClient
from p2pckpt.control.health_messages import Outcome, VerifyReport
from p2pckpt.errors import P2pckptError


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

    async def check(client: ControlClient) -> tuple[VerifyReport | None, P2pckptError | None]:
        job = await client.verify(request)
        progress.latest = job
        failed: P2pckptError | None = None
        try:
            await follow(client, job.id, progress.update, progress.notice)
        except P2pckptError as exc:
            failed = exc
        try:
            return await client.verify_report(job.id), failed
        except P2pckptError:  # none was made, or there is nobody any more to ask
            return None, failed

    try:
        found, failed = talk(invocation, check)
    except KeyboardInterrupt:
        raise detached(invocation, progress.latest) from None
    if found is not None and invocation.format == "json":
        report.json(found)
    elif found is not None and report.as_text and not report.quiet:
        for line in report_lines(found, terminal_width()):
            report.line(line)
    if failed is not None:
        raise failed
    if report.as_text and progress.latest is not None:
        report.line(progress.latest.id if report.quiet else summary(progress.latest))


_GLYPHS = {Outcome.OK: "✔", Outcome.WARN: "!", Outcome.BAD: "✗", Outcome.SKIPPED: "-"}
_SHOWN = 40
"""Rows of damage that a person reads; JSON has the rest."""


def report_lines(found: VerifyReport, width: int | None) -> list[str]:
    """Every check as a line, then what is damaged."""
    room = max(len(check.name) for check in found.checks) if found.checks else 0
    lines = [f"{_GLYPHS[check.outcome]} {check.name:<{room}}  {check.text}" for check in found.checks]
    columns = [
        Column("IN"), Column("PATH"), Column("CHUNK", right=True), Column("OFFSET", right=True), Column("PROBLEM"),
        Column("EXPECTED"), Column("GOT"), Column("REPAIRED FROM"),
    ]  # fmt: skip
    rows = [
        [
            row.place,
            row.path if row.place == "checkout" else row.path[:12],
            str(row.chunk) if row.chunk >= 0 else "",
            str(row.offset) if row.offset >= 0 else "",
            row.problem,
            row.expected[:12],
            row.got[:12],
            row.fixed_from,
        ]
        for row in found.damage[:_SHOWN]
    ]
    lines += table(columns, rows, width=width)
    if found.damaged > len(rows):
        lines.append(f"and {found.damaged - len(rows):,} more: --json has {len(found.damage):,} of them")
    return lines
