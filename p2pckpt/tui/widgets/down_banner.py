"""The banner of a front end without a daemon."""

from __future__ import annotations

from textual.content import Content
from textual.widgets import Static

from p2pckpt.tui import format as f
from p2pckpt.tui.state import State


class DownBanner(Static):
    """Says that the daemon is away, what to press, and from when the lists are."""

    DEFAULT_CSS = """
    DownBanner { display: none; height: auto; padding: 0 1; margin-bottom: 1; }
    DownBanner.-down { display: block; }
    """

    def show(self, state: State) -> None:
        """Appear or disappear as ``state`` says."""
        self.set_class(state.down is not None, "-down")
        if state.down is None:
            return
        parts: list[str | tuple[str, str]] = [
            ("✗ No daemon: ", "bold $text-error"),
            f.safe(state.down.fact),
            "\n  ",
            ("s", "bold $text-primary"),
            " start it   ",
            ("r", "bold $text-primary"),
            " try again now   ",
            ("i", "bold $text-primary"),
            " install it as a service   ",
            ("it is looked for every few seconds", "$text-muted"),
        ]
        if state.down.next_step:
            parts.append(f"\n  Next: {f.safe(state.down.next_step)}")
        if state.last_words and state.last_words not in state.down.fact:
            parts.append((f"\n  Last in its log: {f.safe(state.last_words, 300)}", "$text-warning"))
        if state.updated_at:
            parts.append(f"\n  The lists are as they were at {f.clock(state.updated_at)}.")
        self.update(Content.assemble(*parts))
