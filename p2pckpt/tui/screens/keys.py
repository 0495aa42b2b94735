"""Keys: our own, and everybody's whose key is known here; what was decided about them, and deciding."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from p2pckpt.control.client import ControlClient
from p2pckpt.control.key_messages import DecideKeyRequest, KeyAction, KeyRow
from p2pckpt.control.messages import KeyInfo
from p2pckpt.trust.known_keys import KeyState
from p2pckpt.tui import format as f
from p2pckpt.tui import key_columns
from p2pckpt.tui.asking import Asking
from p2pckpt.tui.filters import Fields
from p2pckpt.tui.screens.backup_dialog import BackupDialog
from p2pckpt.tui.screens.base import ListScreen
from p2pckpt.tui.screens.confirm import ConfirmDialog
from p2pckpt.tui.screens.modal import Modal
from p2pckpt.tui.screens.qr import QrScreen
from p2pckpt.tui.screens.trust_prompt import TrustPrompt, block_dialog, forget_dialog
from p2pckpt.tui.state import Changes
from p2pckpt.tui.widgets.virtual_table import VirtualTable

_ROTATE = (
    "The old key signs a new one into every share you own; the new one takes the old one out.",
    "Later versions are sealed with new keys. What was signed stays signed.",
    "Owners of shares you only joined are asked to let the new key in.",
    "! The daemon is started anew with the new key, and a passphrase may be asked for: run it in a shell.",
    "! Make a backup of the new key afterwards.",
)


class KeysScreen(ListScreen[KeyRow]):
    """Our own key first, then all others by the time they were first seen."""

    NAME = "Keys"
    EMPTY = (
        "No keys yet.\n"
        "n  Share a checkpoint folder: your own key signs it\n"
        "o  Receive with a link: whoever publishes there is listed here from then on\n"
        "?  See all keys"
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("v", "verify", "Verify", id="keys.verify", tooltip="p2pckpt trust verify KEY"),
        Binding("b", "block", "Block", id="keys.block", tooltip="p2pckpt trust block KEY"),
        Binding("d", "settle", "Dismiss", id="keys.dismiss", tooltip="p2pckpt trust dismiss KEY"),
        Binding("f", "forget", "Forget", id="keys.forget", tooltip="p2pckpt trust forget KEY"),
        Binding("y", "copy", "Copy key", id="keys.copy", tooltip="p2pckpt key show -q"),
        Binding("B", "backup", "Back up", id="keys.backup", tooltip="p2pckpt key backup FILE"),
        Binding("Q", "qr", "QR code", show=False, id="keys.qr", tooltip="p2pckpt key show --qr"),
        Binding("R", "rotate", "Rotate", show=False, id="keys.rotate", tooltip="p2pckpt key rotate"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._table: VirtualTable[KeyRow] = VirtualTable(
            key_columns.columns(self.hub_now), lambda row: row.identity, id="list"
        )
        self._pane = Static("", markup=False)
        self._mine: KeyInfo | None = None
        self._others: list[KeyRow] = []
        self._count = 0
        """Times that something was heard to be different."""
        self._to_first = False
        """Whether the cursor goes to a key to be reviewed once the rows are here."""

    def hub_now(self) -> float:
        """The app's clock."""
        return self.hub.now()

    @property
    def fields(self) -> Fields[KeyRow]:
        return key_columns.FIELDS

    @property
    def table(self) -> VirtualTable[KeyRow]:
        return self._table

    def all_rows(self) -> Sequence[KeyRow]:
        return [*([key_columns.own_row(self._mine)] if self._mine is not None else []), *self._others]

    def summary(self, rows: Sequence[KeyRow]) -> str:
        text = f"all {len(rows)}"
        for state in (KeyState.REVIEW, KeyState.VERIFIED, KeyState.BLOCKED):
            if count := sum(row.state is state for row in rows):
                text += f" · {key_columns.GLYPHS[state]} {count} {'to review' if state is KeyState.REVIEW else state}"
        return text

    def body(self) -> Iterable[Widget]:
        yield self._table
        with VerticalScroll(id="pane", can_focus=False):
            yield self._pane

    def on_mount(self) -> None:
        self._asking: Asking[tuple[KeyInfo, list[KeyRow]]] = Asking(self.hub, self, _ask, self._show)
        self._asking.look_at("keys", self._count)

    def state_changed(self, changes: Changes) -> None:
        super().state_changed(changes)
        if changes.keys or changes.everything:
            self._count += 1
            self._ask_again()

    def _ask_again(self) -> None:
        if hasattr(self, "_asking"):
            self._asking.look_at("keys", self._count)

    def _show(self, answer: tuple[KeyInfo, list[KeyRow]] | None) -> None:
        if answer is None:
            return
        self._mine, self._others = answer
        self.list_rows()
        if self._to_first:
            self.show_review()
        self._look()

    def show_review(self) -> None:
        """Put the cursor on the first key that should be looked at, now or once it is here."""
        found = [n for n, row in enumerate(self.table.rows) if row.state is KeyState.REVIEW]
        self._to_first = not found
        if found:
            self.table.move_to(found[0])
            self._look()

    def _look(self) -> None:
        row = self.table.cursor
        self._pane.update("" if row is None else drawn(self._facts(row)))

    def _facts(self, row: KeyRow) -> list[str]:
        if row.state is KeyState.OWN and self._mine is not None:
            return key_columns.own_facts(self._mine, self.hub.now())
        return key_columns.facts(row, self.hub.now())

    @on(VirtualTable.Moved, "#list")
    def _moved(self) -> None:
        self._look()

    # -- deciding

    @on(VirtualTable.Chosen, "#list")
    def action_verify(self) -> None:
        """Open the question about the key under the cursor."""
        row = self.table.cursor
        if row is None:
            return
        if row.state is KeyState.OWN:
            self.app.push_screen(FactsDialog("Your key", self._facts(row)))
        else:
            self.app.push_screen(TrustPrompt(row, self.hub.now()), self._decide)

    def _decide(self, request: DecideKeyRequest | None) -> None:
        if request is not None:
            self.hub.commands.run(lambda client: client.decide_key(request))

    def _others_only(self) -> KeyRow | None:
        row = self.table.cursor
        if row is not None and row.state is KeyState.OWN:
            self.hub.commands.say("This is your own key.", warning=True)
            return None
        return row

    def action_block(self) -> None:
        row = self._others_only()
        if row is not None:
            request = DecideKeyRequest(identity=row.identity, action=KeyAction.BLOCK)
            self.app.push_screen(block_dialog(row), lambda sure: self._decide(request if sure else None))

    def action_forget(self) -> None:
        row = self._others_only()
        if row is not None:
            request = DecideKeyRequest(identity=row.identity, action=KeyAction.FORGET)
            self.app.push_screen(forget_dialog(row), lambda sure: self._decide(request if sure else None))

    def action_settle(self) -> None:
        """Ask no more about the selected keys; they stay unverified."""
        rows = [row for row in self.table.targets if row.state is KeyState.REVIEW]
        if not rows:
            self.hub.commands.say("Nothing is asked about this key.", warning=True)
        for row in rows:
            self._decide(DecideKeyRequest(identity=row.identity, action=KeyAction.DISMISS))

    # -- our own key

    def action_copy(self) -> None:
        """Our own public text, for an owner; of somebody else, the identity and its words."""
        row = self.table.cursor
        if row is None:
            return
        own = row.state is KeyState.OWN and self._mine is not None
        text = self._mine.public_text if own and self._mine is not None else f"{row.identity} {row.words}"
        self.app.copy_to_clipboard(text)
        what = "Your public key, to send to an owner," if own else "Identity and words"
        self.hub.commands.say(f"{what} copied, if this terminal allows it. It is no secret.")

    def action_qr(self) -> None:
        """Draw our own public text for somebody beside us."""
        if self._mine is not None:
            lines = ("Whoever scans this can add you to a share. It is no secret.", "", f.safe(self._mine.words, 60))
            self.app.push_screen(
                QrScreen("Your public key", self._mine.public_text, lines, command="p2pckpt key show --qr")
            )

    def action_backup(self) -> None:
        if self.hub.config is None:
            self.hub.commands.say("In a shell: p2pckpt key backup FILE", warning=True)
            return
        self.app.push_screen(BackupDialog(self.hub.config, self.hub.browse_from), self._backed_up)

    def _backed_up(self, path: Path | None) -> None:
        if path is not None:
            self.hub.commands.say(f"Backup written to {path}. Keep it elsewhere.")
            self._count += 1
            self._ask_again()

    def action_rotate(self) -> None:
        home = self.hub.config.home if self.hub.config is not None else None
        command = "p2pckpt " + (f"--home {shlex.quote(str(home))} " if home is not None else "") + "key rotate"

        def copy(wanted: bool | None) -> None:
            if wanted:
                self.app.copy_to_clipboard(command)
                self.hub.commands.say("Copied, if this terminal allows it. Run it in a shell.")

        self.app.push_screen(
            ConfirmDialog("Replace your key", _ROTATE, yes="Copy the command", no="Close", command=command), copy
        )


class FactsDialog(Modal[None]):
    """Lines to read, where there is no room for a pane."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,enter,q", "close", "Close", id="facts.close")]

    def __init__(self, title: str, lines: Sequence[str]) -> None:
        super().__init__()
        self._title = title
        self._lines = lines

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog wide") as box:
            box.border_title = Content(self._title)
            with VerticalScroll(classes="consequences"):
                yield Static(drawn(self._lines), markup=False)

    def action_close(self) -> None:
        self.dismiss(None)


def drawn(lines: Sequence[str]) -> Content:
    """Lines, those that begin with ``!`` as warnings."""
    parts: list[str | tuple[str, str]] = []
    for line in lines:
        parts += [(line, "$text-warning") if line.startswith("!") else line, "\n"]
    return Content.assemble(*parts[:-1])


async def _ask(client: ControlClient, key: str) -> tuple[KeyInfo, list[KeyRow]]:
    return await client.key(), await client.keys()
