"""The columns and filter fields of Shares, and those of one share's versions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from p2pckpt.control.messages import ShareRow, VersionRow
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


def version_columns(now: Callable[[], float]) -> tuple[Column[VersionRow], ...]:
    """The versions of one share."""
    return (
        Column("held", "H", 1, _held),
        Column("version", "Version", 7, lambda v, w: (f"v{v.version}", "strong")),
        Column("name", "Name", 12, lambda v, w: (f.safe(v.name, 60) or "-", ""), grow=2),
        Column(
            "tags", "Tags", 10, lambda v, w: (", ".join(f.safe(tag, 40) for tag in v.tags) or "-", "active"), 1, grow=1
        ),
        Column("size", "Size", 5, lambda v, w: (f.size(v.size) if v.size else "-", ""), right=True),
        Column("added", "Added", 5, lambda v, w: (f.size(v.wire_size), ""), right=True),
        Column("files", "Files", 5, lambda v, w: (str(v.files or "-"), ""), 2, right=True),
        Column("publisher", "Publisher", 9, lambda v, w: (f.identity(v.publisher), "dim"), 3),
        Column("published", "Published", 10, lambda v, w: (f.ago(v.published_at, now()), "dim"), right=True),
    )


def tags(share: ShareRow) -> str:
    """``latest v7, stable v3``."""
    return ", ".join(f"{f.safe(tag, 40)} v{number}" for tag, number in sorted(share.tags.items())) or "-"


def _role_glyph(share: ShareRow, width: int) -> Cell:
    return ROLE_GLYPHS[share.role.value], "active"


def _seeds(share: ShareRow, width: int) -> Cell:
    return str(share.seeds), "warn" if share.seeds == 0 and share.latest else ""


def _held(version: VersionRow, width: int) -> Cell:
    return ("●", "good") if version.held else ("◦", "dim")


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
