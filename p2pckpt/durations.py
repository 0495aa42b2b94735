"""Spans of time as people write them."""

from __future__ import annotations

import re
from typing import Final

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def parse_duration(text: str) -> int:
    """Seconds in ``7d``, ``12h`` or ``1h30m``; ``ValueError`` for anything else, and for nothing at all."""
    parts = re.fullmatch(r"(?:\d+[smhdw])+", text.strip().lower())
    seconds = sum(int(n) * _UNITS[unit] for n, unit in re.findall(r"(\d+)([smhdw])", parts[0])) if parts else 0
    if not 0 < seconds < 100 * 366 * 86400:
        raise ValueError(f"{text!r} is no duration")
    return seconds
