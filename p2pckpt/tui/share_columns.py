"""The columns and filter fields of Shares and Runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from p2pckpt.control.messages import ShareRow
from p2pckpt.tui import format as f
from p2pckpt.tui.filters import Fields
from p2pckpt.tui.widgets.columns import Cell, Column

ROLE_GLYPHS: Final = {"owner": "★", "publisher": "◆", "downloader": "▼", "viewer": "◦"}


def columns(now: Callable[[], float]) -> tuple[Column[ShareRow], ...]:
    """Shares; ``now`` says how long ago something was."""
    return (
        Column("role", "R", 1, _role_glyph, sort=lambda s: -s.role.rank),
        Column("name", "Share", 18, lambda s, w: (f.safe(s.name, 120), "strong"), grow=3, sort=lambda s: s.name),
        Column("rolename", "Role", 10, lambda s, w: (s.role.value, ""), 4),
        Column(
            "versions",
            "Versions",
            8,
            lambda s, w: (str(s.versions), ""),
            3,
            right=True,
            sort=lambda s: s.versions,
            descending=True,
        ),
        Column("latest", "Latest", 6, lambda s, w: (f.version(s.latest), ""), right=True),
        Column(
            "size", "Size", 5, lambda s, w: (f.size(s.size), ""), right=True, sort=lambda s: s.size, descending=True
        ),
        Column(
            "stored",
            "Stored",
            6,
            lambda s, w: (f.size(s.stored), ""),
            2,
            right=True,
            sort=lambda s: s.stored,
            descending=True,
        ),
        Column("visibility", "For", 7, lambda s, w: (s.visibility.value, ""), 1, sort=lambda s: s.visibility.value),
        Column("members", "Members", 7, lambda s, w: (str(s.members), ""), 5, right=True, sort=lambda s: s.members),
        Column("seeds", "Seeds", 5, _seeds, right=True, sort=lambda s: s.seeds),
        Column("tags", "Tags", 12, lambda s, w: (tags(s), "dim"), 6, grow=2),
        Column(
            "updated",
            "Updated",
            10,
            lambda s, w: (f.ago(s.updated_at, now()), "dim"),
            right=True,
            sort=lambda s: s.updated_at,
            descending=True,
        ),
    )


def run_columns(now: Callable[[], float]) -> tuple[Column[ShareRow], ...]:
    """Shares whose versions carry steps or metrics."""
    found = {column.key: column for column in columns(now)}
    measured: Column[ShareRow] = Column(
        "measured",
        "Measured",
        8,
        lambda s, w: (f"{s.measured} of {s.versions}", ""),
        2,
        right=True,
        sort=lambda s: s.measured,
        descending=True,
    )
    wanted = ("role", "name", "measured", "latest", "size", "stored", "seeds", "tags", "updated")
    return tuple(measured if key == "measured" else found[key] for key in wanted)


def tags(share: ShareRow) -> str:
    """``latest v7, stable v3``."""
    return ", ".join(f"{f.safe(tag, 40)} v{number}" for tag, number in sorted(share.tags.items())) or "-"


def _role_glyph(share: ShareRow, width: int) -> Cell:
    return ROLE_GLYPHS[share.role.value], "active"


def _seeds(share: ShareRow, width: int) -> Cell:
    return str(share.seeds), "warn" if share.seeds == 0 and share.latest else ""


FIELDS: Final[Fields[ShareRow]] = Fields(
    name=lambda s: f"{s.name} {' '.join(s.tags)}",
    words={"role": lambda s: (s.role.value,), "for": lambda s: (s.visibility.value,), "tag": lambda s: tuple(s.tags)},
    numbers={
        "size": lambda s: s.size,
        "stored": lambda s: s.stored,
        "seeds": lambda s: s.seeds,
        "members": lambda s: s.members,
        "versions": lambda s: s.versions,
    },
)
