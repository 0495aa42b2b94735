"""What every dialog is: a screen over others that gives one answer."""

from __future__ import annotations

from typing import TypeVar

from textual.await_complete import AwaitComplete
from textual.screen import ModalScreen

T = TypeVar("T")


class Modal(ModalScreen[T]):
    """A second answer is none: keys that were pressed before the first one was dealt with must close nothing else."""

    def dismiss(self, result: T | None = None) -> AwaitComplete:
        """Close with ``result``, and whatever is above; nothing happens once it is closed."""
        if self not in self.app.screen_stack:
            return AwaitComplete()
        while self.app.screen is not self:
            self.app.pop_screen()
        return super().dismiss(result)
