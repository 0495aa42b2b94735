"""The live list: whatever changed in whatever order, it shows what filtering and sorting everything anew would show."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from hypothesis import given
from hypothesis import strategies as st

from p2pckpt.tui.live_list import LiveList


@dataclass(frozen=True)
class Row:
    name: int
    size: int


SORTS: Final[tuple[Callable[[Row], float] | None, ...]] = (None, lambda row: row.size, lambda row: -row.name)
FILTERS: Final[tuple[Callable[[Row], bool] | None, ...]] = (
    None,
    lambda row: row.size > 1,
    lambda row: row.name % 2 == 0,
)
SMALL = st.integers(0, 3)
STEPS = st.one_of(
    st.tuples(st.just("set"), st.integers(0, 9), SMALL),
    st.tuples(st.just("remove"), st.integers(0, 9), st.just(0)),
    st.tuples(st.just("update"), st.just(0), st.just(0)),
    st.tuples(st.just("sort"), st.integers(0, 2), st.integers(0, 1)),
    st.tuples(st.just("filter"), st.integers(0, 2), st.just(0)),
)


@given(st.lists(STEPS, max_size=80))
def test_it_shows_what_filtering_and_sorting_everything_would(steps: list[tuple[str, int, int]]) -> None:
    rows: dict[int, Row] = {}
    live: LiveList[Row] = LiveList()
    value, descending, passes = SORTS[0], False, FILTERS[0]
    shown: list[Row] = []
    for act, number, more in [*steps, ("update", 0, 0)]:
        match act:
            case "set":
                rows[number] = Row(number, more)
            case "remove":
                rows.pop(number, None)
            case "update":
                everything = list(rows.values())
                differs = len(everything) != len(shown) or any(
                    a is not b for a, b in zip(everything, shown, strict=True)
                )
                assert live.update(everything) == differs
                shown = everything
            case "sort":
                value, descending = SORTS[number], bool(more) and number > 0
                live.sort(value, descending=descending)
            case "filter":
                passes = FILTERS[number]
                live.filter(passes)
        wanted = [row for row in shown if passes is None or passes(row)]
        if value is not None:
            wanted.sort(key=value, reverse=descending)
        assert list(live.rows) == wanted


def test_only_rows_that_changed_are_looked_at_again() -> None:
    looked: list[Row] = []

    def passes(row: Row) -> bool:
        looked.append(row)
        return row.size > 1

    def size(row: Row) -> float:
        looked.append(row)
        return row.size

    everything = [Row(number, number) for number in range(100)]
    live: LiveList[Row] = LiveList()
    live.filter(passes)
    live.sort(size)
    live.update(everything)
    looked.clear()
    live.update(list(everything))
    assert not looked
    changed = [*everything[:50], Row(50, 7), *everything[51:]]
    live.update(changed)
    assert set(looked) == {Row(50, 7)}
    looked.clear()
    live.update([*changed[10:], Row(100, 3)])
    assert set(looked) == {Row(100, 3)}
