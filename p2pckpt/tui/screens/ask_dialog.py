"""Asking the owners of a share to be let in, and waiting for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Button, ContentSwitcher, Input, Static

from p2pckpt.control.access_messages import AskReply, AskRequest
from p2pckpt.tracker_protocol import MAX_REQUEST_MESSAGE
from p2pckpt.tui import format as f
from p2pckpt.tui.screens.dialog import StepDialog
from p2pckpt.tui.state import Changes
from p2pckpt.tui.widgets.clean_input import CleanInput


class AskDialog(StepDialog):
    """Asks about ``source``, a link or name; ``let_in`` is called once an owner has approved while this is open."""

    BINDINGS: ClassVar[list[BindingType]] = []

    def __init__(self, source: str, let_in: Callable[[], object]) -> None:
        super().__init__()
        self._source = source
        self._let_in = let_in
        self._share_id = ""

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as box:
            box.border_title = "Ask the owners"
            with ContentSwitcher(initial="ask"):
                with Vertical(id="ask", classes="step"):
                    yield Static(
                        "The owners of the share are told who asks, with your message. Nobody learns from the answer "
                        "whether there is such a share.",
                        markup=False,
                    )
                    yield CleanInput(placeholder="who you are, for the owners", id="message", compact=True)
                    with Horizontal(classes="buttons"):
                        yield Button("Ask", id="yes", variant="primary", compact=True)
                        yield Button("Cancel", id="cancel", compact=True)
                with Vertical(id="waiting", classes="step"):
                    yield Static("", id="words", markup=False)
                    with Horizontal(classes="buttons"):
                        yield Button("Close", id="close", variant="primary", compact=True)
            yield Static("", id="error", markup=False)
            yield Static("= p2pckpt get LINK --request --message TEXT --wait", classes="equivalent", markup=False)

    def on_mount(self) -> None:
        self.query_one("#message").focus()

    @on(Input.Submitted)
    @on(Button.Pressed, "#yes")
    def _ask(self) -> None:
        message = self.query_one("#message", CleanInput).value.strip()
        if len(message) > MAX_REQUEST_MESSAGE:
            self.say_error(f"✗ The message has more than {MAX_REQUEST_MESSAGE} characters.")
            return
        request = AskRequest(self._source, message)
        self.ask(lambda client: client.ask(request), self._asked, "Asking …")

    def _asked(self, reply: AskReply) -> None:
        self._share_id = reply.share_id
        text = Content.assemble(
            "Asked. Tell an owner these words by another way, so that they know it is you:\n\n  ",
            (f.safe(reply.words, 200), "bold $text-primary"),
            "\n\nWaiting for them. This goes on once they have let you in; if you close it, the request stays.",
        )
        self.query_one("#words", Static).update(text)
        self.step("waiting")
        self.query_one("#close").focus()

    def state_changed(self, changes: Changes) -> None:
        if self._share_id and self._share_id in changes.granted:
            self.dismiss(None)
            self._let_in()

    @on(Button.Pressed, "#cancel")
    @on(Button.Pressed, "#close")
    def _close(self) -> None:
        self.action_close()
