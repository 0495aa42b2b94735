"""The columns and filter fields of Settings, and what is said about one setting."""

from __future__ import annotations

from pathlib import PurePath
from typing import Final

from textual.content import Content

from p2pckpt.config import Kind, written
from p2pckpt.control.settings_messages import SettingRow
from p2pckpt.tui import format as f
from p2pckpt.tui.filters import Fields
from p2pckpt.tui.widgets.columns import Cell, Column

GLYPHS: Final = {"default": "◦", "yours": "●", "overridden": "■", "waiting": "!"}
"""By the state of a setting; different for every state, so colour is never needed."""
_TONES: Final = {"default": "dim", "yours": "good", "overridden": "active", "waiting": "warn"}


def state(row: SettingRow) -> str:
    """``waiting`` for the daemon's next start, else who says what it is."""
    if row.value != row.in_force:
        return "waiting"
    if row.origin == "default":
        return "default"
    return "yours" if is_yours(row) else "overridden"


def is_yours(row: SettingRow) -> bool:
    """Whether nothing stronger than the user's file says what it is."""
    return row.origin == "default" or PurePath(row.origin).name == "config.toml"


def value(row: SettingRow) -> str:
    """What the files say, as people write it."""
    return f.safe(written(row.kind, row.value), 200)


def shown(row: SettingRow) -> str:
    """The same for a list, where nothing is drawn as something."""
    if row.kind is Kind.SIZE and "limit" in row.key:
        return f.limit(int(row.value))
    return value(row) or "-"


def _origin(row: SettingRow, width: int) -> Cell:
    name = row.origin.split()[0] if row.origin.startswith("environment") else PurePath(row.origin).name
    return f.safe(name, 60), "dim"


COLUMNS: Final[tuple[Column[SettingRow], ...]] = (
    Column("state", "S", 1, lambda r, w: (GLYPHS[state(r)], _TONES[state(r)]), sort=state),
    Column("group", "Group", 9, lambda r, w: (f.safe(r.group, 20), "dim"), sort=lambda r: r.group),
    Column("setting", "Setting", 21, lambda r, w: (f.safe(r.key, 40), "strong"), sort=lambda r: r.key),
    Column("value", "Value", 20, lambda r, w: (shown(r), ""), grow=2, sort=shown),
    Column("origin", "From", 12, _origin, 1, grow=1, sort=lambda r: r.origin),
    Column("applies", "Counts", 15, lambda r, w: ("at once" if r.live else "at next start", "dim"), 2),
)  # fmt: skip

FIELDS: Final[Fields[SettingRow]] = Fields(
    name=lambda r: f"{r.key} {r.help} {r.group}",
    words={
        "group": lambda r: (r.group.lower(),),
        "state": lambda r: (state(r),),
        "from": lambda r: (r.origin.lower(), PurePath(r.origin).name.lower()),
    },
    numbers={},
)


def facts(row: SettingRow) -> Content:
    """Everything there is to know about one setting."""
    default = f.safe(written(row.kind, row.default), 60) or "empty"
    kind = f"one of {', '.join(row.choices)}" if row.choices else row.kind.value
    parts: list[str | tuple[str, str]] = [
        (f.safe(row.key, 40), "bold $text-primary"),
        f"  {value(row) or 'empty'}",
        ("   from " + f.safe(row.origin, 200), "$text-muted"),
        f"\n{f.safe(row.help)}",
        f"\nTakes {kind}; default: {default}; in the environment: {row.environment}",
    ]
    if row.value != row.in_force:
        in_force = f.safe(written(row.kind, row.in_force), 60) or "empty"
        parts.append((f"\n! The daemon goes on with {in_force} until it starts next.", "$text-warning"))
    elif not is_yours(row):
        parts.append("\n■ It overrides your config.toml, and can only be changed there.")
    else:
        parts.append(
            ("\nA change counts " + ("at once." if row.live else "when the daemon starts next."), "$text-muted")
        )
    return Content.assemble(*parts)
