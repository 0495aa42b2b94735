"""One share on the whole screen."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from p2pckpt.tui.asking import Asking
from p2pckpt.tui.screens.base import StateScreen
from p2pckpt.tui.screens.share_pane import SharePane
from p2pckpt.tui.state import Changes
from p2pckpt.tui.widgets.down_banner import DownBanner
from p2pckpt.tui.widgets.key_bar import KeyBar
from p2pckpt.tui.widgets.top_bar import TopBar


class ShareScreen(StateScreen):
    """The pane of one share; it closes itself when the share is gone."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "app.pop_screen", "Back", id="detail.back")]

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
        share = self.state.shares.get(self._share_id)
        if share is None:
            if self.is_active:
                self.app.pop_screen()
            return
        self._pane.show_share(share)
        self._asking.look_at(share.share_id, share)
