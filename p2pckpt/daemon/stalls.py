"""Measures how long the event loop was blocked, so that ``daemon status`` can say it."""

from __future__ import annotations

import asyncio
from typing import Final

_PERIOD: Final = 0.01
"""Seconds between two looks; what it was late by is the stall."""


class StallMeter:
    """``longest`` is the longest stall in seconds since ``watch`` began."""

    def __init__(self) -> None:
        self.longest = 0.0

    async def watch(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            before = loop.time()
            await asyncio.sleep(_PERIOD)
            self.longest = max(self.longest, loop.time() - before - _PERIOD)
