"""What a home has of a version, by pieces: what moved for a range, and what ought to have."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import Any

from p2pckpt.checkpoint.pieces import PieceSet
from p2pckpt.checkpoint.plan import pieces_under
from tests.support.homes import Home

Pieces = set[tuple[str, int]]
"""Root of an object and piece in it."""


async def pieces_here(home: Home) -> Pieces:
    """Every piece that the catalogue says is durable here."""
    with contextlib.closing(sqlite3.connect(f"file:{home.store / 'catalogue.db'}?mode=ro", uri=True)) as database:
        rows = database.execute("SELECT root, pieces FROM objects").fetchall()
    return {(root.hex(), piece) for root, pieces in rows for piece in PieceSet(pieces)}


async def pieces_of(home: Home, name: str, path: str, start: int = 0, end: int | None = None) -> Pieces:
    """The pieces under a range of a file, those of deltas' bases included."""
    manifest: dict[str, Any] = await home.client.manifest(name)
    (file,) = [file for file in manifest["files"] if file["path"] == path]
    end = file["size"] if end is None else end
    found: Pieces = set()
    at = 0
    for number in file["chunks"]:
        chunk = manifest["chunks"][number]
        if at < end and at + chunk["length"] > start:
            bases = [] if chunk["base"] is None else [manifest["chunks"][chunk["base"]]]
            for frame in (chunk, *bases):
                root = manifest["objects"][frame["object"]]["root"]
                found |= {(root, piece) for piece in pieces_under(frame["offset"], frame["stored"])}
        at += chunk["length"]
    return found
