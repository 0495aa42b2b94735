from __future__ import annotations

from pathlib import Path

import pytest

from p2pckpt.checkpoint.pieces import PieceSet, count
from p2pckpt.checkpoint.plan import PIECE_LENGTH
from p2pckpt.store.catalogue import ObjectRow
from p2pckpt.store.scrub import damaged_pieces
from tests.contract.nodes import noise, torrent_file

LENGTHS = [1, 5000, PIECE_LENGTH, PIECE_LENGTH + 1, 3 * PIECE_LENGTH - 100]


def stored(path: Path, length: int, pieces: set[int] | None = None) -> ObjectRow:
    """An object in a file, and what the catalogue says of it."""
    data = noise(f"scrub {length}", length)
    path.write_bytes(data)
    file = torrent_file(data)
    have = PieceSet.full(length)
    if pieces is not None:
        have = PieceSet()
        have.add(pieces)
    return ObjectRow(file.root, length, 1, 1, have, file.piece_layer)


def flip(path: Path, offset: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 1]))


@pytest.mark.parametrize("length", LENGTHS)
def test_an_object_that_is_whole_has_no_damage(tmp_path: Path, length: int) -> None:
    row = stored(tmp_path / "object", length)
    assert damaged_pieces(tmp_path / "object", row, row.pieces) == set()


@pytest.mark.parametrize("length", LENGTHS)
def test_one_flipped_bit_damages_the_piece_it_is_in(tmp_path: Path, length: int) -> None:
    path = tmp_path / "object"
    for offset in {0, length // 2, length - 1}:
        row = stored(path, length)
        flip(path, offset)
        assert damaged_pieces(path, row, row.pieces) == {offset // PIECE_LENGTH}


def test_only_the_pieces_asked_for_are_looked_at(tmp_path: Path) -> None:
    path = tmp_path / "object"
    row = stored(path, 3 * PIECE_LENGTH, {0, 2})
    flip(path, PIECE_LENGTH + 5)
    assert damaged_pieces(path, row, row.pieces) == set()
    flip(path, 2 * PIECE_LENGTH)
    assert damaged_pieces(path, row, row.pieces) == {2}


@pytest.mark.parametrize("length", LENGTHS)
def test_a_file_that_is_gone_or_empty_has_lost_every_piece(tmp_path: Path, length: int) -> None:
    path = tmp_path / "object"
    row = stored(path, length)
    path.write_bytes(b"")
    assert damaged_pieces(path, row, row.pieces) == set(range(count(length)))
    path.unlink()
    assert damaged_pieces(path, row, row.pieces) == set(range(count(length)))


def test_a_file_that_was_cut_off_has_lost_what_was_behind(tmp_path: Path) -> None:
    path = tmp_path / "object"
    row = stored(path, 3 * PIECE_LENGTH)
    with path.open("r+b") as file:
        file.truncate(PIECE_LENGTH + 10)
    assert damaged_pieces(path, row, row.pieces) == {1, 2}


def test_bytes_behind_the_end_are_no_damage_to_a_piece(tmp_path: Path) -> None:
    path = tmp_path / "object"
    row = stored(path, PIECE_LENGTH + 10)
    with path.open("ab") as file:
        file.write(b"more")
    assert damaged_pieces(path, row, row.pieces) == set()


def test_what_was_never_written_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "object"
    row = stored(path, 3 * PIECE_LENGTH)
    data = path.read_bytes()
    with path.open("wb") as file:
        file.truncate(len(data))
        file.seek(PIECE_LENGTH)
        file.write(data[PIECE_LENGTH : 2 * PIECE_LENGTH])
    assert damaged_pieces(path, row, range(3)) == {0, 2}
    assert damaged_pieces(path, row, [1]) == set()


def test_a_path_that_is_no_file_any_more_has_lost_everything(tmp_path: Path) -> None:
    row = stored(tmp_path / "object", PIECE_LENGTH + 1)
    (tmp_path / "object").unlink()
    assert damaged_pieces(tmp_path / "object", row, row.pieces) == {0, 1}
    (tmp_path / "object").mkdir()
    assert damaged_pieces(tmp_path / "object", row, row.pieces) == {0, 1}
