"""``log``: a share's audit log, verified before a row of it is shown."""

from __future__ import annotations

import time

import click

from p2pckpt.cli import text
from p2pckpt.cli.completing import complete_share
from p2pckpt.cli.options import Command, Invocation
from p2pckpt.cli.session import talk
from p2pckpt.cli.table import Column, table, terminal_width
from p2pckpt.control.access_messages import LogRequest, LogRow
from p2pckpt.control.audit_words import moment, person, subject, verdict

_COLUMNS = [Column("ROW", right=True), Column("WHEN"), Column("WHO"), Column("DID"), Column("TO")]


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


def _cells(row: LogRow) -> list[str]:
    return [str(row.seq), moment(row.at), person(row.actor, row.actor_name), row.action, subject(row)]
