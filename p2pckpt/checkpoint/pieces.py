"""Sets of pieces of one object, as bitmaps: which of them are durable on this disk."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from p2pckpt.checkpoint.plan import PIECE_LENGTH


def count(length: int) -> int:
    """Pieces of an object of ``length`` bytes."""
    return -(-length // PIECE_LENGTH)


class PieceSet:
    """Pieces by number; ``bytes(self)`` is the bitmap, least significant bit first."""

    def __init__(self, bitmap: bytes = b"") -> None:
        self._bits = int.from_bytes(bitmap, "little")

    @classmethod
    def full(cls, length: int) -> PieceSet:
        pieces = cls()
        pieces._bits = (1 << count(length)) - 1
        return pieces

    def add(self, pieces: Iterable[int]) -> None:
        for piece in pieces:
            self._bits |= 1 << piece

    def discard(self, pieces: Iterable[int]) -> None:
        for piece in pieces:
            self._bits &= ~(1 << piece)

    def __contains__(self, piece: int) -> bool:
        return bool(self._bits >> piece & 1)

    def covers(self, pieces: Iterable[int]) -> bool:
        return all(piece in self for piece in pieces)

    def __iter__(self) -> Iterator[int]:
        bits = self._bits
        while bits:
            lowest = bits & -bits
            yield lowest.bit_length() - 1
            bits ^= lowest

    def __len__(self) -> int:
        return self._bits.bit_count()

    def __bytes__(self) -> bytes:
        return self._bits.to_bytes(-(-self._bits.bit_length() // 8), "little")
