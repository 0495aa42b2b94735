"""Hours of the week, as ``mon-fri 09:00-18:00, 22:00-06:00``: read, and asked whether a moment is within them.

Times are those of the wall clock: where it is put forward or back, the hours go with it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_PERIOD: Final = re.compile(
    r"(?:(?P<first>[a-z]{3})(?:\s*-\s*(?P<last>[a-z]{3}))?\s+)?(?P<begin>\d\d?:\d\d)\s*-\s*(?P<end>\d\d?:\d\d)",
    re.ASCII,
)
_DAY: Final = 24 * 60
_FORM: Final = "write 09:00-18:00, mon-fri 09:00-18:00, or 22:00-06:00 for a night; several with commas"
_MOST: Final = 50
"""Periods; far more than anybody needs."""
_HORIZON: Final = 8 * _DAY
"""Minutes ahead in which hours that change at all have changed."""


@dataclass(frozen=True, slots=True)
class Period:
    """From ``begin`` to before ``end``, minutes of the day, on ``days`` (Monday is 0); over midnight if it ends first.

    What begins on a day and ends on the next belongs to the day on which it begins.
    """

    days: frozenset[int]
    begin: int
    end: int

    def holds(self, day: int, minute: int) -> bool:
        if self.begin < self.end:
            return day in self.days and self.begin <= minute < self.end
        return (day in self.days and minute >= self.begin) or ((day - 1) % 7 in self.days and minute < self.end)


@dataclass(frozen=True, slots=True)
class Hours:
    """Any number of periods; none of them is never."""

    periods: tuple[Period, ...]

    def hold(self, local: datetime) -> bool:
        """Whether the wall clock's ``local`` is within one of the periods."""
        return any(period.holds(local.weekday(), _minute_of_day(local)) for period in self.periods)

    def next_change(self, moment: float, local: Callable[[float], datetime]) -> int:
        """Unix time of the minute in which ``hold`` changes next after ``moment``; 0 when it does not."""
        clock = local(moment)
        now, before = self.hold(clock), _minute_of_day(clock)
        edges = {minute % _DAY for period in self.periods for minute in (period.begin, period.end)}
        for then in range(int(moment) // 60 * 60 + 60, int(moment) + 60 * _HORIZON, 60) if edges else ():
            clock = local(then)
            minute = _minute_of_day(clock)
            # only there, or where the clock was put to another time
            if (minute in edges or minute != (before + 1) % _DAY) and self.hold(clock) is not now:
                return then
            before = minute
        return 0


def parse_hours(text: str) -> Hours:
    """``ValueError`` with a sentence for what makes no sense; nothing at all is no hours."""
    parts = [part.strip().lower() for part in text.split(",") if part.strip()]
    if len(parts) > _MOST:
        raise ValueError(f"{len(parts)} periods are too many; {_MOST} are the most")
    return Hours(tuple(map(_period, parts)))


def _minute_of_day(local: datetime) -> int:
    return local.hour * 60 + local.minute


def _period(text: str) -> Period:
    match = _PERIOD.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} are no hours; {_FORM}")
    first, last = match["first"] or _DAYS[0], match["last"] or match["first"] or _DAYS[-1]
    for name in (first, last):
        if name not in _DAYS:
            raise ValueError(f"{name!r} is no day; days are {' '.join(_DAYS)}")
    start = _DAYS.index(first)
    days = frozenset((start + n) % 7 for n in range((_DAYS.index(last) - start) % 7 + 1))
    begin, end = _minute(match["begin"]), _minute(match["end"])
    if begin in (end, _DAY):
        raise ValueError(f"{text!r} is no time at all; a whole day is 00:00-24:00")
    return Period(days, begin, end)


def _minute(text: str) -> int:
    hour, minute = map(int, text.split(":"))
    if minute > 59 or hour * 60 + minute > _DAY:
        raise ValueError(f"{text!r} is no time of day")
    return hour * 60 + minute
