"""Whether runs of numbers are finite, found by their bits at the speed of memory; nothing is converted.

Of a binary floating-point type the largest bit patterns of each sign are the infinities and NaN. So the two maxima of
a run, one taken as signed and one as unsigned integers, tell whether there is any; both are one vectorised reduction
without a temporary array. The types are those of IEEE 754, of the OCP 8-bit specification and of MLIR (``FNUZ``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from p2pckpt.checkpoint.formats.dtypes import GGML_TYPES, UNITS


@dataclass(frozen=True, slots=True)
class _Bits:
    """How a type spells what is no number."""

    unsigned: str
    signed: str
    infinity: int
    """Bit pattern of plus infinity, or of the smallest NaN of types without infinities; all above it are no numbers."""
    has_infinity: bool = True


_TYPES: Final = {
    "F64": _Bits("<u8", "<i8", 0x7FF0_0000_0000_0000),
    "F32": _Bits("<u4", "<i4", 0x7F80_0000),
    "F16": _Bits("<u2", "<i2", 0x7C00),
    "BF16": _Bits("<u2", "<i2", 0x7F80),
    "F8_E5M2": _Bits("u1", "i1", 0x7C),
    "F8_E4M3": _Bits("u1", "i1", 0x7F, has_infinity=False),
}
_TYPES["C64"], _TYPES["C128"] = _TYPES["F32"], _TYPES["F64"]
_ONE_NAN: Final = {"F8_E8M0": 0xFF, "F8_E4M3FNUZ": 0x80, "F8_E5M2FNUZ": 0x80}
"""Types of one byte with a single pattern that is no number."""

_SCALES: Final[dict[str, tuple[str, tuple[int, ...]]]] = {
    **dict.fromkeys(["Q4_0", "Q5_0", "Q8_0", "Q1_0", "IQ1_S", "IQ2_XXS", "IQ2_XS", "IQ2_S"], ("F16", (0,))),
    **dict.fromkeys(["IQ3_XXS", "IQ3_S", "IQ4_NL", "IQ4_XS"], ("F16", (0,))),
    **dict.fromkeys(["Q4_1", "Q5_1", "Q4_K", "Q5_K"], ("F16", (0, 2))),
    "Q2_K": ("F16", (80, 82)),
    "Q3_K": ("F16", (108,)),
    "Q6_K": ("F16", (208,)),
    "Q8_K": ("F32", (0,)),
    "TQ1_0": ("F16", (52,)),
    "TQ2_0": ("F16", (64,)),
    "MXFP4": ("F8_E8M0", (0,)),
}
"""Type of a block's scales and minima, and where they are in it, in bytes (ggml-common.h); the rest is integers."""


@dataclass(frozen=True, slots=True)
class NonFinite:
    """The first of a run's numbers that is none."""

    index: int
    """Its place, counted in elements, or in blocks for quantised types."""
    what: str
    """``NaN`` or ``infinity``."""


def is_floating(dtype: str) -> bool:
    """Whether a type can hold what is no finite number, and ``first_nonfinite`` knows how."""
    return dtype in _TYPES or dtype in _ONE_NAN or dtype in _SCALES


def unit(dtype: str) -> int:
    """Bytes of one element, or of one block; runs are cut at multiples of it. Complex numbers count as two."""
    if dtype in _TYPES:
        return np.dtype(_TYPES[dtype].unsigned).itemsize
    return UNITS.get(dtype, 1)


def first_nonfinite(data: NDArray[np.uint8], dtype: str) -> NonFinite | None:
    """The first infinity or NaN in ``data``, little-endian bytes; a last element that is cut off is not looked at.

    Of quantised types only the scales are looked at. ``None`` for types that are not floating.
    """
    if dtype in _SCALES:
        return _in_scales(data, dtype)
    if dtype in _ONE_NAN:
        places = np.flatnonzero(data == _ONE_NAN[dtype])
        return NonFinite(int(places[0]), "NaN") if len(places) else None
    bits = _TYPES.get(dtype)
    if bits is None:
        return None
    return _in_numbers(data[: len(data) // unit(dtype) * unit(dtype)], bits)


def _in_numbers(data: NDArray[np.uint8], bits: _Bits) -> NonFinite | None:
    if not len(data):
        return None
    unsigned, signed = data.view(bits.unsigned), data.view(bits.signed)
    sign = 1 << (8 * unsigned.itemsize - 1)
    if int(signed.max()) < bits.infinity and int(unsigned.max()) < bits.infinity + sign:
        return None
    magnitudes = unsigned & np.array(sign - 1, unsigned.dtype)
    index = int(np.argmax(magnitudes >= bits.infinity))
    infinite = bits.has_infinity and int(magnitudes[index]) == bits.infinity
    return NonFinite(index, "infinity" if infinite else "NaN")


def _in_scales(data: NDArray[np.uint8], dtype: str) -> NonFinite | None:
    kind, offsets = _SCALES[dtype]
    size = next(size for name, _, size in GGML_TYPES.values() if name == dtype)
    blocks = data[: len(data) // size * size].reshape(-1, size)
    found = [
        first
        for offset in offsets
        if (first := first_nonfinite(np.ascontiguousarray(blocks[:, offset : offset + unit(kind)]).reshape(-1), kind))
    ]
    return min(found, key=lambda first: first.index, default=None)
