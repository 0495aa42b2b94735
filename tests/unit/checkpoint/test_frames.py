from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pckpt.checkpoint.codec import frame as codec
from p2pckpt.checkpoint.codec.choice import differences_of, taken_apart
from p2pckpt.checkpoint.codec.differences import ORDERED_RUN, restore, undo_order
from p2pckpt.checkpoint.codec.frame import decode, decode_into, encode, encode_delta, parse, serialise
from p2pckpt.checkpoint.codec.ids import (
    BY_DTYPE,
    BYTES2,
    BYTES4,
    BYTES8,
    DELTA_BY_DTYPE,
    F32,
    F32_BYTES,
    ORDERED,
    ORDERED_BYTES,
    ORDERED_NIBBLES,
    TRANSFORMS,
    WHOLE,
)
from p2pckpt.checkpoint.codec.planes import Kind, compress
from p2pckpt.checkpoint.codec.scratch import BLOCK
from p2pckpt.checkpoint.formats.dtypes import UNITS
from tests.unit.checkpoint.builders import noise

DTYPES = sorted({*UNITS, "", "unheard-of"})
KINDS = ["noise", "zeros", "normal", "text", "counter"]
lengths = st.one_of(st.integers(0, 300), st.integers(0, 70_000))


def content(kind: str, length: int, seed: int) -> bytes:
    if kind == "normal":
        floats = np.random.default_rng(seed).standard_normal(length // 4 + 1, np.float32) * 0.02
        return floats.tobytes()[:length]
    if kind == "text":
        return (b'{"name": "layer.%d.weight"}, ' % seed * (length // 20 + 1))[:length]
    if kind == "counter":
        return np.arange(length // 4 + 1, dtype="<u4").tobytes()[:length]
    return bytes(length) if kind == "zeros" else noise(length, seed)


@settings(max_examples=400, deadline=None)
@given(dtype=st.sampled_from(DTYPES), kind=st.sampled_from(KINDS), length=lengths, seed=st.integers(0, 5))
def test_every_type_and_length_comes_back(dtype: str, kind: str, length: int, seed: int) -> None:
    raw = content(kind, length, seed)
    frame = encode(raw, dtype)
    assert codec.raw_length(frame) == length
    assert not codec.is_delta(frame)
    assert decode(frame, max_raw=length) == raw
    assert serialise(parse(frame)) == frame
    assert len(frame) <= length + 16


@settings(max_examples=200, deadline=None)
@given(
    dtype=st.sampled_from(DTYPES),
    kind=st.sampled_from(KINDS),
    length=lengths,
    changes=st.lists(st.tuples(st.integers(0, 70_000), st.integers(0, 255)), max_size=20),
)
def test_every_delta_comes_back(dtype: str, kind: str, length: int, changes: list[tuple[int, int]]) -> None:
    base = content(kind, length, 3)
    edited = bytearray(base)
    for at, value in changes:
        if length:
            edited[at % length] = value
    frame = encode_delta(edited, base, dtype, alone=1 << 40)
    assert (frame is None) == (dtype not in DELTA_BY_DTYPE)
    if frame is not None:
        assert codec.is_delta(frame)
        assert decode(frame, max_raw=length, base=base) == edited
        assert serialise(parse(frame)) == frame


@pytest.mark.parametrize("dtype", ["BF16", "F16", "I16"])
def test_all_16_bit_patterns_come_back(dtype: str) -> None:
    patterns = np.arange(1 << 16, dtype="<u2")
    for raw in (patterns.tobytes(), patterns[::-1].tobytes(), np.random.default_rng(0).permutation(patterns).tobytes()):
        assert decode(encode(raw, dtype), max_raw=len(raw)) == raw


@pytest.mark.parametrize("dtype", ["BF16", "F16"])
def test_all_16_bit_differences_come_back(dtype: str) -> None:
    patterns = np.arange(1 << 16, dtype="<u2")
    for base in (np.zeros_like(patterns), patterns[::-1].copy(), patterns * np.uint16(257)):
        frame = encode_delta(patterns.tobytes(), base.tobytes(), dtype, alone=1 << 40)
        assert frame is not None
        assert decode(frame, max_raw=1 << 17, base=base.tobytes()) == patterns.tobytes()


@pytest.mark.parametrize("dtype", [dtype for dtype, unit in UNITS.items() if unit == 1])
def test_all_8_bit_patterns_come_back(dtype: str) -> None:
    patterns = np.arange(256, dtype=np.uint8)
    for raw in (patterns.tobytes(), np.repeat(patterns, 300).tobytes(), np.tile(patterns, 300).tobytes()):
        assert decode(encode(raw, dtype), max_raw=len(raw)) == raw


SPECIALS = {
    "F32": (32, 23),
    "C64": (32, 23),
    "F64": (64, 52),
    "C128": (64, 52),
}
"""Bits of a number, and of its mantissa."""


@pytest.mark.parametrize("dtype", SPECIALS)
def test_zeros_nans_infinities_and_denormals_come_back(dtype: str) -> None:
    bits, mantissa = SPECIALS[dtype]
    exponents = (1 << (bits - 1 - mantissa)) - 1
    payloads = [0, 1, 1 << mantissa - 1, (1 << mantissa) - 1, (1 << mantissa - 1) | 0x5A5A5, 0xFFFF, 0x10000]
    numbers = np.array(
        [
            sign << bits - 1 | exponent << mantissa | payload
            for sign in (0, 1)
            for exponent in (0, 1, exponents // 2, exponents - 1, exponents)
            for payload in payloads
        ],
        f"<u{bits // 8}",
    )
    for raw in (numbers.tobytes(), np.repeat(numbers, 400).tobytes()):
        assert decode(encode(raw, dtype), max_raw=len(raw)) == raw


@pytest.mark.parametrize("dtype", ["F32", "F64"])
def test_every_exponent_and_sign_comes_back(dtype: str) -> None:
    bits, mantissa = SPECIALS[dtype]
    tops = np.arange(1 << (bits - mantissa), dtype=f"<u{bits // 8}") << mantissa
    raw = (tops | np.random.default_rng(2).integers(0, 1 << mantissa, len(tops)).astype(tops.dtype)).tobytes()
    assert decode(encode(raw, dtype), max_raw=len(raw)) == raw


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_every_transform_puts_any_bytes_together_again(transform: int) -> None:
    rule = TRANSFORMS[transform]
    for count in (0, 1, 2, 3, 1000, BLOCK + 1 if rule.unit <= 8 else 40_000):
        raw = np.random.default_rng(7).integers(0, 256, rule.unit * count, np.uint8)
        planes = taken_apart(raw, transform)
        assert tuple(map(len, planes)) == rule.plane_lengths(len(raw))
        out = np.zeros_like(raw)
        rule.merge(planes, out)
        assert np.array_equal(out, raw)


def moved(length: int, by: float) -> tuple[bytes, bytes]:
    """bfloat16 weights, and the same after a step that moves large and small ones by about as much."""
    random = np.random.default_rng(4)
    floats = random.standard_normal(length, np.float32) * np.float32(0.02)
    steps = floats + random.standard_normal(length, np.float32) * np.float32(by)
    base, raw = ((part.view("<u4") >> 16).astype("<u2").tobytes() for part in (floats, steps))
    return base, raw


@pytest.mark.parametrize(("by", "transform"), [(1e-5, ORDERED_NIBBLES), (3e-4, ORDERED_BYTES)])
@pytest.mark.parametrize("length", [60_000, ORDERED_RUN, 2 * ORDERED_RUN + 77])
def test_differences_in_order_are_smaller_and_come_back(by: float, transform: int, length: int) -> None:
    base, raw = moved(length, by)
    frame = encode_delta(raw + b"x", base + b"y", "BF16")
    assert frame is not None
    assert parse(frame).transform == transform
    assert decode(frame, max_raw=len(raw) + 1, base=base + b"y") == raw + b"x"
    numbers = differences_of(np.frombuffer(raw, np.uint8), np.frombuffer(base, np.uint8), BYTES2)
    plain = sum(len(compress(plane, Kind.NUMBERS).body) for plane in taken_apart(numbers, BYTES2))
    assert len(frame) < 0.95 * plain


@pytest.mark.parametrize("every", [1, 2, 7, 50, 200])
def test_the_order_of_a_delta_is_as_good_as_any(every: int) -> None:
    base, raw = moved(1 << 18, 3e-4)
    rows = np.frombuffer(base, "<u2").reshape(-1, 512).copy()
    rows[::every] = np.frombuffer(raw, "<u2").reshape(-1, 512)[::every]
    frame = encode_delta(rows.tobytes(), base, "BF16")
    assert frame is not None
    assert decode(frame, max_raw=len(raw), base=base) == rows.tobytes()
    sizes = []
    for transform in DELTA_BY_DTYPE["BF16"]:
        numbers = differences_of(rows.reshape(-1).view(np.uint8), np.frombuffer(base, np.uint8), transform)
        kind = Kind.ORDERED if transform in ORDERED else Kind.NUMBERS
        sizes.append(sum(len(compress(plane, kind).body) for plane in taken_apart(numbers, transform)))
    assert len(frame) <= 1.02 * min(sizes) + 20


@pytest.mark.parametrize("transform", sorted(ORDERED))
def test_order_is_undone_for_any_base(transform: int) -> None:
    random = np.random.default_rng(8)
    for length in (4, 8, 1000, 4 * ORDERED_RUN + 8):
        raw, base = (random.integers(0, 256, length, np.uint8) for _ in range(2))
        plain = differences_of(raw, base, BYTES2).copy()
        numbers = differences_of(raw, base, transform)
        assert np.array_equal(np.sort(numbers.view("<u2")), np.sort(plain.view("<u2")))
        out = numbers.copy()
        undo_order(out, base)
        restore(out, base, 2)
        assert np.array_equal(out, raw)


def chosen(raw: bytes, dtype: str) -> int:
    return parse(encode(raw, dtype)).transform


def test_float32_gets_low_planes_only_where_they_compress() -> None:
    floats = np.random.default_rng(5).standard_normal(1 << 17, np.float32) * np.float32(0.02)
    upcast = (floats.view("<u4") & np.uint32(0xFFFF0000)).tobytes()
    halves = floats.astype("<f2").astype("<f4").tobytes()
    assert chosen(floats.tobytes(), "F32") == F32
    assert chosen(upcast, "F32") == F32
    assert chosen(halves, "F32") == F32_BYTES
    assert len(encode(upcast, "F32")) < 0.35 * len(upcast)
    assert len(encode(halves, "F32")) < 0.53 * len(halves)


TEXT = b"".join(b"layer.%d.weight: the quick brown fox number %d jumps;" % (n % 7, n * n % 97) for n in range(4000))


@pytest.mark.parametrize("dtype", ["I8", "U8", "I16", "U16", "I32", "U32", "I64", "U64"])
def test_integers_take_planes_for_numbers_and_none_for_text(dtype: str) -> None:
    width = UNITS[dtype]
    numbers = np.random.default_rng(6).integers(0, 100, 100_000).astype(f"<u{width}").tobytes()
    assert chosen(numbers, dtype) == {1: WHOLE, 2: BYTES2, 4: BYTES4, 8: BYTES8}[width]
    assert len(encode(numbers, dtype)) < 90_000
    assert chosen(TEXT, dtype) == WHOLE
    assert len(encode(TEXT, dtype)) == len(encode(TEXT, ""))
    assert len(encode(bytes(100_000), dtype)) < 100


@pytest.mark.parametrize("dtype", ["BF16", "F32", "F16", "F64", "I8", "Q8_0", ""])
def test_chunks_longer_than_a_block_come_back(dtype: str) -> None:
    raw = content("normal", (5 << 20) + 3, 1)
    assert decode(encode(memoryview(raw), dtype), max_raw=len(raw)) == raw
    delta = encode_delta(raw, raw[::-1], dtype, alone=1 << 40)
    assert delta is None or decode(delta, max_raw=len(raw), base=raw[::-1]) == raw


@pytest.mark.parametrize("dtype", ["BF16", "F32", "F16", "F64", "Q4_1", ""])
def test_misaligned_buffers_are_as_good(dtype: str) -> None:
    raw = content("normal", 40_000, 2)
    frame = encode(memoryview(b"x" + raw)[1:], dtype)
    out = bytearray(len(raw) + 1)
    decode_into(memoryview(b"xyz" + frame)[3:], memoryview(out)[1:])
    assert out[1:] == raw


@pytest.mark.parametrize(("dtype", "most"), [("BF16", 0.67), ("F32", 0.84), ("F16", 0.86), ("F64", 0.60), ("", 1.0001)])
def test_weights_get_as_small_as_their_entropy_allows(dtype: str, most: float) -> None:
    floats = np.random.default_rng(3).standard_normal(1 << 20, np.float32) * np.float32(0.02)
    raw = {
        "BF16": lambda: (floats.view("<u4") >> 16).astype("<u2").tobytes(),
        "F16": lambda: floats.astype("<f2").tobytes(),
        "F64": lambda: floats.astype("<f8").tobytes(),
    }.get(dtype, floats.tobytes)()
    assert len(encode(raw, dtype)) / len(raw) < most


def test_a_small_step_makes_a_small_delta() -> None:
    random = np.random.default_rng(4)
    floats = random.standard_normal(1 << 19, np.float32) * np.float32(0.02)
    moved = floats + random.standard_normal(1 << 19, np.float32) * np.float32(1e-6)
    base, raw = ((part.view("<u4") >> 16).astype("<u2").tobytes() for part in (floats, moved))
    frame = encode_delta(raw, base, "BF16")
    assert frame is not None
    assert len(frame) < 0.1 * len(raw)


def test_a_delta_that_does_not_pay_is_not_made() -> None:
    raw, other = content("normal", 60_000, 1), content("normal", 60_000, 2)
    assert encode_delta(raw, other, "F32") is None
    assert encode_delta(raw, raw[:-4], "F32") is None
    assert encode_delta(raw, raw, "I64") is None


def test_threads_do_not_share_temporary_memory() -> None:
    jobs = [
        (content("normal", 300_000 + 1000 * seed, seed), dtype) for seed in range(4) for dtype in ("BF16", "F32", "F16")
    ]
    wrong: list[object] = []

    def work(offset: int) -> None:
        for index in range(40):
            raw, dtype = jobs[(index + offset) % len(jobs)]
            if decode(encode(raw, dtype), max_raw=len(raw)) != raw:
                wrong.append((offset, index))

    threads = [threading.Thread(target=work, args=(offset,)) for offset in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_every_type_has_a_transform_of_its_own_unit() -> None:
    for dtype, offers in BY_DTYPE.items():
        assert all(UNITS[dtype] % TRANSFORMS[offer].unit == 0 for offer in offers)
    for rule in TRANSFORMS.values():
        assert sum(rule.plane_lengths(rule.unit * 5)) == rule.unit * 5
    assert all(0 <= identity < 128 for identity in TRANSFORMS)
