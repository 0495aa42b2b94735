"""Checkboxes and choices whose state can be read without colour."""

from __future__ import annotations

from textual.content import Content
from textual.widgets import Checkbox, RadioButton


class Check(Checkbox):
    """``[X]`` or ``[ ]``."""

    DEFAULT_CSS = """
    Check { text-wrap: nowrap; text-overflow: ellipsis; }
    """

    @property
    def _button(self) -> Content:
        return Content.assemble(("[X]" if self.value else "[ ]", self.get_visual_style("toggle--button")))


class Choice(RadioButton):
    """``(•)`` or ``( )``; one of a ``RadioSet``."""

    DEFAULT_CSS = """
    Choice { text-wrap: nowrap; text-overflow: ellipsis; }
    """

    @property
    def _button(self) -> Content:
        return Content.assemble(("(•)" if self.value else "( )", self.get_visual_style("toggle--button")))
