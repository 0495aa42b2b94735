"""Checkpoints of a training run that is not run: weights, and how they look a few steps later."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Tensors = Mapping[str, NDArray[np.float32]]


def weights(seed: int = 0, *, width: int = 512, layers: int = 3) -> dict[str, NDArray[np.float32]]:
    """Normally distributed weights: ``layers`` square matrices, each with a small vector beside it."""
    random = np.random.default_rng(seed)
    tensors: dict[str, NDArray[np.float32]] = {}
    for layer in range(layers):
        tensors[f"layer.{layer}.weight"] = random.standard_normal((width, width), np.float32) * np.float32(0.02)
        tensors[f"layer.{layer}.norm"] = 1 + random.standard_normal(width, np.float32) * np.float32(0.01)
    return tensors


def later(tensors: Tensors, seed: int, drift: float = 1e-4) -> dict[str, NDArray[np.float32]]:
    """The same weights after an optimizer moved each by about ``drift`` times its usual size."""
    random = np.random.default_rng(seed)
    return {
        name: each + random.standard_normal(each.shape, np.float32) * np.float32(0.02 * drift)
        for name, each in tensors.items()
    }


def safetensors(tensors: Tensors, dtype: str = "BF16", **metadata: str) -> bytes:
    """A safetensors file of them."""
    blocks = {name: _bytes(each, dtype) for name, each in tensors.items()}
    header: dict[str, object] = {"__metadata__": {"format": "pt"} | metadata}
    at = 0
    for name, block in blocks.items():
        header[name] = {"dtype": dtype, "shape": list(tensors[name].shape), "data_offsets": [at, at + len(block)]}
        at += len(block)
    raw = json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + b"".join(blocks.values())


def _bytes(values: NDArray[np.float32], dtype: str) -> bytes:
    if dtype == "BF16":
        return ((values.view("<u4") + 0x7FFF + ((values.view("<u4") >> 16) & 1)) >> 16).astype("<u2").tobytes()
    return values.astype({"F16": "<f2", "F32": "<f4"}[dtype]).tobytes()
