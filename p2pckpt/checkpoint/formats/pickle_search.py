"""Every pickle in a file, wherever it hides: what all of them together would import.

Judged by content, never by a file's name. Looked into are pickles one after the other (old ``torch.save``), zip and
tar archives, numpy files, what gzip, bzip2, xz and zlib compress, and byte strings inside pickles; each of them
inside each other, some levels deep. What seems to be one of these and cannot be read to its end is a problem: an
unpickler acts before it notices.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from p2pckpt.checkpoint.formats import zip_row
from p2pckpt.checkpoint.formats.inflated import Budget, Inflated, NotInflated, method_of
from p2pckpt.checkpoint.formats.layout import Malformed, short
from p2pckpt.checkpoint.formats.pickle_trace import Allowance, Import, Trace, trace
from p2pckpt.checkpoint.formats.source import ByteSource, BytesSource, Peekable, Slice
from p2pckpt.checkpoint.formats.zip_directory import ZipEntry, data_offset, read_directory

_DEPTH: Final = 5
_HEAD: Final = 512
_MAX_MEMBERS: Final = 300_000
_MAX_NESTED: Final = 10_000
"""Byte strings inside pickles that are looked into; what would load them is judged by its name."""
_MAX_PROBLEMS: Final = 20
_UNPACKED_ARCHIVE: Final = 16 << 20
"""Bytes of an archive inside something compressed: it is held in memory."""
_CONVINCING: Final = 10
"""Opcodes after which something that begins with PROTO is no coincidence: one tensor in a billion does so."""
_MEMBER: Final = b"PK\x03\x04"
_END: Final = b"PK\x05\x06"
_MAX_PAX: Final = 1 << 16
_PAX_MOVES: Final = re.compile(rb" size=|GNU\.sparse")
"""Records of a tar archive that say its members lie elsewhere than their headers do."""
_OBJECTS: Final = re.compile(rb"['\"][|<>=]?(O\d*|object)['\"]")


@dataclass(slots=True)
class Content:
    """What the pickles of one file have in common."""

    imports: set[Import] = field(default_factory=set)
    oddities: set[str] = field(default_factory=set)
    """What no ordinary pickle does, one clause each."""
    problems: list[str] = field(default_factory=list)
    """What could not be read, one clause each; bounded in number and length."""
    pickles: int = 0


def search(
    source: ByteSource,
    check: Callable[[], None] = lambda: None,
    skip: Callable[[str], bool] = lambda name: False,
) -> Content:
    """Look into a whole file. Content never makes this raise; ``check`` is called often, to be stopped by.

    Memory stays below some hundred MB and time at some seconds whatever the file does; of a file without pickles a
    few kB are read. Members of an archive whose name ``skip`` accepts are not looked into.
    """
    seeker = _Search(check, skip)
    seeker.look(Slice(source), 0, "")
    return seeker.found


class _Search:
    def __init__(self, check: Callable[[], None], skip: Callable[[str], bool]) -> None:
        self.found = Content()
        self._check = check
        self._skip = skip
        self._allowance = Allowance()
        self._budget = Budget()
        self._members = _MAX_MEMBERS
        self._nested = _MAX_NESTED

    def look(self, source: Peekable, depth: int, where: str) -> bool:
        """Whether it was anything that can hold pickles."""
        self._check()
        if depth > _DEPTH:
            self._problem(where, "it is nested too deeply")
            return True
        try:
            return self._look(source, depth, where)
        except NotInflated as exc:
            self._problem(where, str(exc))
            return True

    def _look(self, source: Peekable, depth: int, where: str) -> bool:
        start = source.peek(0, _HEAD)
        known = True
        if start[:4] == _MEMBER:
            # no pickle as well: its P asks for an object by an id that ends with the line, and no unpickler goes on
            self._zip(source, depth, where)
            return True
        if not depth and isinstance(source, Slice) and _ends_as_zip(source):
            self._zip(source, depth, where)
        elif start[:6] == b"7z\xbc\xaf\x27\x1c":
            self._problem(where, "it is a 7z archive, which is not looked into")
        elif start[:6] == b"\x93NUMPY":
            self._numpy(source, start, depth, where)
        elif _is_tar_header(start):
            self._tar(source, depth, where)
        elif method := method_of(start):
            known = self._compressed(source, method, depth, where)
        else:
            known = False
        # one file may be an archive to one reader and a pickle to the next
        return self._pickles(source, 0, depth, where) or known

    def _problem(self, where: str, text: str) -> None:
        if len(self.found.problems) < _MAX_PROBLEMS:
            line = f"{short(where)}: {text}" if where else text
            if line not in self.found.problems:
                self.found.problems.append(line)

    # -- pickles

    def _pickles(self, source: Peekable, at: int, depth: int, where: str) -> bool:
        """Pickles from ``at`` on, one after the other. Whether there was any."""
        any_found = False
        while _is_pickle(traced := trace(source, at, self._allowance), first=not any_found):
            any_found = True
            self._check()
            self._take(source, traced, depth, where)
            if not traced.whole:
                break
            at = traced.end
        return any_found

    def _take(self, source: Peekable, traced: Trace, depth: int, where: str) -> None:
        found = self.found
        found.pickles += 1
        found.imports |= traced.imports
        found.oddities |= traced.oddities
        if traced.gave_up:
            self._problem(where, traced.gave_up)
        elif not traced.whole:
            self._problem(where, "it is a pickle that breaks off")
        if isinstance(source, Slice):
            for offset, length in traced.nested[: self._nested]:
                self._nested -= 1
                self.look(Slice(source, offset, length), depth + 1, where)

    # -- what holds them

    def _zip(self, source: Peekable, depth: int, where: str) -> None:
        archive = source if isinstance(source, Slice) else self._unpacked(source)
        if archive is None:
            self._problem(where, "it is a large archive inside something compressed")
            return
        try:
            for offset, length in zip_row.parts(archive) or [(0, archive.size)]:
                self._members_of(Slice(archive, offset, length), depth, where)
        except (Malformed, EOFError) as exc:
            self._problem(where, f"it is a damaged archive ({exc})" if isinstance(exc, Malformed) else "it ends early")

    def _members_of(self, archive: Slice, depth: int, where: str) -> None:
        if not _ends_once(archive):
            raise Malformed("zip: there are two directories")
        for entry in read_directory(archive):
            if entry.length and not self._skip(entry.name):
                self._member(archive, entry, data_offset(archive, entry), depth, where)

    def _member(self, archive: Slice, entry: ZipEntry, offset: int, depth: int, where: str) -> None:
        name = f"{where}/{entry.name}" if where else entry.name
        self._count_member()
        member: Peekable
        if entry.method == 0:
            member = Slice(archive, offset, entry.length)
        elif entry.method == 8:
            member = Inflated(archive, "deflate", offset, entry.length, self._budget)
        else:
            self._problem(name, f"it is compressed by method {entry.method}, which is not read")
            return
        known = self.look(member, depth + 1, name)
        if entry.encrypted:
            self._problem(name, "it is said to be encrypted")
        elif not known and entry.name.endswith((".pkl", ".pickle")):
            self._problem(name, "it is no pickle that can be followed")

    def _count_member(self) -> None:
        self._members -= 1
        if self._members < 0:
            raise NotInflated("it has more members than are looked at")

    def _unpacked(self, source: Peekable) -> Slice | None:
        data = source.peek(0, _UNPACKED_ARCHIVE + 1)
        return Slice(BytesSource(data)) if len(data) <= _UNPACKED_ARCHIVE else None

    def _compressed(self, source: Peekable, method: str, depth: int, where: str) -> bool:
        inflated = Inflated(source, method, 0, source.size, self._budget)
        try:
            inflated.peek(0, _HEAD)
        except NotInflated as exc:
            if method == "zlib":  # two bytes are no proof that it ever was
                return False
            self._problem(where, f"it is compressed, and {exc}")
            return True
        return self.look(inflated, depth + 1, where)

    def _numpy(self, source: Peekable, start: bytes, depth: int, where: str) -> None:
        width = 2 if start[6:7] == b"\x01" else 4
        length = int.from_bytes(start[8 : 8 + width], "little")
        header = source.peek(8 + width, min(length, 1 << 16))
        if not self._pickles(source, 8 + width + length, depth, where) and _OBJECTS.search(header):
            self._problem(where, "it is a numpy file of objects that cannot be followed")

    def _tar(self, source: Peekable, depth: int, where: str) -> None:
        for name, offset, length in _tar_members(source):
            if offset < 0:
                self._problem(where, "it is a tar archive that cannot be followed")
                return
            self._count_member()
            member: Peekable = Slice(source, offset, length) if isinstance(source, Slice) else _Part(source, offset)
            if offset + length > source.size:
                self._problem(where, "it is a tar archive that ends early")
                return
            inside = f"{where}/{name}" if where else name
            self.look(member, depth + 1, inside)


class _Part:
    """The rest of a ``Peekable`` from an offset on."""

    def __init__(self, source: Peekable, offset: int) -> None:
        self._source = source
        self._offset = offset

    @property
    def size(self) -> int:
        return self._source.size - self._offset

    def peek(self, offset: int, length: int) -> bytes:
        return self._source.peek(self._offset + offset, length)


def _is_pickle(traced: Trace, *, first: bool) -> bool:
    """Whether what was followed is a pickle, and not text or numbers that begin like one.

    One tensor in 40,000 begins with an opcode or two and a STOP, one in 10,000 with PROTO: that alone is no evidence.
    """
    named = traced.hidden or any(_is_plausible(i.module) and _is_plausible(i.name) for i in traced.imports)
    if traced.gave_up:
        return True
    if traced.whole:
        return traced.framed or named or not (traced.imports or traced.oddities)
    if traced.framed:
        return named or (traced.opcodes >= _CONVINCING and (first or bool(traced.imports or traced.oddities)))
    return named and traced.calls > 0


def _is_plausible(name: str) -> bool:
    """Whether it is a name that can be imported; a line of a table is none."""
    return all(part.replace("-", "_").isidentifier() for part in name.split("."))


def _ends_as_zip(source: Slice) -> bool:
    """Whether a file that begins as something else ends with an archive's directory."""
    tail = _tail(source)
    at = tail.rfind(_END)
    if at < 0 or at + 22 > len(tail):
        return False
    if tail[max(0, at - 20) : at].startswith(b"PK\x06\x07"):
        return True  # zip64 has the numbers
    length = int.from_bytes(tail[at + 12 : at + 16], "little")
    place = source.size - len(tail) + at - length
    return length > 0 and place >= 0 and source.peek(place, 4) == b"PK\x01\x02"


def _ends_once(source: Slice) -> bool:
    """Whether the last thing that looks like the directory's end is it: readers differ in which they take."""
    tail = _tail(source)
    at = tail.rfind(_END)
    return at >= 0 and at + 22 + int.from_bytes(tail[at + 20 : at + 22], "little") == len(tail)


def _tail(source: Slice) -> bytes:
    length = min(source.size, 22 + 0xFFFF)
    return source.read(source.size - length, length)


def _is_tar_header(block: bytes) -> bool:
    if len(block) < 512 or not any(block):
        return False
    stated = _octal(block[148:156])
    return stated is not None and stated == sum(block[:148]) + 8 * 32 + sum(block[156:512])


def _octal(field: bytes) -> int | None:
    """A number of a tar header; None where it is none."""
    if field[:1] in (b"\x80", b"\xff"):
        return int.from_bytes(field[1:], "big") if field[0] == 0x80 else None
    try:
        return int(field.split(b"\0")[0].strip() or b"0", 8)
    except ValueError:
        return None


def _tar_members(source: Peekable) -> Iterator[tuple[str, int, int]]:
    """(name, offset, length) of every member; a negative offset where the archive cannot be followed further."""
    at = 0
    while any(block := source.peek(at, 512)):
        size = _octal(block[124:136]) if _is_tar_header(block) else None
        kind = block[156:157]
        if size is None:
            yield "", -1, 0
            return
        name = block[:100].split(b"\0")[0].decode("utf-8", "replace")
        if kind in b"xgX" and (size > _MAX_PAX or _PAX_MOVES.search(source.peek(at + 512, size))):
            yield "", -1, 0
            return
        if kind in b"123456":  # links, directories and the like, whatever size they claim
            size = 0
        if kind not in b"xgXLK" and size:
            yield name, at + 512, size
        at += 512 + (size + 511) // 512 * 512
