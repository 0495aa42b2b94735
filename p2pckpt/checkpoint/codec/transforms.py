"""How a run of numbers is taken apart into planes that compress, and put together again. No compression
here.

Every transform is a bijection on bytes; no number is ever interpreted as a value, so NaNs and denormals
pass like anything else. Little-endian numbers are assumed; others merely compress worse.

The kernels go through the data in blocks that fit the cache and write into memory that exists already:
numpy is only as fast as the page faults it avoids. Layouts of quantised blocks are ggml's (ggml-common.h).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np

from p2pckpt.checkpoint.codec.scratch import BLOCK, Bytes, scratch


class Transform(Protocol):
    """One way of taking numbers apart."""

    @property
    def unit(self) -> int:
        """Bytes of one number or block. What a chunk has beyond whole units is stored as it is."""
        ...

    def plane_lengths(self, length: int) -> tuple[int, ...]:
        """Bytes of each plane for ``length`` raw bytes, a multiple of the unit. They add up to
        ``length``."""
        ...

    def split(self, raw: Bytes, planes: list[Bytes]) -> None:
        """Fills ``planes`` from ``raw``."""
        ...

    def merge(self, planes: list[Bytes], out: Bytes) -> None:
        """Fills ``out`` from ``planes``, the exact inverse."""
        ...


class Whole:
    """One plane: the bytes as they are."""

    unit = 1

    def plane_lengths(self, length: int) -> tuple[int, ...]:
        return (length,)

    def split(self, raw: Bytes, planes: list[Bytes]) -> None:
        np.copyto(planes[0], raw)

    def merge(self, planes: list[Bytes], out: Bytes) -> None:
        np.copyto(out, planes[0])


class BFloat16:
    """bfloat16: the exponents, and the sign with the mantissa (sign in the top bit), which is close to
    noise."""

    unit = 2

    def plane_lengths(self, length: int) -> tuple[int, ...]:
        return (length // 2, length // 2)

    def split(self, raw: Bytes, planes: list[Bytes]) -> None:
        exponents, rest = planes
        numbers = raw.view("<u2")
        for start, stop in _blocks(len(numbers)):
            _split_high(numbers[start:stop], exponents[start:stop], rest[start:stop])

    def merge(self, planes: list[Bytes], out: Bytes) -> None:
        exponents, rest = planes
        numbers = out.view("<u2")
        for start, stop in _blocks(len(numbers)):
            _merge_high(exponents[start:stop], rest[start:stop], numbers[start:stop])


class Float32:
    """float32: the low 16 bits as they are, and the high half, which is a bfloat16, in two planes."""

    unit = 4

    def plane_lengths(self, length: int) -> tuple[int, ...]:
        return (length // 2, length // 4, length // 4)

    def split(self, raw: Bytes, planes: list[Bytes]) -> None:
        low, exponents, rest = planes
        numbers, lows = raw.view("<u4"), low.view("<u2")
        for start, stop in _blocks(len(numbers)):
            block, high, shifted = numbers[start:stop], scratch.b16[: stop - start], scratch.a32[: stop - start]
            np.copyto(lows[start:stop], block, casting="unsafe")
            np.right_shift(block, 16, out=shifted)
            np.copyto(high, shifted, casting="unsafe")
            _split_high(high, exponents[start:stop], rest[start:stop])

    def merge(self, planes: list[Bytes], out: Bytes) -> None:
        low, exponents, rest = planes
        numbers = out.view("<u4")
        for start, stop in _blocks(len(numbers)):
            block, half, wide = numbers[start:stop], scratch.b16[: stop - start], scratch.a32[: stop - start]
            _merge_high(exponents[start:stop], rest[start:stop], half)
            np.copyto(block, half)
            np.left_shift(block, 16, out=block)
            # The plane may lie at an odd address inside a frame; as bytes it is copied at full speed.
            np.copyto(half.view(np.uint8), low[2 * start : 2 * stop])
            np.copyto(wide, half)
            np.bitwise_or(block, wide, out=block)


class BytePlanes:
    """Numbers of ``unit`` bytes by significance: all lowest bytes, then all second ones, up to the
    highest."""

    def __init__(self, unit: int) -> None:
        self.unit = unit

    def plane_lengths(self, length: int) -> tuple[int, ...]:
        return (length // self.unit,) * self.unit

    def split(self, raw: Bytes, planes: list[Bytes]) -> None:
        if self.unit not in (2, 4):
            _split_columns(raw.reshape(-1, self.unit), [1] * self.unit, planes)
            return
        numbers = raw.view(f"<u{self.unit}")
        shifted = scratch.a16 if self.unit == 2 else scratch.a32
        for start, stop in _blocks(len(numbers)):
            block, part = numbers[start:stop], shifted[: stop - start]
            np.copyto(planes[0][start:stop], block, casting="unsafe")
            for index in range(1, self.unit):
                np.right_shift(block, 8 * index, out=part)
                np.copyto(planes[index][start:stop], part, casting="unsafe")

    def merge(self, planes: list[Bytes], out: Bytes) -> None:
        if self.unit not in (2, 4):
            _merge_columns(planes, [1] * self.unit, out.reshape(-1, self.unit))
            return
        numbers = out.view(f"<u{self.unit}")
        widened = scratch.a16 if self.unit == 2 else scratch.a32
        for start, stop in _blocks(len(numbers)):
            block, part = numbers[start:stop], widened[: stop - start]
            np.copyto(block, planes[-1][start:stop])
            for index in range(self.unit - 2, -1, -1):
                np.left_shift(block, 8, out=block)
                np.copyto(part, planes[index][start:stop])
                np.bitwise_or(block, part, out=block)


class Columns:
    """Quantised blocks: each group of bytes (half a scale, the packed quants…) in a plane of its own."""

    def __init__(self, *widths: int) -> None:
        self.unit = sum(widths)
        self._widths = widths

    def plane_lengths(self, length: int) -> tuple[int, ...]:
        blocks = length // self.unit
        return tuple(blocks * width for width in self._widths)

    def split(self, raw: Bytes, planes: list[Bytes]) -> None:
        _split_columns(raw.reshape(-1, self.unit), self._widths, planes)

    def merge(self, planes: list[Bytes], out: Bytes) -> None:
        _merge_columns(planes, self._widths, out.reshape(-1, self.unit))


def _blocks(count: int) -> Iterator[tuple[int, int]]:
    for start in range(0, count, BLOCK):
        yield start, min(start + BLOCK, count)


def _split_high(numbers: np.ndarray, exponents: Bytes, rest: Bytes) -> None:
    """Bits 7 to 14 to ``exponents``; bits 15 and 0 to 6 to ``rest``. At most ``BLOCK`` 16-bit numbers."""
    part = scratch.a16[: len(numbers)]
    np.right_shift(numbers, 7, out=part)
    np.copyto(exponents, part, casting="unsafe")
    # s·2^15 + m, times 2^8 + 1, modulo 2^16, has s·2^7 + m in its high byte: one pass instead of three.
    np.bitwise_and(numbers, 0x807F, out=part)
    np.multiply(part, 257, out=part)
    np.right_shift(part, 8, out=part)
    np.copyto(rest, part, casting="unsafe")


def _merge_high(exponents: Bytes, rest: Bytes, numbers: np.ndarray) -> None:
    """The inverse of ``_split_high``."""
    part = scratch.a16[: len(numbers)]
    np.copyto(part, rest)
    np.multiply(part, 257, out=part)
    np.bitwise_and(part, 0x807F, out=part)
    np.copyto(numbers, exponents)
    np.left_shift(numbers, 7, out=numbers)
    np.bitwise_or(numbers, part, out=numbers)


def _split_columns(rows: Bytes, widths: list[int] | tuple[int, ...], planes: list[Bytes]) -> None:
    at = 0
    for width, plane in zip(widths, planes, strict=True):
        np.copyto(plane.reshape(-1, width), rows[:, at : at + width])
        at += width


def _merge_columns(planes: list[Bytes], widths: list[int] | tuple[int, ...], rows: Bytes) -> None:
    at = 0
    for width, plane in zip(widths, planes, strict=True):
        np.copyto(rows[:, at : at + width], plane.reshape(-1, width))
        at += width


WHOLE, BF16, F32, BYTES2, BYTES4, BYTES8 = 0, 1, 2, 3, 4, 5

TRANSFORMS: dict[int, Transform] = {
    WHOLE: Whole(),
    BF16: BFloat16(),
    F32: Float32(),
    BYTES2: BytePlanes(2),
    BYTES4: BytePlanes(4),
    BYTES8: BytePlanes(8),
    16: Columns(1, 1, 16),  # Q4_0, IQ4_NL: scale, quants
    17: Columns(1, 1, 1, 1, 16),  # Q4_1: scale, minimum, quants
    18: Columns(1, 1, 4, 16),  # Q5_0: scale, fifth bits, quants
    19: Columns(1, 1, 1, 1, 4, 16),  # Q5_1: scale, minimum, fifth bits, quants
    20: Columns(1, 1, 32),  # Q8_0: scale, quants
    21: Columns(1, 16),  # MXFP4: exponent, quants
    22: Columns(1, 1, 1, 1, 12, 128),  # Q4_K: scale, minimum, packed scales, quants
    23: Columns(1, 1, 1, 1, 12, 32, 128),  # Q5_K: the same with fifth bits
    24: Columns(128, 64, 16, 1, 1),  # Q6_K: low bits, high bits, scales, scale of scales
}
"""Transforms by the id that frames carry. Ids are for ever; new ones may be added up to 127."""

DELTA_TRANSFORMS: dict[int, int] = {WHOLE: 1, BYTES2: 2, BYTES4: 4}
"""Transforms that also carry differences → bytes of the number the difference is taken of."""

BY_DTYPE: dict[str, int] = {
    "BF16": BF16,
    "F32": F32,
    "C64": F32,
    "F16": BYTES2,
    "F64": BYTES8,
    "C128": BYTES8,
    "Q4_0": 16,
    "IQ4_NL": 16,
    "Q4_1": 17,
    "Q5_0": 18,
    "Q5_1": 19,
    "Q8_0": 20,
    "MXFP4": 21,
    "Q4_K": 22,
    "Q5_K": 23,
    "Q6_K": 24,
}
"""What encoding uses for a canonical number type; ``WHOLE`` for all others."""

DELTA_BY_DTYPE: dict[str, int] = {"BF16": BYTES2, "F16": BYTES2, "F32": BYTES4, "C64": BYTES4} | dict.fromkeys(
    ("I8", "U8", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), WHOLE
)
"""Number types of which differences are worth trying."""
