"""The cells of the piece map: what is durable, what has arrived, what is missing."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from p2pckpt.checkpoint.pieces import PieceSet
from p2pckpt.checkpoint.plan import PIECE_LENGTH
from p2pckpt.daemon.reports import _piece_cells


def pieces(*numbers: int) -> PieceSet:
    made = PieceSet()
    made.add(numbers)
    return made


def cells(durable: dict[bytes, PieceSet], arrived: dict[bytes, PieceSet], *counts: int) -> tuple[bytes, int]:
    """Of a version with objects ``0``, ``1`` … of so many pieces each."""
    roots = [bytes([number]) for number in range(len(counts))]
    manifest: Any = SimpleNamespace(
        object_count=len(counts), object_lengths=[count * PIECE_LENGTH for count in counts], root=roots.__getitem__
    )
    rows = {root: SimpleNamespace(pieces=found) for root, found in durable.items()}
    services: Any = SimpleNamespace(catalogue=SimpleNamespace(object=rows.get))
    return _piece_cells(services, manifest, arrived)


def test_a_cell_a_piece_while_there_are_few() -> None:
    found = cells({b"\0": pieces(0, 1)}, {b"\0": pieces(1, 2), b"\1": pieces(0)}, 4, 2)
    assert found == (bytes([200, 200, 255, 0, 255, 0]), 6)


def test_a_cell_of_many_pieces_is_shaded_and_says_when_some_have_just_come() -> None:
    durable = pieces(*range(1024))
    shades, count = cells({b"\0": durable}, {}, 4096)
    assert (count, len(shades), shades[0], shades[255], shades[256]) == (4096, 1024, 200, 200, 0)
    durable.discard([1])
    assert cells({b"\0": durable}, {}, 4096)[0][0] == 150
    assert cells({b"\0": durable}, {b"\0": pieces(1)}, 4096)[0][0] == 255
