from __future__ import annotations

import collections
import datetime
import os
import pickle
import subprocess

import pytest

from bench.generate import pickle_of
from p2pckpt.checkpoint.formats.pickle_globals import PickleUnreadable, globals_in
from tests.unit.checkpoint.builders import SMALL


class Evil:
    def __init__(self, function: object, *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return self.call


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_import_is_named_in_every_protocol(protocol: int) -> None:
    value = [
        Evil(os.system, "id"),
        Evil(subprocess.Popen, ["id"]),
        collections.OrderedDict(a=1),
        datetime.date(2024, 1, 1),
    ]
    found = globals_in(pickle.dumps(value, protocol, fix_imports=False))
    expected = {f"{os.system.__module__}.system", "subprocess.Popen", "collections.OrderedDict", "datetime.date"}
    assert expected <= found
    assert found - expected <= {"copyreg._reconstructor", "_codecs.encode"}


def test_a_torch_pickle_names_only_what_torch_needs() -> None:
    assert globals_in(pickle_of(SMALL)) == {
        "collections.OrderedDict",
        "torch._utils._rebuild_tensor_v2",
        "torch.FloatStorage",
    }


TRICKS = {
    "import without a call": (b"cos\nsystem\n0N.", {"os.system"}),
    "old instance opcode": (b"(S'id'\nios\nsystem\n.", {"os.system"}),
    "old object opcode": (b"(cos\nsystem\nS'id'\no.", {"os.system"}),
    "name kept in the memo": (b"\x80\x04\x8c\x02os\x94\x8c\x06system\x940\x30h\x00h\x01\x93.", {"os.system"}),
    "name doubled": (b"\x80\x04\x8c\x02os2\x93.", {"os.os"}),
    "popped with its mark": (b"(cos\nsystem\n1N.", {"os.system"}),
    "second pickle": (b"\x80\x02N.\x80\x02cos\nsystem\n.", {"os.system"}),
}


@pytest.mark.parametrize("name", TRICKS)
def test_tricks_do_not_hide_an_import(name: str) -> None:
    raw, expected = TRICKS[name]
    assert globals_in(raw) == expected


UNREADABLE = {
    "empty": b"",
    "imports, then breaks": b"cos\nsystem\n\xff",
    "imports, then ends": b"cos\nsystem\n(S'id'\ntR",
    "computed module": b"\x80\x04)\x8c\x06system\x93.",
    "space in a name": b"cos system\nx\n.",
    "extension registry": b"\x80\x02\x82\x01.",
    "out-of-band buffer": b"\x80\x05\x97.",
    "second pickle breaks": b"\x80\x02N.\x80\x02cos\nsystem\n\xff",
    "second pickle of an old protocol breaks": b"\x80\x02N.cos\nsystem\n(S'id'\ntR\xff",
    "very long": b"\x80\x02" + b"N0" * 2_600_000 + b"N.",
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_cannot_be_followed_is_refused_rather_than_called_clean(name: str) -> None:
    with pytest.raises(PickleUnreadable):
        globals_in(UNREADABLE[name])


def test_an_old_torch_file_is_followed_up_to_its_storages() -> None:
    parts = [pickle.dumps(value, 2) for value in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})]
    parts += [b"\x80\x02ctorch\nFloatStorage\n.", pickle.dumps(["0"], 2)]
    assert globals_in(b"".join(parts) + b"\xff raw storages") == {"torch.FloatStorage"}
