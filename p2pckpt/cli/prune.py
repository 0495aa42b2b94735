"""``run prune``: retire the versions of a run that a policy does not keep."""

from __future__ import annotations

import time

import click

from p2pckpt.cli import text
from p2pckpt.cli.completing import complete_share
from p2pckpt.cli.options import Command, Invocation
from p2pckpt.cli.retention import retention_of, retention_options
from p2pckpt.cli.session import talk
from p2pckpt.cli.table import Column, table, terminal_width
from p2pckpt.control.run_messages import PruneReply, PruneRequest, PruneRow, Retention


@click.command(cls=Command)
@click.argument("name", metavar="NAME", shell_complete=complete_share)
@retention_options
@click.option("-n", "--dry-run", is_flag=True, help="Only say what would be kept and retired, and why.")
@click.option("--now", "at_once", is_flag=True, help="Delete at once, also what was retired before: no --undo.")
@click.option("--undo", is_flag=True, help="Offer again what was retired here within a day.")
@click.pass_obj
def prune(
    invocation: Invocation,
    name: str,
    keep_last: int | None,
    keep_every: int | None,
    keep_best: int | None,
    metric: str,
    highest: bool,
    dry_run: bool,
    at_once: bool,
    undo: bool,
) -> None:
    """Retire the versions of NAME that are not kept: they are offered no more, and a day later deleted here.

    Without --keep-… the run's own policy counts. Always kept: the newest version, every tagged one, every one that is
    pinned here, the newest that verifies, and what is no save because it has no step. No checkout and no published
    directory is touched.
    """
    policy = retention_of(keep_last, keep_every, keep_best, metric, highest=highest)
    if undo:
        if policy != Retention() or dry_run or at_once:
            raise click.UsageError("--undo takes everything back that can be; it stands alone")
        reply = talk(invocation, lambda client: client.undo_prune(name))
        _print(invocation, reply)
        for number, why in reply.left.items():
            invocation.report.narrate(f"v{number} can't be taken back: {why}")
        return
    request = PruneRequest(name=name, retention=None if policy.keeps_all else policy, dry_run=dry_run, at_once=at_once)
    reply = talk(invocation, lambda client: client.prune(request))
    _print(invocation, reply)
    for line in _summary(reply, dry_run=dry_run, at_once=at_once, name=name):
        invocation.report.narrate(line)


def _print(invocation: Invocation, reply: PruneReply) -> None:
    report = invocation.report
    if report.as_text:
        retired = [row for row in reply.rows if not row.keep]
        shown = retired if report.quiet else reply.rows
        report.items(shown, ids=(f"v{row.version}" for row in shown), text=lambda: _lines(reply.rows))
    else:
        report.json(reply)


def _lines(rows: tuple[PruneRow, ...]) -> list[str]:
    columns = [
        Column("VERSION"), Column("NAME"), Column("STEP", right=True), Column("FREED", right=True), Column("WHY"),
    ]  # fmt: skip
    body = [
        [
            f"v{row.version}",
            row.name or "-",
            "-" if row.step is None else f"{row.step:,}",
            "-" if row.keep else text.size(row.freed),
            row.keep or "retired",
        ]
        for row in rows
    ]
    return table(columns, body, width=terminal_width())


def _summary(reply: PruneReply, *, dry_run: bool, at_once: bool, name: str) -> list[str]:
    count = sum(not row.keep for row in reply.rows)
    if not count and not reply.freed:
        return ["every version is kept"]
    freed = text.size(reply.freed)
    if dry_run:
        return [f"{text.count(count, 'version')} would be retired, {freed} freed here; nothing was changed"]
    if at_once:
        return [f"{text.count(count, 'version')} retired, {freed} freed here as soon as no job needs it"]
    until = time.strftime("%Y-%m-%d %H:%M", time.localtime(reply.undo_until))
    return [
        f"{text.count(count, 'version')} retired; {freed} are freed here after {until}",
        f"to take them back until then: p2pckpt run prune {name} --undo",
    ]
