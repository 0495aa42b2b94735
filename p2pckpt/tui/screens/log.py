"""Log: what the daemon says, as it says it."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from typing import ClassVar, Final, cast

import msgspec
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.timer import Timer
from textual.widget import Widget
from textual.widgets import Static

from p2pckpt.control.health_messages import LogRecord
from p2pckpt.errors import DaemonUnavailable, P2pckptError
from p2pckpt.tui import format as f
from p2pckpt.tui import log_columns
from p2pckpt.tui.export import export
from p2pckpt.tui.filters import Fields
from p2pckpt.tui.screens.base import ListScreen
from p2pckpt.tui.screens.modal import Modal
from p2pckpt.tui.state import Changes
from p2pckpt.tui.widgets.virtual_table import VirtualTable

_KEPT: Final = 10_000
_FLUSH: Final = 0.1
"""Seconds from the first record that is not drawn yet to drawing it."""
_LEVELS: Final = ("debug", "info", "warning", "error")


class LogScreen(ListScreen[LogRecord]):
    """The newest records, oldest first. The daemon's stream is read only while this screen is looked at."""

    NAME = "Log"
    EMPTY = "Nothing has been logged since the daemon started.\n?  See all keys\n   p2pckpt daemon logs prints the file"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("F", "follow", "Follow", id="log.follow", tooltip="p2pckpt daemon logs --follow"),
        Binding("l", "level", "Level", id="log.level", tooltip="p2pckpt daemon logs --level LEVEL"),
        Binding("e", "export", "Export", id="log.export", tooltip="p2pckpt daemon logs --json"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._records: deque[LogRecord] = deque(maxlen=_KEPT)
        self._frozen: Sequence[LogRecord] | None = None
        """What is shown while new records are not followed."""
        self._least = _LEVELS[0]
        self._daemon = 0
        """When the daemon started whose records these are."""
        self._reading = False
        self._timer: Timer | None = None
        self._table: VirtualTable[LogRecord] = VirtualTable(log_columns.COLUMNS, lambda r: str(r.seq), id="list")

    @property
    def fields(self) -> Fields[LogRecord]:
        return log_columns.FIELDS

    @property
    def table(self) -> VirtualTable[LogRecord]:
        return self._table

    def all_rows(self) -> Sequence[LogRecord]:
        records = self._records if self._frozen is None else self._frozen
        return [record for record in records if log_columns.weighs(record, self._least)]

    def summary(self, rows: Sequence[LogRecord]) -> str:
        bad = sum(record.level in ("error", "critical") for record in rows)
        parts = [f.plural(len(rows), "record"), f"level {self._least} and above"]
        if bad:
            parts.append(f"✗ {f.plural(bad, 'error')}")
        if self._frozen is None:
            parts.append("● following")
        else:
            newer = self._records[-1].seq - self._frozen[-1].seq if self._records and self._frozen else 0
            parts.append(f"◦ not following, {newer:,} newer")
        return " · ".join(parts)

    def body(self) -> Iterable[Widget]:
        yield self._table

    # -- reading

    def state_changed(self, changes: Changes) -> None:
        status = self.state.status
        if status is not None and status.started_at != self._daemon:
            self._daemon, self._frozen = status.started_at, None
            self._records.clear()
        if changes.everything:
            super().state_changed(changes)
            self._read()
        else:
            super(ListScreen, self).state_changed(changes)  # the list is none of jobs or shares

    def on_screen_resume(self) -> None:
        super().on_screen_resume()
        self._read()

    def on_screen_suspend(self) -> None:
        self.workers.cancel_group(self, "log")
        self._reading = False

    def _read(self) -> None:
        """Go on reading where the list ends, unless that is being done."""
        if self.is_current and not self._reading and self.hub.feed.client is not None:
            self._reading = True
            self.run_worker(self._follow(), group="log", exclusive=True)

    async def _follow(self) -> None:
        client = self.hub.feed.client
        if client is None:
            return
        since = self._records[-1].seq if self._records else 0
        stream = cast("AsyncGenerator[LogRecord, None]", client.follow_log(since))
        try:
            async with aclosing(stream) as records:
                async for record in records:
                    self._records.append(record)
                    if self._timer is None:
                        self._timer = self.set_timer(_FLUSH, self._flush)
        except DaemonUnavailable:
            pass  # told of by the banner; read again once it is back
        except P2pckptError as error:
            self.hub.commands.tell(error)
        self._reading = False

    def _flush(self) -> None:
        self._timer = None
        self.list_rows()

    def list_rows(self) -> None:
        super().list_rows()
        if self._frozen is None:
            self.table.action_edge(-1)

    # -- actions

    def action_follow(self) -> None:
        """Stop at what is shown, or go on to the newest."""
        self._frozen = tuple(self._records) if self._frozen is None else None
        self.list_rows()

    def action_level(self) -> None:
        """Leave out what weighs least, then more, then nothing again."""
        self._least = _LEVELS[(_LEVELS.index(self._least) + 1) % len(_LEVELS)]
        self.list_rows()

    def action_export(self) -> None:
        """Write the records that are shown, one JSON object a line."""
        rows = list(self.table.rows)
        encode = msgspec.json.Encoder().encode_lines
        export(self.hub, f"Export {f.plural(len(rows), 'record')}", "p2pckpt-log.jsonl", lambda: encode(rows))

    @on(VirtualTable.Moved, "#list")
    def _moved(self) -> None:
        """Who looks at something else than the newest wants it to stay where it is."""
        if self._frozen is None and self.table.rows and self.table.cursor is not self.table.rows[-1]:
            self.action_follow()

    @on(VirtualTable.Chosen, "#list")
    def _chosen(self) -> None:
        if self.table.cursor is not None:
            self.app.push_screen(RecordDialog(self.table.cursor))


class RecordDialog(Modal[None]):
    """One record in full, and what to do about it."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,enter,q", "dismiss", "Close", id="record.close")]

    def __init__(self, record: LogRecord) -> None:
        super().__init__()
        self._record = record

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog wide") as box:
            box.border_title = Content(f.safe(self._record.event, 60))
            box.border_subtitle = "esc closes"
            with VerticalScroll(id="record"):
                yield Static(self._text(), markup=False)

    def on_mount(self) -> None:
        self.query_one(VerticalScroll).focus()

    def _text(self) -> Content:
        parts: list[str | tuple[str, str]] = []
        for name, value in log_columns.details(self._record):
            first, *rest = value.splitlines() or [""]
            parts += [(f"{name:<12} ", "bold $text-primary"), f"{first}\n", *(f"  {row}\n" for row in rest)]
        return Content.assemble(*parts)
