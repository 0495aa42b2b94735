"""A checkbox whose state can be read without colour."""

from __future__ import annotations

from textual.content import Content
from textual.widgets import Checkbox


class Check(Checkbox):
    """``[X]`` or ``[ ]``."""

    DEFAULT_CSS = """
    Check { text-wrap: nowrap; text-overflow: ellipsis; }
    """

    @property
    def _button(self) -> Content:
        return Content.assemble(("[X]" if self.value else "[ ]", self.get_visual_style("toggle--button")))
