"""Identities of files and commits, conditions and ranges."""

from __future__ import annotations

import pytest

from p2pckpt.bridges.hub_gateway.etags import Span, blob_id, commit_of, etag, is_commit, is_named, pointer, span_of
from p2pckpt.control.read_messages import FileInfo

FILE = FileInfo("a.bin", 1000, "ab" * 32, "opaque", False)


def test_a_file_is_its_sha256_and_git_s_pointer_to_it() -> None:
    assert etag(FILE) == f'"{"ab" * 32}"'
    # printf '…' | git hash-object --stdin
    assert pointer(FILE).decode().splitlines()[1:] == [f"oid sha256:{'ab' * 32}", "size 1000"]
    assert blob_id(b"") == "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"
    assert blob_id(b"hello\n") == "ce013625030ba8dba906f756967f9e9ca394464a"


def test_a_commit_is_the_beginning_of_the_manifest_s_hash() -> None:
    commit = commit_of("0123456789" * 6 + "abcd")
    assert commit == "0123456789" * 4
    assert is_commit(commit)
    assert not is_commit(commit[:39]) and not is_commit(commit.replace("0", "A")) and not is_commit("main")


@pytest.mark.parametrize(
    ("header", "is_it"),
    [
        (None, False),
        ("", False),
        ('"x"', True),
        ('"y"', False),
        ('W/"x"', True),
        ('"y", "x"', True),
        ("*", True),
        ("x", False),
    ],
)
def test_a_condition_names_a_tag_or_not(header: str | None, is_it: bool) -> None:
    assert is_named(header, '"x"') is is_it


RANGES = {
    None: None,
    "": None,
    "bytes=0-99": Span(0, 100),
    "bytes=100-": Span(100, 1000),
    "bytes=990-5000": Span(990, 1000),
    "bytes=-10": Span(990, 1000),
    "bytes=-5000": Span(0, 1000),
    "bytes=999-999": Span(999, 1000),
    "bytes= 5 - 6": Span(5, 7),
    # not asked for: what can't be read, and several at once
    "bytes=-": None,
    "bytes=9-8": None,
    "bytes=0-1,5-6": None,
    "items=0-1": None,
    "bytes=a-b": None,
    "bytes=" + "9" * 30 + "-": None,
}


@pytest.mark.parametrize("header", RANGES)
def test_a_range_is_a_part_of_the_file_or_counts_as_not_asked_for(header: str | None) -> None:
    assert span_of(header, 1000) == RANGES[header]


@pytest.mark.parametrize("header", ["bytes=1000-", "bytes=5000-6000", "bytes=-0"])
def test_a_range_without_a_byte_of_the_file_is_an_error(header: str) -> None:
    with pytest.raises(ValueError):
        span_of(header, 1000)
    with pytest.raises(ValueError):
        span_of("bytes=0-", 0)
