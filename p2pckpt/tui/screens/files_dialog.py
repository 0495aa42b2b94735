"""Which files of a version are wanted: a list to mark."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import ClassVar, Final

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Button, Static

from p2pckpt.control.messages import FileRow
from p2pckpt.tui import format as f
from p2pckpt.tui.screens.modal import Modal
from p2pckpt.tui.widgets.columns import Column
from p2pckpt.tui.widgets.virtual_table import VirtualTable

_COLUMNS: Final[tuple[Column[FileRow], ...]] = (
    Column("path", "File", 24, lambda r, w: (f.safe(r.path, 400), "strong"), grow=3),
    Column("kind", "Kind", 11, lambda r, w: (f.safe(r.kind, 30), "dim"), 1),
    Column("size", "Size", 6, lambda r, w: (f.size(r.size), ""), right=True),
    Column("here", "Here", 6, lambda r, w: (f.percent(r.done / r.size) if r.size else "-", "dim"), 2, right=True),
)


class FilesDialog(Modal["tuple[str, ...] | None"]):
    """Gives the paths of the marked files; None when nothing is to change."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "cancel", "Cancel", id="files.cancel"),
        Binding("x,space", "mark", "Mark", id="files.mark"),
        Binding("A", "mark_all", "Mark all", id="files.mark-all"),
    ]

    def __init__(self, files: Sequence[FileRow], chosen: Collection[str]) -> None:
        super().__init__()
        self._files = files
        self._table: VirtualTable[FileRow] = VirtualTable(_COLUMNS, lambda row: row.path, id="files")
        self._table.marks = set(chosen)

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog wide") as box:
            box.border_title = "Files to receive"
            box.border_subtitle = "x marks, A marks all, enter takes them"
            yield self._table
            yield Static("", id="files-total", markup=False)
            with Horizontal(classes="buttons"):
                yield Button("Take these", id="take", variant="primary", compact=True)
                yield Button("Cancel", id="cancel", compact=True)

    def on_mount(self) -> None:
        self._table.set_rows(self._files)
        self._table.focus()
        self._count()

    def action_mark(self) -> None:
        """Mark or unmark the file under the cursor."""
        self._table.mark()
        self._count()

    def action_mark_all(self) -> None:
        """Mark all files, or none when all are."""
        self._table.mark_all()
        self._count()

    @on(VirtualTable.Chosen, "#files")
    @on(Button.Pressed, "#take")
    def _take(self) -> None:
        marked = tuple(row.path for row in self._files if row.path in self._table.marks)
        if marked:
            self.dismiss(marked)

    @on(Button.Pressed, "#cancel")
    def action_cancel(self) -> None:
        self.dismiss(None)

    def _count(self) -> None:
        marked = [row for row in self._files if row.path in self._table.marks]
        total = f"{f.plural(len(marked), 'file')} of {len(self._files):,}, {f.size(sum(row.size for row in marked))}"
        self.query_one("#files-total", Static).update(Content(total))
        self.query_one("#take", Button).disabled = not marked
