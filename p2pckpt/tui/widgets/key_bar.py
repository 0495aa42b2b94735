"""The last line of a screen: the keys that do something here, as many as fit."""

from __future__ import annotations

from typing import Final

from rich.cells import cell_len
from textual import events
from textual.content import Content
from textual.screen import Screen
from textual.widgets import Static

_ORDER: Final = {"start_daemon": 0, "retry": 1, "app.pop_screen": 2, "share": 3, "receive": 4, "help": 9}
"""Place of an action in the bar, by what a person looks for first; those not named stand at ``_REST``."""
_REST: Final = 5


class KeyBar(Static):
    """Shows the bindings of its screen that ask to be shown; help always keeps its place."""

    DEFAULT_CSS = "KeyBar { dock: bottom; height: 1; background: $panel; }"

    def __init__(self) -> None:
        super().__init__("", markup=False)

    def on_mount(self) -> None:
        self.screen.bindings_updated_signal.subscribe(self, self._bindings_updated)
        self.call_after_refresh(self.show)

    def on_resize(self, event: events.Resize) -> None:
        self.show()

    def _bindings_updated(self, screen: Screen[object]) -> None:
        self.show()

    def show(self) -> None:
        """Draw the keys that work now."""
        if not self.is_attached or not self.size.width or self.app.screen is not self.screen:
            return
        bindings = [a.binding for a in self.screen.active_bindings.values() if a.binding.show and a.enabled]
        bindings.sort(key=lambda binding: _ORDER.get(binding.action, _REST))
        entries = [(self.app.get_key_display(binding), binding.description) for binding in bindings]
        self.update(Content.assemble(*_fit(entries, self.size.width)))


def _fit(entries: list[tuple[str, str]], width: int) -> list[tuple[str, str]]:
    kept = list(entries)
    while kept and sum(cell_len(key) + cell_len(text) + 3 for key, text in kept) > width:
        kept.pop(-2 if len(kept) > 1 else -1)
    parts = []
    for key, text in kept:
        parts += [(f" {key}", "bold $text-primary"), (f" {text} ", "$text-muted")]
    return parts
