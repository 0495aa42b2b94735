from __future__ import annotations

import json

import pytest

from p2pckpt.checkpoint.formats import BytesSource, inspect
from tests.unit.checkpoint.builders import SMALL, layout_of, noise, safetensors_bytes, with_header


def test_tensors_are_found_where_they_lie() -> None:
    data = safetensors_bytes()
    layout = layout_of(data)
    assert layout.kind == "safetensors"
    assert layout.warnings == ()
    assert [(t.name, t.dtype, t.shape) for t in layout.tensors] == [(s.name, s.dtype, s.shape) for s in SMALL]
    assert layout.tensors[0].parameters == 96 * 64
    assert layout.tensors[-1].offset + layout.tensors[-1].length == len(data)
    header = json.loads(data[8 : layout.tensors[0].offset])
    assert header["embed.weight"]["data_offsets"] == [0, layout.tensors[0].length]


def test_holes_scalars_and_empty_tensors_are_allowed() -> None:
    header = {
        "scalar": {"dtype": "BF16", "shape": [], "data_offsets": [4, 6]},
        "none": {"dtype": "F32", "shape": [0, 7], "data_offsets": [0, 0]},
        "packed": {"dtype": "F4", "shape": [4], "data_offsets": [6, 8]},
    }
    layout = layout_of(with_header(header, bytes(12)))
    assert [(t.name, t.length, t.parameters) for t in layout.tensors] == [
        ("none", 0, 0),
        ("scalar", 2, 1),
        ("packed", 2, 4),
    ]


def entry(dtype: object = "U8", shape: object = (4,), offsets: object = (0, 4)) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


LIES = {
    "length beyond the file": with_header({}, length=1000),
    "length that overflows": with_header({}, length=2**63),
    "length over the limit": with_header({}, length=100_000_001),
    "no JSON": with_header(b"{nonsense}"),
    "no UTF-8": with_header(b'{"\xff": 1}'),
    "NaN": with_header(b'{"a": NaN}'),
    "key twice": with_header(b'{"a": {"dtype":"U8","shape":[0],"data_offsets":[0,0]}, "a": {}}'),
    "inner key twice": with_header(b'{"a": {"dtype":"U8","dtype":"I8","shape":[0],"data_offsets":[0,0]}}'),
    "very deep": with_header(b'{"a":' * 100_000),
    "very many tokens": with_header(b'{"a":[' + b"[]," * 4_100_000 + b"[]]}"),
    "huge number": with_header(b'{"a":' + b"9" * 100_000 + b"}"),
    "tensor is a number": with_header({"a": 1}),
    "unknown type": with_header({"a": entry("Q4_0")}, bytes(4)),
    "type is a list": with_header({"a": entry(["U8"])}, bytes(4)),
    "shape is a number": with_header({"a": entry(shape=4)}, bytes(4)),
    "negative shape": with_header({"a": entry(shape=(-2, -2))}, bytes(4)),
    "boolean shape": with_header({"a": entry(shape=(True, 4))}, bytes(4)),
    "float shape": with_header({"a": entry(shape=(4.0,))}, bytes(4)),
    "shape that overflows": with_header({"a": entry(shape=(2**62, 2**62, 2**62))}, bytes(4)),
    "shape of other size": with_header({"a": entry(shape=(5,))}, bytes(4)),
    "half a byte": with_header({"a": entry("F4", (1,), (0, 0))}, bytes(4)),
    "range backwards": with_header({"a": entry(offsets=(4, 0))}, bytes(4)),
    "three offsets": with_header({"a": entry(offsets=(0, 4, 4))}, bytes(4)),
    "range beyond the file": with_header({"a": entry(offsets=(1, 5))}, bytes(4)),
    "overlap": with_header({"a": entry(), "b": entry(offsets=(3, 7))}, bytes(8)),
    "lone surrogate": with_header(b'{"\\ud800": {"dtype":"U8","shape":[4],"data_offsets":[0,4]}}', bytes(4)),
}


@pytest.mark.parametrize("name", LIES)
def test_a_lying_header_makes_the_file_opaque_with_a_warning(name: str) -> None:
    layout = layout_of(LIES[name])
    assert layout.kind == "opaque"
    assert layout.tensors == ()
    assert len(layout.warnings) == 1
    assert layout.warnings[0].startswith("safetensors: ") or "which the file does not have" in layout.warnings[0]
    assert layout.warnings[0].isprintable()
    assert len(layout.warnings[0]) < 250


@pytest.mark.parametrize(
    "data", [b"", b"{", b'{"abcd": {"x": 1}}', b'[1, 2,\n\t{"x": 1}]', noise(5000), b"\x89PNG\r\n\x1a\n" + bytes(90)]
)
def test_other_files_are_opaque_without_a_warning(data: bytes) -> None:
    layout = layout_of(data)
    assert (layout.kind, layout.tensors, layout.warnings) == ("opaque", (), ())


def test_errors_of_the_source_pass_through() -> None:
    class Broken(BytesSource):
        def read(self, offset: int, length: int) -> bytes:
            if offset:
                raise OSError("the disk is on fire")
            return super().read(offset, length)

    with pytest.raises(OSError, match="on fire"):
        inspect(Broken(safetensors_bytes()))
