"""How long work will take that goes on as it went lately."""

from __future__ import annotations

from collections import deque
from typing import Final

_WINDOW: Final = 20.0
"""Seconds that are looked back: long enough for an fsync not to show, short enough for a change of pace to."""
_ENOUGH: Final = 3.0
"""Seconds of work before anything is said."""


class Pace:
    """Counts bytes done against time. Not thread-safe."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int, str]] = deque()

    def left(self, now: float, done: int, size: int, phase: str) -> int:
        """Seconds until ``done`` is ``size``, or -1 where that can't be said. ``now`` is of a monotonic clock.

        Another phase, and work that begins again, is another pace.
        """
        if self._seen and (self._seen[-1][1] > done or self._seen[-1][2] != phase):
            self._seen.clear()
        self._seen.append((now, done, phase))
        while len(self._seen) > 2 and now - self._seen[1][0] >= _WINDOW:
            self._seen.popleft()
        began, before, _ = self._seen[0]
        if now - began < _ENOUGH or done <= before or size <= done:
            return -1
        return round((size - done) * (now - began) / (done - before))
