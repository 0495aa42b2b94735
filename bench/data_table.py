"""The peer of the TUI: the same jobs and columns in Textual's DataTable, fed by the same events.

``python -m bench.data_table SOCKET``. It shows as many rows as the TUI does on the same terminal, and is told of
changed cells in visible rows only, and only of columns that change; it has no top bar, pane, filter or sorting.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from rich.text import Text
from textual.app import App, ComposeResult
from textual.widgets import DataTable

from p2pckpt.control import messages as m
from p2pckpt.control.client import ControlClient
from p2pckpt.tui import job_columns
from p2pckpt.tui.widgets.columns import Column

_CHANGING: Final = [column for column in job_columns.COLUMNS if column.key in ("progress", "down", "eta")]
LINES: Final = 18
"""Of our list with its header, 120 × 40."""
_FLUSH: Final = 0.1
"""Seconds between two looks at what changed."""


class JobTable(App[None]):
    """Shows what ``follow`` reads from ``client``, or what ``fill`` and ``change`` are given."""

    def __init__(self, client: ControlClient | None = None) -> None:
        super().__init__()
        self._client = client
        self._rows: dict[str, int] = {}
        self._jobs: dict[str, m.Job] = {}
        self._changed: set[str] = set()

    def compose(self) -> ComposeResult:
        table: DataTable[Any] = DataTable(cursor_type="row")
        table.styles.height = LINES
        yield table

    def on_mount(self) -> None:
        if self._client is not None:
            self.run_worker(self.follow(self._client))
            self.set_interval(_FLUSH, self.flush)

    async def follow(self, client: ControlClient) -> None:
        """Fold events in for ever."""
        async with client:
            async for event in client.events():
                if isinstance(event, m.Snapshot):
                    self.fill(event.jobs)
                elif isinstance(event, m.JobChanged):
                    self.take(event.job)

    def fill(self, jobs: Iterable[m.Job]) -> None:
        """Make every row."""
        table = self._table
        for column in job_columns.COLUMNS:
            table.add_column(column.title, key=column.key, width=column.width)
        for number, job in enumerate(jobs):
            self._rows[job.id], self._jobs[job.id] = number, job
            table.add_row(*(_cell(column, job) for column in job_columns.COLUMNS), key=job.id)

    def take(self, job: m.Job) -> None:
        self._jobs[job.id] = job
        self._changed.add(job.id)

    def flush(self) -> None:
        """Tell the table of what changed on screen."""
        table = self._table
        top = round(table.scroll_y)
        for job_id in self._changed:
            if top <= self._rows[job_id] < top + table.size.height:
                for column in _CHANGING:
                    table.update_cell(job_id, column.key, _cell(column, self._jobs[job_id]))
        self._changed.clear()

    @property
    def _table(self) -> DataTable[Any]:
        return self.query_one(DataTable)


def _cell(column: Column[m.Job], job: m.Job) -> Text:
    """What our column shows, as a ``Text``: strings would be parsed as markup each time they are drawn."""
    return Text(column.draw(job, column.width)[0])


if __name__ == "__main__":
    JobTable(ControlClient(Path(sys.argv[1]))).run()
