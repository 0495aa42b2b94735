"""The pieces of a transfer as shaded cells: how much of what is here, and where it is arriving."""

from __future__ import annotations

from typing import Final

from rich.segment import Segment
from textual.geometry import Size
from textual.strip import Strip
from textual.widget import Widget

ACTIVE: Final = 255
"""Byte of a cell that is being received."""
COMPLETE: Final = 200
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


def _cell(group: bytes) -> str:
    if ACTIVE in group:
        return "»"
    return shade(sum(min(level, COMPLETE) for level in group) / (COMPLETE * len(group)))


class PieceMap(Widget):
    """Draws what ``show`` was given last, and a legend in its last line."""

    DEFAULT_CSS = "PieceMap { height: 1fr; }"

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._pieces = b""
        self._legend = ""
        self._drawn: tuple[Size, str] | None = None
        """All cells, as they were drawn last, and for which size."""

    def show(self, pieces: bytes, legend: str) -> None:
        """Draw these; ``legend`` is drawn as it is."""
        if (pieces, legend) != (self._pieces, self._legend):
            self._pieces, self._legend = pieces, legend
            self._drawn = None
            self.refresh()

    def render_line(self, y: int) -> Strip:
        width, height = self.size
        if y == height - 1:
            return self._line(self._legend, width)
        if self._drawn is None or self._drawn[0] != self.size:
            self._drawn = self.size, cells(self._pieces, width * (height - 1))
        drawn = self._drawn[1]
        return self._line(drawn[y * width : (y + 1) * width], width)

    def _line(self, text: str, width: int) -> Strip:
        style = self.rich_style
        return Strip([Segment(text, style)]).adjust_cell_length(width, style)
