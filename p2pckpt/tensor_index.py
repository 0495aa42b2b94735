"""Which rows of a stored tensor an index needs, and what is left of the index once only those are read. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from types import EllipsisType
from typing import Any


@dataclass(frozen=True, slots=True)
class Selection:
    """A run of elements, in the order in which they are stored, and how to pick from it."""

    start: int
    """First element."""
    shape: tuple[int, ...]
    """Of the run."""
    index: tuple[Any, ...]
    """What to apply to it."""

    @property
    def count(self) -> int:
        """Elements of the run."""
        return prod(self.shape)


def select(shape: Sequence[int], index: Any) -> Selection:
    """The smallest run of elements with all that ``tensor[index]`` is made of, in terms of the leading dimensions.

    Numbers, slices and ``...`` are understood; for anything else from the first such item on, all is read. Raises
    ``IndexError`` as arrays do.
    """
    left, rest, start = list(_expanded(shape, index)), list(shape), 0
    while left and rest and _is_number(left[0]):
        number = _within(left.pop(0), rest.pop(0))
        start += number * prod(rest)
    if left and rest and isinstance(left[0], slice):
        rows = range(rest[0])[left[0]]
        low, high = (min(rows[0], rows[-1]), max(rows[0], rows[-1]) + 1) if rows else (0, 0)
        start += low * prod(rest[1:])
        rest[0] = high - low
        left[0] = slice(None, None, rows.step) if rows else slice(None)
    return Selection(start, tuple(rest), tuple(left))


def _expanded(shape: Sequence[int], index: Any) -> tuple[Any, ...]:
    items = index if isinstance(index, tuple) else (index,)
    if sum(isinstance(item, EllipsisType) for item in items) > 1:
        raise IndexError("an index can only have a single ellipsis ('...')")
    named = sum(map(_dimensions, items))
    if named > len(shape):
        raise IndexError(f"too many indices: the tensor has {len(shape)} dimensions, but {named} were indexed")
    found: list[Any] = []
    for item in items:
        found.extend([slice(None)] * (len(shape) - named) if isinstance(item, EllipsisType) else [item])
    return tuple(found)


def _dimensions(item: Any) -> int:
    """How many dimensions of the tensor an item of an index is for: a mask has as many as itself."""
    if item is None or isinstance(item, EllipsisType | bool):
        return 0
    is_mask = "bool" in str(getattr(item, "dtype", ""))
    return len(item.shape) if is_mask else 1


def _is_number(item: Any) -> bool:
    return not isinstance(item, bool) and hasattr(item, "__index__") and not getattr(item, "shape", ())


def _within(item: Any, extent: int) -> int:
    number = int(item.__index__())
    if not -extent <= number < extent:
        raise IndexError(f"index {number} is out of bounds for a dimension of size {extent}")
    return number % extent
