from __future__ import annotations

from pathlib import Path

import pytest

from bench.generate import make_checkpoint
from p2pckpt.checkpoint.chunking import cuts
from p2pckpt.checkpoint.formats import BytesSource, inspect
from p2pckpt.checkpoint.formats.dtypes import UNITS

SIZE = 3_000_000


@pytest.mark.parametrize(
    ("format", "dtype"),
    [("safetensors", "BF16"), ("safetensors", "I8"), ("torch_zip", "F32"), ("gguf", "Q8_0"), ("gguf", "F16")],
)
def test_generated_files_are_what_they_claim(format: str, dtype: str, tmp_path: Path) -> None:
    (path,) = make_checkpoint(tmp_path, SIZE, dtype, format=format)
    source = BytesSource(path.read_bytes())
    layout = inspect(source)
    assert (layout.kind, layout.warnings) == (format, ())
    assert {tensor.dtype for tensor in layout.tensors} == {dtype}
    assert abs(source.size - SIZE) < SIZE // 10
    pieces = [source.read(cut.offset, cut.length) for cut in cuts(layout, source) if cut.dtype]
    assert len(set(pieces)) == len(pieces)
    assert all(tensor.length % UNITS[dtype] == 0 for tensor in layout.tensors)


def test_the_same_arguments_give_the_same_bytes(tmp_path: Path) -> None:
    one, two = (make_checkpoint(tmp_path / name, SIZE, seed=3, shards=2) for name in "ab")
    other = make_checkpoint(tmp_path / "c", SIZE, seed=4, shards=2)
    assert len(one) == 2
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in two]
    assert one[0].read_bytes() != other[0].read_bytes()


def test_shards_hold_the_tensors_of_the_whole(tmp_path: Path) -> None:
    def tensors(name: str, shards: int) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        for path in make_checkpoint(tmp_path / name, SIZE, shards=shards):
            source = BytesSource(path.read_bytes())
            found |= {t.name: source.read(t.offset, t.length) for t in inspect(source).tensors}
        return found

    assert tensors("one", 1) == tensors("three", 3)
