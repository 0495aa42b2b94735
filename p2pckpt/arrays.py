"""Bytes of a tensor as an array of numpy or torch. Both are imported when they are asked for.

numpy has no type for BF16 and the 8-bit floats: those of ``ml_dtypes`` are taken where that is installed, and unsigned
integers of the same width where it is not, holding the bits as they are stored.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any, Final

from p2pckpt.checkpoint.formats.dtypes import TORCH_DTYPES
from p2pckpt.errors import BadUsage

NUMPY: Final = ("np", "numpy")
TORCH: Final = ("pt", "torch", "pytorch")

_NUMPY_TYPES: Final = {
    "": "<u1",
    "BOOL": "?",
    "U8": "<u1",
    "I8": "<i1",
    "U16": "<u2",
    "I16": "<i2",
    "F16": "<f2",
    "U32": "<u4",
    "I32": "<i4",
    "F32": "<f4",
    "U64": "<u8",
    "I64": "<i8",
    "F64": "<f8",
    "C64": "<c8",
    "C128": "<c16",
}
"""By the names of safetensors; bytes that nothing is known of are bytes."""
_ML_DTYPES: Final = {
    "BF16": ("bfloat16", "<u2"),
    "F8_E4M3": ("float8_e4m3fn", "<u1"),
    "F8_E5M2": ("float8_e5m2", "<u1"),
    "F8_E4M3FNUZ": ("float8_e4m3fnuz", "<u1"),
    "F8_E5M2FNUZ": ("float8_e5m2fnuz", "<u1"),
    "F8_E8M0": ("float8_e8m0fnu", "<u1"),
}
"""Name in ``ml_dtypes``, and what stands for it."""
_TORCH_NAMES: Final = {stored: name for name, stored in TORCH_DTYPES.items()} | {"": "uint8"}


def check(framework: str, name: str, dtype: str) -> None:
    """Raise ``BadUsage`` for a tensor that ``framework`` has no type for, and for an unknown framework."""
    if framework in NUMPY:
        known = dtype in _NUMPY_TYPES or dtype in _ML_DTYPES
    elif framework in TORCH:
        known = dtype in _TORCH_NAMES
    else:
        raise BadUsage(f"{framework!r} is no framework: 'np' or 'pt'")
    if not known:
        raise BadUsage(
            f"tensor {name!r} is stored as {dtype}, which there is no array type for",
            next_step="read the bytes of its file and let its own library take them apart",
        )


def array(framework: str, dtype: str, shape: Sequence[int], data: bytearray, device: str = "cpu") -> Any:
    """A writable array over ``data``; ``device`` is torch's."""
    if framework in TORCH:
        torch = importlib.import_module("torch")
        kind = getattr(torch, _TORCH_NAMES[dtype])
        if not data:
            return torch.empty(tuple(shape), dtype=kind, device=device)
        return torch.frombuffer(data, dtype=kind).reshape(tuple(shape)).to(device)
    numpy = importlib.import_module("numpy")
    return numpy.frombuffer(data, dtype=_numpy_type(dtype)).reshape(tuple(shape))


def _numpy_type(dtype: str) -> Any:
    if dtype not in _ML_DTYPES:
        return _NUMPY_TYPES[dtype]
    name, stand_in = _ML_DTYPES[dtype]
    try:
        return getattr(importlib.import_module("ml_dtypes"), name, stand_in)
    except ImportError:
        return stand_in
