"""BitTorrent v2's hash of a file: a SHA-256 Merkle tree over leaves of 16 KiB (BEP 52).

The root names an object; the piece layer goes into its torrent. Both come from one pass over the bytes, so
that no object has to be read a second time. Torrents themselves are built elsewhere.
"""

from __future__ import annotations

from hashlib import sha256

LEAF = 16 << 10
"""Bytes of a leaf, BEP 52's block size."""
_HASH = 32
_ABSENT = bytes(_HASH)
"""What stands for a leaf behind the end of the file: zeros, not the hash of zeros."""

Buffer = bytes | bytearray | memoryview


class FileTree:
    """The tree of one file, grown from its bytes in order. Memory: 32 bytes for each piece."""

    def __init__(self, piece_length: int) -> None:
        """``piece_length`` in bytes, a power of two of at least ``LEAF``; ``ValueError`` otherwise."""
        if piece_length < LEAF or piece_length & (piece_length - 1):
            raise ValueError(f"{piece_length} is no power of two of at least {LEAF}")
        self._leaves_per_piece = piece_length // LEAF
        self._length = 0
        self._leaf = sha256()
        self._leaf_filled = 0
        self._leaves: list[bytes] = []
        self._pieces: list[bytes] = []

    @property
    def length(self) -> int:
        """Bytes seen so far."""
        return self._length

    def update(self, data: Buffer) -> None:
        """Takes the next bytes of the file, any number of them. Whole leaves are hashed without a copy."""
        view = memoryview(data).cast("B")
        self._length += len(view)
        at = 0
        if self._leaf_filled:
            at = min(LEAF - self._leaf_filled, len(view))
            self._leaf.update(view[:at])
            self._leaf_filled += at
            if self._leaf_filled < LEAF:
                return
            self._close_leaf()
        whole_end = len(view) - (len(view) - at) % LEAF
        while at < whole_end:
            self._add(sha256(view[at : at + LEAF]).digest())
            at += LEAF
        if at < len(view):
            self._leaf.update(view[at:])
            self._leaf_filled = len(view) - at

    def finish(self) -> tuple[bytes, bytes]:
        """Root and piece layer; the layer is empty for a file of at most one piece.

        Raises ``ValueError`` for an empty file, which has no root. The tree cannot grow afterwards.
        """
        if not self._length:
            raise ValueError("an empty file has no Merkle root")
        if self._leaf_filled:
            self._close_leaf()
        if not self._pieces or (len(self._pieces) == 1 and not self._leaves):
            return (self._pieces[0] if self._pieces else _root(self._leaves, _ABSENT)), b""
        if self._leaves:
            self._close_piece()
        absent_piece = _root([_ABSENT] * self._leaves_per_piece, _ABSENT)
        return _root(self._pieces, absent_piece), b"".join(self._pieces)

    def close_piece(self) -> bytes:
        """Fill the piece up with absent leaves, as the last one of several is; its hash."""
        if self._leaf_filled:
            self._close_leaf()
        if self._leaves:
            self._close_piece()
        return self._pieces[-1]

    def _close_leaf(self) -> None:
        self._add(self._leaf.digest())
        self._leaf = sha256()
        self._leaf_filled = 0

    def _add(self, leaf: bytes) -> None:
        self._leaves.append(leaf)
        if len(self._leaves) == self._leaves_per_piece:
            self._close_piece()

    def _close_piece(self) -> None:
        """A piece's subtree has all its leaves, absent ones included, unless it is the whole file."""
        self._leaves += [_ABSENT] * (self._leaves_per_piece - len(self._leaves))
        self._pieces.append(_root(self._leaves, _ABSENT))
        self._leaves = []


def piece_hash(data: Buffer, piece_length: int) -> bytes:
    """What the piece layer of a file of several pieces says of one with these bytes; only the last may be short."""
    tree = FileTree(piece_length)
    tree.update(data)
    return tree.close_piece()


def root_of_layer(layer: bytes, piece_length: int) -> bytes:
    """The root of a file of several pieces, from the hashes of its pieces."""
    hashes = [layer[at : at + _HASH] for at in range(0, len(layer), _HASH)]
    return _root(hashes, _root([_ABSENT] * (piece_length // LEAF), _ABSENT))


def root_of(data: Buffer) -> bytes:
    """The root of a file with these bytes, 32 bytes; it does not depend on a piece length."""
    tree = FileTree(LEAF)
    tree.update(data)
    return tree.finish()[0]


def _root(hashes: list[bytes], absent: bytes) -> bytes:
    """The root over ``hashes``, filled up to a power of two with ``absent`` and its parents."""
    level = hashes
    while len(level) > 1:
        if len(level) % 2:
            level = [*level, absent]
        level = [sha256(level[i] + level[i + 1]).digest() for i in range(0, len(level), 2)]
        absent = sha256(absent + absent).digest()
    return level[0]
