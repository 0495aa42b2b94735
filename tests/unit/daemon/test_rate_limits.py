"""Which limits are in force: those of the settings, those of slow mode, and when it turns."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from p2pckpt.config import Config, Value, load
from p2pckpt.daemon.rate_limits import RateLimits, local_time

MIB = 1 << 20


class Clock:
    """A Friday in UTC."""

    def __init__(self, hour: int, minute: int = 0) -> None:
        self.moment = datetime(2026, 11, 20, hour, minute, 30, tzinfo=UTC).timestamp()

    def now(self) -> float:
        return self.moment

    def local(self, moment: float) -> datetime:
        return datetime.fromtimestamp(moment, UTC)


def config(tmp_path: Path, **values: Value) -> Config:
    return load(home=tmp_path, flags=values, environ={}, directory=tmp_path)


class Told:
    """A ``RateLimits`` on a clock, and what it told."""

    def __init__(self, found: Config, clock: Clock) -> None:
        self.limits: list[tuple[int, int]] = []
        self.rates = RateLimits(found, lambda down, up: self.limits.append((down, up)), clock.now, clock.local)


@pytest.mark.parametrize(
    ("values", "limits"),
    [
        ({}, []),
        ({"download_limit": 7}, [(7, 0)]),
        ({"turtle": "on"}, [(MIB, MIB)]),
        ({"turtle": "on", "upload_limit": 7}, [(MIB, 7)]),
        ({"turtle": "on", "turtle_upload_limit": 0, "download_limit": 5 * MIB}, [(MIB, 0)]),
        ({"turtle": "off", "turtle_hours": "00:00-24:00", "upload_limit": 7}, [(0, 7)]),
        ({"turtle_hours": "00:00-24:00"}, [(MIB, MIB)]),
    ],
)
def test_the_stricter_limit_counts(tmp_path: Path, values: dict[str, Value], limits: list[tuple[int, int]]) -> None:
    assert Told(config(tmp_path, **values), Clock(12)).limits == limits


def test_slow_mode_begins_and_ends_in_its_minute(tmp_path: Path) -> None:
    clock = Clock(8, 58)
    told = Told(config(tmp_path, turtle_hours="09:00-18:00"), clock)
    begin = told.rates.state.changes_at
    assert begin == int(clock.moment) + 90
    clock.moment = begin - 1
    told.rates.look()
    assert told.limits == []
    clock.moment = begin
    told.rates.look()
    told.rates.look()
    assert told.limits == [(MIB, MIB)]
    assert told.rates.state.slow
    end = told.rates.state.changes_at
    assert end == begin + 9 * 3600
    clock.moment = end
    told.rates.look()
    assert told.limits[1:] == [(0, 0)]
    assert told.rates.state.changes_at == begin + 24 * 3600


def test_a_machine_that_slept_over_a_change_catches_up(tmp_path: Path) -> None:
    clock = Clock(8)
    told = Told(config(tmp_path, turtle_hours="09:00-18:00"), clock)
    clock.moment += 24 * 3600
    told.rates.look()
    assert told.limits == []
    clock.moment += 3 * 3600
    told.rates.look()
    assert told.limits == [(MIB, MIB)]


def test_other_settings_count_at_once(tmp_path: Path) -> None:
    told = Told(config(tmp_path), Clock(12))
    told.rates.configure(config(tmp_path, upload_limit=5))
    told.rates.configure(config(tmp_path, upload_limit=5, turtle_hours="09:00-18:00"))
    told.rates.configure(config(tmp_path))
    assert told.limits == [(0, 5), (MIB, 5), (0, 0)]


@pytest.mark.parametrize(
    ("hours", "turtle", "toggled"),
    [
        ("", "auto", "on"),
        ("", "on", "auto"),
        ("09:00-18:00", "auto", "off"),
        ("09:00-18:00", "off", "auto"),
        ("20:00-21:00", "auto", "on"),
        ("20:00-21:00", "on", "auto"),
        ("20:00-21:00", "off", "on"),
        ("09:00-18:00", "on", "off"),
    ],
)
def test_toggling_goes_back_to_the_hours_where_they_agree(
    tmp_path: Path, hours: str, turtle: str, toggled: str
) -> None:
    rates = Told(config(tmp_path, turtle_hours=hours, turtle=turtle), Clock(12)).rates
    slow = rates.state.slow
    assert rates.toggled() == toggled
    rates.configure(config(tmp_path, turtle_hours=hours, turtle=toggled))
    assert rates.state.slow is not slow


def test_the_clock_is_that_of_the_zone_this_machine_is_in(monkeypatch: pytest.MonkeyPatch) -> None:
    noon = datetime(2026, 11, 20, 12, tzinfo=UTC).timestamp()
    for zone, hour in (("Europe/Berlin", 13), ("America/New_York", 7), ("UTC", 12)):
        monkeypatch.setenv("TZ", zone)
        assert local_time(noon).hour == hour
