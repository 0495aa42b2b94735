"""Which transform an id stands for, and which a number type is offered. How each works is elsewhere."""

from __future__ import annotations

from p2pckpt.checkpoint.codec.transforms import (
    BFloat16,
    BytePlanes,
    Columns,
    Float32,
    Float32Bytes,
    Float64,
    NibblePlanes,
    Transform,
    Whole,
)

WHOLE, BF16, F32, BYTES2, BYTES4, BYTES8, F32_BYTES, F64, ORDERED_BYTES, ORDERED_NIBBLES = range(10)

TRANSFORMS: dict[int, Transform] = {
    WHOLE: Whole(),
    BF16: BFloat16(),
    F32: Float32(),
    BYTES2: BytePlanes(2),
    BYTES4: BytePlanes(4),
    BYTES8: BytePlanes(8),
    F32_BYTES: Float32Bytes(),
    F64: Float64(),
    ORDERED_BYTES: BytePlanes(2),
    ORDERED_NIBBLES: NibblePlanes(),
    # Fields of quantised blocks in ggml's order. Halves are scales unless named otherwise.
    16: Columns(1, 1, 16),  # Q4_0, IQ4_NL, Q1_0: scale, quants
    17: Columns(1, 1, 1, 1, 16),  # Q4_1: scale, minimum, quants
    18: Columns(1, 1, 4, 16),  # Q5_0: scale, fifth bits, quants
    19: Columns(1, 1, 1, 1, 4, 16),  # Q5_1: scale, minimum, fifth bits, quants
    20: Columns(1, 1, 32),  # Q8_0: scale, quants
    21: Columns(1, 16),  # MXFP4: exponent, quants
    22: Columns(1, 1, 1, 1, 12, 128),  # Q4_K until 27: scale, minimum, packed scales, quants
    23: Columns(1, 1, 1, 1, 12, 32, 128),  # Q5_K until 28: the same with fifth bits
    24: Columns(128, 64, 16, 1, 1),  # Q6_K: low bits, high bits, scales, scale of scales
    25: Columns(16, 64, 1, 1, 1, 1),  # Q2_K: scales with minima, quants, scale, minimum
    26: Columns(32, 64, 8, 4, 1, 1),  # Q3_K: third bits, quants, low and high bits of scales, scale
    27: Columns(1, 1, 1, 1, 4, 4, 4, 128),  # Q4_K: scale, minimum, scales, minima, the rest of both, quants
    28: Columns(1, 1, 1, 1, 4, 4, 4, 32, 128),  # Q5_K: the same with fifth bits
    29: Columns(1, 1, 1, 1, 256, 32),  # Q8_K: scale (float32), quants, sums
    30: Columns(1, 1, 2, 4, 128),  # IQ4_XS: scale, high and low bits of scales, quants
    31: Columns(1, 1, 64, 32),  # IQ3_XXS: scale, grid, signs with scales
    32: Columns(1, 1, 64, 8, 32, 4),  # IQ3_S: scale, grid, its ninth bits, signs, scales
    33: Columns(1, 1, 32, 32, 8, 8),  # IQ2_S: scale, grid, signs, high bits of the grid, scales
    34: Columns(48, 4, 1, 1),  # TQ1_0: five digits a byte, four digits a byte, scale
    35: Columns(64, 1, 1),  # TQ2_0: four digits a byte, scale
    36: Columns(4, 32),  # NVFP4: scales, quants
    37: Columns(1, 1, 64),  # IQ2_XXS: scale, grid with signs
    38: Columns(1, 1, 64, 8),  # IQ2_XS: scale, grid with signs, scales
    39: Columns(1, 1, 32, 16),  # IQ1_S: scale, grid, its high bits with scales
    40: Columns(32, 16, 8),  # IQ1_M: grid, its high bits, scales with the scale
}
"""Transforms by the id that frames carry. Ids are for ever; new ones may be added up to 127."""

DELTA_TRANSFORMS: dict[int, int] = {WHOLE: 1, BYTES2: 2, BYTES4: 4, ORDERED_BYTES: 2, ORDERED_NIBBLES: 2}
"""Transforms that also carry differences → bytes of the number the difference is taken of."""

ORDERED = frozenset([ORDERED_BYTES, ORDERED_NIBBLES])
"""Those whose differences stand in the order of their bases' exponents."""

BY_DTYPE: dict[str, tuple[int, ...]] = {
    "BF16": (BF16,),
    "F32": (F32, F32_BYTES),
    "C64": (F32, F32_BYTES),
    "F16": (BYTES2,),
    "F64": (F64,),
    "C128": (F64,),
    "I16": (WHOLE, BYTES2),
    "U16": (WHOLE, BYTES2),
    "I32": (WHOLE, BYTES4),
    "U32": (WHOLE, BYTES4),
    "I64": (WHOLE, BYTES8),
    "U64": (WHOLE, BYTES8),
    "Q4_0": (16,),
    "IQ4_NL": (16,),
    "Q4_1": (17,),
    "Q5_0": (18,),
    "Q5_1": (19,),
    "Q8_0": (20,),
    "MXFP4": (21,),
    "Q6_K": (24,),
    "Q2_K": (25,),
    "Q3_K": (26,),
    "Q4_K": (27,),
    "Q5_K": (28,),
    "Q8_K": (29,),
    "IQ4_XS": (30,),
    "IQ3_XXS": (31,),
    "IQ3_S": (32,),
    "IQ2_S": (33,),
    "TQ1_0": (34,),
    "TQ2_0": (35,),
    "Q1_0": (16,),
    "NVFP4": (36,),
    "IQ2_XXS": (37,),
    "IQ2_XS": (38,),
    "IQ1_S": (39,),
    "IQ1_M": (40,),
}
"""What ``choice`` may give a chunk of a canonical number type; ``WHOLE`` for all others."""

NUMERIC_BYTES = frozenset(["I8", "U8", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ", "F4"])
"""Types of at most a byte: ``WHOLE``, but single bytes repeat and not strings of them."""

DELTA_BY_DTYPE: dict[str, tuple[int, ...]] = {
    "BF16": (BYTES2, ORDERED_BYTES, ORDERED_NIBBLES),
    "F16": (BYTES2, ORDERED_BYTES, ORDERED_NIBBLES),
    "F32": (BYTES4,),
    "C64": (BYTES4,),
} | dict.fromkeys(("I8", "U8", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), (WHOLE,))
"""Number types of which differences are worth trying, and what ``choice`` may give them."""
