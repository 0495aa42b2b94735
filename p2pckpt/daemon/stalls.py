"""Measures how long the event loop was held up, so that ``daemon status`` can say it.

The loop's selector tells: between two waits the loop runs callbacks and answers nobody else, and a wait that ends late
is one that a thread with the interpreter's lock did not let it end. How late is known to a ``_COARSE`` wait, and to a
``_FINE`` one while the process works: waking up costs more than the work of a daemon that is idle.
"""

from __future__ import annotations

import asyncio
import math
import selectors
import time
from typing import Final

_FINE: Final = 0.01
_COARSE: Final = 0.1
"""Seconds that are waited at a stretch."""
_WORKS: Final = 0.1
"""Processor seconds a second from which a process does not count as idle."""


class StallMeter:
    """``longest`` is the longest stall of a ``loop``, in seconds, since the last ``reset``."""

    def __init__(self) -> None:
        self.longest = 0.0
        self._turn_began = time.monotonic()

    def reset(self) -> None:
        self.longest = 0.0
        self._turn_began = time.monotonic()

    def loop(self) -> asyncio.AbstractEventLoop:
        """A new event loop that is measured."""
        return asyncio.SelectorEventLoop(_Selector(self))

    def turn_begins(self, now: float) -> None:
        self._turn_began = now

    def turn_ends(self, now: float) -> None:
        self.waited(now - self._turn_began)

    def waited(self, late: float) -> None:
        """So many seconds longer than was asked for."""
        self.longest = max(self.longest, late)


class _Selector(selectors.DefaultSelector):
    def __init__(self, meter: StallMeter) -> None:
        super().__init__()
        self._meter = meter
        self._works = False
        self._looked_at = self._cpu = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        now = time.monotonic()
        self._meter.turn_ends(now)
        until = math.inf if timeout is None else now + timeout
        while True:
            wait = max(0.0, min(until - now, _FINE if self._works else _COARSE))
            ready = super().select(wait)
            began, now = now, time.monotonic()
            self._meter.waited(now - began - wait)
            self._look(now)
            if ready or now >= until:
                self._meter.turn_begins(now)
                return ready

    def _look(self, now: float) -> None:
        """Whether the process works."""
        passed = now - self._looked_at
        if passed >= _FINE:
            cpu = time.process_time()
            self._works = cpu - self._cpu > _WORKS * passed
            self._looked_at, self._cpu = now, cpu
