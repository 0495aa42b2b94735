"""The order-0 limit: what no coder of single bytes can go below, however clever, once planes are apart.

The entropy of each byte plane, the table of frequencies given for nothing. Over every chunk's own frequencies it is
lower than over the whole file's, because weights differ from tensor to tensor: that is the limit targets name. Over
small chunks it flatters the limit a little, as the tables of tiny tensors would cost more than they save.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_BLOCKS: dict[str, tuple[int, ...]] = {
    "Q4_0": (1, 1, 16),
    "Q4_1": (1, 1, 1, 1, 16),
    "Q5_0": (1, 1, 4, 16),
    "Q5_1": (1, 1, 1, 1, 4, 16),
    "Q8_0": (1, 1, 32),
    "Q4_K": (1, 1, 1, 1, 12, 128),
    "Q6_K": (128, 64, 16, 1, 1),
}
"""Bytes of a block's fields (ggml-common.h), halves of fp16 numbers apart."""
_NUMBERS = {"BF16": 2, "F16": 2, "F32": 4, "F64": 8}

Bytes = NDArray[np.uint8]


def by_chunk(chunks: Sequence[bytes], dtype: str) -> float:
    """Bytes that ``chunks`` need where each has its own frequencies."""
    return sum(_entropy(_counts(plane)) for chunk in chunks for plane in _planes(chunk, dtype))


def of_all(chunks: Sequence[bytes], dtype: str) -> float:
    """Bytes that ``chunks`` need with one table of frequencies for each plane."""
    tables = [[_counts(plane) for plane in _planes(chunk, dtype)] for chunk in chunks]
    return sum(_entropy(np.sum(plane, axis=0)) for plane in zip(*tables, strict=True))


def _planes(chunk: bytes, dtype: str) -> list[Bytes]:
    """Byte planes, lowest first; bf16 and the high half of fp32 have the sign moved behind the exponent first."""
    if dtype in _BLOCKS:
        rows = np.frombuffer(chunk, np.uint8).reshape(-1, sum(_BLOCKS[dtype]))
        return [part.ravel() for part in np.split(rows, np.cumsum(_BLOCKS[dtype])[:-1], axis=1)]
    width = _NUMBERS.get(dtype, 1)
    planes = list(np.frombuffer(chunk, np.uint8).reshape(-1, width).T)
    if dtype in ("BF16", "F32"):
        high = planes[-1].astype(np.uint16) << 8 | planes[-2]
        turned = high << 1 | high >> 15
        planes[-2:] = [(turned & 0xFF).astype(np.uint8), (turned >> 8).astype(np.uint8)]
    return planes


def _counts(plane: Bytes) -> NDArray[np.int64]:
    return np.bincount(plane, minlength=256)


def _entropy(counts: NDArray[np.int64]) -> float:
    """Bytes."""
    total = int(counts.sum())
    shares = counts[counts > 0] / max(total, 1)
    return float(-(shares * np.log2(shares)).sum()) * total / 8
