"""The limits over all transfers: those of the settings, and those of slow mode while it is on."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime

import structlog

from p2pckpt.config import Config
from p2pckpt.control.settings_messages import Limits
from p2pckpt.hours import parse_hours

_log = structlog.get_logger(__name__)


def local_time(moment: float) -> datetime:
    """What the clock on the wall says here, wherever this machine has travelled since the daemon started."""
    time.tzset()  # looks at the zone again: else the one of the first call is kept
    return datetime.fromtimestamp(moment)


class RateLimits:
    """Tells ``limit`` (bytes per second down and up, 0 for none) whenever the limits in force become others."""

    def __init__(
        self,
        config: Config,
        limit: Callable[[int, int], None],
        now: Callable[[], float] = time.time,
        local: Callable[[float], datetime] = local_time,
    ) -> None:
        self._limit = limit
        self._now = now
        self._local = local
        self.state = Limits()
        self.configure(config)

    def configure(self, config: Config) -> None:
        """Go by these settings from now on."""
        self._config = config
        self._hours = parse_hours(config.text("turtle_hours"))
        self._due = self._hours.hold(self._local(self._now()))
        self._changes_at = self._hours.next_change(self._now(), self._local)
        self._settle()

    def look(self) -> None:
        """Turn slow mode on or off if it is time to; cheap enough to be called every second."""
        due = self._hours.hold(self._local(self._now()))
        if due is not self._due:
            self._due = due
            self._changes_at = self._hours.next_change(self._now(), self._local)
            self._settle()

    def toggled(self) -> str:
        """The mode that turns slow mode over: auto where the hours say so anyway."""
        if self._due is not self.state.slow:
            return "auto"
        return "off" if self.state.slow else "on"

    def _settle(self) -> None:
        config, turtle = self._config, self._config.text("turtle")
        slow = turtle == "on" or (turtle == "auto" and self._due)
        before = self.state
        self.state = Limits(
            down=_least(config, slow, "download_limit"),
            up=_least(config, slow, "upload_limit"),
            slow=slow,
            turtle=turtle,
            hours=config.text("turtle_hours"),
            changes_at=self._changes_at if turtle == "auto" else 0,
        )
        if slow is not before.slow:
            _log.info("slow mode", on=slow, turtle=turtle)
        if (before.down, before.up) != (self.state.down, self.state.up):
            self._limit(self.state.down, self.state.up)


def _least(config: Config, slow: bool, key: str) -> int:
    """The stricter of the two limits: slow mode makes nothing faster."""
    limits = [config.number(key), config.number(f"turtle_{key}") if slow else 0]
    return min(filter(None, limits), default=0)
