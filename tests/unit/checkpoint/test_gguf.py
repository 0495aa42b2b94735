from __future__ import annotations

import struct

import pytest

from tests.unit.checkpoint.builders import QUANTISED, gguf_bytes, layout_of


def string(text: str) -> bytes:
    return struct.pack("<Q", len(text)) + text.encode()


def gguf(pairs: list[bytes], tensors: list[bytes], data: bytes = b"", version: int = 3, align: int = 32) -> bytes:
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(pairs)) + b"".join(pairs) + b"".join(tensors)
    return head + bytes(-len(head) % align) + data


def tensor(name: str, shape: tuple[int, ...], kind: int, offset: int) -> bytes:
    return string(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)


def test_tensors_are_found_with_their_shapes_turned_around() -> None:
    data = gguf_bytes()
    layout = layout_of(data)
    assert (layout.kind, layout.warnings) == ("gguf", ())
    assert [(t.name, t.dtype, t.shape) for t in layout.tensors] == [(s.name, s.dtype, s.shape) for s in QUANTISED]
    assert [t.length for t in layout.tensors] == [8 * 64 // 32 * 34, 33 * 4, 15 * 2]
    assert all(t.offset % 32 == 0 for t in layout.tensors)


def test_every_metadata_type_is_stepped_over_and_alignment_is_heeded() -> None:
    sizes = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
    pairs = [string(f"k{kind}") + struct.pack("<I", kind) + bytes(size) for kind, size in sizes.items()]
    pairs += [string(f"a{kind}") + struct.pack("<IIQ", 9, kind, 3) + bytes(3 * size) for kind, size in sizes.items()]
    pairs += [string("text") + struct.pack("<I", 8) + string("hello")]
    pairs += [string("nested") + struct.pack("<IIQIQ", 9, 9, 1, 8, 2) + string("x") + string("y")]
    pairs += [string("general.alignment") + struct.pack("<II", 4, 64)]
    layout = layout_of(gguf(pairs, [tensor("t", (2,), 0, 64)], bytes(72), align=64))
    assert (layout.kind, layout.warnings) == ("gguf", ())
    assert layout.tensors[0].offset % 64 == 0


LIES = {
    "big-endian version": gguf([], [], version=3 << 24),
    "cut short": gguf_bytes()[:60],
    "too many tensors": b"GGUF" + struct.pack("<IQQ", 3, 2**63, 0),
    "too many pairs": b"GGUF" + struct.pack("<IQQ", 3, 0, 2**63),
    "string longer than the file": gguf([string("k") + struct.pack("<IQ", 8, 2**62)], []),
    "string length that overflows": gguf([string("k") + struct.pack("<IQ", 8, 2**64 - 1)], []),
    "array longer than the file": gguf([string("k") + struct.pack("<IIQ", 9, 12, 2**61)], []),
    "array of many empty strings": gguf([string("k") + struct.pack("<IIQ", 9, 8, 2**40)], []),
    "arrays in arrays without end": gguf([string("k") + struct.pack("<I", 9) + struct.pack("<IQ", 9, 1) * 50], []),
    "unknown value type": gguf([string("k") + struct.pack("<I", 13) + bytes(8)], []),
    "alignment 0": gguf([string("general.alignment") + struct.pack("<II", 4, 0)], []),
    "alignment as text": gguf([string("general.alignment") + struct.pack("<I", 8) + string("32")], []),
    "unknown tensor type": gguf([], [tensor("t", (32,), 9, 0)], bytes(64)),
    "half a block": gguf([], [tensor("t", (31,), 8, 0)], bytes(64)),
    "misaligned": gguf([], [tensor("t", (4,), 24, 1)], bytes(64)),
    "overlap": gguf([], [tensor("t", (64,), 24, 0), tensor("u", (64,), 24, 32)], bytes(96)),
    "same name": gguf([], [tensor("t", (32,), 24, 0), tensor("t", (32,), 24, 32)], bytes(64)),
    "beyond the file": gguf([], [tensor("t", (65,), 24, 0)], bytes(64)),
    "shape that overflows": gguf([], [tensor("t", (2**62, 2**62), 24, 0)], bytes(64)),
    "many dimensions": gguf([], [tensor("t", (1,) * 9, 24, 0)], bytes(64)),
    "name is no UTF-8": gguf([], [struct.pack("<Q", 1) + b"\xff" + struct.pack("<IIQ", 0, 24, 0)], bytes(64)),
}


@pytest.mark.parametrize("name", LIES)
def test_a_lying_header_makes_the_file_opaque_with_a_warning(name: str) -> None:
    layout = layout_of(LIES[name])
    assert (layout.kind, layout.tensors, len(layout.warnings)) == ("opaque", (), 1)
    assert layout.warnings[0].isprintable()
