"""Encoding a chunk into a frame's plain body, and decoding one that nobody vouches for.

Thread-safe: temporary memory and zstd contexts belong to the calling thread. A body is not sealed, names no
chunk and no base; whoever stores it does that. The identity of the result is checked by the caller against
the chunk's BLAKE3.
"""

from __future__ import annotations

import numpy as np

from p2pckpt.checkpoint.codec import planes as plane_codec
from p2pckpt.checkpoint.codec.choice import choose, choose_delta, differences_of, taken_apart
from p2pckpt.checkpoint.codec.container import Buffer, Frame, Plane, parse, parse_header, parts, serialise
from p2pckpt.checkpoint.codec.differences import restore, undo_order
from p2pckpt.checkpoint.codec.errors import FrameError
from p2pckpt.checkpoint.codec.ids import DELTA_BY_DTYPE, DELTA_TRANSFORMS, ORDERED, TRANSFORMS
from p2pckpt.checkpoint.codec.planes import Kind
from p2pckpt.checkpoint.codec.scratch import Bytes

__all__ = [
    "Frame",
    "FrameError",
    "Plane",
    "decode",
    "decode_into",
    "encode",
    "encode_delta",
    "encode_parts",
    "is_delta",
    "parse",
    "raw_length",
    "serialise",
]

DELTA_WORTH = 0.95
"""A delta is kept only up to this fraction of the plain frame: it costs its reader the base as well."""


def encode(raw: Buffer, dtype: str) -> bytes:
    """The plain body of a frame for a chunk of up to ``container.MAX_RAW`` bytes.

    ``dtype`` is a canonical number type or empty; a wrong one costs compression, never correctness. The
    same input need not give the same bytes with another version of zstd.
    """
    return b"".join(encode_parts(raw, dtype))


def encode_parts(raw: Buffer, dtype: str) -> list[Buffer]:
    """As ``encode``, for who has a place for the body: pieces that last until the calling thread's next call."""
    data = np.frombuffer(raw, np.uint8)
    transform, kind = choose(data, dtype)
    return parts(_encoded(data, data, transform, kind, delta=False))


def encode_delta(raw: Buffer, base_raw: Buffer, dtype: str, *, alone: int | None = None) -> bytes | None:
    """A body that needs ``base_raw`` to be decoded, or ``None`` where that saves less than 5 %.

    ``alone`` is the length of ``encode(raw, dtype)`` if the caller has it already; otherwise it is made
    here to compare. ``None`` also for other lengths than the base's and for types without differences.
    """
    offers = DELTA_BY_DTYPE.get(dtype)
    if offers is None or len(raw) != len(base_raw):
        return None
    data, base = np.frombuffer(raw, np.uint8), np.frombuffer(base_raw, np.uint8)
    transform = choose_delta(data, base, offers)
    whole = len(data) - len(data) % TRANSFORMS[transform].unit
    differences = differences_of(data[:whole], base[:whole], transform)
    kind = Kind.ORDERED if transform in ORDERED else Kind.NUMBERS
    body = serialise(_encoded(data, differences, transform, kind, delta=True))
    limit = len(encode(raw, dtype)) if alone is None else alone
    return body if len(body) <= limit * DELTA_WORTH else None


def raw_length(frame: Buffer) -> int:
    """Bytes that the frame claims to decode to; ``FrameError`` where its first bytes make no sense."""
    return parse_header(frame)[2]


def is_delta(frame: Buffer) -> bool:
    """Whether the frame can only be decoded with its base; ``FrameError`` where its first bytes make no
    sense."""
    return parse_header(frame)[1]


def decode_into(frame: Buffer, out: memoryview, base: Buffer | None = None) -> None:
    """Decodes a body into ``out``, whose length must be the chunk's.

    ``base`` is the base chunk's raw bytes for a delta and ``None`` for any other frame. Raises
    ``FrameError`` where the frame is anything but a canonical encoding of exactly ``len(out)`` bytes;
    ``out`` then holds rubbish.
    """
    parsed = parse(frame)
    if parsed.raw_length != len(out):
        raise FrameError(f"The frame claims {parsed.raw_length} bytes where {len(out)} are due.")
    _decode(parsed, out, base)


def decode(frame: Buffer, *, max_raw: int, base: Buffer | None = None) -> bytearray:
    """Decodes a body that claims at most ``max_raw`` bytes; for the rest see ``decode_into``."""
    length = raw_length(frame)
    if length > max_raw:
        raise FrameError(f"The frame claims {length} bytes, more than {max_raw}.")
    parsed = parse(frame)
    out = bytearray(length)
    _decode(parsed, memoryview(out), base)
    return out


def _decode(parsed: Frame, out: memoryview, base: Buffer | None) -> None:
    """Fills ``out``, which has the length that the frame claims."""
    if parsed.delta != (base is not None) or (base is not None and len(base) != len(out)):
        raise FrameError("The frame and the base chunk it came with do not belong together.")
    rule = TRANSFORMS[parsed.transform]
    target = np.frombuffer(out, np.uint8)
    whole = len(target) - len(parsed.tail)
    if whole:
        lengths = rule.plane_lengths(whole)
        parts = [plane_codec.decompress(p, n) for p, n in zip(parsed.planes, lengths, strict=True)]
        rule.merge(parts, target[:whole])
        if base is not None:
            bases = np.frombuffer(base, np.uint8)[:whole]
            if parsed.transform in ORDERED:
                undo_order(target[:whole], bases)
            restore(target[:whole], bases, DELTA_TRANSFORMS[parsed.transform])
    out[whole:] = parsed.tail


def _encoded(raw: Bytes, numbers: Bytes, transform: int, kind: Kind, *, delta: bool) -> Frame:
    """The frame for ``numbers`` (``raw`` itself or its differences), with what ``raw`` has beyond whole
    units. Its planes may be the thread's scratch."""
    whole = len(raw) - len(raw) % TRANSFORMS[transform].unit
    stored = tuple(plane_codec.compress(plane, kind) for plane in taken_apart(numbers[:whole], transform))
    return Frame(transform, delta, len(raw), stored, raw[whole:].data)
