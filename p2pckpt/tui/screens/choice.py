"""One of a few things chosen: a theme, yes or no, a level."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import OptionList, Static

from p2pckpt.tui import format as f


class ChoiceDialog(ModalScreen[str | None]):
    """Gives the choice, None when nothing is to change."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "cancel", "Cancel", id="choice.cancel")]

    def __init__(self, title: str, text: str, choices: Sequence[str], *, current: str, command: str = "") -> None:
        super().__init__()
        self._title = title
        self._text = text
        self._choices = choices
        self._current = current
        self._command = command
        """The command line that does the same; empty for none."""

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as box:
            box.border_title = Content(self._title)
            yield Static(Content(self._text), classes="label", markup=False)
            marks = ("● " if choice == self._current else "  " for choice in self._choices)
            yield OptionList(
                *(Content(mark + f.safe(choice)) for mark, choice in zip(marks, self._choices, strict=True)),
                id="choices",
                compact=True,
            )
            if self._command:
                yield Static(Content(f"= {f.safe(self._command)}"), classes="equivalent", markup=False)

    def on_mount(self) -> None:
        choices = self.query_one("#choices", OptionList)
        if self._current in self._choices:
            choices.highlighted = self._choices.index(self._current)
        choices.focus()

    @on(OptionList.OptionSelected, "#choices")
    def _chosen(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(self._choices[event.option_index])

    def action_cancel(self) -> None:
        self.dismiss(None)
