"""``member ls|add|set|rm``: who may do what in a share."""

from __future__ import annotations

from collections.abc import Sequence

import click

from p2pckpt.cli import text
from p2pckpt.cli.completing import complete_share
from p2pckpt.cli.options import Command, Group, Invocation
from p2pckpt.cli.session import talk
from p2pckpt.cli.table import Column, table, terminal_width
from p2pckpt.control.client import ControlClient
from p2pckpt.control.messages import MemberRow, SetMemberRequest
from p2pckpt.errors import BadUsage, NotFound
from p2pckpt.tracker_protocol import Role

_SHARE = click.argument("share", shell_complete=complete_share)
_ROLES = click.Choice([str(role) for role in Role])
_SHORTEST_PREFIX = 6
"""Hex digits of an identity that may stand for all of it; fewer collide too easily to act on."""


@click.group(cls=Group)
def member() -> None:
    """List, add, change and remove the members of a share."""


@member.command("ls", cls=Command)
@_SHARE
@click.pass_obj
def ls_(invocation: Invocation, share: str) -> None:
    """List the members and their roles."""
    _print(invocation, talk(invocation, lambda client: client.members(share)))


@member.command("add", cls=Command)
@_SHARE
@click.argument("identity")
@click.option("--role", type=_ROLES, default="downloader", show_default=True, help="What they may do.")
@click.pass_obj
def add(invocation: Invocation, share: str, identity: str, role: str) -> None:
    """Add IDENTITY, what the other person's "p2pckpt key show -q" prints, to SHARE."""
    request = SetMemberRequest(share, identity, Role(role))
    _print(invocation, talk(invocation, lambda client: client.set_member(request)))


@member.command("set", cls=Command)
@_SHARE
@click.argument("who", metavar="MEMBER")
@click.option("--role", type=_ROLES, required=True, help="What MEMBER may do from now on.")
@click.pass_obj
def set_(invocation: Invocation, share: str, who: str, role: str) -> None:
    """Give MEMBER, named by identity, its first digits or name, another role."""
    _print(invocation, _set(invocation, share, who, Role(role)))


@member.command("rm", cls=Command)
@_SHARE
@click.argument("who", metavar="MEMBER")
@click.pass_obj
def rm(invocation: Invocation, share: str, who: str) -> None:
    """Take MEMBER's access away: the tracker lets them into no swarm and serves them nothing any more.

    What was received before stays with the person who has it, and connections that are open stay open.
    """
    _print(invocation, _set(invocation, share, who, None))


def find_member(members: Sequence[MemberRow], who: str) -> MemberRow:
    """The one member meant; names are chosen by their bearers, so two of the same name are refused."""
    found = [row for row in members if who == row.identity]
    if not found and len(who) >= _SHORTEST_PREFIX:
        found = [row for row in members if row.identity.startswith(who.lower())]
    found = found or [row for row in members if who == row.name]
    if not found:
        raise NotFound(f"no member is called {who!r}", next_step="p2pckpt member ls SHARE")
    if len(found) > 1:
        raise BadUsage(f"{len(found)} members are called {who!r}", next_step="name the member by its identity")
    return found[0]


def _set(invocation: Invocation, share: str, who: str, role: Role | None) -> list[MemberRow]:
    async def change(client: ControlClient) -> list[MemberRow]:
        row = find_member(await client.members(share), who)
        return await client.set_member(SetMemberRequest(share, row.identity, role))

    return talk(invocation, change)


def _print(invocation: Invocation, members: Sequence[MemberRow]) -> None:
    columns = [Column("NAME"), Column("ROLE"), Column("ADDED"), Column("THROUGH"), Column("IDENTITY"), Column("WORDS")]
    rows = [
        [
            row.name + (" (you)" if row.me else ""),
            str(row.role),
            text.ago(row.added_at),
            f"link {row.link_id}" if row.link_id else "owner",
            row.identity,
            row.words,
        ]
        for row in members
    ]
    invocation.report.items(
        members,
        ids=(row.identity for row in members),
        text=lambda: table(columns, rows, width=terminal_width()),
    )
