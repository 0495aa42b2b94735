"""The table of contents of a zip file, with zip64, and where each member's bytes start (APPNOTE.TXT
6.3.10).

Nothing is decompressed. Ordinary ``zipfile`` is not used because it wants a file object and believes more
of the directory than is checked here.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct

from p2pckpt.checkpoint.formats.layout import Malformed, read_at, short
from p2pckpt.checkpoint.formats.source import ByteSource

MAX_DIRECTORY = 256 << 20
MAX_ENTRIES = 1_000_000

END = Struct("<4s4H2IH")
END64_LOCATOR = Struct("<4sIQI")
END64 = Struct("<4sQ2H2I4Q")
_ENTRY = Struct("<4s6H3I5H2I")
_LOCAL = Struct("<4s5H3I2H")
_MAX_COMMENT = 0xFFFF
_ENCRYPTED = 0x1
_IN_ZIP64 = 0xFFFFFFFF
_FULL = (0xFFFF, _IN_ZIP64, _IN_ZIP64)
"""What stands for entries, bytes and offset where zip64 has them."""


@dataclass(frozen=True, slots=True)
class ZipEntry:
    """One member as the central directory describes it; sizes in bytes."""

    name: str
    raw_name: bytes
    stored: bool
    """Neither compressed nor encrypted: the file's bytes are the member's bytes."""
    length: int
    """Bytes in the archive."""
    header_offset: int
    method: int = 0
    """How it is compressed: 0 for not at all, 8 for deflate."""
    encrypted: bool = False
    """What its flags say; readers differ in whether they care."""
    crc: int = 0
    """CRC-32 of what it holds; writers that were told not to count leave 0."""
    raw_length: int = 0
    """Bytes once decompressed."""


def read_directory(source: ByteSource) -> list[ZipEntry]:
    """Every member in directory order; ``Malformed`` where the archive contradicts itself."""
    count, length, offset = _directory_place(source)
    if length > MAX_DIRECTORY or count > MAX_ENTRIES:
        raise Malformed("zip: the directory is too large")
    raw = read_at(source, offset, length)
    entries: list[ZipEntry] = []
    at = 0
    for _ in range(count):
        entry, at = _entry(raw, at)
        entries.append(entry)
    if at != len(raw):
        raise Malformed("zip: the directory has more members than it says")
    return entries


def data_offset(source: ByteSource, entry: ZipEntry) -> int:
    """Where the member's bytes start, by its own local header, which has to say the same."""
    raw = read_at(source, entry.header_offset, _LOCAL.size + len(entry.raw_name))
    magic, _needs, _flags, method, *_rest, name_length, extra_length = _LOCAL.unpack_from(raw)
    same = name_length == len(entry.raw_name) and raw[_LOCAL.size :] == entry.raw_name and method == entry.method
    if magic != b"PK\x03\x04" or not same:
        raise Malformed(f"zip: the local header of {short(entry.name)} is not what the directory says")
    start = entry.header_offset + _LOCAL.size + int(name_length) + int(extra_length)
    if start + entry.length > source.size:
        raise Malformed(f"zip: {short(entry.name)} reaches past the end of the file")
    return start


def _directory_place(source: ByteSource) -> tuple[int, int, int]:
    """Entries, bytes and offset of the central directory, from the record at the end of the file."""
    tail_length = min(source.size, END.size + _MAX_COMMENT)
    tail = read_at(source, source.size - tail_length, tail_length)
    at = tail.rfind(b"PK\x05\x06")
    while at >= 0:
        if at + END.size <= len(tail):
            _magic, _disk, _start, _here, count, length, offset, comment = END.unpack_from(tail, at)
            if at + END.size + comment == len(tail):
                break
        at = tail.rfind(b"PK\x05\x06", 0, at)
    else:
        raise Malformed("zip: there is no directory at the end of the file")
    end_offset = source.size - tail_length + at
    if end_offset >= END64_LOCATOR.size:
        raw = read_at(source, end_offset - END64_LOCATOR.size, END64_LOCATOR.size)
        magic, _disk, end64, _disks = END64_LOCATOR.unpack(raw)
        if magic == b"PK\x06\x07":
            if end64 != end_offset - END64_LOCATOR.size - END64.size:
                raise Malformed("zip: the zip64 directory record is not where it should be")
            narrow = (count, length, offset)
            count, length, offset = _place64(read_at(source, end64, END64.size))
            if any(a not in (b, full) for a, b, full in zip(narrow, (count, length, offset), _FULL, strict=True)):
                raise Malformed("zip: there are two directories")
            end_offset = end64
    # readers differ in whether they count from the file's start or back from here
    if offset + length != end_offset:
        raise Malformed("zip: the directory does not lie before its end record")
    return count, length, offset


def _place64(raw: bytes) -> tuple[int, int, int]:
    magic, _size, _by, _needs, _disk, _start, _here, count, length, offset = END64.unpack(raw)
    if magic != b"PK\x06\x06":
        raise Malformed("zip: the zip64 directory record is not where it should be")
    return count, length, offset


def _entry(raw: bytes, at: int) -> tuple[ZipEntry, int]:
    """The member described at ``at`` and where the next description starts."""
    if at + _ENTRY.size > len(raw):
        raise Malformed("zip: the directory ends too early")
    fields = _ENTRY.unpack_from(raw, at)
    magic, _by, _needs, flags, method = fields[:5]
    crc, packed, unpacked, name_length, extra_length, comment_length = fields[7:13]
    header_offset = fields[16]
    name_at = at + _ENTRY.size
    extra_at = name_at + name_length
    end = extra_at + extra_length + comment_length
    if magic != b"PK\x01\x02" or end > len(raw):
        raise Malformed("zip: the directory cannot be read")
    wide = _zip64_fields(raw[extra_at : extra_at + extra_length])
    unpacked, packed, header_offset = (
        _next(wide) if value == _IN_ZIP64 else value for value in (unpacked, packed, header_offset)
    )
    raw_name = raw[name_at:extra_at]
    stored = method == 0 and not flags & _ENCRYPTED
    if stored and packed != unpacked:
        raise Malformed("zip: a stored member has two different sizes")
    name = raw_name.decode("utf-8", "replace")
    encrypted = bool(flags & _ENCRYPTED)
    return ZipEntry(name, raw_name, stored, packed, header_offset, method, encrypted, crc, unpacked), end


def _zip64_fields(extra: bytes) -> list[int]:
    """The 8-byte values of the zip64 extra field, last first, or none."""
    at = 0
    while at + 4 <= len(extra):
        kind, length = (
            int.from_bytes(extra[at : at + 2], "little"),
            int.from_bytes(extra[at + 2 : at + 4], "little"),
        )
        body = extra[at + 4 : at + 4 + length]
        if kind == 1:
            whole = len(body) // 8 * 8
            return [int.from_bytes(body[i : i + 8], "little") for i in range(0, whole, 8)][::-1]
        at += 4 + length
    return []


def _next(wide: list[int]) -> int:
    if not wide:
        raise Malformed("zip: a size is missing from the zip64 field")
    return wide.pop()
