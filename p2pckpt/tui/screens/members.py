"""Members: who has access to one share, who asks for it, and by which links; what owners decide and sign."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from p2pckpt.control.messages import ShareRow
from p2pckpt.tui import commands, member_rows, member_words
from p2pckpt.tui import format as f
from p2pckpt.tui.asking import Asking
from p2pckpt.tui.filters import Fields
from p2pckpt.tui.member_rows import AccessRow, Around, Refused
from p2pckpt.tui.screens.base import ListScreen
from p2pckpt.tui.screens.choose import ChooseDialog
from p2pckpt.tui.screens.member_actions import MemberActions
from p2pckpt.tui.state import Changes
from p2pckpt.tui.widgets.down_banner import DownBanner
from p2pckpt.tui.widgets.key_bar import KeyBar
from p2pckpt.tui.widgets.top_bar import TopBar
from p2pckpt.tui.widgets.virtual_table import VirtualTable


class MembersScreen(MemberActions, ListScreen[AccessRow]):
    """The list of one share: the one that was looked at last, or another that is chosen here."""

    NAME = "Members"
    EMPTY = (
        "No shares yet, so nobody to let in.\n"
        "n  Share a checkpoint folder: you own the share that it makes, and decide who gets it\n"
        "o  Receive with a link: you become a member of its share\n"
        "?  See all keys"
    )
    BINDINGS: ClassVar[list[BindingType]] = [Binding("c", "choose", "Choose share", id="members.choose")]

    def __init__(self) -> None:
        self._around: Around | None = None
        self._rows: list[AccessRow] = []
        self._drawn: tuple[AccessRow | None, Around | None] = (None, None)
        """What the pane shows."""
        self._refused: Refused | None = None
        self._touched = 0
        """Counts what may have changed the answer."""
        self._table: VirtualTable[AccessRow] = VirtualTable(
            member_rows.columns(self.hub_now), lambda row: row.key, id="list"
        )
        self._fields = member_rows.fields(self.hub_now)
        super().__init__()

    def hub_now(self) -> float:
        """The app's clock."""
        return self.hub.now()

    @property
    def around(self) -> Around | None:
        return self._around

    @property
    def target(self) -> AccessRow | None:
        return self.table.cursor

    @property
    def fields(self) -> Fields[AccessRow]:
        return self._fields

    @property
    def table(self) -> VirtualTable[AccessRow]:
        return self._table

    def all_rows(self) -> Sequence[AccessRow]:
        return self._rows

    def summary(self, rows: Sequence[AccessRow]) -> str:
        share = self.share
        if share is None:
            return ""
        name, tracker = f.safe(share.name, 60), f.safe(share.tracker, 60).removeprefix("https://") or "tracker"
        if self._refused is not None:
            return f"{name}   ✗ {tracker}"
        if self._around is None:
            return f"{name}   ◦ asking {tracker} …"
        counted = member_rows.summary(self._around, self.hub.now())
        return f"{name} · you are {self._around.access.role.value} · {counted}   ● {tracker}"

    def body(self) -> ComposeResult:
        yield Static("", id="terms", markup=False)
        yield Static("", id="trouble", markup=False)
        yield self._table
        with VerticalScroll(id="pane", can_focus=False):
            yield Static("", id="about", markup=False)

    def on_mount(self) -> None:
        self._asking = Asking(self.hub, self, member_rows.ask_around, self._answered)
        super().on_mount()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in ("mark", "mark_all"):
            return False  # each decision is about one row, and read before it is made
        return super().check_action(action, parameters)

    # -- which share

    @property
    def share(self) -> ShareRow | None:
        """The share that is shown."""
        shares = self.state.shares
        if self.hub.share_id not in shares:
            waiting = (s.share_id for s in shares.values() if s.requests or s.proposals)
            return shares.get(next(waiting, next(iter(shares), "")))
        return shares[self.hub.share_id]

    def action_choose(self) -> None:
        """Show another share."""
        shares = sorted(self.state.shares.values(), key=lambda s: s.name)
        choices = [(s.share_id, f"{s.name}   {s.role.value}{waiting(s)}") for s in shares]
        present = self.share.share_id if self.share is not None else ""

        def chosen(share_id: str | None) -> None:
            if share_id is not None:
                self.hub.share_id = share_id
                self.state_changed(Changes())

        self.app.push_screen(ChooseDialog("Members of which share?", choices, present=present), chosen)

    # -- what the daemon says

    def on_screen_resume(self) -> None:
        self._touched += 1
        super().on_screen_resume()

    def state_changed(self, changes: Changes) -> None:
        share = self.share
        share_id = "" if share is None else share.share_id
        self._touched += share_id in changes.access
        role = None if share is None else share.role
        self._asking.look_at(share_id, (self._touched, self.state.connected, role))
        super().state_changed(changes)

    def list_rows(self) -> None:
        super().list_rows()
        self.set_class(not self.state.shares, "-empty")
        self._show_row()

    def _answered(self, answer: Around | Refused | None) -> None:
        if isinstance(answer, Refused):
            self._refused = answer
        else:
            self._around, self._refused = answer, None
            self._rows = member_rows.rows_of(answer)
        trouble = "" if self._refused is None else "\n  ".join(commands.lines(self._refused.error))
        line = self.query_one("#trouble", Static)
        line.update(Content(f"✗ {trouble}"))
        line.set_class(bool(trouble), "-shown")
        self.table.set_class(bool(trouble) or self.state.down is not None, "-stale")
        self.query_one("#terms", Static).update(Content(self._terms()))
        self.list_rows()
        self.refresh_bindings()
        for screen in self.app.screen_stack:
            if isinstance(screen, AccessRowScreen) and screen.is_mounted:
                screen.look()

    def _terms(self) -> str:
        return "" if self._around is None else member_words.terms(self._around)

    # -- the row

    def _show_row(self) -> None:
        row, around = self.table.cursor, self._around
        if (row, around) == self._drawn:
            return
        self._drawn = row, around
        text = member_words.details(row, around, self.hub.now()) if row is not None and around is not None else []
        self.query_one("#about", Static).update(Content.assemble(*text))

    @on(VirtualTable.Moved, "#list")
    def _moved(self) -> None:
        self._show_row()
        self.refresh_bindings()

    @on(VirtualTable.Chosen, "#list")
    def _chosen(self) -> None:
        if self.table.cursor is not None:
            self.app.push_screen(AccessRowScreen(self, self.table.cursor.key))


class AccessRowScreen(MemberActions):
    """One row on the whole screen, with its keys; it closes itself when the row is gone."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "app.pop_screen", "Back", id="detail.back")]

    def __init__(self, members: MembersScreen, key: str) -> None:
        self._members = members
        self._key = key
        super().__init__()

    @property
    def around(self) -> Around | None:
        return self._members.around

    @property
    def target(self) -> AccessRow | None:
        return next((row for row in member_rows.rows_of(self.around) if row.key == self._key), None)

    def compose(self) -> ComposeResult:
        yield TopBar()
        yield DownBanner(markup=False)
        with VerticalScroll(id="pane-full"):
            yield Static("", id="about", markup=False)
        yield KeyBar()

    def on_mount(self) -> None:
        self.state_changed(Changes(everything=True))

    def state_changed(self, changes: Changes) -> None:
        super().state_changed(changes)
        self.look()

    def look(self) -> None:
        """Draw the row as it is now."""
        row, around = self.target, self.around
        if row is None or around is None:
            if self.is_active:
                self.app.pop_screen()
            return
        self.query_one("#about", Static).update(Content.assemble(*member_words.details(row, around, self.hub.now())))
        self.refresh_bindings()


def waiting(share: ShareRow) -> str:
    """What waits for an owner of ``share``, to stand behind its name; empty for nothing."""
    parts = [f.plural(share.requests, "request")] if share.requests else []
    parts += [f.plural(share.proposals, "change") + " of keys"] if share.proposals else []
    return f"   ! {' · '.join(parts)}" if parts else ""
