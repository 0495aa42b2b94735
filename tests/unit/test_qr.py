"""QR codes: what is drawn is the code, whole, with a light border, and only where it fits."""

from __future__ import annotations

import pytest
import segno

from p2pckpt import qr

PLAIN = "p2pckpt:" + "a" * 52 + "?tr=tracker.example:7341&n=3"
SECRET = PLAIN + "&pk=" + "b" * 52 + "#" + "C" * 54


def read_back(lines: list[str]) -> tuple[tuple[bool, ...], ...]:
    """The modules that ``lines`` show, border included."""
    upper = [tuple(cell in "▀█" for cell in line) for line in lines]
    lower = [tuple(cell in "▄█" for cell in line) for line in lines]
    return tuple(row for pair in zip(upper, lower, strict=True) for row in pair)


@pytest.mark.parametrize("text", ["x", PLAIN, SECRET])
@pytest.mark.parametrize("size", [(60, 30), (80, 60), (200, 60)])
def test_drawn_cells_are_the_code_with_a_light_border(text: str, size: tuple[int, int]) -> None:
    lines = qr.draw(text, *size)
    assert lines
    assert len(lines) <= size[1] and {len(line) for line in lines} <= set(range(size[0] + 1))
    made = segno.make(text, error="l", boost_error=False, micro=False)
    drawn, side = read_back(lines), len(made.matrix)
    border = (len(drawn[0]) - side) // 2
    assert 1 <= border <= qr.QUIET
    inside = tuple(row[border : border + side] for row in drawn[border : border + side])
    assert inside == tuple(tuple(map(bool, row)) for row in made.matrix)
    assert sum(map(sum, drawn)) == sum(map(sum, inside)), "nothing dark beyond the code"


def test_a_link_without_a_secret_fits_a_terminal_of_24_lines_and_one_with_needs_more() -> None:
    assert qr.draw(PLAIN, 80, 24)
    assert qr.draw(SECRET, 80, 24) == []
    columns, lines = qr.smallest(SECRET)
    assert lines > 24
    assert qr.draw(SECRET, columns, lines)
    assert qr.draw(SECRET, columns - 1, lines) == []
    assert qr.draw(SECRET, columns, lines - 1) == []
