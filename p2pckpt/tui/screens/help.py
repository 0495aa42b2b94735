"""Every key that works on the screen below, and the filter language."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Static

from p2pckpt.tui.screens.modal import Modal

_FILTERS = (
    ("words", "match the name"),
    ("state:down", "down, up, paused, failed, queued, done, verify, publish"),
    ("seeds:0  size:>100G", "a number; also < >= <=, K M G T"),
)
_GLYPHS = "▼ receiving  ◆ publishing  ≡ verifying  ▲ seeding  ‖ paused  ◦ queued  ✔ done  ✗ failed"


class Key(NamedTuple):
    """One line of the help."""

    keys: str
    text: str
    command: str
    """The command line that does the same; empty for none."""


class HelpScreen(Modal[None]):
    """Lists ``keys``, as they were when help was asked for."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q,question_mark", "dismiss", "Close", id="help.close")]

    def __init__(self, keys: Sequence[Key]) -> None:
        super().__init__()
        self._keys = keys

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog wide") as box:
            box.border_title = "Keys"
            box.border_subtitle = "esc closes"
            with VerticalScroll():
                yield Static(self._text(), markup=False)

    def on_mount(self) -> None:
        self.query_one(VerticalScroll).focus()

    def _text(self) -> Content:
        parts: list[str | tuple[str, str]] = []
        for key in self._keys:
            parts += [(f"{key.keys:>12}", "bold $text-primary"), f"  {key.text:<22}"]
            parts += [(f"  = {key.command}" if key.command else "", "$text-muted"), "\n"]
        parts += [("\nFilter\n", "bold")]
        for term, text in _FILTERS:
            parts += [(f"  {term:<20}", "$text-primary"), f"  {text}\n"]
        parts += [("\nStates\n", "bold"), f"  {_GLYPHS}"]
        return Content.assemble(*parts)
