"""The pieces of a transfer as shaded cells: how much of what is here, and where it is arriving."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rich.segment import Segment
from textual.geometry import Size
from textual.strip import Strip
from textual.widget import Widget

ACTIVE: Final = 255
"""Byte of a cell that is being received."""
COMPLETE: Final = 200
UNCOUNTED: Final = 255
"""Byte of a cell of copies that nobody counts."""
_COPIES: Final = "copies "
_SHADES: Final = "·░▒▓█"


def shade(level: float) -> str:
    """One cell for a fraction; empty and full only when it really is."""
    if level <= 0:
        return _SHADES[0]
    if level >= 1:
        return _SHADES[4]
    return _SHADES[1 + min(int(level * 3), 2)]


def cells(pieces: bytes, room: int) -> str:
    """``pieces`` as at most ``room`` characters; neighbours share a cell when there are more of them."""
    count = min(len(pieces), room)
    return "".join(_cell(pieces[i * len(pieces) // count : (i + 1) * len(pieces) // count]) for i in range(count))


def digits(copies: bytes, room: int) -> str:
    """How many copies there are of the rarest piece behind each of ``room`` cells: a digit, + for more than nine, a
    blank where nobody counts."""
    count = min(len(copies), room)
    groups = (copies[i * len(copies) // count : (i + 1) * len(copies) // count] for i in range(count))
    return "".join(" " if least == UNCOUNTED else str(least) if least < 10 else "+" for least in map(min, groups))


def _cell(group: bytes) -> str:
    if ACTIVE in group:
        return "»"
    return shade(sum(min(level, COMPLETE) for level in group) / (COMPLETE * len(group)))


class PieceMap(Widget):
    """Draws what ``show`` was given last: cells, and lines about them at the bottom."""

    DEFAULT_CSS = "PieceMap { height: 1fr; }"

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._pieces = b""
        self._copies = b""
        self._lines: tuple[str, ...] = ()
        self._drawn: tuple[Size, list[str]] | None = None
        """All lines, as they were drawn last, and for which size."""

    def show(self, pieces: bytes, lines: Sequence[str] = (), copies: bytes = b"") -> None:
        """Draw these; ``lines`` are drawn as they are, the first one if there is room for one only."""
        if (pieces, copies, tuple(lines)) != (self._pieces, self._copies, self._lines):
            self._pieces, self._copies, self._lines = pieces, copies, tuple(lines)
            self._drawn = None
            self.refresh()

    def render_line(self, y: int) -> Strip:
        width, height = self.size
        if self._drawn is None or self._drawn[0] != self.size:
            self._drawn = self.size, self._draw(width, height)
        return self._line(self._drawn[1][y], width)

    def _draw(self, width: int, height: int) -> list[str]:
        below = list(self._lines[: max(height - 1, 1)])
        if self._copies and height > len(below) + 2:
            below.insert(0, _COPIES + digits(self._copies, width - len(_COPIES)))
        room = height - len(below)
        drawn = cells(self._pieces, width * room)
        return [*(drawn[y * width : (y + 1) * width] for y in range(room)), *below]

    def _line(self, text: str, width: int) -> Strip:
        style = self.rich_style
        return Strip([Segment(text, style)]).adjust_cell_length(width, style)
