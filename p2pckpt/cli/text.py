"""Words for numbers: sizes, rates, durations and times, and the sanitizer for text that others wrote."""

from __future__ import annotations

import time
import unicodedata
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from p2pckpt.units import parse_duration, parse_size

if TYPE_CHECKING:
    _IntType = click.ParamType[int]
else:
    # generic only in newer releases of click
    _IntType = click.ParamType

_NO_LIMIT = 1 << 20
_FAR = 6e10
"""Seconds, 1,900 years: times come from others, and no calendar reaches as far as an integer does."""


def clean(text: str, limit: int = _NO_LIMIT) -> str:
    """``text`` without anything a terminal would act on, cut to ``limit`` characters."""
    from p2pckpt.checkpoint.terminal_text import clean as sanitize

    return sanitize(text, limit=limit)


def cells(text: str) -> int:
    """Columns that ``text`` takes on a terminal: East Asian wide characters take two, combining marks none."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )


def cut(text: str, width: int) -> str:
    """``text`` in at most ``width`` columns, its end replaced by ``…`` when it does not fit."""
    if cells(text) <= width:
        return text
    used, kept = 1, []
    for char in text:
        used += cells(char)
        if used > width:
            break
        kept.append(char)
    return "".join(kept) + "…" if width > 0 else ""


class Duration(_IntType):
    """An option's value such as ``7d``; the command receives seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            return value if isinstance(value, int) else parse_duration(value)
        except ValueError:
            self.fail(f"{value!r} is no duration; write 45m, 12h, 7d or 2w", param, ctx)


class Size(_IntType):
    """An option's value such as ``5M``; the command receives bytes, 0 for ``none``."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            return value if isinstance(value, int) else 0 if value.lower() == "none" else parse_size(value)
        except ValueError:
            self.fail(f"{value!r} is no size; write 500K, 5M, 1.5G, or none", param, ctx)


def span(seconds: int) -> str:
    """A duration in its two largest units: ``2m05s``, ``6h40m``, ``3d04h``."""
    for large, small, unit, factor in (("d", "h", 86400, 3600), ("h", "m", 3600, 60), ("m", "s", 60, 1)):
        if seconds >= unit:
            return f"{seconds // unit}{large}{seconds % unit // factor:02d}{small}"
    return f"{seconds}s"


def metrics(values: Mapping[str, float]) -> str:
    """``loss=1.812 eval=1.79``, by name; the names are others' text."""
    return " ".join(f"{clean(name, 40)}={value:.4g}" for name, value in sorted(values.items()))


def size(count: int) -> str:
    """Bytes as people read them, in powers of ten as disks and networks are sold: ``1.2 GB``."""
    import humanize

    return humanize.naturalsize(count).replace("Bytes", "B").replace("Byte", "B")


def rate(count: int) -> str:
    return size(count) + "/s" if count else "-"


def count(number: int, noun: str) -> str:
    """``1 file``, ``2 files``, ``1,204 files``."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def ago(moment: int, now: float | None = None) -> str:
    """``3 hours ago`` or ``6 days from now``; ``never`` for 0."""
    if not moment:
        return "never"
    from datetime import timedelta

    import humanize

    passed = (time.time() if now is None else now) - moment
    return humanize.naturaltime(timedelta(seconds=max(-_FAR, min(_FAR, passed))))


def percent(done: int, total: int) -> str:
    """Rounded down, so that 100% is said only of what is complete; ``-`` while the total is unknown."""
    return f"{min(100, done * 100 // total)}%" if total > 0 else "-"
