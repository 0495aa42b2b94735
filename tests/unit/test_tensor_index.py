"""What of a tensor an index needs, held against numpy's own indexing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from p2pckpt.tensor_index import select

shapes = arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)


def picked(values: np.ndarray[Any, Any], index: Any) -> Any:
    selection = select(values.shape, index)
    run = values.reshape(-1)[selection.start : selection.start + selection.count].reshape(selection.shape)
    return run[selection.index] if selection.index else run


@given(st.data(), shapes)
def test_picking_from_the_run_gives_what_indexing_all_of_it_does(data: st.DataObject, shape: tuple[int, ...]) -> None:
    values = np.arange(np.prod(shape, dtype=int)).reshape(shape)
    index = data.draw(arrays.basic_indices(shape, allow_newaxis=True))
    assert np.array_equal(picked(values, index), values[index])


def test_rows_are_read_and_no_others() -> None:
    selection = select((1000, 4, 8), slice(10, 20))
    assert (selection.start, selection.count) == (320, 320)
    selection = select((1000, 4, 8), (3, slice(1, 3)))
    assert (selection.start, selection.count) == (3 * 32 + 8, 16)
    selection = select((1000, 4), slice(-1, 10, -3))
    assert (selection.start, selection.count) == (12 * 4, 988 * 4)
    assert select((1000, 4), slice(5, 5)).count == 0


def test_lists_and_masks_work_and_read_everything() -> None:
    values = np.arange(12).reshape(4, 3)
    for index in ([0, 2], np.array([True, False, True, False]), (slice(1, 4), [0, 2])):
        assert np.array_equal(picked(values, index), values[index])
    assert select((4, 3), [0, 2]).count == 12


def test_a_mask_stands_for_as_many_dimensions_as_it_has() -> None:
    values = np.arange(60).reshape(3, 4, 5)
    mask = values % 7 > 3
    indices: list[Any] = [mask, (..., mask), (mask, ...), (..., mask[0]), (mask[:, :, 0], ...), (slice(1, 3), mask[0])]
    for index in [*indices, (1, ..., mask[0]), (..., mask[0, 0]), (True, 0), (mask[:, :, 0], 1)]:
        assert np.array_equal(picked(values, index), values[index])
    with pytest.raises(IndexError):
        select((3, 4, 5), (0, mask))


@pytest.mark.parametrize("index", [4, -5, (0, 3), (0, 0, 0), (..., ...)])
def test_an_index_outside_is_refused_before_anything_is_read(index: Any) -> None:
    with pytest.raises(IndexError):
        select((4, 3), index)
