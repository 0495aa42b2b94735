"""What the ``.metadata`` of a ``torch.distributed.checkpoint`` says: tensors, and where their parts lie.

It is a pickle of the classes of ``torch/distributed/checkpoint/metadata.py`` (torch 2.2 to 2.13), followed without
executing it. Each part of a tensor, and every other object, is an item: a run of bytes of one of the files beside it
that is a ``torch.save`` archive by itself, unless a transform, such as compression, lies on it.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import prod
from typing import Final, TypeGuard

from p2pckpt.checkpoint.formats.layout import (
    MAX_NAME,
    MAX_TENSORS,
    FileLayout,
    Malformed,
    TensorInfo,
    arranged,
    short,
)
from p2pckpt.checkpoint.formats.pickle_walk import Call, Global, Mapping, walk
from p2pckpt.checkpoint.formats.source import ByteSource, Slice
from p2pckpt.checkpoint.formats.torch_names import bytes_of, dtype_of, sizes_of
from p2pckpt.checkpoint.formats.torch_zip import read_archive

METADATA: Final = ".metadata"
SHARD: Final = ".distcp"
"""How names of shards end."""
_MODULE: Final = "torch.distributed.checkpoint.metadata"
_METADATA_NAME: Final = re.compile(r"(?:.*/)?(?:__\d+)?\.metadata")
_MAX_PATH: Final = 4096

Offsets = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class DcpTensor:
    """A tensor as a whole; its parts lie in one file or in many."""

    name: str
    dtype: str
    """Canonical; empty for a type that is not known here."""
    shape: tuple[int, ...]
    parts: tuple[tuple[Offsets, tuple[int, ...]], ...]
    """Offsets in the tensor, and extents, of each part."""

    @property
    def is_covered(self) -> bool:
        """Whether the parts, which do not overlap in what DCP writes, add up to the whole."""
        return sum(prod(sizes) for _, sizes in self.parts) == prod(self.shape)


@dataclass(frozen=True, slots=True)
class DcpItem:
    """A run of bytes that holds one part of a tensor, or one object."""

    name: str
    offsets: Offsets | None
    """Of the part in its tensor; None for what is no tensor."""
    file: str
    """Path relative to the ``.metadata``, not to be trusted."""
    offset: int
    length: int
    plain: bool
    """No transform lies on it."""


@dataclass(frozen=True, slots=True)
class DcpMetadata:
    """All of it."""

    tensors: tuple[DcpTensor, ...]
    objects: tuple[str, ...]
    """Names of what is no tensor."""
    items: tuple[DcpItem, ...]

    def by_file(self) -> dict[str, list[DcpItem]]:
        """The items of each file, in the order in which they lie in it."""
        found: dict[str, list[DcpItem]] = defaultdict(list)
        for item in sorted(self.items, key=lambda item: item.offset):
            found[item.file].append(item)
        return dict(found)

    def missing(self) -> Iterator[str]:
        """Names of what no item holds, or holds in full."""
        there = {(item.name, item.offsets) for item in self.items}
        for tensor in self.tensors:
            if not tensor.is_covered or any((tensor.name, offsets) not in there for offsets, _ in tensor.parts):
                yield tensor.name
        for name in self.objects:
            if (name, None) not in there:
                yield name


def is_metadata(path: str) -> bool:
    """Whether torch would take a file for metadata, of all ranks or, ``__3.metadata``, of one: it goes by the name."""
    return bool(_METADATA_NAME.fullmatch(path))


def read_metadata(raw: bytes) -> DcpMetadata:
    """What a ``.metadata`` says.

    Raises ``Malformed`` where it is no such file, and ``PickleUnreadable`` where the pickle is cut, or too large to be
    followed.
    """
    root = walk(raw).value
    if not _is(root, "Metadata"):
        raise Malformed("dcp: the metadata is no Metadata of torch.distributed.checkpoint")
    fields = _state(root)
    described, stored = fields.get("state_dict_metadata"), fields.get("storage_data")
    if not isinstance(described, Mapping) or not isinstance(stored, Mapping):
        raise Malformed("dcp: the metadata does not say what lies where")
    if len(described.pairs) > MAX_TENSORS or len(stored.pairs) > MAX_TENSORS:
        raise Malformed("dcp: the metadata lists too many tensors")
    tensors: list[DcpTensor] = []
    objects: list[str] = []
    for name, item in described.pairs:
        if not isinstance(name, str) or len(name) > MAX_NAME:
            raise Malformed(f"dcp: unusable tensor name {short(name)}")
        if _is(item, "TensorStorageMetadata"):
            tensors.append(_tensor(name, _state(item)))
        else:
            objects.append(name)
    return DcpMetadata(tuple(tensors), tuple(objects), tuple(_item(key, info) for key, info in stored.pairs))


def read_layout(metadata: DcpMetadata, items: Iterable[DcpItem], source: ByteSource) -> FileLayout:
    """The layout of one file, of which ``items`` are those of the metadata.

    A part of a tensor is named after it and where it is in it, ``model.weight[4:8,0:16]``, so that names tell parts
    apart whichever file they are in. What lies under a transform is left out. Raises ``Malformed`` where an item is not
    what the metadata says.
    """
    shapes = {tensor.name: tensor.shape for tensor in metadata.tensors}
    found: list[TensorInfo] = []
    for item in items:
        if item.name not in shapes or not item.plain or item.offsets is None:
            continue
        if item.offset + item.length > source.size:
            raise Malformed(f"dcp: {short(item.name)} reaches past the end of the file")
        archive = read_archive(Slice(source, item.offset, item.length))
        tensor = archive.named[0] if archive is not None and len(archive.named) == 1 else None
        place = archive.ranges.get(tensor.storage.key) if archive is not None and tensor is not None else None
        if tensor is None or place is None:
            raise Malformed(f"dcp: {short(item.name)} is no tensor")
        extent = bytes_of(tensor)
        if extent is None or sum(extent) > place[1]:
            continue
        name = item.name + ("" if tensor.shape == shapes[item.name] else _place_of(item.offsets, tensor.shape))
        found.append(TensorInfo(name, tensor.dtype, tensor.shape, item.offset + place[0] + extent[0], extent[1]))
    return FileLayout("dcp", arranged("dcp", found, source.size))


def _place_of(offsets: Offsets, shape: tuple[int, ...]) -> str:
    extents = ",".join(f"{offset}:{offset + size}" for offset, size in zip(offsets, shape, strict=False))
    return f"[{extents}]"


def _tensor(name: str, fields: dict[str, object]) -> DcpTensor:
    properties, chunks = fields.get("properties"), fields.get("chunks")
    shape = sizes_of(fields.get("size"))
    if shape is None or not isinstance(chunks, list):
        raise Malformed(f"dcp: tensor {short(name)} has no usable shape")
    parts = []
    for chunk in chunks:
        state = _state(chunk)
        offsets, sizes = sizes_of(state.get("offsets")), sizes_of(state.get("sizes"))
        if offsets is None or sizes is None or not len(offsets) == len(sizes) == len(shape):
            raise Malformed(f"dcp: a part of tensor {short(name)} has no usable place")
        parts.append((offsets, sizes))
    return DcpTensor(name, _dtype(properties), shape, tuple(parts))


def _item(key: object, info: object) -> DcpItem:
    index, place = _state(key), _state(info)
    name, offsets = index.get("fqn"), index.get("offset")
    file, offset, length = place.get("relative_path"), place.get("offset"), place.get("length")
    if not isinstance(name, str) or not isinstance(file, str) or max(len(name), len(file)) > _MAX_PATH:
        raise Malformed("dcp: an item has no name, or is in no file")
    if not _is_count(offset) or not _is_count(length):
        raise Malformed(f"dcp: the item {short(name)} has no usable place")
    at = None if offsets is None else sizes_of(offsets)
    if offsets is not None and at is None:
        raise Malformed(f"dcp: the item {short(name)} has no usable offsets")
    return DcpItem(name, at, file, offset, length, plain=not place.get("transform_descriptors"))


def _dtype(properties: object) -> str:
    """The first of the fields that ``TensorProperties`` keeps."""
    state = properties.state if isinstance(properties, Call) else None
    return dtype_of(state[0]) if isinstance(state, tuple) and state else ""


def _is(item: object, name: str) -> bool:
    function = item.function if isinstance(item, Call) else None
    return isinstance(function, Global) and (function.module, function.name) == (_MODULE, name)


def _state(item: object) -> dict[str, object]:
    """The fields of an object, by the dict that unpickling would fill it with."""
    state = item.state if isinstance(item, Call) else None
    if isinstance(state, tuple) and len(state) == 2 and isinstance(state[1], Mapping):
        state = state[1]  # of a class with slots
    if not isinstance(state, Mapping):
        return {}
    return {key: value for key, value in state.pairs if isinstance(key, str)}


def _is_count(value: object) -> TypeGuard[int]:
    return type(value) is int and 0 <= value < 1 << 63
