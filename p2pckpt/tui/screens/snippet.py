"""How to load a version from a program: lines to copy."""

from __future__ import annotations

import shlex
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Static

from p2pckpt.tui import format as f
from p2pckpt.tui.screens.modal import Modal


class SnippetScreen(Modal[None]):
    """Shows the lines for ``name``, which is ``SHARE@VERSION``; ``y`` copies them."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "dismiss", "Close", id="snippet.close"),
        Binding("y", "copy", "Copy", id="snippet.copy"),
    ]

    def __init__(self, name: str) -> None:
        super().__init__()
        self._text = snippet(f.safe(name, 200))

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog wide") as box:
            box.border_title = "Load it"
            box.border_subtitle = "y copies, esc closes"
            yield Static(Content(self._text), markup=False)

    def action_copy(self) -> None:
        """Hand the lines to the terminal's clipboard."""
        self.app.copy_to_clipboard(self._text)
        self.notify("Copied, if this terminal allows it.", markup=False)


def snippet(name: str) -> str:
    """Python that fetches a version, if it is not here yet, and opens its weights; and the command line for it."""
    return (
        "import p2pckpt\n"
        "from safetensors import safe_open\n"
        "\n"
        f"received = p2pckpt.get({name!r}, only=['*.safetensors', '*.json'])\n"
        "for path in sorted(received.path.rglob('*.safetensors')):\n"
        "    with safe_open(path, framework='pt') as weights:\n"
        "        tensors = {key: weights.get_tensor(key) for key in weights.keys()}\n"
        "\n"
        f"# on the command line: p2pckpt get {shlex.quote(name)}"
    )
