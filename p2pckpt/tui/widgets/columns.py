"""Columns of a virtual table, and which of them fit in a width."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from rich.cells import cell_len, set_cell_size

R = TypeVar("R")

Cell = tuple[str, str]
"""Text, and the tone to draw it in: one of ``TONES``."""

TONES: Final = ("", "dim", "good", "active", "warn", "bad", "strong")
GUTTER: Final = 2
"""Cells at the left edge: cursor, mark."""
_GAP: Final = 1
"""Cells between two columns."""


@dataclass(frozen=True, slots=True)
class Column(Generic[R]):
    """One column; ``draw`` gets the row and the width it has."""

    key: str
    title: str
    width: int
    draw: Callable[[R, int], Cell]
    priority: int = 0
    """0 is always shown; the highest number leaves first when it gets narrow."""
    right: bool = False
    grow: int = 0
    """Share of the spare width; 0 keeps ``width``."""
    sort: Callable[[R], float | str] | None = None
    """None when nobody would sort by it."""
    descending: bool = False
    """Direction in which sorting by this column begins."""


@dataclass(frozen=True, slots=True)
class Placed(Generic[R]):
    """A column and the cells it got."""

    column: Column[R]
    width: int


def fit(columns: Sequence[Column[R]], width: int) -> tuple[Placed[R], ...]:
    """The columns that fit into ``width`` cells, spare cells given to those that grow."""
    shown = list(columns)
    while _needed(shown) > width and any(column.priority for column in shown):
        shown.remove(max(reversed(shown), key=lambda column: column.priority))
    spare = max(width - _needed(shown), 0)
    parts = sum(column.grow for column in shown)
    placed: list[Placed[R]] = []
    for column in shown:
        extra = spare * column.grow // parts if column.grow else 0
        spare, parts = spare - extra, parts - column.grow
        placed.append(Placed(column, column.width + extra))
    return tuple(placed)


def _needed(columns: Sequence[Column[R]]) -> int:
    return GUTTER + sum(column.width + _GAP for column in columns) - _GAP


def place(text: str, width: int, *, right: bool = False) -> str:
    """``text`` in exactly ``width`` cells, cut with an ellipsis."""
    length = len(text) if text.isascii() else cell_len(text)
    if length > width:
        return set_cell_size(text, width - 1) + "…" if width else ""
    padding = " " * (width - length)
    return padding + text if right else text + padding
