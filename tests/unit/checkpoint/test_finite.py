from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pckpt.checkpoint.finite import _SCALES, NonFinite, first_nonfinite, is_floating, unit
from p2pckpt.checkpoint.formats.dtypes import GGML_TYPES

SMALL = {
    "F16": "float16",
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
    "F8_E8M0": "float8_e8m0fnu",
}
WIDE = {"F32": "<f4", "F64": "<f8", "C64": "<f4", "C128": "<f8"}


@pytest.mark.parametrize("dtype", SMALL)
def test_every_pattern_of_a_small_type_is_told_as_torch_tells_it(dtype: str) -> None:
    import torch

    patterns = np.arange(1 << 8 * unit(dtype), dtype=f"<u{unit(dtype)}")
    numbers = torch.from_numpy(patterns.copy()).view(getattr(torch, SMALL[dtype])).float()
    raw = patterns.view(np.uint8).reshape(len(patterns), -1)
    told = [first_nonfinite(each, dtype) for each in raw]
    assert [first is None for first in told] == numbers.isfinite().tolist()
    assert [first is not None and first.what == "NaN" for first in told] == numbers.isnan().tolist()


@pytest.mark.parametrize("dtype", WIDE)
@given(data=st.binary(min_size=1, max_size=400))
def test_any_bytes_of_a_wide_type_are_told_as_numpy_tells_them(dtype: str, data: bytes) -> None:
    whole = data[: len(data) // unit(dtype) * unit(dtype)]
    finite = np.isfinite(np.frombuffer(whole, WIDE[dtype]))
    first = first_nonfinite(np.frombuffer(data, np.uint8), dtype)
    assert (first is None) is bool(finite.all())
    if first is not None:
        assert first.index == int(np.argmin(finite))


@pytest.mark.parametrize("dtype", WIDE)
def test_the_first_of_several_is_told_whatever_its_sign(dtype: str) -> None:
    numbers = np.zeros(100, WIDE[dtype])
    numbers[[40, 60]] = -np.inf, np.nan
    assert first_nonfinite(numbers.view(np.uint8), dtype) == NonFinite(40, "infinity")
    numbers[30] = -np.nan
    assert first_nonfinite(numbers.view(np.uint8), dtype) == NonFinite(30, "NaN")
    numbers[:] = np.finfo(WIDE[dtype]).min
    numbers[1::2] = np.finfo(WIDE[dtype]).max
    assert first_nonfinite(numbers.view(np.uint8), dtype) is None


@pytest.mark.parametrize("dtype", _SCALES)
def test_the_scales_of_a_quantised_type_are_looked_at_and_nothing_else_of_it(dtype: str) -> None:
    size = next(size for name, _, size in GGML_TYPES.values() if name == dtype)
    kind, offsets = _SCALES[dtype]
    nan = {"F16": b"\x00\x7e", "F32": b"\x00\x00\xc0\x7f", "F8_E8M0": b"\xff"}[kind]
    blocks = np.full((9, size), 0xFF, np.uint8)
    for offset in offsets:
        blocks[:, offset : offset + unit(kind)] = 0
    assert first_nonfinite(blocks.reshape(-1), dtype) is None
    for offset in offsets:
        planted = blocks.copy()
        planted[4, offset : offset + unit(kind)] = list(nan)
        assert first_nonfinite(planted.reshape(-1), dtype) == NonFinite(4, "NaN")


def test_integers_and_unknown_types_are_never_at_fault() -> None:
    for dtype in ("I32", "U8", "BOOL", "F4", "IQ1_M", ""):
        assert not is_floating(dtype)
        assert first_nonfinite(np.full(64, 0xFF, np.uint8), dtype) is None
    assert first_nonfinite(np.zeros(0, np.uint8), "F32") is None
