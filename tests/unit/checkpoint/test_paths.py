from __future__ import annotations

import posixpath
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pckpt.checkpoint.paths import UnsafePath, check_path, check_paths
from p2pckpt.errors import VerificationFailed

GOOD = [
    "model.safetensors",
    "a/b/c.bin",
    ".gitattributes",
    "model-00001-of-00002.safetensors",
    "-rf",
    "~",
    "a b",
    " leading",
    "naïve/模型.pt",
    "e\u0301.bin",
    "👩\u200d💻.txt",
    'what?*<>|".bin',
    "console.log",
    "com.txt",
    "com10",
    "null",
    "...x",
    "x" * 255,
    "/".join(["x" * 250] * 16),
]

BAD = {
    "": "relative",
    "/": "relative",
    "/etc/passwd": "relative",
    "//host/share": "relative",
    "..": "part",
    ".": "part",
    "a/../b": "part",
    "a/./b": "part",
    "a//b": "part",
    "a/": "part",
    "./a": "part",
    "...": "dot",
    "a./b": "dot",
    "a ": "space",
    "a /b": "space",
    "a\\b": "backslash",
    "..\\..\\a": "backslash",
    "C:/x": "colon",
    "c:x": "colon",
    "file:stream": "colon",
    "file::$DATA": "colon",
    "a\0b": "control",
    "a\nb": "control",
    "a\x1b[31m": "control",
    "a\x7f": "control",
    "a\x9b1m": "control",
    "a\u2028b": "control",
    "exe\u202etxt.bin": "control",
    "a\u2066b": "control",
    "a\u200fb": "control",
    "CON": "device",
    "con.txt": "device",
    "Nul.tar.gz": "device",
    "a/aux/b": "device",
    "COM1": "device",
    "lpt9.bin": "device",
    "com\u00b9": "device",
    "CONIN$": "device",
    "nul .txt": "device",
    "\ud800": "Unicode",
    "x" * 256: "longer",
    "é" * 128: "longer",
    "/".join(["x" * 250] * 17): "longer",
}


@pytest.mark.parametrize("path", GOOD)
def test_ordinary_paths_pass_unchanged(path: str) -> None:
    assert check_path(path) is path


@pytest.mark.parametrize("path", BAD)
def test_dangerous_paths_are_refused_with_a_printable_reason(path: str) -> None:
    with pytest.raises(UnsafePath, match=BAD[path]) as caught:
        check_path(path)
    assert isinstance(caught.value, VerificationFailed)
    assert caught.value.fact.isprintable()
    assert len(caught.value.fact) < 300


CLASHES = {
    "listed twice": ["a", "b", "a"],
    "directory listed twice": ["a/", "a/"],
    "case": ["README.md", "readme.MD"],
    "case of a directory": ["A/x", "a/y"],
    "sharp s": ["straße", "STRASSE"],
    "normalisation": ["\u00e9", "e\u0301"],
    "zero width": ["model.bin", "model\u200b.bin"],
    "file and directory": ["a", "a/b"],
    "directory and file": ["a/b/c", "a/b"],
    "file and empty directory": ["a", "a/"],
    "file and directory of other case": ["a", "A/b"],
    "one bad path": ["ok", "../x"],
}


@pytest.mark.parametrize("name", CLASHES)
def test_sets_of_paths_that_meet_are_refused(name: str) -> None:
    with pytest.raises(UnsafePath):
        check_paths(CLASHES[name])


def test_sets_of_distinct_paths_pass() -> None:
    check_paths(["a/b", "a/c", "b", "empty/", "d/e/", "d/f", "a/g/"])
    check_paths(["d/", "d/f"])
    check_paths([])


nasty = st.text(st.one_of(st.sampled_from("./\\: \0~ab\u202eé"), st.characters()), max_size=40)


@settings(max_examples=500)
@given(nasty)
def test_no_accepted_path_leaves_its_base(path: str) -> None:
    try:
        check_path(path)
    except UnsafePath as exc:
        assert exc.fact.isprintable()
        return
    joined = posixpath.normpath(posixpath.join("/base/dir", path))
    assert joined == "/base/dir/" + path
    assert not any(unicodedata.category(character) == "Cc" for character in path)
    assert not path.startswith(("/", "\\"))
    assert ":" not in path
