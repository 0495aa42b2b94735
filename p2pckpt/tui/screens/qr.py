"""A link as a QR code on the whole screen, with the link itself beside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Final, cast

from rich.segment import Segment
from rich.style import Style
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.filter import LineFilter
from textual.strip import Strip
from textual.widget import Widget
from textual.widgets import Static

from p2pckpt import qr
from p2pckpt.tui import format as f
from p2pckpt.tui.screens.modal import Modal

if TYPE_CHECKING:
    from p2pckpt.tui.app import P2pckptApp

_BESIDE: Final = 24
"""Columns that the text beside the code needs."""
_SECRET: Final = "! It is a secret: it lets in whoever has it. Send it by a way you trust."  # noqa: S105 - a sentence
_PLAIN: Final = "It is no secret: it says where the share is, and lets nobody in who may not have it."
_INK: Final = Style(color="#000000", bgcolor="#ffffff")


class QrCode(Widget):
    """Draws lines of half blocks dark on light, whatever the theme: a camera needs that."""

    DEFAULT_CSS = "QrCode { width: auto; height: auto; }"

    def __init__(self, lines: Sequence[str]) -> None:
        super().__init__(id="code")
        self.lines = lines
        self.styles.width, self.styles.height = len(lines[0]), len(lines)

    def get_line_filters(self) -> Sequence[LineFilter]:
        return ()  # NO_COLOR is about ornament

    def render_line(self, y: int) -> Strip:
        return Strip([Segment(self.lines[y], _INK)], len(self.lines[y]))


class QrScreen(Modal[None]):
    """``lines`` say what the link is good for; a link with a secret is on screen until this is closed."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,enter", "close", "Close", id="qr.close"),
        Binding("y", "copy_link", "Copy link", id="qr.copy-link"),
    ]

    def __init__(self, title: str, link: str, lines: Sequence[str] = (), *, command: str = "p2pckpt link qr -") -> None:
        super().__init__()
        self._title = title
        self._link = link
        self._lines = lines or (_SECRET if "#" in link else _PLAIN,)
        self._command = command
        """The command line that draws it on a larger terminal."""

    def compose(self) -> ComposeResult:
        width, height = self.app.size
        drawn = qr.draw(self._link, width - _BESIDE, height)
        if drawn:
            yield QrCode(drawn)
        with VerticalScroll(id="beside", can_focus=False):
            yield Static(self._text(fits=bool(drawn)), markup=False)

    async def on_resize(self) -> None:
        """Another size may fit another code."""
        await self.recompose()

    def _text(self, *, fits: bool) -> Content:
        parts: list[str | tuple[str, str]] = [(f"{f.safe(self._title, 120)}\n", "bold $text-primary")]
        parts += [(f"{line}\n", "$text-warning") if line.startswith("!") else f"{line}\n" for line in self._lines]
        if not fits:
            columns, lines = qr.smallest(self._link)
            width, height = self.app.size
            parts.append(
                (
                    f"\n! Its QR code needs {columns + _BESIDE} columns and {lines} lines, and there are {width} and "
                    f"{height}: enlarge the window or make its letters smaller, or draw it with\n  {self._command}\n",
                    "$text-warning",
                )
            )
        parts += [f"\n{f.safe(self._link, 4096)}\n", ("\ny", "bold $text-primary"), " copies it   "]
        parts += [("esc", "bold $text-primary"), " closes"]
        return Content.assemble(*parts)

    def action_close(self) -> None:
        self.dismiss(None)

    def action_copy_link(self) -> None:
        cast("P2pckptApp", self.app).copy_link(self._link)
