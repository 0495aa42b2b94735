"""Aligned columns: fitted to a terminal by cutting its widest text column, never cut in a pipe."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from p2pckpt.cli.text import cells, clean, cut

_GAP = "  "
_NARROWEST = 8
"""Columns below which a cut cell says nothing any more."""


class Column(NamedTuple):
    title: str
    right: bool = False
    """Numbers are aligned to the right and never cut: a digit less is another number."""


def terminal_width() -> int | None:
    """Columns of the terminal that stdout is; None for a pipe or a file."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def table(columns: Sequence[Column], rows: Iterable[Sequence[str]], *, width: int | None = None) -> list[str]:
    """Header and rows as lines of at most ``width`` columns, or as wide as they are when it is None."""
    body = [[clean(cell) for cell in row] for row in rows]
    if not body:
        return []
    grid = [[column.title for column in columns], *body]
    widths = [max(cells(row[i]) for row in grid) for i in range(len(columns))]
    if width is not None:
        _fit(widths, columns, width)
    lines = []
    for row in grid:
        fields = []
        for cell, column, room in zip(row, columns, widths, strict=True):
            shown = cell if column.right else cut(cell, room)
            padding = " " * (room - cells(shown))
            fields.append(padding + shown if column.right else shown + padding)
        lines.append(_GAP.join(fields).rstrip())
    return [cut(line, width) for line in lines] if width is not None else lines


def _fit(widths: list[int], columns: Sequence[Column], width: int) -> None:
    excess = sum(widths) + len(_GAP) * (len(widths) - 1) - width
    while excess > 0:
        candidates = [i for i, c in enumerate(columns) if not c.right and widths[i] > _NARROWEST]
        if not candidates:
            return
        widest = max(candidates, key=lambda i: widths[i])
        others = max((widths[i] for i in candidates if i != widest), default=_NARROWEST)
        step = min(excess, max(1, widths[widest] - max(others, _NARROWEST)))
        widths[widest] -= step
        excess -= step


def facts(pairs: Iterable[tuple[str, str]]) -> list[str]:
    """``name  value`` lines, values in one column; pairs with an empty value are left out."""
    shown = [(name, clean(value)) for name, value in pairs if value]
    room = max((len(name) for name, _ in shown), default=0)
    return [f"{name:<{room}}{_GAP}{value}" for name, value in shown]
