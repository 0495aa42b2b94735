"""The columns and filter fields of peers, in Peers and in a job's pane; and what is known of one of them, in words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from p2pckpt.control.messages import PeerRow
from p2pckpt.tui import format as f
from p2pckpt.tui.filters import Fields
from p2pckpt.tui.widgets.columns import Cell, Column

FLAGS: Final = (
    ("S", "has everything"),
    ("I", "wants something from us"),
    ("C", "gives us nothing for now"),
    ("E", "obfuscated"),
    ("T", "TLS"),
    ("→", "we dialled"),
)
_PLACES: Final = {"here": "this machine", "LAN": "LAN", "internet": "internet"}


def who(peer: PeerRow) -> str:
    """Who it is, as far as somebody vouches for it."""
    if peer.who:
        return f.identity(peer.who)
    return "a member" if peer.member else "unknown"


def _who(peer: PeerRow, width: int) -> Cell:
    return who(peer), "good" if peer.who else "" if peer.member else "dim"


def _via(peer: PeerRow, width: int) -> Cell:
    return f"{f.safe(peer.transport, 8)} {_PLACES.get(peer.place, '')}", "dim"


def _shares(peer: PeerRow) -> int:
    return len(peer.shares)


def columns(now: Callable[[], float]) -> tuple[Column[PeerRow], ...]:
    """What is known of each peer; ``now`` is the clock that its age is told by."""
    return (
        Column(
            "address", "Peer", 21, lambda p, w: (f.safe(p.address, 80), "strong"), grow=2, sort=lambda p: p.address
        ),
        Column("who", "Who", 9, _who, 1, sort=who),
        Column("have", "Have", 5, lambda p, w: (f.percent(p.have / 1000), ""), 2, right=True, sort=lambda p: p.have),
        Column(
            "down", "↓/s", 5, lambda p, w: (f.rate(p.rate_down), ""), right=True, sort=lambda p: p.rate_down,
            descending=True,
        ),
        Column(
            "up", "↑/s", 5, lambda p, w: (f.rate(p.rate_up), ""), right=True, sort=lambda p: p.rate_up, descending=True
        ),
        Column(
            "received", "Total ↓", 7, lambda p, w: (f.rate(p.total_down), ""), 4, right=True,
            sort=lambda p: p.total_down, descending=True,
        ),
        Column(
            "sent", "Total ↑", 7, lambda p, w: (f.rate(p.total_up), ""), 5, right=True, sort=lambda p: p.total_up,
            descending=True,
        ),
        Column("shares", "Shares", 6, lambda p, w: (str(len(p.shares)), ""), 6, right=True, sort=_shares),
        Column("flags", "Flags", 6, lambda p, w: (f.safe(p.flags, 12), "dim"), 3),
        Column("via", "Via", 12, _via, 7, sort=lambda p: p.place),
        Column("client", "Client", 11, lambda p, w: (f.safe(p.client, 60), ""), 8, grow=1, sort=lambda p: p.client),
        Column("since", "Since", 5, lambda p, w: (since(p, now()), "dim"), 2, right=True, sort=lambda p: p.since),
    )  # fmt: skip


def since(peer: PeerRow, now: float) -> str:
    """How long it has been connected."""
    return f.duration(max(int(now) - peer.since, 0)) if peer.since else "-"


def facts(peer: PeerRow, now: float) -> list[str]:
    """Everything known of a peer, one sentence a line."""
    if peer.who:
        named = f"The tracker says that {f.identity(peer.who)} announced this address."
    elif peer.member:
        named = "A member of the share: it showed a certificate. Nobody says which."
    else:
        named = "Nobody says who this is."
    flags = [f"{mark} {text}" for mark, text in FLAGS if mark in peer.flags]
    return [
        named,
        f"{f.safe(peer.transport, 8)} over {_PLACES.get(peer.place, 'an unknown way')}, found by "
        f"{f.safe(peer.found, 60) or 'nobody knows what'}, for {since(peer, now)}",
        f"Calls itself {f.safe(peer.client, 60) or 'nothing'}",
        f"↓ {f.size(peer.rate_down)}/s, {f.size(peer.total_down)} in all   ↑ {f.size(peer.rate_up)}/s, "
        f"{f.size(peer.total_up)} in all   has {f.percent(peer.have / 1000)}",
        "In " + (", ".join(f.safe(name, 60) for name in peer.shares[:6]) or "no share known here"),
        " · ".join(flags) or "no flags",
    ]


FIELDS: Final[Fields[PeerRow]] = Fields(
    name=lambda p: f"{p.address} {p.client} {' '.join(p.shares)} {p.who}",
    words={
        "who": lambda p: (p.who, "member" if p.member else "unknown"),
        "share": lambda p: tuple(name.lower() for name in p.shares),
        "via": lambda p: (p.transport.lower(), p.place.lower()),
        "found": lambda p: tuple(p.found.split(", ")),
        "flag": lambda p: tuple(p.flags.lower()),
    },
    numbers={
        "down": lambda p: p.rate_down,
        "up": lambda p: p.rate_up,
        "received": lambda p: p.total_down,
        "sent": lambda p: p.total_up,
    },
)
