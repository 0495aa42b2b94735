"""One job on the whole screen: for narrow terminals, and for a closer look."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Tabs

from p2pckpt.control.messages import Job
from p2pckpt.tui.asking import Asking
from p2pckpt.tui.screens.job_actions import JobActions
from p2pckpt.tui.screens.job_pane import JobPane
from p2pckpt.tui.state import Changes
from p2pckpt.tui.widgets.down_banner import DownBanner
from p2pckpt.tui.widgets.key_bar import KeyBar
from p2pckpt.tui.widgets.top_bar import TopBar


class JobScreen(JobActions):
    """The pane of one job; it closes itself when the job is removed."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "app.pop_screen", "Back", id="detail.back"),
        Binding("left_square_bracket", "tab(-1)", "Previous tab", key_display="[", id="tabs.previous"),
        Binding("right_square_bracket", "tab(1)", "Next tab", key_display="]", id="tabs.next"),
    ]

    def __init__(self, job_id: str) -> None:
        super().__init__()
        self._job_id = job_id
        self._pane = JobPane(lambda: self.hub.now(), id="pane-full")

    def compose(self) -> ComposeResult:
        yield TopBar()
        yield DownBanner(markup=False)
        yield self._pane
        yield KeyBar()

    def on_mount(self) -> None:
        self._asking = Asking(self.hub, self._pane, lambda client, key: client.job_detail(key), self._pane.show_detail)
        self.query_one(Tabs).focus()
        self.state_changed(Changes(everything=True))
        self._asking.look_at(self._job_id)
        self.set_interval(1.0, self.refresh_detail)

    def on_screen_resume(self) -> None:
        self.state_changed(Changes(everything=True))

    @property
    def pane(self) -> JobPane:
        return self._pane

    def targets(self) -> list[Job]:
        job = self.state.jobs.get(self._job_id)
        return [] if job is None else [job]

    def state_changed(self, changes: Changes) -> None:
        super().state_changed(changes)
        job = self.state.jobs.get(self._job_id)
        if job is not None:
            self._pane.show_job(job)
        elif self.is_active:
            self.app.pop_screen()

    def refresh_detail(self) -> None:
        """Ask for the job again while this screen is on top."""
        if self.is_current:
            self._asking.refresh()

    def action_tab(self, step: int) -> None:
        """Turn the tabs."""
        self._pane.turn(step)
