"""A bdecoder for tests: strict enough to notice a tracker that answers nonsense."""

from __future__ import annotations

from typing import Any


def bdecode(data: bytes) -> Any:
    """The value; raises AssertionError or ValueError for anything but canonical bencoding."""
    value, end = _decode(data, 0)
    assert end == len(data), "bytes after the end"
    return value


def _decode(data: bytes, at: int) -> tuple[Any, int]:
    lead = data[at : at + 1]
    if lead == b"i":
        end = data.index(b"e", at)
        return int(data[at + 1 : end]), end + 1
    if lead in (b"l", b"d"):
        items: list[Any] = []
        at += 1
        while data[at : at + 1] != b"e":
            item, at = _decode(data, at)
            items.append(item)
        if lead == b"l":
            return items, at + 1
        keys = items[::2]
        assert keys == sorted(set(keys)), "dictionary keys must be sorted and unique"
        return dict(zip(keys, items[1::2], strict=True)), at + 1
    colon = data.index(b":", at)
    length = int(data[at:colon])
    assert colon + 1 + length <= len(data), "string is cut off"
    return data[colon + 1 : colon + 1 + length], colon + 1 + length
