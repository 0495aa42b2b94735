"""Differences between two chunks of numbers, as unsigned numbers that are small where the chunks are close.

Subtraction is that of integers modulo 2^width on the bit patterns, whatever the numbers mean; zigzag then
folds the sign into the lowest bit. For neighbouring training steps this is smaller than XOR, because a
carry does not touch the exponent.
"""

from __future__ import annotations

import numpy as np

from p2pckpt.checkpoint.codec.scratch import BLOCK, Bytes


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
