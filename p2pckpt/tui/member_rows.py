"""Everybody and everything with access to one share as rows of one list: members, requests, links, proposals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from p2pckpt.control import access_messages as am
from p2pckpt.control.client import ControlClient
from p2pckpt.errors import DaemonUnavailable, P2pckptError
from p2pckpt.tracker_protocol import Role
from p2pckpt.trust.identity import words
from p2pckpt.tui import format as f
from p2pckpt.tui.filters import Fields
from p2pckpt.tui.share_columns import ROLE_GLYPHS
from p2pckpt.tui.widgets.columns import Cell, Column

MAY: Final = {
    Role.VIEWER: "see the card",
    Role.DOWNLOADER: "fetch, seed",
    Role.PUBLISHER: "fetch, seed, publish",
    Role.OWNER: "everything",
}


@dataclass(frozen=True, slots=True)
class Around:
    """What a share's tracker and signed files say of who has access, as far as our role is told."""

    share_id: str
    access: am.Access
    members: tuple[am.MemberRow, ...] = ()
    """Only told to those who may download."""
    requests: tuple[am.RequestRow, ...] = ()
    """These and links only to owners."""
    links: tuple[am.LinkRow, ...] = ()

    @property
    def owned(self) -> bool:
        """Whether we decide here."""
        return self.access.role is Role.OWNER


@dataclass(frozen=True, slots=True)
class Refused:
    """Why there is no answer about a share."""

    share_id: str
    error: P2pckptError


async def ask_around(client: ControlClient, share_id: str) -> Around | Refused:
    """All there is to know of ``share_id``. Raises ``DaemonUnavailable``."""
    try:
        access = await client.access(share_id)
        owned = access.role is Role.OWNER
        return Around(
            share_id,
            access,
            tuple(await client.members(share_id) if access.role.covers(Role.DOWNLOADER) else ()),
            tuple(await client.requests(share_id) if owned else ()),
            tuple(await client.links(share_id) if owned else ()),
        )
    except DaemonUnavailable:
        raise
    except P2pckptError as error:
        return Refused(share_id, error)


@dataclass(frozen=True, slots=True)
class AccessRow:
    """One line; ``key`` is its own over all kinds."""

    key: str
    of: am.MemberRow | am.RequestRow | am.LinkRow | am.Proposal


def rows_of(around: Around | None) -> list[AccessRow]:
    """What waits for an owner first, then members, then links, open ones first."""
    if around is None:
        return []
    return [
        *(AccessRow(f"proposal {each.digest}", each) for each in around.access.proposals),
        *(AccessRow(f"request {each.identity}", each) for each in around.requests),
        *(AccessRow(f"member {each.identity}", each) for each in sorted(around.members, key=_rank)),
        *(AccessRow(f"link {each.link_id}", each) for each in sorted(around.links, key=lambda link: link.revoked)),
    ]


def _rank(member: am.MemberRow) -> tuple[bool, int]:
    return not member.me, -member.role.rank


def columns(now: Callable[[], float]) -> tuple[Column[AccessRow], ...]:
    """The list; ``now`` says how long ago something was."""
    return (
        Column("kind", "S", 1, lambda r, w: _glyph(r, now()), sort=lambda r: r.key),
        Column("who", "Who", 21, lambda r, w: (who(r), "strong"), grow=2, sort=lambda r: who(r).lower()),
        Column("key", "Key", 9, lambda r, w: (f.identity(identity_of(r)) or "-", "dim")),
        Column("role", "Role", 10, lambda r, w: _role(r), sort=lambda r: -_rank_of(r)),
        Column("state", "State", 12, lambda r, w: _state(r, now()), sort=lambda r: state_word(r, now())),
        Column("may", "May", 20, lambda r, w: (_may(r), ""), 2, grow=1),
        Column("uses", "Uses", 6, lambda r, w: (_uses(r), ""), 4, right=True),
        Column(
            "since",
            "Since",
            10,
            lambda r, w: (f.ago(_since(r), now()), "dim"),
            right=True,
            sort=_since,
            descending=True,
        ),
        Column("through", "By link", 8, lambda r, w: (_through(r), "dim"), 3),
        Column("licence", "Accepted", 8, lambda r, w: (_accepted(r, now()), "dim"), 5),
        Column("expires", "Expires", 8, lambda r, w: _expires(r, now()), 1, right=True),
    )


def who(row: AccessRow) -> str:
    """What to call a row."""
    match row.of:
        case am.MemberRow(name=name, identity=identity, me=me):
            return (f.safe(name, 80) or f.identity(identity)) + (" (you)" if me else "")
        case am.RequestRow(name=name, identity=identity):
            return f.safe(name, 80) or f.identity(identity)
        case am.LinkRow(link_id=link_id):
            return f"link {f.safe(link_id, 16)}"
        case am.Proposal():
            return "change of keys"


def identity_of(row: AccessRow) -> str:
    """The identity that a row is about; empty for links and proposals."""
    return row.of.identity if isinstance(row.of, am.MemberRow | am.RequestRow) else ""


def state_word(row: AccessRow, now: float) -> str:
    """A word or two: what is the matter with a row."""
    match row.of:
        case am.MemberRow():
            return "member"
        case am.RequestRow(removed_at=removed_at):
            return "asks again" if removed_at else "asks"
        case am.LinkRow():
            return row.of.state(now)
        case am.Proposal(missing=missing, signed=signed):
            return "signed" if signed else f"needs {missing}"


def _state(row: AccessRow, now: float) -> Cell:
    word = state_word(row, now)
    if isinstance(row.of, am.RequestRow | am.Proposal):
        return word, "dim" if word == "signed" else "warn"
    return word, {"member": "", "open": "good"}.get(word, "dim")


def _glyph(row: AccessRow, now: float) -> Cell:
    match row.of:
        case am.MemberRow(role=role):
            return ROLE_GLYPHS[role.value], "active"
        case am.RequestRow():
            return "?", "warn"
        case am.LinkRow():
            return ("…", "good") if row.of.state(now) == "open" else ("✗", "dim")
        case am.Proposal():
            return "!", "warn"


def _role(row: AccessRow) -> Cell:
    return ("-", "dim") if isinstance(row.of, am.RequestRow | am.Proposal) else (row.of.role.value, "")


def _rank_of(row: AccessRow) -> int:
    return -1 if isinstance(row.of, am.RequestRow | am.Proposal) else row.of.role.rank


def _may(row: AccessRow) -> str:
    match row.of:
        case am.MemberRow(role=role):
            return MAY[role]
        case am.RequestRow(message=message):
            return f.safe(message, 80) or "-"
        case am.LinkRow(role=role):
            return MAY[role]
        case am.Proposal():
            return ", ".join(changes(row.of, short=True)) or "-"


def changes(proposal: am.Proposal, *, short: bool = False) -> list[str]:
    """What signing ``proposal`` would change: ``+1 owner``, or a line for each key in full."""
    found = []
    for keys, sign, text in (
        (proposal.owners_added, "+", "owner"),
        (proposal.owners_removed, "-", "owner"),
        (proposal.publishers_added, "+", "publisher"),
        (proposal.publishers_removed, "-", "publisher"),
    ):
        if short:
            found += [f"{sign}{f.plural(len(keys), text)}"] if keys else []
        else:
            new = f"new {text}" if sign == "+" else f"no {text} any more"
            found += [f"{new}: {key[:12]} ({key_words(key)})" for key in keys]
    return found


def key_words(identity: str) -> str:
    """An identity, hex, as words to compare."""
    try:
        return words(bytes.fromhex(identity))
    except ValueError:
        return "-"


def _uses(row: AccessRow) -> str:
    if not isinstance(row.of, am.LinkRow):
        return f.NONE
    return f"{row.of.uses}/{row.of.max_uses}" if row.of.max_uses else str(row.of.uses)


def _since(row: AccessRow) -> int:
    match row.of:
        case am.MemberRow(added_at=at) | am.RequestRow(requested_at=at) | am.LinkRow(created_at=at):
            return at
        case am.Proposal():
            return 0


def _through(row: AccessRow) -> str:
    return f.safe(row.of.link_id[:8], 8) or "-" if isinstance(row.of, am.MemberRow) else "-"


def _accepted(row: AccessRow, now: float) -> str:
    if isinstance(row.of, am.MemberRow) and row.of.accepted_at:
        return f.ago(row.of.accepted_at, now).removesuffix(" ago")
    return "-"


def _expires(row: AccessRow, now: float) -> Cell:
    if not isinstance(row.of, am.LinkRow):
        return "-", "dim"
    text = f.until(row.of.expires_at, now)
    return text, "dim" if text in ("-", "over") else ""


def fields(now: Callable[[], float]) -> Fields[AccessRow]:
    """What the list can be filtered by."""
    return Fields(
        name=lambda r: f"{who(r)} {identity_of(r)} {_words(r)} {_message(r)}",
        words={
            "kind": lambda r: (r.key.partition(" ")[0],),
            "role": lambda r: (_role(r)[0],),
            "state": lambda r: (state_word(r, now()),),
            "link": lambda r: (r.of.link_id,) if isinstance(r.of, am.MemberRow | am.LinkRow) else (),
        },
        numbers={"uses": lambda r: r.of.uses if isinstance(r.of, am.LinkRow) else 0},
    )


def _words(row: AccessRow) -> str:
    return row.of.words if isinstance(row.of, am.MemberRow | am.RequestRow) else ""


def _message(row: AccessRow) -> str:
    return row.of.message if isinstance(row.of, am.RequestRow) else ""


def summary(around: Around, now: float) -> str:
    """``3 members · 1 request · 2 links open``; what our role is not told is left out."""
    parts = []
    if around.access.role.covers(Role.DOWNLOADER):
        parts.append(f.plural(len(around.members), "member"))
    if around.owned:
        parts.append(f.plural(len(around.requests), "request"))
        parts.append(
            f"{sum(link.state(now) == 'open' for link in around.links)} of {f.plural(len(around.links), 'link')} open"
        )
    if around.access.proposals:
        parts.append(f.plural(len(around.access.proposals), "change") + " of keys to sign")
    return " · ".join(parts)
