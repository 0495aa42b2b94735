"""Text as a QR code of half blocks, two modules a character cell: for links that a camera reads off a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import segno

QUIET: Final = 4
"""Light modules that ISO/IEC 18004 wants around a code; readers make do with one where the rest is light, too."""
_CELLS: Final = " ▀▄█"
"""By upper module + 2 * lower module; dark is drawn, so it needs dark characters on a light ground."""


def modules(text: str) -> tuple[tuple[bool, ...], ...]:
    """The code's rows, True for dark, without a border. Error correction L: screens are not torn or soiled."""
    code = segno.make(text, error="l", boost_error=False, micro=False)
    return tuple(tuple(bool(module) for module in row) for row in code.matrix)


def draw(text: str, width: int, height: int) -> list[str]:
    """Lines of equal length for ``width`` by ``height`` cells, with as much border as fits; none if it does not fit."""
    rows = modules(text)
    for border in range(QUIET, 0, -1):
        lines = half_blocks(rows, border)
        if len(lines) <= height and len(lines[0]) <= width:
            return lines
    return []


def smallest(text: str) -> tuple[int, int]:
    """Columns and lines that ``text`` needs."""
    lines = half_blocks(modules(text), 1)
    return len(lines[0]), len(lines)


def half_blocks(rows: Sequence[Sequence[bool]], border: int) -> list[str]:
    """``rows`` two by two as characters, with ``border`` light modules around, and one more below an odd last row."""
    width = len(rows[0]) + 2 * border
    light = (False,) * width
    side = light[:border]
    padded = [light] * border + [(*side, *row, *side) for row in rows] + [light] * border
    if len(padded) % 2:
        padded.append(light)
    return [
        "".join(_CELLS[upper + 2 * lower] for upper, lower in zip(*pair, strict=True))
        for pair in zip(padded[::2], padded[1::2], strict=True)
    ]
