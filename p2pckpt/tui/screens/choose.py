"""One of many: a list that typing narrows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from p2pckpt.tui import format as f
from p2pckpt.tui.screens.modal import Modal
from p2pckpt.tui.widgets.clean_input import CleanInput

Choice = tuple[str, str]
"""What is given back, and the line that is shown for it."""


class ChooseDialog(Modal[str | None]):
    """Gives the key of the chosen line, None when none was wanted after all."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "cancel", "Cancel", id="choose.cancel"),
        Binding("down", "move(1)", "Next", show=False, id="choose.down"),
        Binding("up", "move(-1)", "Previous", show=False, id="choose.up"),
    ]

    def __init__(
        self, title: str, choices: Sequence[Choice], *, present: str = "", text: str = "", command: str = ""
    ) -> None:
        super().__init__()
        self._title = title
        self._choices = choices
        self._present = present
        """Key of the line that is so now: it is marked, and the cursor begins there."""
        self._text = text
        """What is chosen, above the list; empty for nothing."""
        self._command = command
        """The command line that does the same; empty for none."""
        self._shown: list[str] = []

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as box:
            box.border_title = Content(f.safe(self._title, 100))
            box.border_subtitle = "type to narrow, enter chooses, esc closes"
            if self._text:
                yield Static(Content(f.safe(self._text)), classes="label", markup=False)
            yield CleanInput(placeholder="part of it", id="narrow", compact=True)
            yield OptionList(id="choices", compact=True, markup=False)
            yield Static("Nothing fits that.", id="none", markup=False)
            if self._command:
                yield Static(Content(f"= {f.safe(self._command)}"), classes="equivalent", markup=False)

    def on_mount(self) -> None:
        self.query_one("#choices", OptionList).can_focus = False
        self.query_one("#narrow", CleanInput).focus()
        self._narrow("")

    @on(Input.Changed, "#narrow")
    def _typed(self, event: Input.Changed) -> None:
        self._narrow(event.value)

    def _narrow(self, text: str) -> None:
        found = [(key, line) for key, line in self._choices if all(w in line.lower() for w in text.lower().split())]
        self._shown = [key for key, _ in found]
        box = self.query_one("#choices", OptionList)
        box.clear_options()
        box.add_options(
            [Option(Content(("● " if key == self._present else "  ") + f.safe(line, 200))) for key, line in found]
        )
        if found:
            box.highlighted = self._shown.index(self._present) if self._present in self._shown else 0
        self.query_one("#none").display = not found
        box.display = bool(found)

    def action_move(self, step: int) -> None:
        box = self.query_one("#choices", OptionList)
        (box.action_cursor_down if step > 0 else box.action_cursor_up)()

    @on(Input.Submitted, "#narrow")
    def _submitted(self) -> None:
        index = self.query_one("#choices", OptionList).highlighted
        if self._shown and index is not None:
            self.dismiss(self._shown[index])

    @on(OptionList.OptionSelected, "#choices")
    def _selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(self._shown[event.option_index])

    def action_cancel(self) -> None:
        self.dismiss(None)
