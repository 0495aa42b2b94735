"""The bytes of a frame's plain body. Numbers and compression are not understood here.

    version    1 byte, 1
    transform  1 byte: low 7 bits the transform's id, top bit set for a delta
    length     varint, raw bytes of the chunk
    per plane  codec, 1 byte: 0 raw, 1 zstd; for zstd a varint follows, the bytes stored
    planes     one after the other; a raw plane is as long as the transform says
    tail       the last ``length mod unit`` raw bytes, which make no whole number

Varints are little-endian base 128 in as few bytes as possible (LEB128). There is exactly one body for a
``Frame``: what ``parse`` accepts, ``serialise`` gives back. A reader refuses ids that it does not know, so
new transforms need no new version; anything else does.
"""

from __future__ import annotations

from dataclasses import dataclass

from p2pckpt.checkpoint.codec.errors import FrameError
from p2pckpt.checkpoint.codec.ids import DELTA_TRANSFORMS, TRANSFORMS

VERSION = 1
RAW, ZSTD = 0, 1
MAX_RAW = 1 << 30
"""Longest chunk that the format can describe. Callers hold frames to the shorter length that was signed."""
_DELTA = 0x80

Buffer = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class Plane:
    """One stream of a frame as it is stored."""

    codec: int
    """``RAW`` or ``ZSTD``."""
    body: Buffer


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame taken apart, nothing decompressed. Bodies may be views into the bytes that were parsed."""

    transform: int
    """Key of ``ids.TRANSFORMS``."""
    delta: bool
    """Whether the numbers are differences to a base chunk."""
    raw_length: int
    """Bytes of the chunk."""
    planes: tuple[Plane, ...]
    tail: Buffer


def serialise(frame: Frame) -> bytes:
    """The one body that stands for ``frame``."""
    return b"".join(parts(frame))


def parts(frame: Frame) -> list[Buffer]:
    """The same in pieces, which are the frame's own where they can be."""
    head = bytearray([VERSION, frame.transform | (_DELTA if frame.delta else 0)])
    head += _varint(frame.raw_length)
    for plane in frame.planes:
        head.append(plane.codec)
        if plane.codec == ZSTD:
            head += _varint(len(plane.body))
    return [head, *(plane.body for plane in frame.planes), frame.tail]


def parse_header(data: Buffer) -> tuple[int, bool, int, int]:
    """Transform, delta flag, raw length and where the plane table starts; ``FrameError`` where they make no
    sense.

    Looks at no more than the first few bytes, so it says nothing about the rest.
    """
    if len(data) < 3:
        raise FrameError("The frame is too short.")
    if data[0] != VERSION:
        raise FrameError(f"The frame has version {data[0]}, which is not known here.")
    transform, delta = data[1] & ~_DELTA, bool(data[1] & _DELTA)
    if transform not in TRANSFORMS or (delta and transform not in DELTA_TRANSFORMS):
        raise FrameError(f"The frame uses transform {data[1]}, which is not known here.")
    raw_length, at = _read_varint(data, 2)
    return transform, delta, raw_length, at


def parse(data: Buffer) -> Frame:
    """Takes a body apart; ``FrameError`` unless every byte is accounted for and written the one canonical
    way."""
    transform, delta, raw_length, at = parse_header(data)
    rule = TRANSFORMS[transform]
    tail_length = raw_length % rule.unit
    lengths = rule.plane_lengths(raw_length - tail_length)
    stored: list[tuple[int, int]] = []
    for length in lengths:
        if at >= len(data):
            raise FrameError("The frame ends within its header.")
        codec = data[at]
        at += 1
        if codec == ZSTD:
            size, at = _read_varint(data, at)
            if not 0 < size < length:
                raise FrameError("The frame stores a plane in more bytes than it has.")
        elif codec == RAW:
            size = length
        else:
            raise FrameError(f"The frame uses codec {codec}, which is not known here.")
        stored.append((codec, size))
    if at + sum(size for _, size in stored) + tail_length != len(data):
        raise FrameError("The frame's planes do not add up to its length.")
    view = memoryview(data)
    planes: list[Plane] = []
    for codec, size in stored:
        planes.append(Plane(codec, view[at : at + size]))
        at += size
    return Frame(transform, delta, raw_length, tuple(planes), view[at:])


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _read_varint(data: Buffer, at: int) -> tuple[int, int]:
    """A number and where the next field starts."""
    value = shift = 0
    while True:
        if at >= len(data):
            raise FrameError("The frame ends within its header.")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
        if shift > 28:
            raise FrameError("The frame contains a number that is too large.")
    if byte == 0 and shift > 7:
        raise FrameError("The frame contains a number that is written too long.")
    if value > MAX_RAW:
        raise FrameError("The frame contains a number that is too large.")
    return value, at
