"""Durations, sizes, times, widths and tables."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pckpt import units
from p2pckpt.cli import text
from p2pckpt.cli.table import Column, facts, table


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("90s", 90),
        ("45m", 2700),
        ("12h", 43_200),
        ("7d", 604_800),
        ("2w", 1_209_600),
        ("1h30m", 5400),
        (" 1D ", 86_400),
    ],
)
def test_durations_people_write(written: str, seconds: int) -> None:
    assert units.parse_duration(written) == seconds


@pytest.mark.parametrize("written", ["", "7", "d", "7 d", "-1d", "1.5h", "7y", "0s", "999999w", "1h 30m", "٣d x"])
def test_what_is_no_duration_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match="no duration"):
        units.parse_duration(written)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0s"), (59, "59s"), (125, "2m05s"), (3600, "1h00m"), (24_000, "6h40m"), (273_600, "3d04h")],
)
def test_spans_in_their_two_largest_units(seconds: int, shown: str) -> None:
    assert text.span(seconds) == shown


@pytest.mark.parametrize(("count", "shown"), [(0, "0 B"), (1, "1 B"), (999, "999 B"), (1_200_000_000, "1.2 GB")])
def test_sizes(count: int, shown: str) -> None:
    assert text.size(count) == shown


def test_times_are_told_relative_to_now() -> None:
    assert text.ago(0) == "never"
    assert text.ago(1000, now=1000 + 3 * 3600) == "3 hours ago"
    assert text.ago(1000 + 2 * 86400, now=1000) == "2 days from now"
    assert text.ago(2**63, now=1000).endswith("from now")
    assert text.ago(-(2**63), now=1000).endswith("ago")


@pytest.mark.parametrize(
    ("done", "total", "shown"), [(0, 0, "-"), (999, 1000, "99%"), (1000, 1000, "100%"), (5, 3, "100%")]
)
def test_a_percentage_says_100_only_of_what_is_complete(done: int, total: int, shown: str) -> None:
    assert text.percent(done, total) == shown


@given(st.text(), st.integers(min_value=0, max_value=40))
def test_a_cut_text_never_takes_more_columns_than_allowed(value: str, width: int) -> None:
    assert text.cells(text.cut(value, width)) <= width


def test_wide_characters_count_twice() -> None:
    assert text.cells("模型") == 4
    assert text.cut("模型模型", 5) == "模型…"


COLUMNS = [Column("NAME"), Column("SIZE", right=True), Column("NOTE")]


def test_columns_are_aligned_and_lines_have_no_trailing_blanks() -> None:
    assert table(COLUMNS, [["a", "1 B", ""], ["模型", "10 GB", "x"]]) == [
        "NAME   SIZE  NOTE",
        "a       1 B",
        "模型  10 GB  x",
    ]


def test_a_table_without_rows_has_no_header_either() -> None:
    assert table(COLUMNS, []) == []


def test_in_a_pipe_nothing_is_cut() -> None:
    assert "n" * 500 in table(COLUMNS, [["n" * 500, "1", "y"]], width=None)[1]


def test_on_a_terminal_the_widest_text_is_cut_and_numbers_are_not() -> None:
    lines = table(COLUMNS, [["n" * 100, "123,456,789", "short"]], width=40)
    assert all(text.cells(line) <= 40 for line in lines)
    assert "123,456,789" in lines[1]
    assert "short" in lines[1]
    assert "n…" in lines[1]


@given(st.lists(st.lists(st.text(max_size=60), min_size=3, max_size=3), max_size=5), st.integers(20, 120))
def test_no_line_of_a_table_is_wider_than_the_terminal_or_broken(rows: list[list[str]], width: int) -> None:
    lines = table(COLUMNS, rows, width=width)
    assert len(lines) == (len(rows) + 1 if rows else 0)
    assert all(text.cells(line) <= width and "\n" not in line for line in lines)


def test_facts_leave_out_what_is_unknown() -> None:
    assert facts([("a", "1"), ("long", ""), ("bb", "2\x1b")]) == ["a   1", "bb  2\ufffd"]
