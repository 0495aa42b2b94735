"""Numbers, times and states as short text. Everything returned is safe to draw: one line, no markup, no controls."""

from __future__ import annotations

import time
from typing import Final

from p2pckpt.checkpoint.terminal_text import clean
from p2pckpt.control.messages import Job, JobKind, JobState
from p2pckpt.units import exact_size

NONE: Final = "·"
"""Drawn where a number is zero and says nothing."""
_SPARKS: Final = "▁▂▃▄▅▆▇█"
_UNITS: Final = ("B", "K", "M", "G", "T", "P", "E")

GLYPHS: Final[dict[JobState, str]] = {
    JobState.QUEUED: "◦",
    JobState.RUNNING: "▼",
    JobState.PAUSED: "‖",
    JobState.SEEDING: "▲",
    JobState.DONE: "✔",
    JobState.FAILED: "✗",
}
_RUNNING_GLYPHS: Final[dict[JobKind, str]] = {
    JobKind.FETCH: "▼",
    JobKind.PUBLISH: "◆",
    JobKind.VERIFY: "≡",
    JobKind.RESTORE: "▼",
}

_NOT_YET_ALL: Final = 0.99
"""Of a fetch that has received everything and not unpacked it."""


def safe(text: str, limit: int = 400) -> str:
    """Text from others, made harmless for a terminal."""
    return clean(text, limit)


def size(count: int) -> str:
    """Bytes in at most five cells: ``999B``, ``1.2G``, ``139G``. Binary units."""
    value = float(max(count, 0))
    for unit in _UNITS:
        if value < 999.5 or unit == _UNITS[-1]:
            return f"{value:.1f}{unit}" if value < 9.95 and unit != "B" else f"{value:.0f}{unit}"
        value /= 1024
    raise AssertionError("the last unit takes everything")


def rate(bytes_per_second: int) -> str:
    """A rate in at most five cells; a dot for nothing."""
    return size(bytes_per_second) if bytes_per_second > 0 else NONE


def limit(bytes_per_second: int) -> str:
    """A limit exactly as it was set: ``5M/s``, ``none``."""
    return f"{exact_size(bytes_per_second)}/s" if bytes_per_second else "none"


def duration(seconds: int) -> str:
    """Seconds in at most five cells: ``12s``, ``2m05``, ``6h40``, ``3d``; a dash when unknown."""
    if seconds < 0:
        return "-"
    if seconds < 60:
        return f"{seconds}s"
    if seconds < 3600:
        return f"{seconds // 60}m{seconds % 60:02}"
    if seconds < 86400:
        return f"{seconds // 3600}h{seconds % 3600 // 60:02}"
    return f"{seconds // 86400}d"


def ago(moment: int, now: float) -> str:
    """How long ago Unix time ``moment`` was, in words a column can hold."""
    if not moment:
        return "-"
    seconds = max(int(now) - moment, 0)
    if seconds < 60:
        return "just now"
    for limit, unit, name in ((3600, 60, "min"), (86400, 3600, "h")):
        if seconds < limit:
            return f"{seconds // unit} {name} ago"
    return f"{seconds // 86400} d ago"


def until(moment: int, now: float) -> str:
    """How far off Unix time ``moment`` is: ``in 6 d``, ``over``; a dash for never."""
    if not moment:
        return "-"
    seconds = moment - int(now)
    if seconds <= 0:
        return "over"
    for limit, unit, name in ((3600, 60, "min"), (86400, 3600, "h")):
        if seconds < limit:
            return f"in {max(seconds // unit, 1)} {name}"
    return f"in {seconds // 86400} d"


def clock(moment: float) -> str:
    """Local time of day."""
    return time.strftime("%H:%M:%S", time.localtime(moment))


def fraction(job: Job) -> float:
    """How much of a job is done, 0 to 1. Ended without failure is all of it, also for an empty directory.

    What a fetch has received counts before it is in the checkout: chunks are unpacked as they become whole, those of
    a small model only at the end.
    """
    if job.state in (JobState.SEEDING, JobState.DONE):
        return 1.0
    if job.size <= 0:
        return 0.0
    done = job.done / job.size
    if job.kind.receives and job.wire_size:
        received = (job.reused + (job.size - job.reused) * job.wire_done / job.wire_size) / job.size
        done = max(done, min(received, _NOT_YET_ALL))
    return min(max(done, 0.0), 1.0)


def percent(part: float) -> str:
    """Rounded down: 100% is only said when everything is there."""
    return f"{int(part * 100)}%"


def bar(part: float, width: int) -> str:
    """A progress bar of ``width`` cells."""
    halves = int(part * width * 2)
    full = "━" * (halves // 2)
    return (full + ("╸" if halves % 2 else "")).ljust(width, "─")


def sparkline(values: list[int]) -> str:
    """One cell a value, scaled to the largest of them."""
    top = max(values, default=0)
    return "".join(_SPARKS[0] if top <= 0 else _SPARKS[min(v * 7 // top, 7)] for v in values)


def glyph(job: Job) -> str:
    """The state of a job in one cell; different for every state, so colour is never needed."""
    return state_glyph(job.state, job.kind)


def state_glyph(state: JobState, kind: JobKind) -> str:
    """The same of any job of that kind."""
    return _RUNNING_GLYPHS[kind] if state is JobState.RUNNING else GLYPHS[state]


def activity(job: Job) -> str:
    """The state of a job in a word or two."""
    if job.state is JobState.RUNNING and job.phase.value:
        return job.phase.value
    return job.state.value


def share_name(job: Job) -> str:
    """What to call a job: its share, or the directory while there is none."""
    return safe(job.share or job.path.rstrip("/").rpartition("/")[2] or job.id, 120)


def version(number: int, name: str = "") -> str:
    """``step-42000`` where a version has a name, else ``v7``; a dash before the number is known."""
    if name:
        return safe(name, 60)
    return f"v{number}" if number else "-"


def identity(hexadecimal: str) -> str:
    """The start of an identity in groups of four: ``9f3a-c21d``."""
    shown = safe(hexadecimal[:8], 8)
    return f"{shown[:4]}-{shown[4:]}" if len(shown) == 8 else shown


def fingerprint(hexadecimal: str) -> str:
    """A whole identity in groups of eight, to compare with what somebody reads out."""
    shown = safe(hexadecimal, 64)
    return "-".join(shown[i : i + 8] for i in range(0, len(shown), 8))


def plural(count: int, noun: str) -> str:
    """``1 file``, ``2 files``."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")
