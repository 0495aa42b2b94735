"""What a ``torch.save`` pickle calls the storages beside it: names, shapes and types, from the symbolic
walk.

The rebuild functions and the persistent id of a storage are those of ``torch/_utils.py`` and
``torch/serialization.py``. Offsets within the archive are ``torch_zip``'s.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from p2pckpt.checkpoint.formats.dtypes import BITS, TORCH_DTYPES, TORCH_STORAGES
from p2pckpt.checkpoint.formats.layout import MAX_DIMENSIONS, MAX_TENSORS
from p2pckpt.checkpoint.formats.pickle_walk import Call, Global, Mapping, Persistent

MAX_DEPTH = 64
MAX_NAME = 1024

_REBUILD_TENSOR = ("_rebuild_tensor_v2", "_rebuild_tensor", "_rebuild_tensor_v3")
_REBUILD_PARAMETER = ("_rebuild_parameter", "_rebuild_parameter_with_state")


@dataclass(frozen=True, slots=True)
class Storage:
    """One persistent id: a run of elements that the archive keeps under ``data/<key>``."""

    key: str
    dtype: str
    """Canonical type, empty for an untyped storage."""


@dataclass(frozen=True, slots=True)
class NamedTensor:
    """A view of a storage under the name that a loader would see."""

    name: str
    storage: Storage
    dtype: str
    offset: int
    """Elements from the start of the storage."""
    shape: tuple[int, ...]
    contiguous: bool


def tensors_in(value: object) -> Iterator[NamedTensor]:
    """Named tensors in the order in which the object holds them, names joined with dots.

    A container that is reached twice is told once, by its first name; what is nested too deep is left out.
    """
    seen: set[int] = set()
    pending: list[tuple[str, object, int]] = [("", value, 0)]
    found = 0
    while pending and found < MAX_TENSORS:
        name, item, depth = pending.pop()
        tensor = _tensor(name, item)
        if tensor is not None:
            found += 1
            yield tensor
            continue
        if isinstance(item, Persistent):
            storage = _storage(item)
            if storage is not None:
                found += 1
                yield NamedTensor(name, storage, storage.dtype, 0, (), contiguous=False)
            continue
        if depth == MAX_DEPTH or id(item) in seen or not isinstance(item, (Mapping, Call, list, tuple)):
            continue
        seen.add(id(item))
        pending.extend((child, inner, depth + 1) for child, inner in reversed(list(_children(name, item))))


def _children(name: str, item: Mapping | Call | list[object] | tuple[object, ...]) -> Iterator[tuple[str, object]]:
    if isinstance(item, Mapping):
        pairs: list[tuple[object, object]] = list(item.pairs)
    elif isinstance(item, Call):
        arguments = item.arguments if isinstance(item.arguments, tuple) else ()
        for inner in (*arguments, item.state):
            # An object's own parts carry its name: a parameter wrapper, an ordered dict's state.
            if isinstance(inner, (Mapping, Call, Persistent, list, tuple)):
                yield name, inner
        pairs = [*item.pairs, *enumerate(item.items)]
    else:
        pairs = list(enumerate(item))
    for key, inner in pairs:
        part = key if isinstance(key, str) else str(key) if type(key) is int and abs(key) < 1 << 63 else "?"
        yield (f"{name}.{part}" if name else part)[:MAX_NAME], inner


def _tensor(name: str, item: object) -> NamedTensor | None:
    """The tensor that a rebuild call stands for, through any number of parameter wrappers."""
    for _ in range(MAX_DEPTH):
        if not isinstance(item, Call) or not isinstance(item.function, Global):
            return None
        if item.function.module != "torch._utils" or not isinstance(item.arguments, tuple) or not item.arguments:
            return None
        if item.function.name not in _REBUILD_PARAMETER:
            break
        item = item.arguments[0]
    else:
        return None
    if item.function.name not in _REBUILD_TENSOR or len(item.arguments) < 4:
        return None
    storage = _storage(item.arguments[0])
    offset, shape, stride = item.arguments[1], sizes_of(item.arguments[2]), sizes_of(item.arguments[3])
    if storage is None or shape is None or stride is None or len(shape) != len(stride):
        return None
    if type(offset) is not int or not 0 <= offset < 1 << 63:
        return None
    dtype = storage.dtype
    if item.function.name == "_rebuild_tensor_v3" and len(item.arguments) > 6:
        dtype = dtype_of(item.arguments[6])
    return NamedTensor(name, storage, dtype, offset, shape, _contiguous(shape, stride))


def _storage(item: object) -> Storage | None:
    if not isinstance(item, Persistent) or not isinstance(item.id, tuple) or len(item.id) < 5:
        return None
    kind, cls, key = item.id[:3]
    if kind != "storage" or not isinstance(cls, Global) or not isinstance(key, str):
        return None
    return Storage(key, TORCH_STORAGES.get(cls.name, ""))


def dtype_of(item: object) -> str:
    """The canonical name of a ``torch.dtype``; empty for anything else."""
    return TORCH_DTYPES.get(item.name, "") if isinstance(item, Global) and item.module == "torch" else ""


def sizes_of(item: object) -> tuple[int, ...] | None:
    """The extents that a tuple, or a ``torch.Size``, holds."""
    if isinstance(item, Call) and isinstance(item.arguments, tuple) and item.arguments:
        item = item.arguments[0]  # torch.Size((…))
    if not isinstance(item, tuple) or len(item) > MAX_DIMENSIONS:
        return None
    sizes = tuple(size for size in item if type(size) is int and 0 <= size < 1 << 63)
    return sizes if len(sizes) == len(item) else None


def _contiguous(shape: tuple[int, ...], stride: tuple[int, ...]) -> bool:
    expected = 1
    for size, step in zip(reversed(shape), reversed(stride), strict=True):
        if size != 1 and step != expected:
            return False
        expected *= size
    return True


def bytes_of(tensor: NamedTensor) -> tuple[int, int] | None:
    """Start and length in bytes of a contiguous view within its storage; ``None`` where there is no such
    range."""
    bits = BITS.get(tensor.dtype)
    if bits is None or not tensor.contiguous:
        return None
    count = 1
    for size in tensor.shape:
        count *= size
    return tensor.offset * bits // 8, count * bits // 8
