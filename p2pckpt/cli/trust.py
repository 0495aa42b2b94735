"""``trust ls|show|verify|block|dismiss|forget``: whose keys are known, and what you decided about them."""

from __future__ import annotations

from collections.abc import Sequence

import click

from p2pckpt.cli import text
from p2pckpt.cli.completing import complete_share
from p2pckpt.cli.options import Command, Group, Invocation
from p2pckpt.cli.session import talk
from p2pckpt.cli.table import Column, facts, table, terminal_width
from p2pckpt.control.client import ControlClient
from p2pckpt.control.key_messages import DecideKeyRequest, KeyAction, KeyRow
from p2pckpt.errors import BadUsage, NotFound
from p2pckpt.trust.known_keys import HOW_TEXT, REVIEW_TEXT, KeyState

_KEY = click.argument("who", metavar="KEY")
_SHORTEST_PREFIX = 6
"""Hex digits of an identity that may stand for all of it; fewer collide too easily to act on."""
_STATES = {
    KeyState.VERIFIED: "verified",
    KeyState.UNVERIFIED: "not verified by you",
    KeyState.REVIEW: "to be reviewed",
    KeyState.BLOCKED: "blocked",
}


@click.group(cls=Group)
def trust() -> None:
    """List the keys of other people; verify them by their words, block them, forget what you decided.

    KEY is the first digits of an identity (six or more), its words, or a name. Who may publish in a share is said by
    its owners' signatures, and a link pins those; this is your own word on top.
    """


@trust.command("ls", cls=Command)
@click.option("--review", is_flag=True, help="Only keys that you should look at.")
@click.pass_obj
def ls_(invocation: Invocation, review: bool) -> None:
    """List everybody who owns, publishes or is a member in the shares known here."""
    rows = talk(invocation, lambda client: client.keys())
    rows = [row for row in rows if row.state is KeyState.REVIEW or not review]
    invocation.report.items(rows, ids=(row.identity for row in rows), text=lambda: key_lines(rows, terminal_width()))


@trust.command("show", cls=Command)
@_KEY
@click.pass_obj
def show(invocation: Invocation, who: str) -> None:
    """Show what is known of a key, with the words to compare."""
    row = find_key(talk(invocation, lambda client: client.keys()), who)
    _print(invocation, row)


@trust.command("verify", cls=Command)
@_KEY
@click.option("--share", default="", shell_complete=complete_share, help="Only for this share; default: everywhere.")
@click.option("--first-word", default="", metavar="WORD", help='As the person told it; "-" reads it from stdin.')
@click.pass_obj
def verify(invocation: Invocation, who: str, share: str, first_word: str) -> None:
    """Remember that you compared the words of KEY with the person, by another way than the link came.

    You are asked for the first word, as they told it to you.
    """
    report = invocation.report

    async def decide(client: ControlClient) -> KeyRow:
        row = find_key(await client.keys(), who)
        for line in key_facts(row):
            report.narrate(line)
        for warning in warnings(row):
            report.narrate(f"warning: {warning}", colour="yellow")
        word = report.read_stdin() if first_word == "-" else first_word
        if not word:
            report.narrate("compare the words with the person: by voice, in a chat you trust, or face to face")
            word = report.typed("the first word, as they told it", otherwise="--first-word WORD")
        request = DecideKeyRequest(identity=row.identity, action=KeyAction.VERIFY, share=share, first_word=word.strip())
        return find_key(await client.decide_key(request), row.identity)

    _print(invocation, talk(invocation, decide))


@trust.command("block", cls=Command)
@_KEY
@click.option("--reason", default="", help="For you to remember; it goes nowhere.")
@click.pass_obj
def block(invocation: Invocation, who: str, reason: str) -> None:
    """Take nothing more that KEY signs: running fetches and offers of it end, later ones are refused (exit code 7).

    KEY may also be a whole identity that was never seen here. What is on this disk stays. Somebody who is a member of
    a share of yours stays one: "member rm" takes access away.
    """
    _print(invocation, talk(invocation, lambda client: _decide(client, who, KeyAction.BLOCK, reason=reason)))


@trust.command("dismiss", cls=Command)
@_KEY
@click.pass_obj
def dismiss(invocation: Invocation, who: str) -> None:
    """Ask no more to look at KEY; it stays unverified."""
    _print(invocation, talk(invocation, lambda client: _decide(client, who, KeyAction.DISMISS)))


@trust.command("forget", cls=Command)
@_KEY
@click.pass_obj
def forget(invocation: Invocation, who: str) -> None:
    """Take back what you decided about KEY; one that is in no share known here is forgotten altogether.

    Fetches that a block ended go on with "resume".
    """

    async def decide(client: ControlClient) -> KeyRow:
        row = find_key(await client.keys(), who)
        await client.decide_key(DecideKeyRequest(identity=row.identity, action=KeyAction.FORGET))
        return row

    row = talk(invocation, decide)
    if invocation.report.as_text:
        invocation.report.line(f"nothing is decided about {row.name or row.words} any more")
    else:
        invocation.report.json({"identity": row.identity})


async def _decide(client: ControlClient, who: str, action: KeyAction, **fields: str) -> KeyRow:
    try:
        identity = find_key(await client.keys(), who).identity
    except NotFound:
        if len(who) != 64:
            raise
        identity = who.lower()
    return find_key(await client.decide_key(DecideKeyRequest(identity=identity, action=action, **fields)), identity)


def find_key(rows: Sequence[KeyRow], who: str) -> KeyRow:
    """The one key meant; names are chosen by their bearers, so two of the same name are refused."""
    wanted = who.lower()
    found = [row for row in rows if wanted in (row.identity, row.words)]
    if not found and len(who) >= _SHORTEST_PREFIX:
        found = [row for row in rows if row.identity.startswith(wanted)]
    found = found or [row for row in rows if row.name and who == row.name]
    if not found:
        raise NotFound(f"no key {who!r} is known here", next_step="p2pckpt trust ls")
    if len(found) > 1:
        raise BadUsage(f"{len(found)} keys are called {who!r}", next_step="name it by its words or identity")
    return found[0]


def described(row: KeyRow | None) -> str:
    """A key's state in a few words; for ``get`` and ``show``."""
    if row is None:
        return ""
    state = _STATES.get(row.state, str(row.state))
    if row.state is KeyState.VERIFIED:
        return f"{state} by you {text.ago(row.verified_at)}"
    if row.state is KeyState.BLOCKED:
        return f"{state} by you {text.ago(row.blocked_at)}" + (f": {row.reason}" if row.reason else "")
    return f"{state}; first seen {text.ago(row.first_seen)}"


def key_lines(rows: Sequence[KeyRow], width: int | None, now: float | None = None) -> list[str]:
    """One line a key."""
    columns = [
        Column("STATE"),
        Column("NAME"),
        Column("WORDS"),
        Column("SCOPE"),
        Column("SINCE"),
        Column("SHARES", right=True),
        Column("IDENTITY"),
    ]
    cells = [
        [str(row.state), row.name, row.words, _scope(row), text.ago(_since(row), now), str(_shares(row)), row.identity]
        for row in rows
    ]
    return table(columns, cells, width=width)


def key_facts(row: KeyRow) -> list[str]:
    """All that is known of one key."""
    lines = facts(
        [
            ("name", row.name and f"{row.name} (what they call themselves)"),
            ("words", row.words),
            ("identity", row.identity),
            ("state", described(row)),
            ("counts for", _scope(row)),
            ("first seen", f"{text.ago(row.first_seen)}, {HOW_TEXT[row.how]}"),
        ]
    )
    for place in row.places:
        first = f", first version v{place.first_version}" if place.first_version else ""
        why = f"; {REVIEW_TEXT[place.review]}" if place.review else ""
        lines.append(f"  {place.role or 'was'} in {place.share or place.share_id[:12]}{first}{why}")
    return lines


def warnings(row: KeyRow) -> list[str]:
    """What is odd about a key."""
    return [
        f"{row.name!r} is the name of another key, which you verified {text.ago(other.verified_at)}: {other.words}"
        for other in row.namesakes
    ]


def _print(invocation: Invocation, row: KeyRow) -> None:
    report = invocation.report
    if not report.as_text:
        report.json(row)
        return
    if report.quiet:
        report.line(row.identity)
        return
    for line in key_facts(row):
        report.line(line)
    for warning in warnings(row):
        report.narrate(f"warning: {warning}", colour="yellow")


def _scope(row: KeyRow) -> str:
    if row.state is KeyState.BLOCKED or row.everywhere:
        return "everywhere"
    return ", ".join(place.share or place.share_id[:12] for place in row.places if place.verified_at)


def _since(row: KeyRow) -> int:
    return row.blocked_at or row.verified_at or row.first_seen


def _shares(row: KeyRow) -> int:
    return sum(bool(place.role or place.first_version) for place in row.places)
