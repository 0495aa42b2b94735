"""One share on the whole screen: its versions, and what can be done with them."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from p2pckpt.control.messages import ShareRow, VersionRow
from p2pckpt.tui.asking import Asking
from p2pckpt.tui.screens.compare_screen import CompareScreen
from p2pckpt.tui.screens.share_pane import SharePane
from p2pckpt.tui.screens.version_actions import VersionActions
from p2pckpt.tui.screens.version_screen import VersionScreen
from p2pckpt.tui.state import Changes
from p2pckpt.tui.widgets.down_banner import DownBanner
from p2pckpt.tui.widgets.key_bar import KeyBar
from p2pckpt.tui.widgets.top_bar import TopBar
from p2pckpt.tui.widgets.virtual_table import VirtualTable


class ShareScreen(VersionActions):
    """The pane of one share; it closes itself when the share is gone."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "app.pop_screen", "Back", id="detail.back"),
        Binding("x", "mark", "Mark", show=False, id="list.mark"),
        Binding("c", "compare", "Compare", id="version.compare", tooltip="p2pckpt diff NAME@A NAME@B"),
        Binding("M", "metric", "Next metric", show=False, id="runs.metric"),
        Binding("s", "sort", "Sort", show=False, id="list.sort"),
    ]

    def __init__(self, share_id: str) -> None:
        super().__init__()
        self._share_id = share_id
        self._pane = SharePane(lambda: self.hub.now(), id="pane-full")

    def compose(self) -> ComposeResult:
        yield TopBar()
        yield DownBanner(markup=False)
        yield self._pane
        yield KeyBar()

    def on_mount(self) -> None:
        self._asking = Asking(
            self.hub, self._pane, lambda client, key: client.share_detail(key), self._pane.show_detail
        )
        self._pane.versions.focus()
        self.state_changed(Changes(everything=True))

    def on_screen_resume(self) -> None:
        self.state_changed(Changes(everything=True))

    def state_changed(self, changes: Changes) -> None:
        super().state_changed(changes)
        share = self.share()
        if share is None:
            if self.is_active:
                self.app.pop_screen()
            return
        self._pane.show_share(share)
        self._asking.look_at(share.share_id, share)

    def share(self) -> ShareRow | None:
        return self.state.shares.get(self._share_id)

    def targets(self) -> list[VersionRow]:
        return self._pane.versions.targets

    def action_mark(self) -> None:
        """Mark a version."""
        self._pane.versions.mark()

    def action_metric(self) -> None:
        """Draw the curve of another metric."""
        self._pane.next_metric()

    def action_sort(self) -> None:
        """Sort the versions by the next column."""
        self._pane.next_sort()

    def action_compare(self) -> None:
        """Compare the two marked versions, or the one under the cursor with the one before it."""
        share, versions, all_rows = self.share(), self.targets(), self._pane.versions.rows
        if share is None or not versions:
            return
        if len(versions) == 1:
            older = [row for row in all_rows if row.version < versions[0].version]
            versions = [max(older, key=lambda row: row.version), *versions] if older else versions
        if len(versions) != 2:
            self.hub.commands.say("Mark two versions with x, or go to one that has an older one.", warning=True)
            return
        old, new = sorted(versions, key=lambda row: row.version)
        self.app.push_screen(CompareScreen(share, old, new))

    @on(VirtualTable.Chosen, "#versions")
    def _chosen(self) -> None:
        share, version = self.share(), self._pane.versions.cursor
        if share is not None and version is not None:
            self.app.push_screen(VersionScreen(share, version))

    @on(VirtualTable.HeaderClicked, "#versions")
    def _header_clicked(self, event: VirtualTable.HeaderClicked) -> None:
        self._pane.sort_by(event.key)
