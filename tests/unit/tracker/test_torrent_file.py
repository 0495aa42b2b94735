"""What the tracker reads out of a .torrent."""

from __future__ import annotations

import contextlib
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pckpt_tracker.torrent_file import BadTorrent, read_torrent
from p2pckpt_tracker.wire import bencode

INFO = {b"file tree": {b"a": {b"": {b"length": 1}}}, b"meta version": 2, b"name": "größe".encode()}


def test_the_infohash_is_that_of_the_very_bytes() -> None:
    facts = read_torrent(bencode({b"announce": b"http://x", b"info": INFO, b"piece layers": {b"x" * 32: b"y" * 64}}))
    assert facts.info_hash == hashlib.sha256(bencode(INFO)).hexdigest()
    assert facts.name == "größe"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"d4:info",
        bencode({b"info": {}}),
        bencode({b"info": [1]}),
        bencode({b"info": INFO | {b"meta version": 1}}),
        bencode({b"info": INFO | {b"pieces": b"x" * 20}}),
        bencode({b"info": INFO | {b"name": b"\xff"}}),
        bencode({b"info": INFO | {b"name": 5}}),
        bencode({b"info": INFO}) + b"e",
        bencode({b"info": INFO})[:-1],
        b"d4:info" + bencode(INFO) + b"4:info" + bencode(INFO) + b"e",
        b"d4:info" + b"l" * 100_000 + b"e" * 100_000 + b"e",
        b"d4:info99999999999:ae",
        b"d4:infoi" + b"9" * 1000 + b"ee",
    ],
)
def test_what_is_no_v2_torrent_is_refused(data: bytes) -> None:
    with pytest.raises(BadTorrent):
        read_torrent(data)


@given(st.binary(max_size=200), st.integers(0, 100))
def test_noise_raises_nothing_but_a_refusal(noise: bytes, at: int) -> None:
    good = bencode({b"info": INFO})
    for data in (noise, good[:at] + noise + good[at:]):
        with contextlib.suppress(BadTorrent):
            assert len(read_torrent(data).info_hash) == 64
