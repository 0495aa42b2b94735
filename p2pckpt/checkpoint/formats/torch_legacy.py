"""``torch.save`` files of before the zip format, and plain pickles: how far they have to reach.

After ``torch/serialization.py`` (``_legacy_save``): five pickles (a magic number, a version, the machine, the object,
the keys of its storages in the order in which they follow), then for each storage the number of its elements in eight
bytes and the elements themselves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from p2pckpt.checkpoint.formats.dtypes import BITS
from p2pckpt.checkpoint.formats.layout import MAX_TENSORS, Malformed, read_at, short
from p2pckpt.checkpoint.formats.pickle_trace import Allowance, Trace, trace
from p2pckpt.checkpoint.formats.pickle_walk import MAX_BYTES, PickleUnreadable, walk
from p2pckpt.checkpoint.formats.source import ByteSource, Slice
from p2pckpt.checkpoint.formats.torch_names import NamedTensor, tensors_in

_MAGIC: Final = 0x1950A86A20F9469CFC6C
_LONGEST_MAGIC: Final = 64
"""Bytes of the pickle of the magic number, whatever the protocol."""
_HEADERS: Final = 3
"""Pickles from there to the object."""


@dataclass(frozen=True, slots=True)
class PickleFile:
    """A file that begins with a pickle."""

    value: object
    """What was saved, as ``pickle_walk`` builds it; None where that is too large to be followed."""
    ranges: dict[str, tuple[int, int]]
    """Key of a storage → where its bytes start, and how many there are."""
    named: list[NamedTensor]
    warnings: list[str]


def looks_like(start: bytes) -> bool:
    """Whether a file begins as pickles of protocol 2 and later do."""
    return len(start) >= 2 and start[0] == 0x80 and 2 <= start[1] <= 5


def read_pickle_file(source: ByteSource) -> PickleFile:
    """The pickle that a file begins with and, if ``torch.save`` wrote it, the storages behind it.

    Raises ``Malformed`` where the file ends too early or cannot be followed. Reads the pickles, not the storages.
    """
    allowance = Allowance()
    try:
        first = _traced(source, 0, allowance)
        if first.end > _LONGEST_MAGIC or _value(source, first) != _MAGIC:
            return PickleFile(_value(source, first), {}, [], [])
        at = first
        for _ in range(_HEADERS):
            at = _traced(source, at.end, allowance)
        keys = _traced(source, at.end, allowance)
        value, order = _value(source, at), _value(source, keys)
    except PickleUnreadable as exc:
        return PickleFile(None, {}, [], [f"what it holds was not looked at: {exc}"])
    return _with_storages(source, value, order, keys.end)


def _traced(source: ByteSource, start: int, allowance: Allowance) -> Trace:
    found = trace(Slice(source), start, allowance)
    if found.gave_up:
        raise PickleUnreadable(found.gave_up)
    if not found.whole:
        raise Malformed("a pickle breaks off")
    return found


def _value(source: ByteSource, found: Trace) -> object:
    length = found.end - found.start
    if length > MAX_BYTES:
        raise PickleUnreadable(f"the pickle is larger than {MAX_BYTES >> 20} MiB")
    return walk(read_at(source, found.start, length)).value


def _with_storages(source: ByteSource, value: object, order: object, at: int) -> PickleFile:
    if not isinstance(order, list) or len(order) > MAX_TENSORS:
        raise Malformed("torch: the keys of its storages are no list")
    named = list(tensors_in(value))
    sizes = {tensor.storage.key: BITS.get(tensor.storage.dtype, 8) // 8 for tensor in named}
    ranges: dict[str, tuple[int, int]] = {}
    for key in order:
        if not isinstance(key, str) or key not in sizes:
            warning = "torch: a storage belongs to no tensor that was found, so not all of them were looked at"
            return PickleFile(value, ranges, named, [warning])
        length = int.from_bytes(read_at(source, at, 8), "little") * sizes[key]
        if at + 8 + length > source.size:
            raise Malformed(f"torch: the storage {short(key)} reaches past the end of the file")
        ranges[key] = (at + 8, length)
        at += 8 + length
    return PickleFile(value, ranges, named, [])
