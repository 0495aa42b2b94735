"""``log``: a share's audit log, verified before a row of it is shown."""

from __future__ import annotations

import time

import click

from p2pckpt.cli import text
from p2pckpt.cli.completing import complete_share
from p2pckpt.cli.options import Command, Invocation
from p2pckpt.cli.session import talk
from p2pckpt.cli.table import Column, table, terminal_width
from p2pckpt.control.access_messages import LogReply, LogRequest, LogRow
from p2pckpt.tracker_protocol.audit_log import AuditAction

_COLUMNS = [Column("ROW", right=True), Column("WHEN"), Column("WHO"), Column("DID"), Column("TO")]
_SHORT = 8
"""Digits of an identity beside a name: names are chosen by their bearers."""


@click.command(cls=Command)
@click.argument("share", shell_complete=complete_share)
@click.option("--since", type=text.Duration(), help="Only rows of this last time: 12h, 7d.")
@click.option(
    "-n", "--rows", default=1000, show_default=True, type=click.IntRange(1, 100_000), help="Only the newest so many."
)
@click.option(
    "--anew",
    is_flag=True,
    help="Forget the end of the log that this machine saw: the tracker was restored from a backup.",
)
@click.pass_obj
def log(invocation: Invocation, share: str, since: int | None, rows: int, anew: bool) -> None:
    """Show who did what in SHARE, for its owners.

    All rows are verified: their chain, the end that the tracker has signed, and the end that this machine saw before. A
    log that was cut, changed or reordered ends with exit code 6.
    """
    request = LogRequest(share, int(time.time()) - since if since else 0, rows, anew)
    reply = talk(invocation, lambda client: client.log(request))
    report = invocation.report
    if invocation.format == "json":
        report.json(reply)
        return
    report.items(
        reply.rows,
        ids=(str(row.seq) for row in reply.rows),
        text=lambda: table(_COLUMNS, [_cells(row) for row in reply.rows], width=terminal_width()),
    )
    report.narrate(verdict(reply))


def verdict(reply: LogReply) -> str:
    """What was verified, in a sentence."""
    signed = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(reply.signed_at))
    later = reply.verified - reply.signed
    return f"verified up to row {reply.signed}, signed {signed}" + (
        f"; {text.count(later, 'newer row')} will be signed within a minute" if later else ""
    )


def _cells(row: LogRow) -> list[str]:
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(max(0, min(row.at, 1 << 36))))
    return [str(row.seq), when, person(row.actor, row.actor_name), row.action, _subject(row)]


def person(identity: str, name: str) -> str:
    """``bob (3fa1c2d4)``: a name and the digits that tell its bearer from namesakes."""
    if not identity:
        return "-"
    return f"{text.clean(name, 40)} ({identity[:_SHORT]})" if name else identity[: 2 * _SHORT]


def _subject(row: LogRow) -> str:
    first, _, rest = row.subject.partition(" ")
    if row.action == AuditAction.FETCHED and row.subject_name:
        return row.subject_name
    if len(first) != 64:
        return row.subject
    return f"{person(first, row.subject_name)} {rest}".rstrip()
