"""A one-line input whose text cannot carry control characters, however it was pasted."""

from __future__ import annotations

from typing import Final

from textual.widgets import Input

from p2pckpt.tui import format as f

_LIMIT: Final = 4096
"""Characters kept: a path or a link is far shorter."""


class CleanInput(Input):
    """An ``Input`` that sanitizes what it is given."""

    def validate_value(self, value: str) -> str:
        return f.safe(value, _LIMIT)
