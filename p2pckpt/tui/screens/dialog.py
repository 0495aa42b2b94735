"""What the two big dialogs have in common: steps, an error line, a busy state."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, TypeVar, cast

from rich.table import Table
from rich.text import Text
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import ContentSwitcher, Static

from p2pckpt.errors import P2pckptError
from p2pckpt.tui import commands
from p2pckpt.tui.commands import Request
from p2pckpt.tui.screens.modal import Modal
from p2pckpt.tui.state import Changes

if TYPE_CHECKING:
    from collections.abc import Callable

    from p2pckpt.tui.app import P2pckptApp

T = TypeVar("T")
Line = tuple[str, str]
"""What a fact is about, and the fact."""


class StepDialog(Modal[None]):
    """A dialog of steps in one ``ContentSwitcher``; a failed request keeps the step and says why."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "close", "Close", id="dialog.close")]

    def __init__(self) -> None:
        super().__init__()
        self._busy = False

    @property
    def hub(self) -> P2pckptApp:
        """The app, with its own type."""
        return cast("P2pckptApp", self.app)

    def state_changed(self, changes: Changes) -> None:
        """The daemon's state moved on; a dialog that waits for something looks here."""

    def action_close(self) -> None:
        """Close; what was started goes on."""
        self.dismiss(None)

    def step(self, name: str) -> None:
        """Show a step."""
        self.query_one(ContentSwitcher).current = name
        self.say_error("")

    def say_error(self, text: str) -> None:
        """Show ``text`` in the error line; empty hides it."""
        line = self.query_one("#error", Static)
        line.update(Content(text))
        line.set_class(bool(text), "-shown")

    def ask(
        self,
        request: Request[T],
        done: Callable[[T], object],
        busy: str,
        refused: Callable[[P2pckptError], object] | None = None,
    ) -> None:
        """Send ``request``, one at a time, saying ``busy`` meanwhile; a failure is shown, and given to ``refused``."""
        if self._busy:
            return
        self._set_busy(busy)

        def answered(reply: T) -> None:
            if self.is_attached:
                self._set_busy("")
                done(reply)

        def failed(error: P2pckptError) -> None:
            if self.is_attached:
                self._set_busy("")
                self.say_error("✗ " + "\n  ".join(commands.lines(error)))
                if refused is not None:
                    refused(error)
            else:
                self.hub.commands.tell(error)

        self.hub.commands.run(request, answered, failed)

    def _set_busy(self, text: str) -> None:
        self._busy = bool(text)
        self.say_error(text)
        self.query_one("#error", Static).set_class(self._busy, "-busy")


def table(lines: list[Line]) -> Table:
    """Facts below each other, what they are about at the left; ``!`` is about what to beware of."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(width=9, no_wrap=True)
    grid.add_column(overflow="fold")
    for label, text in lines:
        beware = label == "!"
        grid.add_row(Text(label, "bold yellow" if beware else "dim"), Text(text, "yellow" if beware else ""))
    return grid
