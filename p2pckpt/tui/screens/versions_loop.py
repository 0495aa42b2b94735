"""Keeps the versions of one share fresh: asked for when its row is selected and when its row changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from p2pckpt.control.messages import ShareDetail, ShareRow
from p2pckpt.errors import DaemonUnavailable, P2pckptError
from p2pckpt.tui.screens.share_pane import SharePane

if TYPE_CHECKING:
    from p2pckpt.tui.app import P2pckptApp


class VersionsLoop:
    """Asks once for every state of a row and hands the answer to the pane; a late answer for another is dropped."""

    def __init__(self, hub: P2pckptApp, pane: SharePane) -> None:
        self._hub = hub
        self._pane = pane
        self._asked: ShareRow | None = None
        """The row as it was when its versions were asked for."""
        self._share_id = ""

    def look_at(self, share: ShareRow | None) -> None:
        """Show ``share``; its versions follow when the daemon has answered."""
        self._pane.show_share(share)
        share_id = "" if share is None else share.share_id
        if share_id != self._share_id:
            self._share_id = share_id
            self._pane.versions.set_rows(())
        if share is None or share == self._asked or self._hub.feed.client is None:
            return
        self._asked = share
        name = share.name
        self._hub.commands.run(lambda client: client.share_detail(name), self._answer, self._failed)

    def _answer(self, detail: ShareDetail) -> None:
        if detail.share.share_id == self._share_id and self._pane.is_attached:
            self._pane.versions.set_rows(detail.versions)

    def _failed(self, error: P2pckptError) -> None:
        if isinstance(error, DaemonUnavailable):
            self._asked = None  # the banner tells of it; asked again once it is back
        else:
            self._hub.commands.tell(error)
