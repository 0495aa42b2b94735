"""Two versions side by side: files, tensors and measurements that differ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Static

from p2pckpt.control.messages import DiffReply, DiffRow, ShareRow, VersionRow
from p2pckpt.errors import P2pckptError
from p2pckpt.tui import commands
from p2pckpt.tui import format as f
from p2pckpt.tui.screens.base import StateScreen
from p2pckpt.tui.state import Changes
from p2pckpt.tui.widgets.columns import Cell, Column
from p2pckpt.tui.widgets.down_banner import DownBanner
from p2pckpt.tui.widgets.key_bar import KeyBar
from p2pckpt.tui.widgets.top_bar import TopBar
from p2pckpt.tui.widgets.virtual_table import VirtualTable

_CHANGES: Final[Mapping[str, Cell]] = {
    "added": ("+", "good"),
    "removed": ("-", "bad"),
    "changed": ("~", "warn"),
    "same": ("=", "dim"),
}
_NAMED: Final = 4
"""Tensors that are named; the rest are counted."""

COLUMNS: Final[tuple[Column[DiffRow], ...]] = (
    Column("change", "C", 1, lambda r, w: _CHANGES.get(r.change, ("?", ""))),
    Column("path", "File", 24, lambda r, w: (f.safe(r.path, 400), "strong"), grow=3),
    Column("what", "Change", 8, lambda r, w: (f.safe(r.change, 20), ""), 1),
    Column("old", "Before", 6, lambda r, w: (f.size(r.old_size) if r.old_size else "-", ""), 2, right=True),
    Column("new", "After", 6, lambda r, w: (f.size(r.new_size) if r.new_size else "-", ""), right=True),
    Column("bytes", "New bytes", 9, lambda r, w: (f.size(r.new_bytes), ""), right=True),
)


class CompareScreen(StateScreen):
    """From the older to the newer of two versions of one share."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "app.pop_screen", "Back", id="detail.back")]

    def __init__(self, share: ShareRow, old: VersionRow, new: VersionRow) -> None:
        super().__init__()
        self._share = share
        self._old, self._new = old, new
        self._files: VirtualTable[DiffRow] = VirtualTable(COLUMNS, lambda row: row.path, id="diff-files")

    def compose(self) -> ComposeResult:
        yield TopBar()
        yield DownBanner(markup=False)
        with Vertical(id="pane-full"):
            yield Static("", id="diff-title", markup=False)
            yield Static("Comparing …", id="diff-facts", markup=False)
            yield self._files
        yield KeyBar()

    def on_mount(self) -> None:
        title = f"{f.safe(self._share.name, 100)}   {_label(self._old)} → {_label(self._new)}"
        self.query_one("#diff-title", Static).update(Content.assemble((title, "bold $text-primary")))
        self._files.focus()
        self.state_changed(Changes(everything=True))
        a, b = (f"{self._share.share_id}@v{version.version}" for version in (self._old, self._new))
        self.hub.commands.run(lambda client: client.diff(a, b), self._show, self._failed)

    def _show(self, reply: DiffReply) -> None:
        if self.is_attached:
            self.query_one("#diff-facts", Static).update(facts(reply, self._old, self._new))
            self._files.set_rows(sorted(reply.rows, key=lambda row: (row.change == "same", row.path)))

    def _failed(self, error: P2pckptError) -> None:
        if self.is_attached:
            text = "✗ " + "\n  ".join(commands.lines(error))
            self.query_one("#diff-facts", Static).update(Content.assemble((text, "$text-error")))


def facts(reply: DiffReply, old: VersionRow, new: VersionRow) -> Content:
    """What it takes to get from one to the other, and how the run went between them."""
    lines = [
        f"{f.size(reply.new_bytes)} new, {f.size(reply.wire_bytes)} to fetch for somebody who has {_label(old)}",
        *(
            f"Tensors {what}: {_listed(names)}"
            for what, names in (
                ("changed", reply.tensors_changed),
                ("added", reply.tensors_added),
                ("removed", reply.tensors_removed),
            )
            if names
        ),
    ]
    measured = [
        f"{f.safe(name, 40)} {_value(old.metrics, name)} → {_value(new.metrics, name)}"
        for name in sorted(old.metrics.keys() | new.metrics.keys())
    ]
    if measured:
        lines.append("Metrics: " + " · ".join(measured))
    said = [
        f"{f.safe(fact.name, 40)} {f.safe(fact.before, 60) or '-'} → {f.safe(fact.after, 60) or '-'}"
        for fact in reply.facts
        if fact.name not in old.metrics.keys() | new.metrics.keys()
    ]
    if said:
        lines.append("Also changed: " + " · ".join(said))
    return Content("\n".join(lines))


def _listed(names: tuple[str, ...]) -> str:
    shown = ", ".join(f.safe(name, 80) for name in names[:_NAMED])
    return shown if len(names) <= _NAMED else f"{shown} and {len(names) - _NAMED:,} more"


def _value(metrics: Mapping[str, float], name: str) -> str:
    return f"{metrics[name]:.4g}" if name in metrics else "-"


def _label(version: VersionRow) -> str:
    return f.version(version.version) + (f" ({f.safe(version.name, 60)})" if version.name else "")
