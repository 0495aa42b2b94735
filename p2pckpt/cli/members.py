"""``member ls|add|set|rm|requests|approve|deny``: who may do what in a share, and who asks to be let in."""

from __future__ import annotations

from collections.abc import Sequence

import click

from p2pckpt.cli import text
from p2pckpt.cli.completing import complete_share
from p2pckpt.cli.options import Command, Group, Invocation
from p2pckpt.cli.session import talk
from p2pckpt.cli.table import Column, table, terminal_width
from p2pckpt.control.access_messages import DecideRequest, MemberRow, MembersReply, RequestRow, SetMemberRequest
from p2pckpt.control.client import ControlClient
from p2pckpt.errors import BadUsage, Cancelled, NotFound
from p2pckpt.tracker_protocol import Role

_SHARE = click.argument("share", shell_complete=complete_share)
_ROLES = click.Choice([str(role) for role in Role])
_APPROVED = click.Choice([str(role) for role in Role if role is not Role.OWNER])
_SHORTEST_PREFIX = 6
"""Hex digits of an identity that may stand for all of it; fewer collide too easily to act on."""


@click.group(cls=Group)
def member() -> None:
    """List, add, change and remove the members of a share; answer those who ask to be let in."""


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
    _print_change(invocation, talk(invocation, lambda client: client.set_member(request)))


@member.command("set", cls=Command)
@_SHARE
@click.argument("who", metavar="MEMBER")
@click.option("--role", type=_ROLES, required=True, help="What MEMBER may do from now on.")
@click.option("-y", "--yes", is_flag=True, help="The words of MEMBER's key were compared: ask nothing.")
@click.pass_obj
def set_(invocation: Invocation, share: str, who: str, role: str, yes: bool) -> None:
    """Give MEMBER, named by identity, its first digits or name, another role."""
    _print_change(invocation, _set(invocation, share, who, Role(role), yes=yes))


@member.command("rm", cls=Command)
@_SHARE
@click.argument("who", metavar="MEMBER")
@click.pass_obj
def rm(invocation: Invocation, share: str, who: str) -> None:
    """Take MEMBER's access away: no swarm lets them in any more, and later versions are sealed with new keys.

    What was received before stays with the person who has it.
    """
    _print_change(invocation, _set(invocation, share, who, None))


@member.command("requests", cls=Command)
@_SHARE
@click.pass_obj
def requests(invocation: Invocation, share: str) -> None:
    """List who asks to be let into SHARE.

    The tracker says who asks, and it could lie: compare WORDS with those that the person reads to you, over the phone
    for instance, before you approve.
    """
    found = talk(invocation, lambda client: client.requests(share))
    invocation.report.items(
        found,
        ids=(row.identity for row in found),
        text=lambda: request_lines(found, terminal_width()),
    )
    if found:
        invocation.report.narrate("the tracker could lie about who asks: compare the words with that person first")
        invocation.report.narrate(f"then: p2pckpt member approve {share} WORDS, or: p2pckpt member deny {share} WORDS")
    else:
        invocation.report.narrate(f"nobody asks to be let into {share}")


@member.command("approve", cls=Command)
@_SHARE
@click.argument("who", metavar="WORDS|IDENTITY|NAME")
@click.option("--role", type=_APPROVED, default="downloader", show_default=True, help="What they may do.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask whether the words were compared.")
@click.pass_obj
def approve(invocation: Invocation, share: str, who: str, role: str, yes: bool) -> None:
    """Let somebody in who asked: adds their key and seals the content keys to it.

    Named by their words or their whole identity, nothing is asked; else you are shown the words to compare.
    """
    report = invocation.report

    async def decide(client: ControlClient) -> list[MemberRow]:
        row = find_request(await client.requests(share), who, share)
        report.narrate(f"{row.name or 'somebody without a name'}: {row.words}")
        if row.removed_at:
            report.narrate(f"you removed them {text.ago(row.removed_at)}", colour="yellow")
        named_by_key = who.lower() in (row.words, row.identity)
        if not (yes or named_by_key) and not report.ask(
            "are these the words that they told you themselves?", otherwise="-y, or name them by their WORDS"
        ):
            raise Cancelled("nobody was let in")
        await client.decide(DecideRequest(share, row.identity, Role(role)))
        return [each for each in await client.members(share) if each.identity == row.identity]

    _print(invocation, talk(invocation, decide))


@member.command("deny", cls=Command)
@_SHARE
@click.argument("who", metavar="WORDS|IDENTITY|NAME")
@click.pass_obj
def deny(invocation: Invocation, share: str, who: str) -> None:
    """Close somebody's request. They are not told, and are not heard again for a day."""

    async def decide(client: ControlClient) -> RequestRow:
        row = find_request(await client.requests(share), who, share)
        await client.decide(DecideRequest(share, row.identity, None))
        return row

    row = talk(invocation, decide)
    invocation.report.items([row], ids=[row.identity], text=lambda: [f"{row.name or row.identity} denied"])


def find_request(rows: Sequence[RequestRow], who: str, share: str) -> RequestRow:
    """The one request meant, by words, identity or its first digits, or name."""
    found = [row for row in rows if who.lower() in (row.identity, row.words)]
    if not found and len(who) >= _SHORTEST_PREFIX:
        found = [row for row in rows if row.identity.startswith(who.lower())]
    found = found or [row for row in rows if who == row.name]
    if not found:
        raise NotFound(f"nobody called {who!r} asks to be let in", next_step=f"p2pckpt member requests {share}")
    if len(found) > 1:
        raise BadUsage(f"{len(found)} people called {who!r} ask to be let in", next_step="name them by their words")
    return found[0]


def request_lines(rows: Sequence[RequestRow], width: int | None, now: float | None = None) -> list[str]:
    """One line a request; somebody who was removed before shows as such."""
    columns = [
        Column("NAME"),
        Column("WORDS"),
        Column("ASKED"),
        Column("BEFORE"),
        Column("MESSAGE"),
        Column("IDENTITY"),
    ]
    cells = [
        [
            row.name,
            row.words,
            text.ago(row.requested_at, now),
            f"removed {text.ago(row.removed_at, now)}" if row.removed_at else "-",
            row.message,
            row.identity,
        ]
        for row in rows
    ]
    return table(columns, cells, width=width)


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


def _set(invocation: Invocation, share: str, who: str, role: Role | None, *, yes: bool = True) -> MembersReply:
    async def change(client: ControlClient) -> MembersReply:
        row = find_member(await client.members(share), who)
        if role in (Role.PUBLISHER, Role.OWNER) and who != row.identity and not yes:
            # names are chosen by their bearers, and this signs the key behind one
            question = f"Is {row.words} the key of {who}, as they told you? It may sign from now on."
            if not invocation.report.ask(question, otherwise=f"the whole identity: {row.identity}"):
                raise Cancelled("not changed")
        return await client.set_member(SetMemberRequest(share, row.identity, role))

    return talk(invocation, change)


def _print_change(invocation: Invocation, reply: MembersReply) -> None:
    _print(invocation, reply.members)
    for note in reply.notes:
        invocation.report.narrate(note)


def _print(invocation: Invocation, members: Sequence[MemberRow]) -> None:
    columns = [Column("NAME"), Column("ROLE"), Column("ADDED"), Column("THROUGH"), Column("IDENTITY"), Column("WORDS")]
    licensed = any(row.accepted_at for row in members)
    if licensed:
        columns.append(Column("LICENCE"))
    rows = [
        [
            row.name + (" (you)" if row.me else ""),
            str(row.role),
            text.ago(row.added_at),
            f"link {row.link_id}" if row.link_id else "owner",
            row.identity,
            row.words,
            *([f"accepted {text.ago(row.accepted_at)}" if row.accepted_at else "-"] if licensed else []),
        ]
        for row in members
    ]
    invocation.report.items(
        members,
        ids=(row.identity for row in members),
        text=lambda: table(columns, rows, width=terminal_width()),
    )
