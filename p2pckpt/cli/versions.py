"""``diff`` and ``tag``."""

from __future__ import annotations

import click

from p2pckpt.cli import text
from p2pckpt.cli.completing import complete_share
from p2pckpt.cli.options import Command, Invocation
from p2pckpt.cli.session import one_version, talk
from p2pckpt.cli.table import Column, table, terminal_width
from p2pckpt.control.messages import DiffReply, DiffRow, ShareDetail, TagRequest

_SAME = "same"
_NAMED = 5
"""Tensors that are named of each kind; --json has all."""


@click.command(cls=Command)
@click.argument("a", metavar="NAME@A", shell_complete=complete_share)
@click.argument("b", metavar="NAME@B", shell_complete=complete_share)
@click.pass_obj
def diff(invocation: Invocation, a: str, b: str) -> None:
    """Show what B has that A has not: files, tensors, and the bytes that would move.

    Files that are the same are listed with -v.
    """
    report = invocation.report
    reply = talk(invocation, lambda client: client.diff(a, b))
    shown = [row for row in reply.rows if row.change != _SAME or invocation.verbose]
    if not report.as_text:
        report.json(reply)
    elif report.quiet:
        report.items(shown, ids=(row.path for row in shown), text=list)
    else:
        for line in diff_lines(reply, shown, terminal_width()):
            report.line(line)


def diff_lines(reply: DiffReply, shown: list[DiffRow], width: int | None) -> list[str]:
    """The table of files, then the totals."""
    columns = [
        Column("CHANGE"),
        Column("FILE"),
        Column("BEFORE", right=True),
        Column("AFTER", right=True),
        Column("NEW", right=True),
    ]
    rows = []
    for row in shown:
        before = "-" if row.change == "added" else text.size(row.old_size)
        after = "-" if row.change == "removed" else text.size(row.new_size)
        rows.append([row.change, row.path, before, after, text.size(row.new_bytes)])
    same = sum(row.change == _SAME for row in reply.rows)
    different = len(reply.rows) - same
    tensors = (
        ("added", reply.tensors_added), ("removed", reply.tensors_removed), ("changed", reply.tensors_changed)
    )  # fmt: skip
    differences = f", {text.size(reply.delta_bytes)} of it as differences" if reply.delta_bytes else ""
    return [
        *table(columns, rows, width=width),
        f"{text.count(different, 'file')} {'differs' if different == 1 else 'differ'}, {same:,} the same",
        "tensors: " + ", ".join(f"{len(names):,} {change}" for change, names in tensors),
        *(f"  {change}: {_some(names)}" for change, names in tensors if names),
        f"new: {text.size(reply.new_bytes)} of content{differences}, {text.size(reply.wire_bytes)} to move",
        *(
            f"{text.clean(fact.name, 80)}: {text.clean(fact.before, 200) or '-'} → {text.clean(fact.after, 200) or '-'}"
            for fact in reply.facts
        ),
    ]


def _some(names: tuple[str, ...]) -> str:
    """The first few, and how many more there are."""
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    return ", ".join(text.clean(name, 60) for name in names[:_NAMED]) + more


@click.command(cls=Command)
@click.argument("name", metavar="NAME[@VERSION]", shell_complete=complete_share)
@click.argument("tag_name", metavar="[TAG]", required=False)
@click.option("--remove", is_flag=True, help="Take TAG away from NAME.")
@click.pass_obj
def tag(invocation: Invocation, name: str, tag_name: str | None, remove: bool) -> None:
    """List the tags of NAME, or move TAG to NAME@VERSION, or with --remove take it away.

    A tag is signed and published like a version, so members see it move.
    """
    if tag_name is None:
        if remove:
            raise click.UsageError("--remove needs the TAG to take away")
        detail = talk(invocation, lambda client: client.share_detail(name.partition("@")[0]))
    else:
        target = name.partition("@")[0] if remove else one_version(name)
        request = TagRequest(target, tag_name, remove)
        detail = talk(invocation, lambda client: client.tag(request))
    _print_tags(invocation, detail)


def _print_tags(invocation: Invocation, detail: ShareDetail) -> None:
    report = invocation.report
    tags = sorted(detail.share.tags.items())
    if report.as_text:
        report.items(
            tags,
            ids=(name for name, _ in tags),
            text=lambda: table([Column("TAG"), Column("VERSION")], ((name, f"v{n}") for name, n in tags)),
        )
    else:
        report.json(dict(tags))
    if not tags:
        report.narrate(f"{detail.share.name} has no tags")
