"""A token bucket per address, for what is expensive or guessable. Not on the announce path."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

_REMEMBERED = 20_000
"""Addresses; the one longest unheard of is forgotten first."""


class RateLimit:
    """Allows ``burst`` at once, then one every ``every`` seconds, for each key on its own."""

    def __init__(self, burst: int, every: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._burst = burst
        self._every = every
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def spent(self, key: str) -> bool:
        """Whether the next one would be refused."""
        return self._level(key) < 1

    def take(self, key: str) -> bool:
        """Count one; False when it is one too many."""
        level = self._level(key)
        self._buckets[key] = (max(level - 1, 0.0), self._clock())
        self._buckets.move_to_end(key)
        while len(self._buckets) > _REMEMBERED:
            self._buckets.popitem(last=False)
        return level >= 1

    def _level(self, key: str) -> float:
        level, at = self._buckets.get(key, (float(self._burst), self._clock()))
        return min(float(self._burst), level + (self._clock() - at) / self._every)
