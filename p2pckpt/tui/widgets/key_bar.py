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

Entry = tuple[str, str, str]
"""A key as it is shown, what it does, and the key."""


class KeyBar(Static):
    """Shows the bindings of its screen that ask to be shown; help always keeps its place."""

    DEFAULT_CSS = "KeyBar { dock: bottom; height: 1; background: $panel; }"

    def __init__(self) -> None:
        super().__init__("", markup=False)
        self._entries: list[Entry] = []

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
        self._entries = _fit([(self.app.get_key_display(b), b.description, b.key) for b in bindings], self.size.width)
        parts = []
        for shown, text, _ in self._entries:
            parts += [(f" {shown}", "bold $text-primary"), (f" {text} ", "$text-muted")]
        self.update(Content.assemble(*parts))

    def on_click(self, event: events.Click) -> None:
        """A click on a key is that key."""
        right = 0
        for entry in self._entries:
            right += _width(entry)
            if event.x < right:
                self.app.simulate_key(entry[2])
                return


def _fit(entries: list[Entry], width: int) -> list[Entry]:
    kept = list(entries)
    while kept and sum(map(_width, kept)) > width:
        kept.pop(-2 if len(kept) > 1 else -1)
    return kept


def _width(entry: Entry) -> int:
    return cell_len(entry[0]) + cell_len(entry[1]) + 3
