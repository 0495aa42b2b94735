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
    """float32: the low 16 bits as they are, and the high half, which is a bfloat16, in two planes. For mantissas that
    are noise, as after training."""

    unit = 4

    def plane_lengths(self, length: int) -> tuple[int, ...]:
        return (length // 2, length // 4, length // 4)

    def split(self, raw: Bytes, planes: list[Bytes]) -> None:
        low, exponents, rest = planes
        numbers, lows = raw.view("<u4"), low.view("<u2")
        for start, stop in _blocks(len(numbers)):
            block, high = numbers[start:stop], scratch.b16[: stop - start]
            np.copyto(lows[start:stop], block, casting="unsafe")
            _shift_into(block, 16, high)
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


class Float32Bytes:
    """float32 with each of the two low bytes in a plane of its own too. For mantissas that are not all noise, as
    after conversion from a shorter type."""

    unit = 4

    def plane_lengths(self, length: int) -> tuple[int, ...]:
        return (length // 4,) * 4

    def split(self, raw: Bytes, planes: list[Bytes]) -> None:
        lowest, second, exponents, rest = planes
        numbers = raw.view("<u4")
        for start, stop in _blocks(len(numbers)):
            block, high = numbers[start:stop], scratch.b16[: stop - start]
            np.copyto(lowest[start:stop], block, casting="unsafe")
            _shift_into(block, 8, second[start:stop])
            _shift_into(block, 16, high)
            _split_high(high, exponents[start:stop], rest[start:stop])

    def merge(self, planes: list[Bytes], out: Bytes) -> None:
        lowest, second, exponents, rest = planes
        numbers = out.view("<u4")
        for start, stop in _blocks(len(numbers)):
            block, half, wide = numbers[start:stop], scratch.b16[: stop - start], scratch.a32[: stop - start]
            _merge_high(exponents[start:stop], rest[start:stop], half)
            np.copyto(block, half)
            for plane in (second, lowest):
                np.left_shift(block, 8, out=block)
                np.copyto(wide, plane[start:stop])
                np.bitwise_or(block, wide, out=block)


class Float64:
    """float64: the six low bytes, the low 8 of the 11 exponent bits, and the four highest bits with the four highest
    of the mantissa."""

    unit = 8

    def plane_lengths(self, length: int) -> tuple[int, ...]:
        return (length // 8,) * 8

    def split(self, raw: Bytes, planes: list[Bytes]) -> None:
        rows, highs = raw.reshape(-1, 8), raw.view("<u2").reshape(-1, 4)[:, 3]
        for start, stop in _blocks(len(rows)):
            for index in range(6):
                np.copyto(planes[index][start:stop], rows[start:stop, index])
            high = scratch.b16[: stop - start]
            np.copyto(high, highs[start:stop])
            _split_high(high, planes[6][start:stop], planes[7][start:stop], *_OF_FLOAT64)

    def merge(self, planes: list[Bytes], out: Bytes) -> None:
        rows, highs = out.reshape(-1, 8), out.view("<u2").reshape(-1, 4)[:, 3]
        for start, stop in _blocks(len(rows)):
            for index in range(6):
                np.copyto(rows[start:stop, index], planes[index][start:stop])
            high = scratch.b16[: stop - start]
            _merge_high(planes[6][start:stop], planes[7][start:stop], high, *_OF_FLOAT64)
            np.copyto(highs[start:stop], high)


class BytePlanes:
    """Numbers of ``unit`` bytes by significance: all lowest bytes, then all second ones, up to the
    highest."""

    def __init__(self, unit: int) -> None:
        self.unit = unit

    def plane_lengths(self, length: int) -> tuple[int, ...]:
        return (length // self.unit,) * self.unit

    def split(self, raw: Bytes, planes: list[Bytes]) -> None:
        if self.unit not in (2, 4):
            _split_columns(raw.reshape(-1, self.unit), (1,) * self.unit, planes)
            return
        numbers = raw.view(f"<u{self.unit}")
        for start, stop in _blocks(len(numbers)):
            block = numbers[start:stop]
            np.copyto(planes[0][start:stop], block, casting="unsafe")
            for index in range(1, self.unit):
                _shift_into(block, 8 * index, planes[index][start:stop])

    def merge(self, planes: list[Bytes], out: Bytes) -> None:
        if self.unit not in (2, 4):
            _merge_columns(planes, (1,) * self.unit, out.reshape(-1, self.unit))
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


class NibblePlanes:
    """Pairs of 16-bit numbers: a plane for each nibble, least significant first, the first number's in the low half of
    the byte. Two small numbers share a byte, which lets Huffman codes go under one bit a number."""

    unit = 4

    def plane_lengths(self, length: int) -> tuple[int, ...]:
        return (length // 4,) * 4

    def split(self, raw: Bytes, planes: list[Bytes]) -> None:
        pairs = raw.view("<u4")
        for start, stop in _blocks(len(pairs)):
            block, low, high = pairs[start:stop], scratch.a32[: stop - start], scratch.b32[: stop - start]
            for index, plane in enumerate(planes):
                np.right_shift(block, 4 * index, out=low)
                np.bitwise_and(low, 0x0F, out=low)
                np.right_shift(block, 12 + 4 * index, out=high)
                np.bitwise_and(high, 0xF0, out=high)
                np.bitwise_or(low, high, out=low)
                np.copyto(plane[start:stop], low, casting="unsafe")

    def merge(self, planes: list[Bytes], out: Bytes) -> None:
        pairs = out.view("<u4")
        for start, stop in _blocks(len(pairs)):
            block, low, high = pairs[start:stop], scratch.a32[: stop - start], scratch.b32[: stop - start]
            block[:] = 0
            for index, plane in enumerate(planes):
                np.copyto(low, plane[start:stop])
                np.bitwise_and(low, 0xF0, out=high)
                np.bitwise_and(low, 0x0F, out=low)
                np.left_shift(low, 4 * index, out=low)
                np.bitwise_or(block, low, out=block)
                np.left_shift(high, 12 + 4 * index, out=high)
                np.bitwise_or(block, high, out=block)


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


def _shift_into(numbers: np.ndarray, shift: int, out: np.ndarray) -> None:
    """The low bits of ``numbers`` shifted right, in a narrower type. numpy does it in one pass, in small buffers."""
    np.right_shift(numbers, shift, out=out, dtype=numbers.dtype, casting="unsafe")


def _split_high(numbers: np.ndarray, exponents: Bytes, rest: Bytes, shift: int = 7, mask: int = 0x807F) -> None:
    """8 bits from bit ``shift`` on to ``exponents``, the other 8, which are ``mask``, to ``rest``. At most ``BLOCK``
    16-bit numbers."""
    part = scratch.a16[: len(numbers)]
    _shift_into(numbers, shift, exponents)
    # s·2^15 + m, times 2^8 + 1, modulo 2^16, has s·2^7 + m in its high byte: one pass instead of three.
    np.bitwise_and(numbers, mask, out=part)
    np.multiply(part, 257, out=part)
    np.right_shift(part, 8, out=part)
    np.copyto(rest, part, casting="unsafe")


def _merge_high(exponents: Bytes, rest: Bytes, numbers: np.ndarray, shift: int = 7, mask: int = 0x807F) -> None:
    """The inverse of ``_split_high``."""
    part = scratch.a16[: len(numbers)]
    np.copyto(part, rest)
    np.multiply(part, 257, out=part)
    np.bitwise_and(part, mask, out=part)
    np.copyto(numbers, exponents)
    np.left_shift(numbers, shift, out=numbers)
    np.bitwise_or(numbers, part, out=numbers)


_OF_FLOAT64 = (4, 0xF00F)
"""Shift and mask for the high 16 bits of a float64: sign, 11 exponent bits, 4 of the mantissa."""


def _columns(rows: Bytes, widths: tuple[int, ...]) -> Iterator[np.ndarray]:
    """Each group of bytes as one column of opaque items: numpy copies those ten times as fast as rows of bytes."""
    at = 0
    for width in widths:
        yield rows[:, at : at + width].view(f"V{width}")[:, 0]
        at += width


def _split_columns(rows: Bytes, widths: tuple[int, ...], planes: list[Bytes]) -> None:
    for width, column, plane in zip(widths, _columns(rows, widths), planes, strict=True):
        np.copyto(plane.view(f"V{width}"), column)


def _merge_columns(planes: list[Bytes], widths: tuple[int, ...], rows: Bytes) -> None:
    for width, column, plane in zip(widths, _columns(rows, widths), planes, strict=True):
        np.copyto(column, plane.view(f"V{width}"))
