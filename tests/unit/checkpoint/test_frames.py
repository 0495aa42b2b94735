from __future__ import annotations

import threading

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pckpt.checkpoint.codec import frame as codec
from p2pckpt.checkpoint.codec.container import RAW, ZSTD, Frame, Plane
from p2pckpt.checkpoint.codec.frame import FrameError, decode, decode_into, encode, encode_delta, parse, serialise
from p2pckpt.checkpoint.codec.ids import BY_DTYPE, DELTA_BY_DTYPE, TRANSFORMS, WHOLE
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


def test_payloads_of_nans_infinities_and_denormals_come_back() -> None:
    tops = np.array([0x7F800000, 0xFF800000, 0x7FC00000, 0xFFC00000, 0x7F800001, 0x00000001, 0x80000000], "<u4")
    raw = (tops[:, None] | np.arange(0, 1 << 22, 4099, dtype="<u4")[None, :]).astype("<u4").tobytes()
    assert decode(encode(raw, "F32"), max_raw=len(raw)) == raw
    wide = raw[: len(raw) // 8 * 8]
    assert decode(encode(wide, "F64"), max_raw=len(wide)) == wide


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


RAW_BYTES = content("normal", 40_000, 0)
GOOD = encode(RAW_BYTES, "BF16")
ZEROS = zstandard.ZstdCompressor(level=1).compress(bytes(1000))
STREAMED = zstandard.ZstdCompressor(level=1, write_content_size=False).compress(bytes(1000))
BOMB = zstandard.ZstdCompressor(level=1).compress(bytes(64 << 20))


def plain(body: bytes, length: int = 1000, **changes: int) -> bytes:
    return serialise(Frame(changes.get("transform", WHOLE), False, length, (Plane(ZSTD, body),), b""))


HOSTILE = {
    "empty": b"",
    "one byte": GOOD[:1],
    "other version": b"\x02" + GOOD[1:],
    "unknown transform": bytes([1, 0x7F]) + GOOD[2:],
    "delta of a transform without": bytes([1, 0x81]) + GOOD[2:],
    "delta flag set": plain(ZEROS).replace(b"\x01\x00", b"\x01\x80", 1),
    "cut in the header": GOOD[:5],
    "cut by one byte": GOOD[:-1],
    "one byte more": GOOD + b"\0",
    "length in too many bytes": bytes([1, 0, 0x81, 0x00, 0]) + b"x",
    "length too large": bytes([1, 0]) + b"\xff\xff\xff\xff\x7f" + bytes([0]),
    "length without end": bytes([1, 0]) + b"\xff" * 20,
    "unknown codec": bytes([1, 0, 1, 2]) + b"x",
    "plane without bytes": bytes([1, 0, 4, ZSTD, 0]),
    "plane stored longer than it is": bytes([1, 0, 4, ZSTD, 5]) + b"12345",
    "raw plane too short": bytes([1, 0, 4, RAW]) + b"123",
    "no zstd": plain(b"not a zstd frame at all"),
    "skippable zstd frame": plain(b"\x50\x2a\x4d\x18\x04\0\0\0abcd"),
    "zstd of another size": plain(zstandard.ZstdCompressor().compress(bytes(999))),
    "zstd of unknown size": plain(STREAMED),
    "zstd that is cut": plain(ZEROS[:-1]),
    "zstd followed by bytes": plain(ZEROS + b"\0"),
    "zstd followed by a frame": plain(ZEROS + ZEROS),
    "zstd followed by a skippable frame": plain(ZEROS + b"\x50\x2a\x4d\x18\0\0\0\0"),
    "zstd bomb": plain(BOMB, length=len(BOMB) + 1),
    "zstd window too large": plain(b"\x28\xb5\x2f\xfd\x80\x90" + (1000).to_bytes(4, "little") + b"\x01\0\0"),
    "zstd with a dictionary": plain(b"\x28\xb5\x2f\xfd\x61\x07\xe8\x02" + ZEROS[6:]),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_frames_are_refused(name: str) -> None:
    with pytest.raises(FrameError):
        decode(HOSTILE[name], max_raw=1 << 20)


def test_a_frame_of_another_length_is_refused_before_anything_is_allocated() -> None:
    with pytest.raises(FrameError, match="more than"):
        decode(GOOD, max_raw=len(RAW_BYTES) - 1)
    for wrong in (len(RAW_BYTES) - 1, len(RAW_BYTES) + 1, 0):
        with pytest.raises(FrameError, match="are due"):
            decode_into(GOOD, memoryview(bytearray(wrong)))


def test_a_base_must_come_with_a_delta_and_only_then() -> None:
    delta = encode_delta(RAW_BYTES, RAW_BYTES, "F32")
    assert delta is not None
    for frame, base in ((delta, None), (delta, RAW_BYTES[:-1]), (GOOD, RAW_BYTES)):
        with pytest.raises(FrameError, match="belong together"):
            decode(frame, max_raw=len(RAW_BYTES), base=base)
