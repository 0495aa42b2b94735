"""Ways in which a save gets torn or damaged, and what a check says about it."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from p2pckpt.jobs.saves import Shape, check


def problems(directory: Path, before: Shape | None = None, allow: Sequence[str] = ()) -> str:
    """All problems as one text; empty for a save that passes."""
    return "\n".join(check(directory, before, allow).problems)


def cuts(size: int) -> Iterator[int]:
    """Lengths to which a file of that size is cut: near both ends, and some between."""
    lengths = {0, 1, 2, 7, 8, 9, 64, size // 7, size // 3, size // 2, size * 4 // 5, size - 64, size - 8, size - 2}
    yield from sorted(length for length in lengths if 0 <= length < size)


def rewrite(path: Path, data: bytes) -> None:
    """Replace a file, which may be a hard link, by a new one."""
    path.unlink()
    path.write_bytes(data)


def members(path: Path) -> dict[str, tuple[int, int]]:
    """Name of each member of a zip → where its bytes start, and how many there are."""
    found = {}
    raw = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            at = entry.header_offset
            lengths = [int.from_bytes(raw[at + i : at + i + 2], "little") for i in (26, 28)]
            found[entry.filename] = (at + 30 + sum(lengths), entry.file_size)
    return found
