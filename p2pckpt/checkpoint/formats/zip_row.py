"""Rows of zip archives, one after the other with nothing between, as distributed checkpoints keep their tensors.

A reader of zip that is given the whole file takes the directory that the end of it names: counted back from there, it
is that of the last archive; counted from the start, as torch's reader counts, it may be anything. ``parts`` therefore
accepts a row only if that is no directory, or the first archive's: then whatever a reader finds is in one of the parts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from p2pckpt.checkpoint.formats.source import ByteSource
from p2pckpt.checkpoint.formats.zip_directory import END, END64, END64_LOCATOR

MAX_PARTS: Final = 300_000
_ENDING: Final = END64.size + END64_LOCATOR.size + END.size


@dataclass(frozen=True, slots=True)
class _Ending:
    """What the records at the end of an archive say, counted from the archive's own start."""

    start: int
    """Of the archive, in the file."""
    directories: frozenset[tuple[int, int, int]]
    """Entries, bytes and offset of the directory, as each of the records has them."""
    record64: int
    """Offset of the zip64 record; -1 without one."""


def parts(source: ByteSource) -> list[tuple[int, int]]:
    """(offset, length) of each archive, in file order; empty for what is no row of at least two."""
    found: list[tuple[int, int]] = []
    last: _Ending | None = None
    first: _Ending | None = None
    end = source.size
    while end > 0:
        first = _ending(source, end)
        if first is None or len(found) == MAX_PARTS:
            return []
        last = last or first
        found.append((first.start, end - first.start))
        end = first.start
    if first is None or last is None or len(found) < 2 or _is_ambiguous(source, first, last):
        return []
    return found[::-1]


def _ending(source: ByteSource, end: int) -> _Ending | None:
    """Of the archive that ends at ``end``, without a comment; None where there is none."""
    if end < END.size:
        return None
    raw = source.read(max(0, end - _ENDING), min(end, _ENDING))
    magic, _disk, _start, _here, count, length, offset, comment = END.unpack(raw[-END.size :])
    if magic != b"PK\x05\x06" or comment:
        return None
    directory, record64, directory_end = (count, length, offset), -1, end - END.size
    directories = {directory}
    if len(raw) == _ENDING and raw[END64.size :].startswith(b"PK\x06\x07"):
        _magic, _disk, record64, _disks = END64_LOCATOR.unpack(raw[END64.size : -END.size])
        magic, _size, _by, _needs, _disk, _start, _here, count, length, offset = END64.unpack(raw[: END64.size])
        if magic != b"PK\x06\x06":
            return None
        directory, directory_end = (count, length, offset), end - _ENDING
        directories.add(directory)
    start = directory_end - directory[1] - directory[2]
    return _Ending(start, frozenset(directories), record64) if 0 <= start < end else None


def _is_ambiguous(source: ByteSource, first: _Ending, last: _Ending) -> bool:
    """Whether a reader that counts from the file's start finds a directory that is not the first archive's."""
    places = [(offset, b"PK\x01\x02") for _, _, offset in last.directories - first.directories]
    if last.record64 != first.record64:
        places.append((last.record64, b"PK\x06\x06"))
    return any(0 <= at <= source.size - 4 and source.read(at, 4) == magic for at, magic in places)
