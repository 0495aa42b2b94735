"""The columns and filter fields of Keys, and what is said about one key."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from p2pckpt.control.key_messages import KeyPlace, KeyRow
from p2pckpt.control.messages import KeyInfo
from p2pckpt.trust.known_keys import HOW_TEXT, REVIEW_TEXT, How, KeyState
from p2pckpt.tui import format as f
from p2pckpt.tui.filters import Fields
from p2pckpt.tui.widgets.columns import Cell, Column

GLYPHS: Final = {
    KeyState.OWN: "●",
    KeyState.VERIFIED: "✔",
    KeyState.UNVERIFIED: "?",
    KeyState.REVIEW: "!",
    KeyState.BLOCKED: "✗",
}
_TONES: Final = {
    KeyState.OWN: "active",
    KeyState.VERIFIED: "good",
    KeyState.UNVERIFIED: "dim",
    KeyState.REVIEW: "warn",
    KeyState.BLOCKED: "bad",
}
_URGENT: Final = (KeyState.OWN, KeyState.REVIEW, KeyState.BLOCKED, KeyState.UNVERIFIED, KeyState.VERIFIED)


def own_row(mine: KeyInfo) -> KeyRow:
    """Our own key among the others."""
    places = tuple(KeyPlace(s.share_id, s.share, "owner", mine.created_at, How.HAND) for s in mine.owned)
    return KeyRow(mine.identity, mine.words, mine.name, KeyState.OWN, mine.created_at, How.HAND, places)


def columns(now: Callable[[], float]) -> tuple[Column[KeyRow], ...]:
    """Keys; ``now`` says how long ago something was."""
    return (
        Column("glyph", "S", 1, _glyph, sort=lambda k: _URGENT.index(k.state)),
        Column("key", "Key", 9, lambda k, w: (f.identity(k.identity), "strong"), sort=lambda k: k.identity),
        Column("name", "Calls itself", 12, lambda k, w: (name(k), ""), grow=2, sort=lambda k: k.name.casefold()),
        Column("state", "State", 24, _state, 1),
        Column("scope", "Counts for", 14, lambda k, w: (scope(k), ""), 3, grow=2),
        Column("since", "Since", 10, lambda k, w: (f.ago(since(k), now()), "dim"), right=True, sort=since),
        Column("shares", "Shares", 6, lambda k, w: (str(shares(k)), ""), 2, right=True, sort=shares, descending=True),
        Column("words", "Words", 20, lambda k, w: (f.safe(k.words, 60), "dim"), 4, grow=3),
    )


def name(row: KeyRow) -> str:
    """What a key calls itself; ``me`` for our own."""
    return "me" if row.state is KeyState.OWN else f.safe(row.name, 64) or "-"


def scope(row: KeyRow) -> str:
    """Where a decision counts; a dash where there is none."""
    if row.state is KeyState.OWN:
        return "signing"
    if row.blocked_at or row.everywhere:
        return "every share"
    return ", ".join(f.safe(p.share or p.share_id[:12], 60) for p in row.places if p.verified_at) or "-"


def since(row: KeyRow) -> int:
    """Of the decision, else of the first time it was seen."""
    return row.blocked_at or row.verified_at or row.first_seen


def shares(row: KeyRow) -> int:
    """In how many it is something, or has signed."""
    return sum(bool(place.role or place.first_version) for place in row.places)


def state(row: KeyRow) -> str:
    """The state in words."""
    if row.namesakes and not row.blocked_at:
        return "another key of that name"
    return {
        KeyState.OWN: "own key",
        KeyState.VERIFIED: "verified",
        KeyState.UNVERIFIED: "not verified",
        KeyState.REVIEW: "to be reviewed",
        KeyState.BLOCKED: "blocked",
    }[row.state]


def facts(row: KeyRow, now: float) -> list[str]:
    """All that is known of somebody's key, a line each; what needs attention begins with ``!``."""
    lines = [
        f"! Another key of that name was verified on {day(other.verified_at)}: {f.safe(other.words, 60)}"
        for other in row.namesakes
    ]
    lines += [
        f"Claims      {f.safe(row.name, 64) or 'no name'}   (says the tracker)",
        f"Words       {f.safe(row.words, 60)}",
        *_key_lines(row.identity),
        f"State       {GLYPHS[row.state]} {state(row)}" + (f" · counts for {scope(row)}" if since_decided(row) else ""),
        f"First seen  {f.ago(row.first_seen, now)} ({day(row.first_seen)}), {HOW_TEXT[row.how]}",
    ]
    if row.blocked_at:
        lines.append(f"Blocked     {f.ago(row.blocked_at, now)}" + (f": {f.safe(row.reason)}" if row.reason else ""))
    for place in row.places:
        signed = f" · signs since v{place.first_version}" if place.first_version else ""
        share = f.safe(place.share, 80) or place.share_id[:12]
        lines.append(f"In          {share}: {f.safe(place.role, 12) or 'was a member'}{signed}")
        if place.review:
            lines.append(f"! {share}: {REVIEW_TEXT[place.review]}")
    return lines


def own_facts(mine: KeyInfo, now: float) -> list[str]:
    """What hangs on our own key."""
    lines = [
        f"Words       {f.safe(mine.words, 60)}",
        *_key_lines(mine.identity),
        f"Name        {f.safe(mine.name, 64)}",
        f"Made        {f.ago(mine.created_at, now)} ({day(mine.created_at)})",
        f"Kept in     {f.safe(mine.path, 200)}",
        f"Backup      made {f.ago(mine.backup_at, now)}" if mine.backup_at else "! No backup is known: press B",
    ]
    for owned in mine.owned:
        others = owned.owners - 1
        name = f.safe(owned.share, 80)
        if others:
            lines.append(f"Owner of    {name}, with {f.plural(others, 'other key')}, {owned.threshold} to sign")
        else:
            lines.append(f"! Owner of  {name}, alone: p2pckpt access spare makes a second key")
    return lines


def since_decided(row: KeyRow) -> int:
    """When something was decided; 0 for never."""
    return row.blocked_at or row.verified_at


def day(moment: int) -> str:
    """A date."""
    return time.strftime("%Y-%m-%d", time.localtime(moment))


def _key_lines(identity: str) -> tuple[str, str]:
    """A whole key in two lines: one alone is longer than a dialog."""
    spelt = f.fingerprint(identity)
    return f"Key         {spelt[:35]}", f"            {spelt[36:]}"


def _glyph(row: KeyRow, width: int) -> Cell:
    return GLYPHS[row.state], "bad" if row.namesakes else _TONES[row.state]


def _state(row: KeyRow, width: int) -> Cell:
    return state(row), "bad" if row.namesakes else _TONES[row.state]


FIELDS: Final[Fields[KeyRow]] = Fields(
    name=lambda k: f"{k.name} {k.words} {k.identity}",
    words={
        "state": lambda k: (k.state.value,),
        "share": lambda k: tuple(place.share.lower() for place in k.places if place.share),
        "role": lambda k: tuple(place.role for place in k.places if place.role),
    },
    numbers={"shares": shares},
)
