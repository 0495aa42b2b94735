from __future__ import annotations

import pickle
import struct
import zipfile

import pytest

from bench.generate import Spec, pickle_of
from tests.unit.checkpoint.builders import SMALL, layout_of, torch_bytes, zip_bytes


class Name:
    """Pickled as the global it names, which need not exist."""

    def __init__(self, module: str, name: str) -> None:
        self.global_name = f"c{module}\n{name}\n".encode()


class Rebuilt:
    """Pickled as the call of a global."""

    def __init__(self, module: str, name: str, *arguments: object) -> None:
        self.function, self.arguments = Name(module, name), arguments


class Kept:
    """Pickled as a persistent id."""

    def __init__(self, *identity: object) -> None:
        self.identity = identity


def pickled(value: object) -> bytes:
    """A protocol 2 pickle that may name globals that are not installed here."""
    return b"\x80\x02" + _opcodes(value) + b"."


def _opcodes(value: object) -> bytes:
    match value:
        case Name():
            return value.global_name
        case Rebuilt():
            return _opcodes(value.function) + _opcodes(value.arguments) + b"R"
        case Kept():
            return _opcodes(value.identity) + b"Q"
        case dict():
            return b"}(" + b"".join(_opcodes(k) + _opcodes(v) for k, v in value.items()) + b"u"
        case list():
            return b"](" + b"".join(map(_opcodes, value)) + b"e"
        case tuple():
            return b"(" + b"".join(map(_opcodes, value)) + b"t"
        case _:
            return pickle.dumps(value, 2)[2:-1]


def storage(key: str, count: int, kind: str = "FloatStorage") -> Kept:
    return Kept("storage", Name("torch", kind), key, "cpu", count)


def tensor(key: str, shape: tuple[int, ...], count: int, offset: int = 0, kind: str = "FloatStorage") -> Rebuilt:
    strides, step = [], 1
    for size in reversed(shape):
        strides.append(step)
        step *= size
    identity = storage(key, count, kind)
    return Rebuilt("torch._utils", "_rebuild_tensor_v2", identity, offset, shape, tuple(strides[::-1]), False, {})


def archive(value: object, storages: dict[str, bytes], **extra: bytes) -> bytes:
    members = {"m/data.pkl": value if isinstance(value, bytes) else pickled(value)}
    members |= {f"m/data/{key}": data for key, data in storages.items()}
    return zip_bytes(members | {f"m/{name}": data for name, data in extra.items()})


def test_an_archive_as_torch_writes_it_yields_names_types_and_shapes() -> None:
    data = torch_bytes()
    layout = layout_of(data)
    assert (layout.kind, layout.warnings, layout.views) == ("torch_zip", (), ())
    assert [(t.name, t.dtype, t.shape) for t in layout.tensors] == [(s.name, s.dtype, s.shape) for s in SMALL]
    assert all(t.offset % 64 == 0 for t in layout.tensors)


def test_the_same_bytes_are_found_as_in_an_ordinary_zip() -> None:
    data = torch_bytes()
    with zipfile.ZipFile(__import__("io").BytesIO(data)) as reader:
        assert reader.testzip() is None
        for index, found in enumerate(layout_of(data).tensors):
            assert reader.read(f"archive/data/{index}") == data[found.offset : found.offset + found.length]


def test_names_of_nested_objects_are_joined_with_dots() -> None:
    value = {
        "model": Rebuilt("collections", "OrderedDict"),
        "optimizer": {"state": {0: {"exp_avg": tensor("0", (2, 3), 6)}}, "param_groups": [{"lr": 0.1, "params": [0]}]},
        "wrapped": Rebuilt("torch._utils", "_rebuild_parameter", tensor("1", (4,), 4), True, {}),
        "many": [tensor("2", (1,), 1), (tensor("3", (1,), 1, kind="BFloat16Storage"),)],
    }
    layout = layout_of(archive(value, {"0": bytes(24), "1": bytes(16), "2": bytes(4), "3": bytes(2)}))
    assert layout.warnings == ()
    assert [(t.name, t.dtype, t.shape) for t in layout.tensors] == [
        ("optimizer.state.0.exp_avg", "F32", (2, 3)),
        ("wrapped", "F32", (4,)),
        ("many.0", "F32", (1,)),
        ("many.1.0", "BF16", (1,)),
    ]


def test_a_newer_tensor_brings_its_own_type() -> None:
    v3 = Rebuilt(
        *("torch._utils", "_rebuild_tensor_v3", storage("0", 6, "UntypedStorage"), 0, (6,), (1,), False, {}),
        Name("torch", "float8_e4m3fn"),
    )
    layout = layout_of(archive({"w": v3}, {"0": bytes(6)}))
    assert [(t.name, t.dtype, t.shape) for t in layout.tensors] == [("w", "F8_E4M3", (6,))]


def test_tensors_that_share_a_storage_are_listed_once_and_as_views() -> None:
    value = {"a": tensor("0", (4,), 4), "tied": tensor("0", (2, 2), 4), "slice": tensor("0", (2,), 4, offset=1)}
    layout = layout_of(archive(value, {"0": bytes(16)}))
    (whole,) = layout.tensors
    assert (whole.name, whole.shape, whole.length) == ("a", (4,), 16)
    assert [(v.name, v.offset - whole.offset, v.length) for v in layout.views] == [("tied", 0, 16), ("slice", 4, 8)]


def test_a_storage_is_called_otherwise_than_a_tensor_that_is_not_all_of_it() -> None:
    transposed = Rebuilt("torch._utils", "_rebuild_tensor_v2", storage("2", 4), 0, (2, 2), (1, 2), False, {})
    value = {
        "s": tensor("0", (2,), 4, offset=1),
        "head": tensor("1", (2,), 4),
        "all": tensor("1", (2, 2), 4),
        "t": transposed,
        "bare": storage("3", 4),
    }
    layout = layout_of(archive(value, {key: bytes(16) for key in "0123"}))
    expected = [("s@0", (4,), 16), ("all", (2, 2), 16), ("t@2", (4,), 16), ("bare", (4,), 16)]
    assert [(t.name, t.shape, t.length) for t in layout.tensors] == expected


def test_names_stay_unique() -> None:
    value = {"a.b": tensor("0", (1,), 1), "a": {"b": tensor("1", (1,), 1)}}
    names = [t.name for t in layout_of(archive(value, {"0": bytes(4), "1": bytes(4)})).tensors]
    assert names == ["a.b", "a.b@1"]


UNREADABLE = {
    "garbage": b"\x80\x02\xff\xff",
    "no end": b"\x80\x02}",
    "empty": b"",
    "pops too much": b"\x80\x020000.",
    "unknown memo": b"\x80\x02h\x05.",
    "extension registry": b"\x80\x02\x82\x01.",
    "computed import": b"\x80\x04\x8c\x02os}\x93.",
    "only marks": b"\x80\x02" + b"(" * 1000 + b".",
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_storages_are_found_without_a_readable_pickle(name: str) -> None:
    layout = layout_of(archive(UNREADABLE[name], {"0": bytes(24), "1": bytes(8)}))
    assert layout.kind == "torch_zip"
    assert [(t.name, t.dtype, t.length) for t in layout.tensors] == [("data/0", "", 24), ("data/1", "", 8)]
    assert len(layout.warnings) == 1
    assert "without names" in layout.warnings[0]


def test_tensors_of_bytes_that_are_not_there_are_a_warning() -> None:
    value = {"missing": tensor("9", (4,), 4), "long": tensor("0", (99,), 99), "good": tensor("1", (1,), 1)}
    layout = layout_of(archive(value, {"0": bytes(16), "1": bytes(4)}))
    assert layout.warnings == ("torch_zip: 2 tensors name bytes that the archive does not have.",)
    assert [(t.name, t.dtype) for t in layout.tensors] == [("data/0", ""), ("good", "F32")]


def test_big_endian_numbers_get_no_type() -> None:
    layout = layout_of(archive({"w": tensor("0", (4,), 4)}, {"0": bytes(16)}, byteorder=b"big"))
    assert [t.dtype for t in layout.tensors] == [""]
    assert "big-endian" in layout.warnings[0]


def test_a_pickle_that_is_nested_without_end_neither_recurses_nor_explodes() -> None:
    deep = b"\x80\x02" + b"]" * 50_000 + b"a" * 49_999 + b"."
    doubling = b"\x80\x02]q\x00" + b"".join(
        b"](h" + bytes([i]) + b"h" + bytes([i]) + b"eq" + bytes([i + 1]) for i in range(200)
    )
    cycle = b"\x80\x02]q\x00h\x00a."
    for raw in (deep, doubling + b".", cycle):
        layout = layout_of(archive(raw, {"0": bytes(8)}))
        assert (layout.kind, layout.warnings) == ("torch_zip", ())


def test_nothing_is_imported_or_called() -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return exec, ("raise SystemExit('ran')",)

    layout = layout_of(archive(pickle.dumps({"x": Bomb()}), {"0": bytes(8)}))
    assert layout.kind == "torch_zip"


def test_other_zips_are_opaque_without_a_warning() -> None:
    assert layout_of(zip_bytes({"a.npy": bytes(100)})).warnings == ()
    assert layout_of(zip_bytes({"a.npy": bytes(100)})).kind == "opaque"


def test_compressed_storages_are_left_to_plain_chunks() -> None:
    raw = zip_bytes({"m/data.pkl": pickled({}), "m/data/0": bytes(100)}, zipfile.ZIP_DEFLATED)
    layout = layout_of(raw)
    assert (layout.kind, layout.tensors) == ("torch_zip", ())
    assert "compressed" in layout.warnings[0]


def test_an_archive_comment_does_not_hide_the_directory() -> None:
    raw = zip_bytes({"m/data.pkl": pickled({}), "m/data/0": bytes(8)}, comment=b"PK\x05\x06 is no directory")
    assert len(layout_of(raw).tensors) == 1


def _patched(data: bytes, magic: bytes, offset: int, value: bytes) -> bytes:
    at = data.rindex(magic) + offset
    return data[:at] + value + data[at + len(value) :]


PLAIN = archive({"w": tensor("0", (4,), 4)}, {"0": bytes(16)})
WIDE = torch_bytes([Spec("w", "F32", (4,), (1,))])
LIES = {
    "cut short": PLAIN[:-1],
    "directory elsewhere": _patched(PLAIN, b"PK\x05\x06", 16, struct.pack("<I", 2**31)),
    "more entries than there are": _patched(PLAIN, b"PK\x05\x06", 10, b"\xff\xff"),
    "header elsewhere": _patched(PLAIN, b"PK\x01\x02", 42, struct.pack("<I", 2**31)),
    "two sizes": _patched(PLAIN, b"PK\x01\x02", 24, struct.pack("<I", 17)),
    "longer than the file": _patched(PLAIN, b"PK\x01\x02", 20, struct.pack("<II", 2**31, 2**31)),
    "zip64 size missing": _patched(PLAIN, b"PK\x01\x02", 20, b"\xff" * 8),
    "zip64 record elsewhere": _patched(WIDE, b"PK\x06\x07", 8, struct.pack("<Q", 2**63)),
    "zip64 directory too large": _patched(WIDE, b"PK\x06\x06", 40, struct.pack("<Q", 2**63)),
    "zip64 too many entries": _patched(WIDE, b"PK\x06\x06", 32, struct.pack("<Q", 2**63)),
    "other name in the local header": _patched(PLAIN, b"m/data/0", 0, b"m/data/1"),
}


@pytest.mark.parametrize("name", LIES)
def test_a_lying_archive_is_opaque_with_a_warning(name: str) -> None:
    layout = layout_of(LIES[name])
    assert (layout.kind, layout.tensors, len(layout.warnings)) == ("opaque", (), 1)


def test_generated_pickles_are_ones_that_pickle_itself_can_read() -> None:
    class Unpickler(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> object:
            return dict if name == "OrderedDict" else lambda *arguments: arguments

        def persistent_load(self, pid: object) -> object:
            return pid

    loaded = Unpickler(__import__("io").BytesIO(pickle_of(SMALL))).load()
    assert list(loaded) == [spec.name for spec in SMALL]
