"""What the tracker checks of an uploaded .torrent: that it is BEP 52, and which infohash and name it has."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

_MAX_DEPTH = 64
"""Nesting of a bencoded value; a file tree is as deep as its paths."""


class BadTorrent(Exception):
    """The bytes are no v2 torrent."""


@dataclass(frozen=True, slots=True)
class TorrentFacts:
    """Read from the ``info`` dictionary."""

    info_hash: str
    """SHA-256 of the bencoded ``info``, hex."""
    name: str


def read_torrent(data: bytes) -> TorrentFacts:
    """Read a .torrent without building it in memory. Raises BadTorrent."""
    top = _spans(data, 0, len(data))
    info = top.get(b"info")
    if info is None or data[info[0] : info[0] + 1] != b"d":
        raise BadTorrent("no info dictionary")
    inner = _spans(data, info[0], info[1])
    version = inner.get(b"meta version")
    if version is None or data[version[0] : version[1]] != b"i2e":
        raise BadTorrent("not a BitTorrent v2 torrent")
    if b"pieces" in inner:
        raise BadTorrent("hybrid torrents are refused: v1 peers would not find the rest")
    name = inner.get(b"name")
    if name is None:
        raise BadTorrent("no name")
    try:
        text = _string(data, name[0])[0].decode()
    except UnicodeDecodeError as exc:
        raise BadTorrent("the name is not UTF-8") from exc
    return TorrentFacts(hashlib.sha256(data[info[0] : info[1]]).hexdigest(), text)


def _spans(data: bytes, start: int, end: int) -> dict[bytes, tuple[int, int]]:
    """Where each value of the dictionary at ``start`` lies; it must fill the data up to ``end``."""
    if data[start : start + 1] != b"d":
        raise BadTorrent("not a bencoded dictionary")
    spans: dict[bytes, tuple[int, int]] = {}
    at = start + 1
    while data[at : at + 1] != b"e":
        key, at = _string(data, at)
        if key in spans:
            raise BadTorrent("a key stands twice")
        after = _skip(data, at)
        spans[key] = (at, after)
        at = after
    if at + 1 != end:
        raise BadTorrent("bytes after the end")
    return spans


def _skip(data: bytes, at: int) -> int:
    """The end of the value that starts at ``at``."""
    depth = 0
    while True:
        lead = data[at : at + 1]
        if lead in (b"d", b"l"):
            depth += 1
            if depth > _MAX_DEPTH:
                raise BadTorrent("nested too deeply")
            at += 1
        elif lead == b"e" and depth:
            depth -= 1
            at += 1
        elif lead == b"i":
            stop = data.find(b"e", at, at + 24)
            if stop < 0:
                raise BadTorrent("a number without end")
            at = stop + 1
        else:
            at = _string_end(data, at)[1]
        if depth == 0:
            return at


def _string_end(data: bytes, at: int) -> tuple[int, int]:
    colon = data.find(b":", at, at + 12)
    digits = data[at:colon]
    if colon < 0 or not digits.isdigit():
        raise BadTorrent("not bencode")
    end = colon + 1 + int(digits)
    if end > len(data):
        raise BadTorrent("cut off")
    return colon + 1, end


def _string(data: bytes, at: int) -> tuple[bytes, int]:
    begin, end = _string_end(data, at)
    return data[begin:end], end
