"""The question whether a key is whose it says: what is known of it, its words to compare, and what to do."""

from __future__ import annotations

import shlex
from typing import ClassVar, Final

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Button, Input, RadioSet, Static

from p2pckpt.control.key_messages import DecideKeyRequest, KeyAction, KeyPlace, KeyRow
from p2pckpt.trust.known_keys import KeyState
from p2pckpt.tui import format as f
from p2pckpt.tui import key_columns
from p2pckpt.tui.screens.confirm import ConfirmDialog
from p2pckpt.tui.screens.modal import Modal
from p2pckpt.tui.widgets.check import Choice
from p2pckpt.tui.widgets.clean_input import CleanInput

_COMPARE: Final = "Compare the words with the person by another way: a call, a chat, face to face."


class TrustPrompt(Modal[DecideKeyRequest | None]):
    """Gives what was decided, None for later. Verify needs the first word typed; nothing is decided by Enter alone."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "later", "Decide later", id="trust.later")]

    def __init__(self, row: KeyRow, now: float) -> None:
        super().__init__()
        self.row = row
        self._now = now
        self._place = _in_question(row)

    def compose(self) -> ComposeResult:
        row, changed = self.row, bool(self.row.namesakes)
        with Vertical(classes="dialog wide trust" + (" -changed" if changed else "")) as box:
            box.border_title = Content(_title(row))
            with VerticalScroll(classes="consequences", can_focus=False):
                yield Static(_drawn(key_columns.facts(row, self._now)), markup=False)
            if row.state is KeyState.BLOCKED:
                yield Static("Nothing that it signs is fetched or offered. Forget takes that back.", markup=False)
            else:
                yield Static(_COMPARE, markup=False)
                with RadioSet(id="scope", compact=True):
                    if self._place is not None:
                        name = f.safe(self._place.share, 60) or self._place.share_id[:12]
                        yield Choice(Content(f"Verify it for {name} alone"), value=True, id="alone")
                    if not changed:
                        yield Choice("Verify it for every share", value=self._place is None, id="everywhere")
                yield CleanInput(placeholder="the first word, as they told it", id="word", compact=True)
            yield Static("", id="error", markup=False)
            with Horizontal(classes="buttons"):
                if row.state is KeyState.BLOCKED:
                    yield Button("Forget the block", id="forget", variant="primary", compact=True)
                else:
                    yield Button("Verify", id="verify", variant="primary", disabled=True, compact=True)
                    if row.state is KeyState.REVIEW:
                        yield Button("Only dismiss", id="dismiss", compact=True)
                    yield Button("Block …", id="block", variant="error", compact=True)
                yield Button("Later", id="later", compact=True)
            alone = self._place is not None
            yield Static(Content(self._command(alone=alone)), id="command", classes="equivalent", markup=False)

    def on_mount(self) -> None:
        self.query_one("#later" if self.row.state is KeyState.BLOCKED else "#word").focus()

    def _command(self, *, alone: bool) -> str:
        if self.row.state is KeyState.BLOCKED:
            return f"= p2pckpt trust forget {self.row.identity[:12]}"
        share = shlex.quote(f.safe(self._place.share, 60) or self._place.share_id[:12]) if self._place else ""
        return f"= p2pckpt trust verify {self.row.identity[:12]}" + (f" --share {share}" if alone and share else "")

    @on(RadioSet.Changed, "#scope")
    def _scoped(self, event: RadioSet.Changed) -> None:
        self.query_one("#command", Static).update(Content(self._command(alone=event.pressed.id == "alone")))

    def _is_first_word(self, typed: str) -> bool:
        return typed.strip().casefold() == self.row.words.partition("-")[0]

    @on(Input.Changed, "#word")
    def _typed(self, event: Input.Changed) -> None:
        self.query_one("#verify", Button).disabled = not self._is_first_word(event.value)

    @on(Input.Submitted, "#word")
    def _submitted(self, event: Input.Submitted) -> None:
        if self._is_first_word(event.value):
            self.query_one("#verify", Button).focus()
            return
        error = self.query_one("#error", Static)
        error.update("✗ that is not its first word: compare all of them with the person")
        error.add_class("-shown")

    @on(Button.Pressed, "#verify")
    def _verify(self, event: Button.Pressed) -> None:
        chosen = self.query_one("#scope", RadioSet).pressed_button
        alone = chosen is not None and chosen.id == "alone" and self._place is not None
        self.dismiss(
            DecideKeyRequest(
                identity=self.row.identity,
                action=KeyAction.VERIFY,
                share=self._place.share_id if alone and self._place is not None else "",
                first_word=self.query_one("#word", CleanInput).value.strip(),
            )
        )

    @on(Button.Pressed, "#dismiss")
    def _only_dismiss(self, event: Button.Pressed) -> None:
        self.dismiss(DecideKeyRequest(identity=self.row.identity, action=KeyAction.DISMISS))

    @on(Button.Pressed, "#forget")
    def _forget(self, event: Button.Pressed) -> None:
        self.dismiss(DecideKeyRequest(identity=self.row.identity, action=KeyAction.FORGET))

    @on(Button.Pressed, "#block")
    def _block(self, event: Button.Pressed) -> None:
        self.app.push_screen(block_dialog(self.row), self._blocked)

    def _blocked(self, sure: bool | None) -> None:
        if sure:
            self.dismiss(DecideKeyRequest(identity=self.row.identity, action=KeyAction.BLOCK))

    @on(Button.Pressed, "#later")
    def action_later(self) -> None:
        self.dismiss(None)


def block_dialog(row: KeyRow) -> ConfirmDialog:
    """The question before somebody is blocked."""
    owns = [f.safe(place.share, 60) for place in row.places if place.role == "owner" and place.share]
    lines = [
        f"{key_columns.name(row)}   {f.safe(row.words, 60)}",
        "",
        "Nothing that this key signs is fetched any more; what runs and what is offered of it ends.",
        "What is on this disk stays. Nobody is told. Forget takes it back.",
    ]
    lines += [f"! It owns {name}: all of it is refused unless other owners have signed its keys." for name in owns]
    return ConfirmDialog(
        "Block a key",
        lines,
        yes="Block",
        no="No, leave it",
        command=f"p2pckpt trust block {row.identity[:12]} --reason TEXT",
    )


def forget_dialog(row: KeyRow) -> ConfirmDialog:
    """The question before decisions are taken back."""
    lines = [f"{key_columns.name(row)}   {f.safe(row.words, 60)}", ""]
    if row.blocked_at:
        lines.append("! What it signs is taken again. What the block ended goes on when you resume it.")
    if row.verified_at:
        lines.append("It is not verified any more.")
    lines.append("A key that is in no share of this machine is forgotten altogether.")
    return ConfirmDialog(
        "Forget what was decided", lines, yes="Forget", command=f"p2pckpt trust forget {row.identity[:12]}"
    )


def _in_question(row: KeyRow) -> KeyPlace | None:
    """The share that a decision is about: where it is to be reviewed, else the newest."""
    reviewed = [place for place in row.places if place.review]
    return max(reviewed or row.places, key=lambda place: place.since, default=None)


def _title(row: KeyRow) -> str:
    if row.namesakes:
        return "Another key under a name you know"
    return {
        KeyState.REVIEW: "A new key: is it whose it says?",
        KeyState.BLOCKED: "A blocked key",
        KeyState.VERIFIED: "A verified key",
    }.get(row.state, "A key: is it whose it says?")


def _drawn(lines: list[str]) -> Content:
    parts: list[str | tuple[str, str]] = []
    for line in lines:
        tone = "$text-error" if line.startswith("! Another") else "$text-warning" if line.startswith("!") else ""
        parts += [(line, tone) if tone else line, "\n"]
    return Content.assemble(*parts[:-1])
