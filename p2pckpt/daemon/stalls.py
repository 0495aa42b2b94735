"""Measures how long the event loop was held up, so that ``daemon status`` can say it.

The loop's selector tells: between two waits the loop runs callbacks and answers nobody else, and a wait that ends late
is one that another thread did not let it end. Nothing has to wake up for it, so an idle daemon stays idle.
"""

from __future__ import annotations

import asyncio
import selectors
import time


class StallMeter:
    """``longest`` is the longest stall of a ``loop``, in seconds, since the last ``reset``."""

    def __init__(self) -> None:
        self.longest = 0.0

    def reset(self) -> None:
        self.longest = 0.0

    def loop(self) -> asyncio.AbstractEventLoop:
        """A new event loop that is measured."""
        return asyncio.SelectorEventLoop(_Selector(self))


class _Selector(selectors.DefaultSelector):
    def __init__(self, meter: StallMeter) -> None:
        super().__init__()
        self._meter = meter
        self._woke = time.monotonic()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        begin = time.monotonic()
        ready = super().select(timeout)
        woke = time.monotonic()
        late = woke - begin - timeout if timeout is not None else 0.0
        self._meter.longest = max(self._meter.longest, begin - self._woke, late)
        self._woke = woke
        return ready
