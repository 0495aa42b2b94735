"""``pin``: versions that stay on this machine."""

from __future__ import annotations

import click

from p2pckpt.cli import text
from p2pckpt.cli.completing import complete_share
from p2pckpt.cli.options import Command, Invocation
from p2pckpt.cli.session import one_version, talk
from p2pckpt.cli.table import Column, table, terminal_width
from p2pckpt.control.pin_messages import PinRequest, PinRow


@click.command(cls=Command)
@click.argument("name", metavar="[NAME[@VERSION|@TAG]]", required=False, shell_complete=complete_share)
@click.option("--remove", is_flag=True, help="Take the pin of NAME@VERSION away.")
@click.pass_obj
def pin(invocation: Invocation, name: str | None, remove: bool) -> None:
    """Keep a version on this machine, the newest unless NAME says which; without NAME list what is kept.

    No policy retires a pinned version from here, and nothing deletes what it has here, until --remove. Nothing is
    fetched for it, and nobody else is told.
    """
    if name is None:
        if remove:
            raise click.UsageError("--remove needs the NAME@VERSION to let go")
        rows = talk(invocation, lambda client: client.pins())
        _print(invocation, rows)
        if not rows:
            invocation.report.narrate("nothing is pinned on this machine")
        return
    request = PinRequest(one_version(name) if remove else name, remove)
    row = talk(invocation, lambda client: client.pin(request))
    _print(invocation, [row])
    if remove:
        invocation.report.narrate(f"{_label(row)} is pinned no more; {_what_comes(row)}")
    else:
        invocation.report.narrate(f"it stays here until: p2pckpt pin --remove {_label(row)}")


def _print(invocation: Invocation, rows: list[PinRow]) -> None:
    invocation.report.items(rows, ids=map(_label, rows), text=lambda: pin_lines(rows, terminal_width()))


def pin_lines(rows: list[PinRow], width: int | None) -> list[str]:
    """One line a pin."""
    columns = [Column("VERSION"), Column("NAME"), Column("HERE", right=True), Column("PINNED"), Column("OFFERED")]
    return table(columns, list(map(_cells, rows)), width=width)


def _cells(row: PinRow) -> list[str]:
    if row.retired is None:
        return [_label(row), "-", "-", text.ago(row.since), "-"]
    offered = "retired" if row.retired else "yes"
    return [_label(row), row.name or "-", text.size(row.size), text.ago(row.since), offered]


def _what_comes(row: PinRow) -> str:
    """What becomes of a version that is pinned no more."""
    if row.retired_here:
        return f"it was retired, and is deleted in a day unless p2pckpt run prune {row.share} --undo takes it back"
    return "it stays until something else takes it away"


def _label(row: PinRow) -> str:
    return f"{row.share}@v{row.version}"
