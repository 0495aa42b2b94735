"""Shares: every share this machine owns, joined or publishes to, and the versions of the selected one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

from textual import on
from textual.binding import Binding, BindingType
from textual.widget import Widget

from p2pckpt.control.messages import JobKind, ShareRow, VerifyRequest
from p2pckpt.tui import format as f
from p2pckpt.tui import share_columns
from p2pckpt.tui.asking import Asking
from p2pckpt.tui.commands import verify
from p2pckpt.tui.filters import Fields
from p2pckpt.tui.screens.base import ListScreen
from p2pckpt.tui.screens.leave import leave_share
from p2pckpt.tui.screens.share_detail import ShareScreen
from p2pckpt.tui.screens.share_dialog import ShareDialog
from p2pckpt.tui.screens.share_pane import SharePane
from p2pckpt.tui.state import Changes
from p2pckpt.tui.widgets.columns import Column
from p2pckpt.tui.widgets.virtual_table import VirtualTable


class SharesScreen(ListScreen[ShareRow]):
    """The list of shares with its pane; the pane hides below 100 columns."""

    NAME = "Shares"
    EMPTY = (
        "No shares yet.\n"
        "n  Share a checkpoint folder: that makes the first version of a new share\n"
        "o  Receive with a link: the share it belongs to is listed here from then on\n"
        "?  See all keys"
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("v", "verify", "Verify", id="shares.verify", tooltip="p2pckpt verify NAME"),
        Binding("p", "publish", "Publish", id="shares.publish", tooltip="p2pckpt share DIR --name NAME"),
        Binding("d", "leave", "Leave", id="shares.leave", tooltip="p2pckpt leave NAME"),
        Binding("m", "members", "Members", id="shares.members", tooltip="p2pckpt member ls NAME"),
        Binding("y", "copy_link", "Copy link", id="shares.copy-link"),
        Binding("Q", "qr", "QR", show=False, id="shares.qr", tooltip="p2pckpt link qr NAME"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._table: VirtualTable[ShareRow] = VirtualTable(self.columns(), lambda share: share.share_id, id="list")
        self._pane = SharePane(self.hub_now, id="pane")

    def columns(self) -> Sequence[Column[ShareRow]]:
        """Those of the list."""
        return share_columns.columns(self.hub_now)

    def hub_now(self) -> float:
        """The app's clock."""
        return self.hub.now()

    @property
    def fields(self) -> Fields[ShareRow]:
        return share_columns.FIELDS

    @property
    def table(self) -> VirtualTable[ShareRow]:
        return self._table

    def all_rows(self) -> Sequence[ShareRow]:
        return list(self.state.shares.values())

    def summary(self, rows: Sequence[ShareRow]) -> str:
        mine = sum(share.role.value == "owner" for share in rows)
        alone = sum(share.seeds == 0 and bool(share.latest) for share in rows)
        text = f"all {len(rows)} · ★ {mine} mine"
        return text + (f" · {alone} without another seed" if alone else "")

    def body(self) -> Iterable[Widget]:
        yield self._table
        yield self._pane

    def on_mount(self) -> None:
        self._asking = Asking(
            self.hub, self._pane, lambda client, key: client.share_detail(key), self._pane.show_detail
        )

    def state_changed(self, changes: Changes) -> None:
        super().state_changed(changes)
        self._look()

    def action_verify(self) -> None:
        """Check the newest version of the selected shares."""
        for share in self.table.targets:
            request = VerifyRequest(name=share.name)
            self.hub.commands.run(
                verify(request),
                lambda job: self.hub.commands.say(f"Verifying {f.share_name(job)}."),
            )

    def action_publish(self) -> None:
        """Look at a new version from the folder that the newest one was published from."""
        share = self.table.cursor
        if share is None:
            return
        jobs = self.state.jobs.values()
        mine = [job for job in jobs if job.kind is JobKind.PUBLISH and job.share_id == share.share_id]
        if mine:
            path = max(mine, key=lambda job: (job.version, job.created_at)).path
            self.app.push_screen(ShareDialog(self.hub.browse_from, path, share.name))
        else:
            name = f.safe(share.name, 80)
            self.hub.commands.say(f"No folder is known here that {name} was published from.", warning=True)

    def action_leave(self) -> None:
        """Ask, with what it would mean; then forget the share under the cursor."""
        if self.table.cursor is not None:
            leave_share(self, self.table.cursor)

    def action_copy_link(self) -> None:
        """Copy the link that the newest publish of this share made."""
        share = self.table.cursor
        if share is None:
            return
        link = self._link(share)
        if link:
            self.hub.copy_link(link)
        else:
            self.hub.commands.say(f"No link of {f.safe(share.name, 80)} is known here.", warning=True)

    def action_qr(self) -> None:
        """Draw the link that the newest publish of this share made, else one that only says where it is."""
        share = self.table.cursor
        if share is not None:
            self.hub.show_qr(share.share_id, share.name, self._link(share))

    def action_members(self) -> None:
        """Show who has access to this share."""
        if self.table.cursor is not None:
            self.hub.show_members(self.table.cursor.share_id)

    def _link(self, share: ShareRow) -> str:
        jobs = [job for job in self.state.jobs.values() if job.share_id == share.share_id and job.link]
        return max(jobs, key=lambda job: job.version).link if jobs else ""

    def _look(self) -> None:
        if self.table.cursor is not None:
            self.hub.share_id = self.table.cursor.share_id
        if self.wide:
            share = self.table.cursor
            self._pane.show_share(share)
            self._asking.look_at("" if share is None else share.share_id, share)

    @on(VirtualTable.Moved, "#list")
    def _moved(self) -> None:
        self._look()

    @on(VirtualTable.Chosen, "#list")
    def _chosen(self) -> None:
        if self.table.cursor is not None:
            self.app.push_screen(ShareScreen(self.table.cursor.share_id))
