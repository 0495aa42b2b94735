"""Differences between two chunks of numbers, as unsigned numbers that are small where the chunks are close.

Subtraction is that of integers modulo 2^width on the bit patterns, whatever the numbers mean; zigzag then
folds the sign into the lowest bit. For neighbouring training steps this is smaller than XOR, because a
carry does not touch the exponent.

A training step moves large and small numbers by about as much, so how many units in the last place that is depends on
the exponent. Differences of 16-bit numbers can therefore stand in the order of their bases' exponents, which the
reader has too: equals among equals, each stretch with statistics of its own.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from p2pckpt.checkpoint.codec.scratch import BLOCK, Bytes, scratch

ORDERED_RUN = 1 << 18
"""Numbers that are put in order together. Part of the format. Longer runs leave the cache and take far longer."""
_EXPONENT = 7
"""Lowest bit of the eight to order by: bfloat16's exponent; float16's with the top of its mantissa."""


def difference(raw: Bytes, base: Bytes, width: int, out: Bytes) -> None:
    """``out`` = zigzag(raw - base) for numbers of ``width`` bytes; all three of one length, a multiple of
    it."""
    kind, top = f"<u{width}", 8 * width - 1
    numbers, bases, results = raw.view(kind), base.view(kind), out.view(kind)
    for start in range(0, len(numbers), BLOCK):
        block = results[start : start + BLOCK]
        np.subtract(numbers[start : start + BLOCK], bases[start : start + BLOCK], out=block)
        sign = np.right_shift(block, top)
        np.negative(sign, out=sign)
        np.left_shift(block, 1, out=block)
        np.bitwise_xor(block, sign, out=block)


def restore(out: Bytes, base: Bytes, width: int) -> None:
    """Turns the zigzag differences in ``out`` back into numbers, in place."""
    kind = f"<u{width}"
    results, bases = out.view(kind), base.view(kind)
    for start in range(0, len(results), BLOCK):
        block = results[start : start + BLOCK]
        sign = np.bitwise_and(block, 1)
        np.negative(sign, out=sign)
        np.right_shift(block, 1, out=block)
        np.bitwise_xor(block, sign, out=block)
        np.add(block, bases[start : start + BLOCK], out=block)


def put_in_order(differences: Bytes, base: Bytes) -> None:
    """Sorts 16-bit ``differences`` by the exponents in ``base``, lowest first and otherwise as they stood, in runs of
    ``ORDERED_RUN``; in place."""
    for numbers, order in _runs(differences, base):
        sorted_numbers = scratch.b16[: len(numbers)]
        np.take(numbers, order, out=sorted_numbers, mode="clip")
        np.copyto(numbers, sorted_numbers)


def undo_order(differences: Bytes, base: Bytes) -> None:
    """The inverse of ``put_in_order``; in place."""
    for numbers, order in _runs(differences, base):
        sorted_numbers = scratch.b16[: len(numbers)]
        np.copyto(sorted_numbers, numbers)
        numbers[order] = sorted_numbers


def _runs(differences: Bytes, base: Bytes) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    numbers, bases = differences.view("<u2"), base.view("<u2")
    for start in range(0, len(numbers), ORDERED_RUN):
        exponents = (bases[start : start + ORDERED_RUN] >> _EXPONENT).astype(np.uint8)
        yield numbers[start : start + ORDERED_RUN], np.argsort(exponents, kind="stable")
