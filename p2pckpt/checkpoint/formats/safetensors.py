"""Where tensors lie in a safetensors file: an 8-byte little-endian length, a JSON header, the data.

The rules are those of the format's reference reader, except that holes between tensors are allowed (they
become glue). Only the header is read.
"""

from __future__ import annotations

import json
from itertools import islice
from math import prod
from typing import TypeGuard

from p2pckpt.checkpoint.formats.dtypes import BITS
from p2pckpt.checkpoint.formats.layout import (
    MAX_DIMENSIONS,
    MAX_METADATA,
    MAX_NAME,
    MAX_TENSORS,
    FileLayout,
    Malformed,
    TensorInfo,
    arranged,
    read_at,
    short,
)
from p2pckpt.checkpoint.formats.source import ByteSource

MAX_HEADER = 100_000_000
"""Bytes of JSON; the reference implementation's own limit."""
MAX_TOKENS = 4_000_000
"""Commas and opening brackets in the header, so that 100 MB of ``[]`` cannot become gigabytes of lists."""
_TEXT = frozenset(b"\t\n\r") | frozenset(range(0x20, 0x7F))


def looks_like(start: bytes) -> bool:
    """Whether a file's first nine bytes can be a safetensors length and the brace after it.

    There is no magic number; JSON or text with a brace in ninth place differs in that its first eight bytes
    are all printable, which as a length would be exabytes.
    """
    return len(start) >= 9 and start[8:9] == b"{" and not _TEXT.issuperset(start[:8])


def read_layout(source: ByteSource) -> FileLayout:
    """The layout of a safetensors file; ``Malformed`` where the header is not true of the file."""
    length = int.from_bytes(read_at(source, 0, 8), "little")
    if length > MAX_HEADER:
        raise Malformed(f"safetensors: the header claims {length:,} bytes, more than {MAX_HEADER:,}")
    data_start = 8 + length
    header = _parse(read_at(source, 8, length))
    said = header.pop("__metadata__", None)
    if len(header) > MAX_TENSORS:
        raise Malformed("safetensors: the header lists too many tensors")
    tensors = [_tensor(name, entry, data_start) for name, entry in header.items()]
    return FileLayout("safetensors", arranged("safetensors", tensors, source.size), metadata=_metadata(said))


def _parse(raw: bytes) -> dict[str, object]:
    if sum(raw.count(token) for token in (b",", b"[", b"{")) > MAX_TOKENS:
        raise Malformed("safetensors: the header has too many elements")
    try:
        header = json.loads(raw.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
    except Malformed:
        raise
    except (ValueError, RecursionError) as exc:
        raise Malformed(f"safetensors: the header is no JSON ({type(exc).__name__})") from exc
    if not isinstance(header, dict):
        raise Malformed("safetensors: the header is no JSON object")
    return header


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise Malformed("safetensors: the header names a key twice")
    return result


def _no_constant(name: str) -> object:
    raise Malformed(f"safetensors: the header contains {name}")


def _tensor(name: str, entry: object, data_start: int) -> TensorInfo:
    if len(name) > MAX_NAME or (not name.isascii() and _has_surrogate(name)):
        raise Malformed(f"safetensors: unusable tensor name {short(name)}")
    if not isinstance(entry, dict):
        raise Malformed(f"safetensors: tensor {short(name)} is no object")
    dtype, shape, offsets = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
    if not isinstance(dtype, str) or dtype not in BITS:
        raise Malformed(f"safetensors: tensor {short(name)} has the unknown type {short(dtype)}")
    if not _counts(shape) or len(shape) > MAX_DIMENSIONS:
        raise Malformed(f"safetensors: tensor {short(name)} has no usable shape")
    if not _counts(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise Malformed(f"safetensors: tensor {short(name)} has no usable range")
    begin, end = offsets
    if prod(shape) * BITS[dtype] != (end - begin) * 8:
        raise Malformed(f"safetensors: the shape of tensor {short(name)} does not fit its range")
    return TensorInfo(name, dtype, tuple(shape), data_start + begin, end - begin)


def _metadata(said: object) -> dict[str, str]:
    pairs = said.items() if isinstance(said, dict) else ()
    short = ((key, value) for key, value in pairs if isinstance(value, str) and len(key) + len(value) <= MAX_METADATA)
    return dict(islice(short, MAX_METADATA))


def _counts(value: object) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(type(item) is int and 0 <= item < 1 << 63 for item in value)


def _has_surrogate(name: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in name)
