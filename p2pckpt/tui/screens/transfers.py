"""Transfers: every job as a row, and below it the job under the cursor in full."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

from textual import on
from textual.binding import Binding, BindingType
from textual.widget import Widget

from p2pckpt.control.messages import Job, JobState
from p2pckpt.control.settings_messages import Limits, TurtleRequest
from p2pckpt.tui import format as f
from p2pckpt.tui import job_columns
from p2pckpt.tui.asking import Asking
from p2pckpt.tui.commands import remove_job
from p2pckpt.tui.filters import Fields
from p2pckpt.tui.screens.base import ListScreen
from p2pckpt.tui.screens.confirm import ConfirmDialog
from p2pckpt.tui.screens.job import JobScreen
from p2pckpt.tui.screens.job_actions import JobActions
from p2pckpt.tui.screens.job_pane import JobPane
from p2pckpt.tui.state import Changes
from p2pckpt.tui.widgets.virtual_table import VirtualTable


class TransfersScreen(ListScreen[Job], JobActions):
    """The list of jobs with its pane; the pane hides below 100 columns."""

    NAME = "Transfers"
    EMPTY = (
        "Nothing here yet.\n"
        "n  Share a checkpoint folder: it is packed, signed and offered, and you get a link\n"
        "o  Receive with a link somebody sent you\n"
        "?  See all keys; ctrl+p finds every action by name"
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "t",
            "turtle",
            "Slow mode",
            show=False,
            id="transfers.turtle",
            tooltip="p2pckpt limit --turtle toggle",
        ),
        Binding("C", "clear_done", "Clear what is done", show=False, id="transfers.clear", tooltip="p2pckpt rm --done"),
        Binding("left_square_bracket", "tab(-1)", "Previous tab", key_display="[", show=False, id="tabs.previous"),
        Binding("right_square_bracket", "tab(1)", "Next tab", key_display="]", show=False, id="tabs.next"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._table: VirtualTable[Job] = VirtualTable(job_columns.COLUMNS, lambda job: job.id, id="list")
        self._pane = JobPane(lambda: self.hub.now(), id="pane")

    @property
    def fields(self) -> Fields[Job]:
        return job_columns.FIELDS

    @property
    def table(self) -> VirtualTable[Job]:
        return self._table

    def all_rows(self) -> Sequence[Job]:
        return list(self.state.jobs.values())

    def summary(self, rows: Sequence[Job]) -> str:
        return job_columns.summary(self.state.job_counts, short=not self.wide)

    def body(self) -> Iterable[Widget]:
        yield self._table
        yield self._pane

    @property
    def pane(self) -> JobPane:
        return self._pane

    def targets(self) -> list[Job]:
        return self.table.targets

    def on_mount(self) -> None:
        self._asking = Asking(self.hub, self._pane, lambda client, key: client.job_detail(key), self._pane.show_detail)
        self.set_interval(1.0, self.refresh_detail)

    def state_changed(self, changes: Changes) -> None:
        super().state_changed(changes)
        job = self.table.cursor
        if job is None or changes.everything or job.id in changes.jobs:
            self._pane.show_job(job)
        elif changes.jobs:
            self._pane.look()
        self._look()

    def refresh_detail(self) -> None:
        """Ask for the selected job again, if its pane can be seen."""
        if self.wide and self.is_current:
            self._asking.refresh()

    def action_clear_done(self) -> None:
        """Ask, then forget all jobs that are done and offer nothing."""
        done = [job.id for job in self.all_rows() if job.state is JobState.DONE]
        if not done:
            self.hub.commands.say("Nothing is done that would not be offered to others.", warning=True)
            return

        def answered(yes: bool | None) -> None:
            for job_id in done if yes else ():
                self.hub.commands.run(remove_job(job_id))

        lines = [
            f"Forget {f.plural(len(done), 'job')} from which nothing more comes: verifies, with what they found, and",
            "what was received and is not seeded.",
            "",
            "No checkout and no object is touched.",
        ]
        self.app.push_screen(ConfirmDialog("Clear", lines, yes="Clear", command="p2pckpt rm --done"), answered)

    def action_tab(self, step: int) -> None:
        """Turn the tabs of the pane."""
        self._pane.turn(step)

    def action_turtle(self) -> None:
        """Turn slow mode on or off, now."""
        self.hub.commands.run(lambda client: client.turtle(TurtleRequest("toggle")), self._turned)

    def _turned(self, limits: Limits) -> None:
        text = f"on: ↓ {f.limit(limits.down)} ↑ {f.limit(limits.up)} for everything" if limits.slow else "off"
        self.hub.commands.say(f"Slow mode is {text}.")

    def _look(self) -> None:
        if self.wide:
            self._asking.look_at("" if self.table.cursor is None else self.table.cursor.id)

    @on(VirtualTable.Moved, "#list")
    def _moved(self) -> None:
        self._pane.show_job(self.table.cursor)
        self._look()

    @on(VirtualTable.Chosen, "#list")
    def _chosen(self) -> None:
        if self.table.cursor is not None:
            self.app.push_screen(JobScreen(self.table.cursor.id))
