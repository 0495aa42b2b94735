"""Sizes and durations as people write them: the one place that reads ``5M``, ``1.5GiB``, ``7d`` and ``1h30m``."""

from __future__ import annotations

import re
from typing import Final

_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?) ?(?:([kmgtp])(i?b)?|b)?(?:/s)?", re.IGNORECASE | re.ASCII)
_LETTERS: Final = "kmgtp"
_LARGEST: Final = 1 << 62
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_LONGEST: Final = 100 * 366 * 86400


def parse_size(text: str) -> int:
    """Bytes in ``text``: K, M, G, T, P and KiB … are powers of 1024, KB … of 1000; ``/s`` may follow.

    ``ValueError`` for anything else.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no size")
    number, letter, suffix = match.groups(default="")
    power = _LETTERS.index(letter.lower()) + 1 if letter else 0
    base = 1000 if suffix.lower() == "b" else 1024
    whole, _, fraction = number.partition(".")
    count: int = int(whole + fraction) * base**power // 10 ** len(fraction)
    if count > _LARGEST:
        raise ValueError(f"{text!r} is too large")
    return count


def exact_size(count: int) -> str:
    """The shortest text that ``parse_size`` reads as exactly ``count`` bytes: ``5M``, ``2MB``, ``1234``."""
    for base, suffix in ((1024, ""), (1000, "B")):
        for power in range(len(_LETTERS), 0, -1):
            if count and count % base**power == 0:
                return f"{count // base**power}{_LETTERS[power - 1].upper()}{suffix}"
    return str(count)


def parse_duration(text: str) -> int:
    """Seconds in ``7d``, ``12h`` or ``1h30m``; ``ValueError`` for anything else, and for nothing at all."""
    parts = re.fullmatch(r"(?:[0-9]+[smhdw])+", text.strip().lower())
    seconds = sum(int(n) * _SECONDS[unit] for n, unit in re.findall(r"(\d+)([smhdw])", parts[0])) if parts else 0
    if not 0 < seconds < _LONGEST:
        raise ValueError(f"{text!r} is no duration")
    return seconds
