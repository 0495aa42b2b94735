"""Sizes everybody agrees on, and the arithmetic from chunks wanted to pieces wanted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from p2pckpt.checkpoint.manifest import Manifest

PIECE_LENGTH: Final = 1 << 20
"""Bytes of a BitTorrent piece: what a receiver can ask for and verify alone. 256 KiB to 16 MiB measured alike."""
OBJECT_TARGET: Final = 16 << 20
"""An object is closed once it holds this many bytes: fewer, larger files cost libtorrent nothing."""
MAX_TORRENTS: Final = 8
"""A version that would need more torrents than this carries the older objects itself."""


def missing_chunks(manifest: Manifest, files: Iterable[int], present: set[int]) -> set[int]:
    """Chunk indices that ``files`` need and ``present`` lacks; the bases of deltas among them included."""
    wanted: set[int] = set()
    for number in files:
        wanted.update(manifest.chunks_of(manifest.body.files[number]).tolist())
    wanted -= present
    bases = {int(manifest.bases[chunk]) - 1 for chunk in wanted if manifest.bases[chunk]}
    return wanted | (bases - present)


def pieces_under(offset: int, length: int) -> range:
    """The pieces of an object that hold its bytes ``[offset, offset + length)``."""
    return range(offset // PIECE_LENGTH, -(-(offset + length) // PIECE_LENGTH))


def pieces_of_chunk(manifest: Manifest, chunk: int) -> range:
    """Pieces of the chunk's object that its frame touches."""
    return pieces_under(int(manifest.frame_offsets[chunk]), int(manifest.frame_lengths[chunk]))


def pieces_wanted(manifest: Manifest, chunks: Iterable[int]) -> Mapping[int, set[int]]:
    """Object index → its pieces that hold frames of ``chunks``."""
    wanted: dict[int, set[int]] = {}
    for chunk in chunks:
        wanted.setdefault(int(manifest.chunk_objects[chunk]), set()).update(pieces_of_chunk(manifest, chunk))
    return wanted


def wire_bytes(manifest: Manifest, wanted: Mapping[int, set[int]]) -> int:
    """Bytes of the pieces in ``wanted``; the last piece of an object may be short."""
    total = 0
    for index, pieces in wanted.items():
        length = int(manifest.object_lengths[index])
        total += sum(min(PIECE_LENGTH, length - piece * PIECE_LENGTH) for piece in pieces)
    return total
