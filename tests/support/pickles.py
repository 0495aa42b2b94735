"""Pickles that must not pass and pickles that must, as bytes: ways to do harm × places to hide it.

Nothing here is ever unpickled, and nothing needs torch: its files are assembled byte by byte as it writes them.
"""

from __future__ import annotations

import bz2
import collections
import gzip
import io
import lzma
import pickle
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from tests.unit.checkpoint.builders import gguf_bytes, noise, safetensors_bytes, torch_bytes


class Technique(NamedTuple):
    raw: bytes
    verdict: str
    names: str
    """What the finding has to say."""


def call(module: str, name: str, argument: bytes = b"X\x02\x00\x00\x00id") -> bytes:
    """A pickle of protocol 2 that calls a name with one string."""
    return b"\x80\x02c" + f"{module}\n{name}\n".encode() + argument + b"\x85R."


def by_stack(module: str, name: str) -> bytes:
    """The same with STACK_GLOBAL, as protocol 4 does it."""
    short = [b"\x8c" + bytes([len(text)]) + text.encode() for text in (module, name)]
    return b"\x80\x04" + b"\x94".join(short) + b"\x94\x93\x94\x8c\x02id\x94\x85\x94R\x94."


_BAD = {
    "os.system": call("posix", "system"),
    "subprocess": call("subprocess", "check_output"),
    "eval": call("builtins", "eval"),
    "exec of Python 2": call("__builtin__", "execfile"),
    "__import__": call("builtins", "__import__"),
    "getattr": call("builtins", "getattr"),
    "importlib": call("importlib", "import_module"),
    "runpy": call("runpy", "_run_code"),
    "pickle in a pickle": call("pickle", "loads"),
    "torch.load of another file": call("torch", "load"),
    "numpy.load": call("numpy", "load"),
    "joblib.load": call("joblib", "load"),
    "marshal": call("marshal", "loads"),
    "numpy.testing": call("numpy.testing._private.utils", "runstring"),
    "timeit": call("timeit", "timeit"),
    "pty": call("pty", "spawn"),
    "asyncio": call("asyncio.unix_events", "_UnixSubprocessTransport._start"),
    "functools.reduce": call("functools", "reduce"),
    "functools.partial": call("functools", "partial"),
    "attrgetter": call("operator", "attrgetter"),
    "methodcaller": call("_operator", "methodcaller"),
    "code objects": call("types", "CodeType"),
    "function objects": call("types", "FunctionType"),
    "cloudpickle": call("cloudpickle.cloudpickle", "_make_function"),
    "dill": call("dill._dill", "_create_function"),
    "ctypes": call("ctypes", "CDLL"),
    "webbrowser": call("webbrowser", "open"),
    "pip": call("pip._internal.cli.main", "main"),
    "pydoc": call("pydoc", "pipepager"),
    "bdb": call("bdb", "Bdb.run"),
    "idlelib": call("idlelib.pyshell", "ModifiedInterpreter.runcode"),
    "code": call("code", "InteractiveInterpreter.runcode"),
    "pkgutil": call("pkgutil", "resolve_name"),
    "logging.config": call("logging.config", "dictConfig"),
    "network": call("urllib.request", "urlopen"),
    "C++ compiler": call("torch.utils.cpp_extension", "load_inline"),
    "commands of Python 2": call("commands", "getoutput"),
    "name through STACK_GLOBAL": by_stack("os", "system"),
    "path through an allowed module": by_stack("torch.serialization", "os.system"),
    "path through special attributes": by_stack("collections", "OrderedDict.__init__.__globals__"),
    "name kept in the memo": b"\x80\x04\x8c\x02os\x94\x8c\x06system\x940\x30h\x00h\x01\x93\x8c\x02id\x85R.",
    "name kept by PUT": b"\x80\x04\x8c\x02osp7\n0\x8c\x06systemp9\n0g7\ng9\n\x93\x8c\x02id\x85R.",
    "old string as a name": b"\x80\x04U\x02osU\x06system\x93X\x02\x00\x00\x00id\x85R.",
    "quoted string as a name": b"\x80\x04S'os'\nS'system'\n\x93X\x02\x00\x00\x00id\x85R.",
    "escaped text as a name": b"\x80\x04V\\u006fs\nVsystem\n\x93X\x02\x00\x00\x00id\x85R.",
    "INST": b"(S'id'\nios\nsystem\n.",
    "OBJ": b"(cos\nsystem\nS'id'\no.",
    "number that ends where C ends": b"\x80\x02Np0\0x\n0cos\nsystem\n)R.",
    "protocol 0": b"cos\nsystem\n(S'id'\ntR.",
    "NEWOBJ_EX": b"\x80\x04\x8c\x02os\x8c\x06system\x93)}\x92.",
    "popped with its mark": b"\x80\x02(cos\nsystem\n1N.",
    "import without a call": b"\x80\x02cos\nsystem\n0N.",
    "call, then damage": b"\x80\x02cos\nsystem\nX\x02\x00\x00\x00id\x85R\xff\xff",
    "damage of protocol 0": b"cos\nsystem\n(S'id'\ntR\xff",
    "numbers that strict readers refuse": b"\x80\x02I1_\n0Fx\n0Lq\n0cos\nsystem\nX\x02\x00\x00\x00id\x85R.",
    "behind a large string": b"\x80\x04\x8e" + (1 << 18).to_bytes(8, "little") + bytes(1 << 18) + b"0cos\nsystem\n)R.",
    "a nested call": b"\x80\x02ccollections\nOrderedDict\n(cos\nsystem\nX\x02\x00\x00\x00id\x85RtR.",
}  # fmt: skip
_UNKNOWN = {
    "own class": call("mylib.layers", "Thing"),
    "name with the word unknown": call("mylib.unknown", "unknown_token"),
    "loader of nested bytes": call("torch.storage", "_load_from_bytes"),
    "TorchScript": call("__torch__.model", "Net"),
    "odd builtin": call("builtins", "print"),
    "extension registry": b"\x80\x02\x82\x07)R.",
    "extension registry, wide": b"\x80\x02\x84\x07\x00\x00\x00)R.",
    "computed module": b"\x80\x04cbuiltins\nstr\n\x8c\x02os\x85R\x8c\x06system\x93.",
    "escaped name without PROTO": b"S'\\x6fs'\nS'system'\n\x93(S'id'\ntR.",
    "name too long for a name": b"\x80\x04X" + (5000).to_bytes(4, "little") + b"o" * 5000 + b"\x8c\x06system\x93.",
    "calls what was returned": b"\x80\x02ccollections\nOrderedDict\n)R)R.",
    "quoted name with an escape": b"\x80\x04S'\\x6fs'\nS'system'\n\x93X\x02\x00\x00\x00id\x85R.",
    "changes a function": b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n}X\x01\x00\x00\x00aK\x01sb.",
    "subclass hidden by case": call("Torch", "FloatStorage"),
    "path into an allowed class": by_stack("pathlib", "Path.rmdir"),
}
TECHNIQUES = {
    **{name: Technique(raw, "dangerous", "a pickle imports ") for name, raw in _BAD.items()},
    **{name: Technique(raw, "unknown", "a pickle ") for name, raw in _UNKNOWN.items()},
}


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data, method)
    return file.getvalue()


def torch_file(raw: bytes, method: int = zipfile.ZIP_STORED) -> bytes:
    """What ``torch.save`` writes around a pickle."""
    members = {"data.pkl": raw, "byteorder": b"little", "data/0": bytes(64), "version": b"3\n"}
    return zipped({f"archive/{name}": data for name, data in members.items()}, method)


def old_torch_file(raw: bytes) -> bytes:
    """What ``torch.save`` wrote before 1.6: five pickles, then storages."""
    before = [pickle.dumps(value, 2) for value in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})]
    return b"".join([*before, raw, pickle.dumps(["0"], 2), struct.pack("<q", 640), bytes(64)])


def numpy_file(raw: bytes) -> bytes:
    """An array of objects: a header, then a pickle."""
    header = b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }".ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + raw


def tarred(raw: bytes, name: str = "pickle") -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        info = tarfile.TarInfo(name)
        info.size = len(raw)
        archive.addfile(info, io.BytesIO(raw))
    return file.getvalue()


def in_bytes(raw: bytes) -> bytes:
    """A pickle that carries another one as a string of bytes."""
    return b"\x80\x03B" + len(raw).to_bytes(4, "little") + raw + b"."


def _flagged(raw: bytes) -> bytes:
    """An archive whose members are said to be encrypted and are not."""
    data = bytearray(torch_file(raw))
    for magic, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = data.find(magic)
        while place >= 0:
            data[place + at] |= 1
            place = data.find(magic, place + 4)
    return bytes(data)


def _bad_checksum(raw: bytes) -> bytes:
    data = bytearray(torch_file(raw))
    for magic, at in ((b"PK\x03\x04", 14), (b"PK\x01\x02", 16)):
        place = data.find(magic)
        while place >= 0:
            data[place + at] ^= 0xFF
            place = data.find(magic, place + 4)
    return bytes(data)


def _behind_text(raw: bytes) -> bytes:
    """An archive behind a page of text, whose directory counts from the file's beginning."""
    file = io.BytesIO(b"# a card\n" * 20)
    file.seek(0, io.SEEK_END)
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("archive/data.pkl", raw)
    return file.getvalue()


CONTAINERS: dict[str, Callable[[bytes], bytes]] = {
    "bare": bytes,
    "torch": torch_file,
    "torch, compressed": lambda raw: torch_file(raw, zipfile.ZIP_DEFLATED),
    "old torch": old_torch_file,
    "behind an old torch file": lambda raw: old_torch_file(b"\x80\x02N.")[:-72] + raw,
    "second pickle": lambda raw: pickle.dumps({"a": 1}, 2) + raw,
    "zip in a zip": lambda raw: zipped({"inner.zip": torch_file(raw)}),
    "zip in a compressed zip": lambda raw: zipped({"inner.zip": torch_file(raw)}, zipfile.ZIP_DEFLATED),
    "oddly named member": lambda raw: zipped({"weights/readme.txt": raw}),
    "storage of a torch file": lambda raw: zipped({"archive/data.pkl": b"\x80\x02N.", "archive/data/0": raw}),
    "behind text": _behind_text,
    "flagged as encrypted": _flagged,
    "wrong checksums": _bad_checksum,
    "gzip": gzip.compress,
    "second stream of a gzip": lambda raw: gzip.compress(raw[:7]) + gzip.compress(raw[7:]),
    "gzip cut off behind it": lambda raw: gzip.compress(raw + noise(20_000))[:-9_000],
    "zlib damaged behind it": lambda raw: zlib.compress(raw + noise(20_000))[:-9_000] + bytes(9_000),
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "lzma of joblib": lambda raw: lzma.compress(raw, lzma.FORMAT_ALONE),
    "zlib": zlib.compress,
    "numpy": numpy_file,
    "npz": lambda raw: zipped({"a.npy": numpy_file(raw)}, zipfile.ZIP_DEFLATED),
    "tar": tarred,
    "tar.gz": lambda raw: gzip.compress(tarred(raw)),
    "inside a pickle": in_bytes,
}


def _memo(count: int) -> bytes:
    return b"\x80\x04N" + b"\x94" * count + b"."


def _damaged(data: bytes, old: bytes, new: bytes) -> bytes:
    assert old in data
    return data.replace(old, new, 1)


_EVIL = call("os", "system")
_TORCH = torch_file(b"\x80\x02N.")


def _moved_tar() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
        info = tarfile.TarInfo("pickle")
        info.size, info.pax_headers = 5, {"GNU.sparse.major": "1"}
        archive.addfile(info, io.BytesIO(b"\x80\x02N.."))
    return file.getvalue()


def _zip64(data: bytes) -> bytes:
    """End records of zip64 that name one member fewer than the ordinary one."""
    count, length, offset = struct.unpack("<HII", data[-12:-2])
    record = struct.pack("<4sQ2H2I4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count - 1, count - 1, length, offset)
    return record + struct.pack("<4sIQI", b"PK\x06\x07", 0, len(data) - 22, 1)


UNREADABLE: dict[str, bytes] = {
    "pickle cut off": pickle.dumps([{"a": n} for n in range(50)], 4)[:-20],
    "pickle cut off, protocol 2": pickle.dumps([{"a": n} for n in range(50)], 2)[:-3],
    "allowed import, then damage": b"\x80\x02ccollections\nOrderedDict\n)R\xff",
    "escaped name, then damage": b"\x80\x04S'\\x6fs'\nS'system'\n\x93)R\xff",
    "torch file cut off": _TORCH[:-30],
    "torch file without a directory": _TORCH[: _TORCH.find(b"PK\x01\x02")],
    "another name in the local header": _damaged(_TORCH, b"archive/data.pkl", b"archive/data.pkx"),
    "another method in the local header": _TORCH[:8] + b"\x08" + _TORCH[9:],
    "more members than said": _TORCH[:-12] + struct.pack("<HH", 3, 3)[:2] + _TORCH[-10:],
    "two ends of the directory": _TORCH[:-2] + (26).to_bytes(2, "little") + b"PK\x05\x06" + b"\xff" * 22,
    "something behind the directory": _TORCH + b"x",
    "text before an archive that counts from itself": b"# a card\n" * 20 + _TORCH,
    "an archive before another": _TORCH[: _TORCH.find(b"PK\x01\x02")] + _TORCH,
    "zip64 that says something else": _TORCH[:-22] + _zip64(_TORCH) + _TORCH[-22:],
    "method that is not read": zipped({"a": b"x" * 100}, zipfile.ZIP_LZMA),
    "pickle by name that is none": zipped({"archive/data.pkl": b"\xff\xff\xff"}),
    "damaged member": _damaged(zipped({"a": bytes(3000)}, 8), zlib.compress(bytes(3000))[2:-4], b"\xff" * 14),
    "7z": b"7z\xbc\xaf\x27\x1c\x00\x04" + bytes(100),
    "gzip cut off": gzip.compress(b"\x80\x02" + bytes(range(256)) * 50)[:30],
    "xz damaged": lzma.compress(_EVIL)[:20] + b"\xff" * 20,
    "objects that are no pickle": numpy_file(b"\xff\xff\xff"),
    "tar that moves its members": _moved_tar(),
    "tar with a bad header": tarred(b"\x80\x02N.")[:1024] + b"x" * 1024,
    "many archives in each other": b"",
    "too many opcodes": b"\x80\x02" + b"N0" * 2_600_000 + b"N.",
    "too much to remember": _memo(2_100_000),
    "too many imports": b"\x80\x02" + b"".join(b"ca\nb%d\n0" % n for n in range(10_100)) + b"N.",
}  # fmt: skip
_nested = _TORCH
for _ in range(8):
    _nested = zipped({"a.zip": _nested})
UNREADABLE["many archives in each other"] = _nested


def _values() -> list[object]:
    arrays: list[object] = [np.arange(10.0), np.float64(1), np.array(["a", None], object), np.random.RandomState(1)]
    return [
        {"a": [1, 2.5, None, True, "y" * 300, {1, 2}, frozenset([3])], "b": (1, (2, (3, 4, 5))), "c": 1 << 70},
        collections.OrderedDict(a=b"x", b=bytearray(b"y"), c=1j, unknown="unknown"),
        arrays,
    ]


def _numpy(array: object, **more: object) -> bytes:
    file = io.BytesIO()
    if more:
        np.savez_compressed(file, array, **more)  # type: ignore[arg-type]
    else:
        np.save(file, np.asarray(array), allow_pickle=True)
    return file.getvalue()


def _torch_call(names: list[str]) -> bytes:
    """A pickle that calls one harmless name after the other."""
    calls = b"".join(b"c" + name.encode() + b"\n)R0" for name in names)
    return b"\x80\x02" + calls + b"N."


_TORCH_NAMES = ["torch._utils\n_rebuild_tensor_v2", "torch\nFloatStorage", "torch._utils\n_rebuild_parameter"]
_TORCH_NAMES += ["torch\nSize", "torch\ndevice", "torch\nfloat8_e4m3fn", "torch.nn.parameter\nParameter"]
_MODULE = b"\x80\x02(X\x06\x00\x00\x00moduleccollections\nOrderedDict\nNtQ)R."

BENIGN: dict[str, bytes] = {
    **{f"values {n}, protocol {p}": pickle.dumps(v, p) for n, v in enumerate(_values()) for p in range(6)},
    "torch file": torch_bytes(),
    "torch file of many kinds": torch_file(_torch_call(_TORCH_NAMES)),
    "old torch file": old_torch_file(_torch_call(_TORCH_NAMES)),
    "old torch file of small numbers": old_torch_file(b"\x80\x02N.") + struct.pack("<q", 640) * 50,
    "class by an id": _MODULE,
    "array": _numpy([1.5, 2]),
    "array of objects": _numpy(np.array([{"a": 1}], object)),
    "arrays": _numpy([1], b=np.array([None], object)),
    "gzip of a pickle": gzip.compress(pickle.dumps({"a": 1})),
    "gzip of text": gzip.compress(b"cos\nsystem\nno pickle at all"),
    "zlib by chance": b"\x78\x9c" + b"\xff" * 60,
    "safetensors": safetensors_bytes(),
    "gguf": gguf_bytes(),
    "text that begins like an import": b"cat\ndog\nbird\n" * 20,
    "text about os.system": b"# Card\n\nDo not load pickles: cos\nsystem\n(S'id'\ntR.\n",
    "csv": b"c,loss\n1,2\n3,4\n",
    "csv that is a whole pickle of protocol 0": b"const_p1,const_p2\nconst_f1,2\n.5\n",
    "zip of text": zipped({"a.txt": b"hello", "b/": b"", "c.json": b"{}"}, zipfile.ZIP_DEFLATED),
    "zip in a zip of text": zipped({"a.zip": zipped({"b": b"text"})}),
    "tar of text": tarred(b"hello", "a.txt"),
    "empty": b"",
    "one byte": b"\x80",
    "numbers that begin with PROTO": b"\x80\x02" + bytes(1000),
    "numbers that name an extension": b"\x82\x01.\xff" + bytes(100),
    "an archive's end inside": b"\xff" + b"PK\x05\x06" + bytes(100),
}
