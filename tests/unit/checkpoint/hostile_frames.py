"""Frames that nobody may accept, by what is wrong with them, each with the error it must meet.

Small ones are vectors too. Bombs are built by hand, so that making them takes no memory either.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import zstandard

from p2pckpt.checkpoint.codec.container import RAW, ZSTD, Frame, Plane
from p2pckpt.checkpoint.codec.frame import encode, encode_delta, serialise
from p2pckpt.checkpoint.codec.ids import BF16, BYTES2, DELTA_TRANSFORMS, F32, TRANSFORMS, WHOLE

LARGEST = 32 << 20
"""What a caller allows in these tests: as long as chunks get."""
_BLOCK = 128 << 10
_MAGIC = b"\x28\xb5\x2f\xfd"
_SKIPPABLE = b"\x50\x2a\x4d\x18"


@dataclass(frozen=True, slots=True)
class Hostile:
    """A frame and how its decoding ends."""

    frame: bytes
    error: str
    """Pattern that the ``FrameError`` must match."""
    base: bytes | None = None


def rle(length: int, *, declared: int | None = None, last: bool = True) -> bytes:
    """A zstd frame over ``length`` zeros in blocks of four bytes each; it may declare another length, and lack its
    last block's mark."""
    blocks = -(-length // _BLOCK)
    body = bytearray(_MAGIC + b"\xa0" + (length if declared is None else declared).to_bytes(4, "little"))
    for number in range(blocks):
        size = min(_BLOCK, length - number * _BLOCK)
        body += (size << 3 | 1 << 1 | (last and number == blocks - 1)).to_bytes(3, "little") + b"\0"
    return bytes(body)


def plain(body: bytes, length: int = 1000, transform: int = WHOLE) -> bytes:
    """A frame with one zstd plane, whatever that holds."""
    return serialise(Frame(transform, False, length, (Plane(ZSTD, body),), b""))


def two(first: bytes, second: bytes, length: int = 2000) -> bytes:
    """A BF16 frame with two zstd planes."""
    return serialise(Frame(BF16, False, length, (Plane(ZSTD, first), Plane(ZSTD, second)), b""))


def _with_checksum(wrong: bool) -> bytes:
    body = bytearray(zstandard.ZstdCompressor(level=1, write_checksum=True).compress(bytes(1000)))
    body[-1] ^= wrong
    return bytes(body)


def _real(dtype: str, length: int) -> bytes:
    weights = np.random.default_rng(1).standard_normal(length // 4 + 1, np.float32) * np.float32(0.02)
    return weights.tobytes()[:length]


RAW_BYTES = _real("F32", 40_000)
GOOD = encode(RAW_BYTES, "BF16")
DELTA = encode_delta(RAW_BYTES, RAW_BYTES, "BF16") or b""
ZEROS = zstandard.ZstdCompressor(level=1).compress(bytes(1000))
STREAMED = zstandard.ZstdCompressor(level=1, write_content_size=False).compress(bytes(1000))
BOMB = zstandard.ZstdCompressor(level=1).compress(bytes(64 << 20))
GIBIBYTE = rle(1 << 30)

_SHORT, _HEADER, _SUM = "too short", "ends within its header", "do not add up"
_LONG, _LARGE, _NUMBER = "more bytes than it has", "too large", "written too long"
_NO_ZSTD, _SIZE, _BROKEN, _BASE = "no zstd frame", "declares another size", "cannot be decompressed", "belong together"

HOSTILE: dict[str, Hostile] = {
    "empty": Hostile(b"", _SHORT),
    "one byte": Hostile(GOOD[:1], _SHORT),
    "other version": Hostile(b"\x02" + GOOD[1:], "has version 2"),
    "unknown transform": Hostile(bytes([1, 0x7F]) + GOOD[2:], "uses transform 127"),
    "delta of a transform without": Hostile(bytes([1, 0x81]) + GOOD[2:], "uses transform 129"),
    "delta flag set": Hostile(plain(ZEROS).replace(b"\x01\x00", b"\x01\x80", 1), _BASE),
    "cut in the header": Hostile(GOOD[:5], _HEADER),
    "cut by one byte": Hostile(GOOD[:-1], _SUM),
    "one byte more": Hostile(GOOD + b"\0", _SUM),
    "frame twice": Hostile(GOOD + GOOD, _SUM),
    "length in too many bytes": Hostile(bytes([1, 0, 0x81, 0x00, 0]) + b"x", _NUMBER),
    "length of zero in two bytes": Hostile(bytes([1, 0, 0x80, 0x00, 0]), _NUMBER),
    "length too large": Hostile(bytes([1, 0]) + b"\xff\xff\xff\xff\x7f" + bytes([0]), _LARGE),
    "length one above the limit": Hostile(bytes([1, 0]) + b"\x81\x80\x80\x80\x04" + bytes([0]), _LARGE),
    "length without end": Hostile(bytes([1, 0]) + b"\xff" * 20, _LARGE),
    "length that is cut": Hostile(bytes([1, 0, 0xFF]), _HEADER),
    "length of a gibibyte": Hostile(bytes([1, 0]) + b"\x80\x80\x80\x80\x04" + bytes([0]), "more than"),
    "unknown codec": Hostile(bytes([1, 0, 1, 2]) + b"x", "uses codec 2"),
    "no plane table": Hostile(bytes([1, 0, 4]), _HEADER),
    "a plane too few in the table": Hostile(bytes([1, BF16, 4, RAW]), _HEADER),
    "plane without bytes": Hostile(bytes([1, 0, 4, ZSTD, 0]), _LONG),
    "plane stored longer than it is": Hostile(bytes([1, 0, 4, ZSTD, 5]) + b"12345", _LONG),
    "plane stored as long as it is": Hostile(bytes([1, 0, 4, ZSTD, 4]) + b"1234", _LONG),
    "stored length in too many bytes": Hostile(bytes([1, 0, 100, ZSTD, 0x85, 0x00]) + b"12345", _NUMBER),
    "stored length without end": Hostile(bytes([1, 0, 100, ZSTD]) + b"\xff" * 20, _LARGE),
    "raw plane too short": Hostile(bytes([1, 0, 4, RAW]) + b"123", _SUM),
    "raw plane too long": Hostile(bytes([1, 0, 4, RAW]) + b"12345", _SUM),
    "tail missing": Hostile(bytes([1, BF16, 5, RAW, RAW]) + b"1234", _SUM),
    "no zstd": Hostile(plain(b"not a zstd frame at all"), _NO_ZSTD),
    "zstd of an old version": Hostile(plain(b"\x27\xb5\x2f\xfd" + ZEROS[4:]), _NO_ZSTD),
    "zstd without its first bytes": Hostile(plain(ZEROS[4:]), _NO_ZSTD),
    "zstd of three bytes": Hostile(plain(_MAGIC[:3]), _NO_ZSTD),
    "zstd that is only its first bytes": Hostile(plain(_MAGIC), _BROKEN),
    "skippable zstd frame": Hostile(plain(_SKIPPABLE + b"\x04\0\0\0abcd"), _NO_ZSTD),
    "skippable zstd frame of 4 GiB": Hostile(plain(_SKIPPABLE + b"\xff\xff\xff\xff"), _NO_ZSTD),
    "zstd of another size": Hostile(plain(zstandard.ZstdCompressor().compress(bytes(999))), _SIZE),
    "zstd of size 0": Hostile(plain(zstandard.ZstdCompressor().compress(b"")), _SIZE),
    "zstd of unknown size": Hostile(plain(STREAMED), _SIZE),
    "zstd that is cut": Hostile(plain(ZEROS[:-1]), _BROKEN),
    "zstd followed by bytes": Hostile(plain(ZEROS + b"\0"), _BROKEN),
    "zstd followed by a frame": Hostile(plain(ZEROS + ZEROS), _BROKEN),
    "zstd followed by a skippable frame": Hostile(plain(ZEROS + _SKIPPABLE + b"\0\0\0\0"), _BROKEN),
    "zstd of half the size, twice": Hostile(plain(rle(500) + rle(500)), _SIZE),
    "zstd with a reserved bit": Hostile(plain(_MAGIC + bytes([ZEROS[4] | 8]) + ZEROS[5:]), _BROKEN),
    "zstd with a reserved block": Hostile(plain(_MAGIC + b"\x60\xe8\x02\x47\x1f\x00\0"), _BROKEN),
    "zstd with a wrong checksum": Hostile(plain(_with_checksum(True)), _BROKEN),
    "zstd with a dictionary": Hostile(plain(b"\x28\xb5\x2f\xfd\x61\x07\xe8\x02" + ZEROS[6:]), _SIZE),
    "zstd window too large": Hostile(plain(_MAGIC + b"\x80\x90" + (1000).to_bytes(4, "little") + b"\x01\0\0"), _SIZE),
    "zstd that says more than it has": Hostile(plain(rle(999, declared=1000)), _BROKEN),
    "zstd that has more than it says": Hostile(plain(rle(4096, declared=1000)), _BROKEN),
    "zstd without a last block": Hostile(plain(rle(1000, last=False)), _BROKEN),
    "zstd bomb": Hostile(plain(BOMB, length=len(BOMB) + 1), _SIZE),
    "zstd bomb of a gibibyte": Hostile(plain(GIBIBYTE, length=len(GIBIBYTE) + 1), _SIZE),
    "zstd bomb that says it is small": Hostile(
        plain(rle(1 << 30, declared=len(GIBIBYTE) + 1), len(GIBIBYTE) + 1), _BROKEN
    ),
    "zstd bomb in the second plane": Hostile(two(rle(len(GIBIBYTE) + 1), GIBIBYTE, 2 * (len(GIBIBYTE) + 1)), _SIZE),
    "zstd bomb, and a frame that owns up to it": Hostile(plain(GIBIBYTE, length=1 << 30), "more than"),
    "zstd bomb within what is allowed, cut": Hostile(plain(rle(LARGEST)[:-1], LARGEST), _BROKEN),
    "zstd bombs within what is allowed, one too long": Hostile(
        two(rle(LARGEST // 2), rle(LARGEST // 2 + 1), LARGEST), _SIZE
    ),
    "bytes of the second plane in the first": Hostile(two(ZEROS + ZEROS[:4], ZEROS[4:]), _BROKEN),
    "base missing": Hostile(DELTA, _BASE),
    "base too short": Hostile(DELTA, _BASE, RAW_BYTES[:-1]),
    "base too long": Hostile(DELTA, _BASE, RAW_BYTES + b"\0"),
    "base empty": Hostile(DELTA, _BASE, b""),
    "base for a frame that needs none": Hostile(GOOD, _BASE, RAW_BYTES),
}
for _id, _rule in TRANSFORMS.items():
    _length = _rule.unit * 3 + _rule.unit // 2
    _planes = tuple(Plane(RAW, bytes(length)) for length in _rule.plane_lengths(_rule.unit * 3))
    _frame = serialise(Frame(_id, False, _length, _planes, bytes(_rule.unit // 2)))
    HOSTILE[f"transform {_id}, cut"] = Hostile(_frame[:-1], _SUM)
    HOSTILE[f"transform {_id}, one byte more"] = Hostile(_frame + b"\0", _SUM)
    HOSTILE[f"transform {_id}, base for it"] = Hostile(_frame, _BASE, bytes(_length))
    _flagged = bytes([1, _id | 0x80]) + _frame[2:]
    HOSTILE[f"transform {_id}, delta flag set"] = (
        Hostile(_flagged, _BASE) if _id in DELTA_TRANSFORMS else Hostile(_flagged, f"uses transform {_id | 0x80}")
    )

SMALL = {name: case.frame for name, case in HOSTILE.items() if len(case.frame) < 4096 and case.base is None}
"""Those that are vectors: a base makes the others hostile, or their size is what they are about."""

assert DELTA
assert {BYTES2, WHOLE} <= set(DELTA_TRANSFORMS)
assert F32 not in DELTA_TRANSFORMS
