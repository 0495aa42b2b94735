from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyfastcdc import FastCDC

from bench.generate import Spec
from p2pckpt.checkpoint.chunking import CDC_AVERAGE, MAX_CHUNK, Cut, _chunker, cuts, piece_length
from p2pckpt.checkpoint.formats import BytesSource, FileLayout, TensorInfo, inspect
from tests.unit.checkpoint.builders import gguf_bytes, noise, safetensors_bytes, torch_bytes, with_header

MIB = 1 << 20


def chunks(data: bytes) -> list[tuple[str, bytes]]:
    """Type and bytes of each chunk, with everything checked that must hold for any file."""
    source = BytesSource(data)
    layout = inspect(source)
    found, position = [], 0
    for cut in cuts(layout, source):
        assert cut.offset == position
        assert 0 < cut.length <= MAX_CHUNK
        piece = data[cut.offset : cut.offset + cut.length]
        assert cut.data is None or bytes(cut.data) == piece
        assert (cut.dtype == "" and cut.tensor == -1) or layout.tensors[cut.tensor].dtype == cut.dtype
        found.append((cut.dtype, piece))
        position += cut.length
    assert position == len(data)
    return found


@pytest.mark.parametrize("build", [safetensors_bytes, torch_bytes, gguf_bytes])
def test_chunks_concatenate_to_the_file(build: object) -> None:
    data = build()  # type: ignore[operator]
    assert b"".join(piece for _, piece in chunks(data)) == data


@settings(max_examples=60, deadline=None)
@given(length=st.integers(0, 700_000), seed=st.integers(0, 3), start=st.sampled_from([b"", b"PK\x03\x04", b"GGUF"]))
def test_chunks_concatenate_to_any_file(length: int, seed: int, start: bytes) -> None:
    data = start + noise(length, seed)
    assert b"".join(piece for _, piece in chunks(data)) == data


def test_an_empty_file_has_no_chunks() -> None:
    assert chunks(b"") == []


def test_small_files_are_one_chunk() -> None:
    assert [len(piece) for _, piece in chunks(bytes(64 << 10))] == [64 << 10]


def test_a_tensor_has_the_same_chunks_in_every_format() -> None:
    specs = [Spec("a", "F32", (300, 512), (1,)), Spec("b", "F32", (7,), (2,))]
    tensors = [
        [piece for dtype, piece in chunks(build(specs)) if dtype == "F32"]
        for build in (safetensors_bytes, torch_bytes, gguf_bytes)
    ]
    assert tensors[0] == tensors[1] == tensors[2]
    assert len(tensors[0]) == 2


def test_a_longer_header_moves_no_tensor_chunk() -> None:
    header = {"w": {"dtype": "BF16", "shape": [5 * MIB], "data_offsets": [0, 10 * MIB]}}
    data = noise(10 * MIB)
    before = set(chunks(with_header(header, data)))
    after = set(chunks(with_header(header | {"__metadata__": {"note": "edited"}}, data)))
    assert len(after - before) == 1


@pytest.mark.parametrize(
    ("length", "expected"),
    [
        (1, [1]),
        (4 * MIB, [4 * MIB]),
        (8 * MIB - 1, [8 * MIB - 1]),
        (8 * MIB, [4 * MIB, 4 * MIB]),
        (14 * MIB, [4 * MIB, 4 * MIB, 6 * MIB]),
        (512 * MIB, [8 * MIB] * 64),
        (4096 * MIB + 5, [16 * MIB] * 255 + [16 * MIB + 5]),
    ],
)
def test_pieces_depend_on_the_length_alone(length: int, expected: list[int]) -> None:
    layout = FileLayout("safetensors", (TensorInfo("w", "U8", (length,), 0, length),))
    assert [cut.length for cut in cuts(layout, Sized(length))] == expected


@pytest.mark.parametrize(("dtype", "unit"), [("Q8_0", 34), ("Q4_0", 18), ("Q6_K", 210), ("F32", 4), ("C128", 16)])
def test_no_block_is_cut_in_two(dtype: str, unit: int) -> None:
    for length in (10 * MIB, 600 * MIB, 3000 * MIB):
        assert piece_length(length, dtype) % unit == 0


def test_a_terabyte_stays_under_250_000_chunks() -> None:
    length = 14 * MIB  # an expert of a large mixture: the least favourable size is just under two pieces
    layout = FileLayout("safetensors", (TensorInfo("w", "U8", (length,), 0, length),))
    per_tensor = sum(1 for _ in cuts(layout, Sized(length)))
    assert 10**12 / length * per_tensor < 250_000
    assert 10**12 / _chunker(10**12).avg_size < 250_000


@dataclass
class Sized:
    """A file that has a size and refuses to be read."""

    size: int

    def read(self, offset: int, length: int) -> bytes:
        raise AssertionError("cutting tensors reads nothing")


class Counting(BytesSource):
    """A source that notes what was read."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.reads: list[tuple[int, int]] = []

    def read(self, offset: int, length: int) -> bytes:
        self.reads.append((offset, length))
        return super().read(offset, length)


def test_windows_do_not_change_where_content_is_cut() -> None:
    data = noise(19 * MIB, 5) + bytes(2 * MIB) + noise(3 * MIB, 6)
    source = Counting(data)
    found = [cut.length for cut in cuts(FileLayout("opaque"), source)]
    whole = FastCDC(CDC_AVERAGE, min_size=CDC_AVERAGE // 4, max_size=CDC_AVERAGE * 4)
    assert found == [chunk.length for chunk in whole.cut_buf(data)]
    assert max(length for _, length in source.reads) <= 8 * MIB
    assert sum(length for _, length in source.reads) == len(data)


def test_an_insertion_changes_few_chunks_of_an_opaque_file() -> None:
    data = noise(6 * MIB, 9)
    before, after = set(chunks(data)), set(chunks(data[: 3 * MIB] + b"inserted" + data[3 * MIB :]))
    assert len(after - before) <= 4


def test_the_positions_of_cuts_are_frozen() -> None:
    """Another result means that every opaque file would be new to everybody."""
    assert [cut.length for cut in cuts(FileLayout("opaque"), BytesSource(noise(MIB // 2, 1)))] == FROZEN
    assert Cut(0, 5) == Cut(0, 5, data=b"12345")


FROZEN = [109915, 82280, 71870, 154597, 105626]
