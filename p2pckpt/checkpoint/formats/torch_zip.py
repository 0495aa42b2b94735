"""Where tensors lie in a ``torch.save`` archive: a zip whose ``data/<key>`` members are storages, kept
uncompressed.

Names and types come from following ``data.pkl`` symbolically; where that fails the storages are still
found, only nameless. Old ``torch.save`` files that are no zip are opaque here.
"""

from __future__ import annotations

from dataclasses import dataclass

from p2pckpt.checkpoint.formats.dtypes import BITS, UNITS
from p2pckpt.checkpoint.formats.layout import FileLayout, TensorInfo, arranged, read_at
from p2pckpt.checkpoint.formats.pickle_walk import MAX_BYTES, PickleUnreadable, walk
from p2pckpt.checkpoint.formats.source import ByteSource
from p2pckpt.checkpoint.formats.torch_names import NamedTensor, bytes_of, tensors_in
from p2pckpt.checkpoint.formats.zip_directory import ZipEntry, data_offset, read_directory

_PICKLE = "data.pkl"


def looks_like(start: bytes) -> bool:
    """Whether a file starts as a zip archive with at least one member does."""
    return start[:4] == b"PK\x03\x04"


@dataclass(frozen=True, slots=True)
class Archive:
    """A ``torch.save`` archive with its pickle followed."""

    entries: list[ZipEntry]
    value: object
    """What was saved, as ``pickle_walk`` builds it."""
    followed: bool
    """Whether the pickle could be followed; if not, neither value nor names are known."""
    ranges: dict[str, tuple[int, int]]
    """Key of a storage → where its bytes start, and how many there are."""
    named: list[NamedTensor]
    warnings: list[str]
    big_endian: bool


def read_layout(source: ByteSource) -> FileLayout:
    """The layout of a ``torch.save`` archive; any other zip is opaque without a warning.

    Each storage is one tensor, under the first name that is all of it; further names are ``views``. Where no tensor is,
    it is a row of numbers, called ``NAME@KEY`` after the first that is in it. Raises ``Malformed`` where the archive
    contradicts itself.
    """
    archive = read_archive(source)
    if archive is None:
        return FileLayout("opaque")
    warnings = list(archive.warnings)
    if archive.big_endian:
        warnings.append("torch_zip: the numbers are big-endian, so they are compressed without regard to their type.")
    names = _Names(archive.ranges)
    for tensor in archive.named if not archive.big_endian else ():
        names.add(tensor)
    return FileLayout(
        "torch_zip",
        arranged("torch_zip", names.tensors(), source.size),
        tuple(warnings + names.warnings()),
        tuple(names.views),
    )


def read_archive(source: ByteSource, entries: list[ZipEntry] | None = None) -> Archive | None:
    """The archive of a ``torch.save``, None for any other zip. ``entries``: its directory, if that was read already.

    Raises ``Malformed`` where it contradicts itself.
    """
    entries = read_directory(source) if entries is None else entries
    pickle = next((e for e in entries if e.name == _PICKLE or e.name.endswith("/" + _PICKLE)), None)
    if pickle is None:
        return None
    root = pickle.name[: -len(_PICKLE)]
    prefix = f"{root}data/"
    storages = {e.name[len(prefix) :]: e for e in entries if e.stored and e.name.startswith(prefix)}
    ranges = {key: (data_offset(source, entry), entry.length) for key, entry in storages.items()}
    value, named, warnings = _followed(source, pickle)
    return Archive(entries, value, not warnings, ranges, named, warnings, _is_big_endian(source, entries, root))


def _followed(source: ByteSource, pickle: ZipEntry) -> tuple[object, list[NamedTensor], list[str]]:
    try:
        if not pickle.stored or pickle.length > MAX_BYTES:
            raise PickleUnreadable("the pickle is compressed or too large")
        value = walk(read_at(source, data_offset(source, pickle), pickle.length)).value
        return value, list(tensors_in(value)), []
    except PickleUnreadable as exc:
        return None, [], [f"torch_zip: {exc}; tensors are shared without names and types."]


def _is_big_endian(source: ByteSource, entries: list[ZipEntry], root: str) -> bool:
    for entry in entries:
        if entry.name == f"{root}byteorder" and entry.stored and entry.length <= 16:
            return read_at(source, data_offset(source, entry), entry.length) == b"big"
    return False


class _Names:
    """Gives every storage its first name, and collects what else looks at it."""

    def __init__(self, ranges: dict[str, tuple[int, int]]) -> None:
        self._ranges = ranges
        self._first: dict[str, TensorInfo] = {}
        self._parts: set[str] = set()
        """Storages of which no tensor that was seen is the whole."""
        self._taken: set[str] = set()
        self._misfits = 0
        self.views: list[TensorInfo] = []

    def add(self, tensor: NamedTensor) -> None:
        place = self._ranges.get(tensor.storage.key)
        if place is None:
            self._misfits += 1
            return
        start, length = place
        key = tensor.storage.key
        extent = bytes_of(tensor)
        if extent is not None and sum(extent) > length:
            self._misfits += 1
            return
        is_whole = extent == (0, length)
        if key in self._first and not (is_whole and key in self._parts):
            if extent is not None:
                view = TensorInfo(tensor.name, tensor.dtype, tensor.shape, start + extent[0], extent[1])
                self.views.append(view)
            return
        dtype = tensor.dtype if length % UNITS.get(tensor.dtype, 1) == 0 else ""
        shape, name = tensor.shape, tensor.name
        if not is_whole:
            shape = (length * 8 // BITS.get(dtype, 8),)
            if dtype and (tensor.contiguous or tensor.shape):  # else it is a storage itself, or just bytes
                self._parts.add(key)
                name = f"{name}@{key}"
        else:
            self._parts.discard(key)
        self._first[key] = TensorInfo(self._free(name, key), dtype, shape, start, length)

    def tensors(self) -> list[TensorInfo]:
        nameless = (
            TensorInfo(self._free(f"data/{key}", key), "", (length,), start, length)
            for key, (start, length) in self._ranges.items()
            if key not in self._first
        )
        return [*self._first.values(), *nameless]

    def warnings(self) -> list[str]:
        if not self._misfits:
            return []
        return [f"torch_zip: {self._misfits} tensors name bytes that the archive does not have."]

    def _free(self, name: str, key: str) -> str:
        name = name or f"data/{key}"
        while name in self._taken:
            name = f"{name}@{key}"
        self._taken.add(name)
        return name
