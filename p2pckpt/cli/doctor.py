"""``doctor``: runs the checks and says what to do about each that is not well."""

from __future__ import annotations

import asyncio

import click

from p2pckpt.cli import checks
from p2pckpt.cli.options import Command, Invocation

_COLOURS = {checks.Level.OK: "green", checks.Level.WARN: "yellow", checks.Level.FAIL: "red"}


@click.command(cls=Command)
@click.pass_obj
def doctor(invocation: Invocation) -> None:
    """Check versions, disk, daemon, tracker, port, clock and keys; exit code 1 when something is broken.

    Nothing is started or changed.
    """
    report = invocation.report
    found = asyncio.run(checks.run_all(invocation.config))
    if report.as_text:
        for check in found:
            if not report.quiet:
                report.line(f"{check.level:<4}  {check.name:<10}  {check.fact}", colour=_COLOURS[check.level])
                if check.next_step:
                    report.line(f"{'':<18}{check.next_step}")
            elif check.level is not checks.Level.OK:
                report.line(check.name)
    else:
        report.items(found, ids=(), text=list)
    if any(check.level is checks.Level.FAIL for check in found):
        raise click.exceptions.Exit(1)
