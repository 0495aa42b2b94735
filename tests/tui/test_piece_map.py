"""Bytes of a job's detail as shaded cells."""

from __future__ import annotations

from p2pckpt.tui.widgets.piece_map import cells, digits, shade


def test_levels_become_shades() -> None:
    assert cells(bytes([0, 1, 80, 199, 200, 255]), 100) == "·░▒▓█»"


def test_neighbours_share_a_cell_when_there_is_no_room_and_an_active_one_wins() -> None:
    assert cells(bytes([0, 0, 200, 200, 0, 255]), 3) == "·█»"
    assert cells(bytes([0, 200]), 1) == "▒"


def test_empty_and_full_are_only_said_when_true() -> None:
    assert shade(0.0001) == "░"
    assert shade(0.9999) == "▓"


def test_every_piece_is_in_some_cell() -> None:
    for count in range(1, 60):
        for room in range(1, 20):
            drawn = cells(bytes([0] * (count - 1) + [255]), room)
            assert len(drawn) == min(count, room)
            assert drawn.endswith("»")


def test_no_pieces_draw_nothing() -> None:
    assert cells(b"", 10) == ""


def test_copies_are_digits_of_the_rarest_piece_behind_each_cell() -> None:
    assert digits(bytes([3, 1, 0, 9, 10, 254, 255]), 7) == "3109++ "
    assert digits(bytes([3, 1, 255, 2]), 2) == "12"
    assert digits(b"", 40) == ""
