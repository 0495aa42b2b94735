"""Weights as ggml's block formats hold them.

The simple formats are made by the ``gguf`` package, which is ggml's own; the two K formats, which it only reads, by
plain rounding after ggml-quants.c. Its search for better scales is left out: it moves single scales a little and
changes nothing about how the bytes are distributed.
"""

from __future__ import annotations

import numpy as np
from gguf import GGMLQuantizationType
from gguf.quants import quantize
from numpy.typing import NDArray

SIMPLE = ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0")
K_FORMATS = ("Q4_K", "Q6_K")
_SUPER = 256
"""Numbers in a block of the K formats."""

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]


def quantised(values: Floats, kind: str) -> Bytes:
    """Rows of blocks of ``kind``. The numbers are taken in order, whatever their rows; a rest that fills no block of
    256 is left out."""
    whole = values.ravel()[: values.size // _SUPER * _SUPER].reshape(-1, _SUPER)
    if kind in SIMPLE:
        blocks: Bytes = quantize(whole, GGMLQuantizationType[kind])
        return blocks
    return {"Q4_K": _q4_k, "Q6_K": _q6_k}[kind](whole)


def _q4_k(blocks: Floats) -> Bytes:
    """8 groups of 32: value = d·scale·quant - dmin·minimum, with scales and minima of 6 bits."""
    groups = blocks.reshape(-1, 8, 32)
    low = np.minimum(groups.min(axis=2), 0)
    scale, minimum = (groups.max(axis=2) - low) / np.float32(15), -low
    d, dmin = (_half(each.max(axis=1, keepdims=True) / np.float32(63)) for each in (scale, minimum))
    scales, minima = _steps(scale, d, 0, 63), _steps(minimum, dmin, 0, 63)
    step, offset = d * scales, dmin * minima
    quants = _steps(groups + offset[:, :, None], step[:, :, None], 0, 15).astype(np.uint8)
    packed = np.empty((len(groups), 12), np.uint8)
    first, last = slice(None, 4), slice(4, None)
    s, m = scales.astype(np.uint8), minima.astype(np.uint8)
    packed[:, 0:4] = s[:, first] | (s[:, last] >> 4) << 6
    packed[:, 4:8] = m[:, first] | (m[:, last] >> 4) << 6
    packed[:, 8:12] = (s[:, last] & 15) | (m[:, last] & 15) << 4
    pairs = quants.reshape(-1, 4, 2, 32)
    nibbles = (pairs[:, :, 0] | pairs[:, :, 1] << 4).reshape(-1, 128)
    return np.hstack([_as_bytes(d), _as_bytes(dmin), packed, nibbles])


def _q6_k(blocks: Floats) -> Bytes:
    """16 groups of 16: value = d·scale·(quant - 32), with scales of 8 bits, signed by the group's largest number."""
    groups = blocks.reshape(-1, 16, 16)
    peak = np.take_along_axis(groups, np.abs(groups).argmax(axis=2)[:, :, None], axis=2)[:, :, 0]
    scale = peak / np.float32(-32)
    widest = np.take_along_axis(scale, np.abs(scale).argmax(axis=1)[:, None], axis=1)
    d = _half(widest / np.float32(-128))
    scales = _steps(scale, d, -128, 127)
    quants = (_steps(groups, (d * scales)[:, :, None], -32, 31) + 32).astype(np.uint8).reshape(-1, 2, 4, 32)
    low = np.concatenate([quants[:, :, 0] & 15 | quants[:, :, 2] << 4, quants[:, :, 1] & 15 | quants[:, :, 3] << 4], 2)
    high = quants >> 4
    high = high[:, :, 0] | high[:, :, 1] << 2 | high[:, :, 2] << 4 | high[:, :, 3] << 6
    parts = [low.reshape(-1, 128), high.reshape(-1, 64), scales.astype(np.int8).view(np.uint8), _as_bytes(d)]
    return np.hstack(parts)


def _steps(values: Floats, step: Floats, lowest: int, highest: int) -> Floats:
    """Whole steps nearest to ``values``; 0 where a step is."""
    counts = np.divide(
        values, step, out=np.zeros(np.broadcast_shapes(values.shape, step.shape), np.float32), where=step != 0
    )
    return np.clip(np.rint(counts), lowest, highest)


def _half(values: Floats) -> Floats:
    return values.astype(np.float16).astype(np.float32)


def _as_bytes(halves: Floats) -> Bytes:
    return halves.astype("<f2").view(np.uint8)
