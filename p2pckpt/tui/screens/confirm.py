"""A question before something is done: what it would mean, and No as the answer at hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Button, Input, Static

from p2pckpt.tui import format as f
from p2pckpt.tui.screens.modal import Modal
from p2pckpt.tui.widgets.clean_input import CleanInput


class ConfirmDialog(Modal[bool]):
    """Yes only by choosing it; with ``expected`` that has to be typed first.

    ``lines`` say what would happen, most important first; those that begin with ``!`` are drawn as warnings.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,n", "no", "No", id="confirm.no"),
        Binding("left,right", "app.focus_next", "Other button", show=False, id="confirm.other"),
    ]

    def __init__(
        self, title: str, lines: Sequence[str], *, yes: str, no: str = "No, keep", expected: str = "", command: str = ""
    ) -> None:
        super().__init__()
        self._title = title
        self._lines = lines
        self._yes = yes
        self._no = no
        self._command = command
        """The command line that does the same; empty for none."""
        self.expected = expected
        """What has to be typed before Yes can be chosen; empty for nothing."""

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as box:
            box.border_title = Content(self._title)
            with VerticalScroll(classes="consequences", can_focus=False):
                yield Static(_drawn(self._lines), markup=False)
            if self.expected:
                yield Static(Content(f"Type {f.safe(self.expected)} to confirm:"), classes="label", markup=False)
                yield CleanInput(id="confirm", compact=True)
            with Horizontal(classes="buttons"):
                yield Button(Content(self._no), id="no", variant="primary", compact=True)
                yield Button(Content(self._yes), id="yes", variant="error", disabled=bool(self.expected), compact=True)
            if self._command:
                yield Static(Content(f"= {f.safe(self._command)}"), classes="equivalent", markup=False)

    def on_mount(self) -> None:
        self.query_one("#no", Button).focus()

    @on(Input.Changed, "#confirm")
    def _typed(self, event: Input.Changed) -> None:
        self.query_one("#yes", Button).disabled = event.value.strip() != self.expected

    @on(Input.Submitted, "#confirm")
    def _submitted(self) -> None:
        self.query_one("#no", Button).focus()

    @on(Button.Pressed, "#yes")
    def action_yes(self) -> None:
        self.dismiss(True)

    @on(Button.Pressed, "#no")
    def action_no(self) -> None:
        self.dismiss(False)


def _drawn(lines: Sequence[str]) -> Content:
    parts: list[str | tuple[str, str]] = []
    for line in lines:
        parts += [(line, "$text-warning") if line.lstrip().startswith("!") else line, "\n"]
    return Content.assemble(*parts[:-1])
