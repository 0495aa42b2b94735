"""Reading stored objects again: which of their pieces are still as they were hashed."""

from __future__ import annotations

from pathlib import Path

from p2pckpt.checkpoint.merkle import piece_hash, root_of
from p2pckpt.checkpoint.plan import PIECE_LENGTH
from p2pckpt.store.catalogue import ObjectRow

_HASH = 32


def damaged_pieces(path: Path, row: ObjectRow) -> set[int]:
    """Pieces that the catalogue counts on and the file at ``path`` does not have, or has otherwise."""
    damaged: set[int] = set()
    try:
        file = path.open("rb", buffering=0)
    except FileNotFoundError:
        return set(row.pieces)
    with file:
        for piece in row.pieces:
            try:
                file.seek(piece * PIECE_LENGTH)
                data = file.read(min(PIECE_LENGTH, row.length - piece * PIECE_LENGTH))
            except OSError:  # a sector that can't be read
                damaged.add(piece)
                continue
            expected = row.layer[piece * _HASH : (piece + 1) * _HASH] or row.root
            actual = (piece_hash(data, PIECE_LENGTH) if row.layer else root_of(data)) if data else b""
            if actual != expected:
                damaged.add(piece)
    return damaged
