"""One line asked for: a tag, a path, a rate."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Button, Input, Static

from p2pckpt.errors import BadUsage
from p2pckpt.tui import format as f
from p2pckpt.tui.screens.modal import Modal
from p2pckpt.tui.widgets.clean_input import CleanInput


class PromptDialog(Modal[str | None]):
    """Gives the line without the space around it, None when it was not wanted after all.

    ``check`` raises ``BadUsage`` for what can't be meant; the dialog stays open and says why.
    """

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "cancel", "Cancel", id="prompt.cancel")]

    def __init__(
        self,
        title: str,
        text: str,
        *,
        value: str = "",
        placeholder: str = "",
        yes: str = "OK",
        check: Callable[[str], object] | None = None,
        password: bool = False,
        command: str = "",
    ) -> None:
        super().__init__()
        self._title = title
        self._text = text
        self._value = value
        self._placeholder = placeholder
        self._yes = yes
        self._check = check
        self._password = password
        self._command = command
        """The command line that does the same; empty for none."""

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as box:
            box.border_title = Content(self._title)
            yield Static(Content(self._text), classes="label", markup=False)
            yield CleanInput(
                self._value, placeholder=self._placeholder, password=self._password, id="line", compact=True
            )
            yield Static("", id="error", markup=False)
            with Horizontal(classes="buttons"):
                yield Button(Content(self._yes), id="yes", variant="primary", compact=True)
                yield Button("Cancel", id="cancel", compact=True)
            if self._command:
                yield Static(Content(f"= {f.safe(self._command)}"), classes="equivalent", markup=False)

    def on_mount(self) -> None:
        self.query_one("#line", CleanInput).focus()

    @on(Input.Submitted, "#line")
    @on(Button.Pressed, "#yes")
    def _answered(self) -> None:
        value = self.query_one("#line", CleanInput).value.strip()
        try:
            if self._check is not None:
                self._check(value)
        except BadUsage as error:
            line = self.query_one("#error", Static)
            line.update(Content(f"✗ {f.safe(error.fact)}"))
            line.add_class("-shown")
            self.query_one("#line", CleanInput).focus()
            return
        self.dismiss(value)

    @on(Button.Pressed, "#cancel")
    def action_cancel(self) -> None:
        self.dismiss(None)
