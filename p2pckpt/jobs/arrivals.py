"""Bookkeeping of a fetch: where each chunk goes, and which chunks the pieces that arrived make complete. No I/O."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from p2pckpt.checkpoint.manifest import Manifest
from p2pckpt.checkpoint.plan import pieces_of_chunk


class Places:
    """Where each chunk goes: one entry per use of a chunk in the chosen files, looked up by chunk.

    Places in files that are at the target already have a number, too, but are never handed out.
    """

    def __init__(self, manifest: Manifest, chosen: Sequence[int], in_place: Collection[int]) -> None:
        rows = list(manifest.places(chosen))
        self.files = np.fromiter((row[0] for row in rows), np.uint32, len(rows))
        self.offsets = np.fromiter((row[1] for row in rows), np.uint64, len(rows))
        self.chunks = np.fromiter((row[2] for row in rows), np.uint32, len(rows))
        self._is_open = ~np.isin(self.files, np.fromiter(in_place, np.uint32, len(in_place)))
        open_places = np.flatnonzero(self._is_open)
        self._order = open_places[np.argsort(self.chunks[open_places], kind="stable")]
        self._starts = np.searchsorted(self.chunks[self._order], np.arange(manifest.chunk_count + 1))

    def is_open(self, place: int) -> bool:
        """Whether the place is in a file that this run makes."""
        return bool(self._is_open[place])

    def needed(self) -> set[int]:
        """Chunks that some place is open for."""
        return set(self.chunks[self._order].tolist())

    def of(self, chunk: int) -> list[int]:
        """Numbers of the places that ``chunk`` fills."""
        return list(map(int, self._order[self._starts[chunk] : self._starts[chunk + 1]]))


class Arrivals:
    """Which chunks become complete as pieces arrive."""

    def __init__(self, manifest: Manifest, missing: set[int], wanted: dict[int, set[int]]) -> None:
        self._chunks_of: dict[int, list[tuple[range, int]]] = {}
        self._left: dict[int, int] = {}
        self.ready: list[int] = []
        for chunk in sorted(missing):
            left = 0
            for frame in {chunk, int(manifest.bases[chunk]) - 1} & missing:  # a delta waits for its base, too
                number, pieces = int(manifest.chunk_objects[frame]), pieces_of_chunk(manifest, frame)
                left += sum(piece in wanted.get(number, ()) for piece in pieces)
                self._chunks_of.setdefault(number, []).append((pieces, chunk))
            if left:
                self._left[chunk] = left
            else:
                self.ready.append(chunk)
        self.outstanding = len(missing)
        """Chunks not yet taken by ``take``."""

    def arrived(self, number: int, piece: int) -> None:
        """Piece ``piece`` of object ``number`` is here."""
        for pieces, chunk in self._chunks_of.get(number, ()):
            if piece in pieces and chunk in self._left:
                self._left[chunk] -= 1
                if not self._left[chunk]:
                    del self._left[chunk]
                    self.ready.append(chunk)

    def take(self) -> list[int]:
        taken, self.ready = self.ready, []
        self.outstanding -= len(taken)
        return taken
