"""Reading stored objects again: which of their pieces are still as they were hashed."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from io import FileIO
from pathlib import Path

from p2pckpt.checkpoint.merkle import piece_hash, root_of
from p2pckpt.checkpoint.plan import PIECE_LENGTH
from p2pckpt.store.catalogue import ObjectRow

_HASH = 32


def damaged_pieces(path: Path, row: ObjectRow, pieces: Iterable[int]) -> set[int]:
    """Those of ``pieces`` that the file at ``path`` does not have as the object's hashes say."""
    wanted = set(pieces)
    try:
        file = path.open("rb", buffering=0)
    except OSError:  # gone, not a file any more, or not readable: whatever was there is not
        return wanted
    with file:
        return {piece for piece in wanted if not _is_right(file, row, piece)}


def _is_right(file: FileIO, row: ObjectRow, piece: int) -> bool:
    start = piece * PIECE_LENGTH
    length = min(PIECE_LENGTH, row.length - start)
    try:
        if _is_hole(file.fileno(), start, length):
            return False  # zeros are never sealed nor a frame, and a file that was just begun is one large hole
        file.seek(start)
        data = file.read(length)
    except OSError:  # a sector that can't be read
        return False
    if len(data) != length:
        return False
    if not row.layer:
        return root_of(data) == row.root
    return piece_hash(data, PIECE_LENGTH) == row.layer[piece * _HASH : (piece + 1) * _HASH]


def _is_hole(descriptor: int, start: int, length: int) -> bool:
    """Whether nothing was ever written there, as far as the file system can tell."""
    if not hasattr(os, "SEEK_DATA"):
        return False
    try:
        return os.lseek(descriptor, start, os.SEEK_DATA) >= start + length
    except OSError as exc:
        if exc.errno == errno.ENXIO:
            return True
        raise
