"""Hours of the week: what is read, and what holds at midnight, over weekends and when clocks are changed."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from p2pckpt.hours import parse_hours

BERLIN = ZoneInfo("Europe/Berlin")


def berlin(moment: float) -> datetime:
    return datetime.fromtimestamp(moment, BERLIN)


def at(text: str) -> datetime:
    """``2026-11-20 17:59``, a Friday."""
    return datetime.fromisoformat(text)


@pytest.mark.parametrize(
    ("hours", "within", "outside"),
    [
        ("09:00-18:00", ["2026-11-20 09:00", "2026-11-22 17:59"], ["2026-11-20 08:59", "2026-11-20 18:00"]),
        ("mon-fri 9:00-18:00", ["2026-11-20 12:00"], ["2026-11-21 12:00", "2026-11-22 12:00"]),
        ("22:00-06:00", ["2026-11-20 22:00", "2026-11-21 00:00", "2026-11-21 05:59"], ["2026-11-21 06:00"]),
        ("fri 22:00-06:00", ["2026-11-20 23:00", "2026-11-21 05:00"], ["2026-11-20 05:00", "2026-11-21 23:00"]),
        ("sat-mon 10:00-11:00", ["2026-11-22 10:30", "2026-11-23 10:30"], ["2026-11-20 10:30", "2026-11-24 10:30"]),
        ("SUN 00:00-24:00", ["2026-11-22 00:00", "2026-11-22 23:59"], ["2026-11-23 00:00", "2026-11-21 23:59"]),
        ("20:00-0:00", ["2026-11-20 23:59"], ["2026-11-21 00:00"]),
        ("sat 01:00-02:00, fri 03:00 - 04:00", ["2026-11-21 01:00", "2026-11-20 03:59"], ["2026-11-21 03:30"]),
        ("", [], ["2026-11-20 12:00"]),
    ],
)
def test_a_moment_is_within_the_hours_or_not(hours: str, within: list[str], outside: list[str]) -> None:
    found = parse_hours(hours)
    assert [text for text in within if not found.hold(at(text))] == []
    assert [text for text in outside if found.hold(at(text))] == []


@pytest.mark.parametrize(
    "text",
    [
        "9-18",
        "09:00",
        "25:00-26:00",
        "09:60-10:00",
        "10:00-10:00",
        "24:00-06:00",
        "day 09:00-10:00",
        "mon",
        "mon-fry 1:00-2:00",
    ],
)
def test_what_are_no_hours_is_refused_with_a_sentence(text: str) -> None:
    with pytest.raises(ValueError, match=r"are no hours|is no time|is no day"):
        parse_hours(text)


def test_more_periods_than_anybody_needs_are_refused() -> None:
    with pytest.raises(ValueError, match="51 periods are too many; 50 are the most"):
        parse_hours("09:00-10:00," * 51)


def test_the_next_change_is_told_to_the_minute() -> None:
    noon = datetime(2026, 11, 20, 12, 0, 30, tzinfo=BERLIN).timestamp()
    hours = parse_hours("mon-fri 09:00-18:00")
    evening = hours.next_change(noon, berlin)
    assert berlin(evening) == datetime(2026, 11, 20, 18, 0, tzinfo=BERLIN)
    assert berlin(hours.next_change(evening, berlin)) == datetime(2026, 11, 23, 9, 0, tzinfo=BERLIN)


@pytest.mark.parametrize("text", ["", "00:00-24:00"])
def test_hours_that_never_change_have_no_next_change(text: str) -> None:
    assert parse_hours(text).next_change(1_790_000_000, berlin) == 0


def test_a_week_with_one_period_changes_a_week_later() -> None:
    begin = datetime(2026, 11, 20, 10, 0, tzinfo=BERLIN).timestamp()
    hours = parse_hours("fri 09:00-10:00")
    assert berlin(hours.next_change(begin, berlin)) == datetime(2026, 11, 27, 9, 0, tzinfo=BERLIN)


def test_when_clocks_are_put_forward_hours_begin_with_the_clock() -> None:
    """2026-03-29, 02:00 is 03:00: what begins in the hour that is not there begins at its end."""
    hours = parse_hours("02:30-04:00")
    midnight = datetime(2026, 3, 29, 0, 0, tzinfo=BERLIN).timestamp()
    begin = hours.next_change(midnight, berlin)
    assert begin == midnight + 2 * 3600
    assert berlin(begin).hour == 3
    assert hours.next_change(begin, berlin) == begin + 3600


def test_when_clocks_are_put_back_an_hour_counts_twice() -> None:
    """2026-10-25, 03:00 is 02:00 again."""
    hours = parse_hours("01:00-04:00")
    begin = datetime(2026, 10, 25, 1, 0, tzinfo=BERLIN).timestamp()
    assert hours.next_change(begin, berlin) == begin + 4 * 3600
    twice = parse_hours("02:15-02:45")
    first = twice.next_change(begin, berlin)
    assert [twice.next_change(first, berlin) - first] == [30 * 60]
    again = twice.next_change(first + 30 * 60, berlin)
    assert again == first + 3600
