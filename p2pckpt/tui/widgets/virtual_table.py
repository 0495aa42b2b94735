"""A table that draws only the lines on screen, whatever the number of rows.

Rows are plain objects with a key; the table keeps cursor and marks by key, so rows may be replaced, sorted and
filtered under it. The first line is the header. No cell is ever parsed as markup.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Final, Generic, TypeVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from p2pckpt.tui.widgets.columns import GUTTER, TONES, Column, Placed, fit, place

R = TypeVar("R")

_REDRAW: Final = 20.0
"""Seconds after which every line on screen is drawn anew."""


class VirtualTable(ScrollView, Generic[R], can_focus=True):
    """Rows of ``R`` in columns, with a cursor, marks and one sort column."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "select", "Open", id="list.open"),
        Binding("down,j", "move(1)", "Next row", show=False, id="list.down"),
        Binding("up,k", "move(-1)", "Previous row", show=False, id="list.up"),
        Binding("pagedown,ctrl+f", "page(1)", "Next page", show=False, id="list.page-down"),
        Binding("pageup,ctrl+b", "page(-1)", "Previous page", show=False, id="list.page-up"),
        Binding("home,g", "edge(0)", "First row", show=False, id="list.first"),
        Binding("end,G", "edge(-1)", "Last row", show=False, id="list.last"),
    ]
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "virtual-table--header",
        "virtual-table--cursor",
        "virtual-table--blurred",
        *(f"virtual-table--{tone}" for tone in TONES if tone),
    }
    DEFAULT_CSS = """
    VirtualTable {
        overflow-x: hidden;
        scrollbar-size-vertical: 1;
        & > .virtual-table--header { color: $text-muted; text-style: bold; }
        & > .virtual-table--cursor {
            background: $block-cursor-background;
            color: $block-cursor-foreground;
            text-style: bold;
        }
        & > .virtual-table--blurred { background: $block-cursor-blurred-background; text-style: bold; }
        & > .virtual-table--dim { color: $text-muted; }
        & > .virtual-table--good { color: $text-success; }
        & > .virtual-table--active { color: $text-primary; }
        & > .virtual-table--warn { color: $text-warning; }
        & > .virtual-table--bad { color: $text-error; }
        & > .virtual-table--strong { text-style: bold; }
        &.-stale { text-style: dim; }
    }
    """

    class TableMessage(Message):
        """Something happened in ``table``."""

        def __init__(self, table: VirtualTable[Any]) -> None:
            super().__init__()
            self.table = table

        @property
        def control(self) -> VirtualTable[Any]:
            return self.table

    class Moved(TableMessage):
        """The cursor is on another row, or on none."""

    class Chosen(TableMessage):
        """Enter, or a double click on a row."""

    class HeaderClicked(TableMessage):
        """A click on a column title."""

        def __init__(self, table: VirtualTable[Any], key: str) -> None:
            super().__init__(table)
            self.key = key

    def __init__(
        self,
        columns: Sequence[Column[R]],
        key: Callable[[R], str],
        *,
        id: str | None = None,
        classes: str | None = None,
    ) -> None:
        super().__init__(id=id, classes=classes)
        self.columns = tuple(columns)
        self.rows: Sequence[R] = ()
        self.marks: set[str] = set()
        self.sort_key = ""
        self.sort_descending = False
        self._key = key
        self._index = 0
        self._placed: tuple[Placed[R], ...] = ()
        self._placed_in = -1
        """The width that they were placed in; a scrollbar that comes takes one cell, and nobody tells of it."""
        self._styles: dict[str, Style] = {}

    # -- rows

    @property
    def cursor(self) -> R | None:
        """The row under the cursor."""
        return self.rows[self._index] if self._index < len(self.rows) else None

    @property
    def targets(self) -> list[R]:
        """What a command is for: the marked rows, else the one under the cursor."""
        marked = [row for row in self.rows if self._key(row) in self.marks]
        if marked:
            return marked
        return [] if self.cursor is None else [self.cursor]

    def set_columns(self, columns: Sequence[Column[R]]) -> None:
        """Show these columns from now on; sorting by one that went ends."""
        self.columns = tuple(columns)
        if self.sort_key not in {column.key for column in columns}:
            self.sort_key, self.sort_descending = "", False
        self._placed_in = -1
        self.refresh()

    def set_rows(self, rows: Sequence[R]) -> None:
        """Show ``rows`` in this order; the cursor stays on its row while that is still there."""
        before, was, old = self.rows, self._index, self.cursor
        old_key = None if old is None else self._key(old)
        self.rows = rows
        if old_key is not None and not self._holds(old_key):
            found = next((i for i, row in enumerate(rows) if self._key(row) == old_key), None)
            self._index = min(self._index, max(len(rows) - 1, 0)) if found is None else found
        if self.marks:
            self.marks &= {self._key(row) for row in rows}
        if len(rows) != len(before):
            self.virtual_size = Size(self.size.width, len(rows) + 1)
            self.refresh()
        else:
            self._refresh_changed(before, was)
        new = self.cursor
        if (None if new is None else self._key(new)) != old_key:
            self.post_message(self.Moved(self))

    def move_to(self, index: int) -> None:
        """Put the cursor on row ``index``, clamped to what is there."""
        index = min(max(index, 0), max(len(self.rows) - 1, 0))
        before, self._index = self._index, index
        moved = index != before
        self._reveal()
        if moved:
            self._refresh_row(before)
            self._refresh_row(index)
            self.post_message(self.Moved(self))

    def sort(self) -> Callable[[R], float | str] | None:
        """The value to sort rows by."""
        return next((c.sort for c in self.columns if c.key == self.sort_key), None)

    def next_sort(self) -> None:
        """Sort by the next column on screen that can be sorted by."""
        keys = [p.column.key for p in self._placed if p.column.sort is not None]
        if keys:
            after = keys.index(self.sort_key) + 1 if self.sort_key in keys else 0
            self.sort_by(keys[after % len(keys)])

    def sort_by(self, key: str) -> None:
        """Sort by column ``key``; again: the other way round. The owner of the rows sorts them."""
        column = next(c for c in self.columns if c.key == key)
        self.sort_descending = not self.sort_descending if key == self.sort_key else column.descending
        self.sort_key = key

    # -- actions

    def action_move(self, step: int) -> None:
        self.move_to(self._index + step)

    def action_page(self, step: int) -> None:
        self.move_to(self._index + step * max(self.size.height - 2, 1))

    def action_edge(self, index: int) -> None:
        self.move_to(index if index == 0 else len(self.rows) - 1)

    def action_select(self) -> None:
        if self.cursor is not None:
            self.post_message(self.Chosen(self))

    def mark(self) -> None:
        """Mark or unmark the row under the cursor and go to the next."""
        if self.cursor is not None:
            self.marks ^= {self._key(self.cursor)}
            self._refresh_row(self._index)
            self.action_move(1)

    def mark_all(self) -> None:
        """Mark every row shown, or none when all are."""
        keys = {self._key(row) for row in self.rows}
        self.marks = set() if keys <= self.marks else keys
        self.refresh()

    def on_click(self, event: events.Click) -> None:
        self.focus()
        if event.y == 0:
            column = self._column_at(event.x)
            if column is not None and column.sort is not None:
                self.post_message(self.HeaderClicked(self, column.key))
            return
        index = event.y - 1 + self.scroll_offset.y
        if index >= len(self.rows):
            return
        if index == self._index and event.chain > 1:
            self.action_select()
        self.move_to(index)

    # -- drawing

    def on_resize(self, event: events.Resize) -> None:
        self._place()
        self.virtual_size = Size(self.size.width, len(self.rows) + 1)
        self._reveal()

    def on_mount(self) -> None:
        # cells may say how long ago something was; lines that do not change are not drawn by anything else
        self.set_interval(_REDRAW, self.refresh)

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._styles.clear()

    def render_line(self, y: int) -> Strip:
        width = self.scrollable_content_region.width
        if width != self._placed_in:
            self._place()
        if y == 0:
            return self._header(width)
        index = y - 1 + self.scroll_offset.y
        if index >= len(self.rows):
            return Strip.blank(width, self.rich_style)
        return self._row(self.rows[index], index == self._index, width)

    def _place(self) -> None:
        self._placed_in = self.scrollable_content_region.width
        self._placed = fit(self.columns, self._placed_in)

    def _header(self, width: int) -> Strip:
        style = self._style("header")
        titles = []
        for placed in self._placed:
            arrow = ("↓" if self.sort_descending else "↑") if placed.column.key == self.sort_key else ""
            title = placed.column.title
            if arrow and len(title) < placed.width:
                title = arrow + title if placed.column.right else title + arrow
            titles.append(place(title, placed.width, right=placed.column.right))
        return Strip([Segment("  " + " ".join(titles), style)]).adjust_cell_length(width, style)

    def _row(self, row: R, current: bool, width: int) -> Strip:
        base = self._style("")
        over = base + self._style("cursor" if self.has_focus else "blurred") if current else None
        gutter = ("›" if current else " ") + ("*" if self._key(row) in self.marks else " ")
        segments, used = [Segment(gutter, over or base)], GUTTER
        last = len(self._placed) - 1
        for number, placed in enumerate(self._placed):
            text, tone = placed.column.draw(row, placed.width)
            text = place(text, placed.width, right=placed.column.right)
            gap = number < last
            segments.append(Segment(text + " " if gap else text, over or self._style(tone)))
            used += placed.width + gap
        # the length is known: it is not to be measured again
        return Strip(segments, used).adjust_cell_length(width, over or base)

    def _style(self, tone: str) -> Style:
        style = self._styles.get(tone)
        if style is None:
            if tone:
                style = self.get_component_rich_style(f"virtual-table--{tone}", partial=tone == "blurred")
            else:
                style = self.rich_style
            self._styles[tone] = style
        return style

    def _holds(self, key: str) -> bool:
        return self._index < len(self.rows) and self._key(self.rows[self._index]) == key

    def _column_at(self, x: int) -> Column[R] | None:
        left = 2
        for placed in self._placed:
            if left <= x <= left + placed.width:
                return placed.column
            left += placed.width + 1
        return None

    def _refresh_changed(self, before: Sequence[R], cursor: int) -> None:
        """Draw the lines on screen whose row was another object ``before``, or that the cursor left or came to."""
        top = self.scroll_offset.y
        for index in range(top, min(top + self.size.height - 1, len(self.rows))):
            if self.rows[index] is not before[index] or (index == cursor) != (index == self._index):
                self._refresh_row(index)

    def _refresh_row(self, index: int) -> None:
        y = index + 1 - self.scroll_offset.y
        if 1 <= y < self.size.height:
            self.refresh(Region(0, y, self.size.width, 1))

    def _reveal(self) -> None:
        page = max(self.size.height - 1, 1)
        top = self.scroll_offset.y
        if self._index < top:
            self.scroll_to(y=self._index, animate=False)
        elif self._index >= top + page:
            self.scroll_to(y=self._index - page + 1, animate=False)
