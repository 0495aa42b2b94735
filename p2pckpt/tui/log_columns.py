"""The columns and filter fields of the log, and a record in full."""

from __future__ import annotations

from typing import Final

from p2pckpt.control.health_messages import LOG_LEVELS, LogRecord
from p2pckpt.tui import format as f
from p2pckpt.tui.filters import Fields
from p2pckpt.tui.widgets.columns import Cell, Column

GLYPHS: Final = {"debug": " ", "info": "·", "warning": "!", "error": "✗", "critical": "✗"}
_TONES: Final = {"debug": "dim", "info": "", "warning": "warn", "error": "bad", "critical": "bad"}
_TOLD_ELSEWHERE: Final = ("exception", "kept", "next")


def _level(record: LogRecord, width: int) -> Cell:
    return f"{GLYPHS.get(record.level, '·')} {f.safe(record.level, 8)}", _TONES.get(record.level, "")


def line(record: LogRecord) -> str:
    """What happened, with its fields, in one line."""
    fields = (f"{name}={value}" for name, value in record.fields.items() if name not in _TOLD_ELSEWHERE)
    return f.safe("  ".join([record.event, *fields]))


COLUMNS: Final[tuple[Column[LogRecord], ...]] = (
    Column("time", "Time", 8, lambda r, w: (f.clock(r.time), "dim")),
    Column("level", "Level", 9, _level),
    Column("source", "Source", 16, lambda r, w: (f.safe(r.source, 40), "dim"), 1),
    Column("event", "Event", 20, lambda r, w: (line(r), _TONES.get(r.level, "")), grow=1),
)

FIELDS: Final[Fields[LogRecord]] = Fields(
    name=lambda r: f"{r.event} {' '.join(r.fields.values())}",
    words={
        "level": lambda r: (r.level,),
        "source": lambda r: (r.source, *r.source.split(".")),
        "job": lambda r: (r.fields.get("job", ""),),
    },
    numbers={},
)


def weighs(record: LogRecord, least: str) -> bool:
    """Whether it is at least as grave as ``least``; unknown levels always are."""
    return record.level not in LOG_LEVELS or LOG_LEVELS.index(record.level) >= LOG_LEVELS.index(least)


def details(record: LogRecord) -> list[tuple[str, str]]:
    """Name and value of everything in a record, values of one or more lines; what to do comes last."""
    found = [
        ("Time", f"{f.clock(record.time)}, number {record.seq:,}"),
        ("Level", f.safe(record.level, 20)),
        ("Source", f.safe(record.source, 60)),
        ("Event", f.safe(record.event)),
    ]
    found += [(f.safe(name, 30), f.safe(value)) for name, value in record.fields.items() if name not in _TOLD_ELSEWHERE]
    if trace := record.fields.get("exception", ""):
        found.append(("Traceback", "\n".join(f.safe(row, 300) for row in trace.splitlines()[-40:])))
    if kept := record.fields.get("kept", ""):
        found.append(("Kept", f.safe(kept)))
    found.append(("What to do", f.safe(record.fields.get("next", "")) or advice(record)))
    return found


def advice(record: LogRecord) -> str:
    """What helps where the record itself does not say."""
    if "exception" in record.fields:
        return "This is an error in p2pckpt itself. Export the log (e) and report it with it."
    if record.level in ("error", "critical"):
        job = record.fields.get("job", "")
        return f"See what became of {f.safe(job, 20)} in Transfers." if job else "p2pckpt doctor looks for the cause."
    if record.level == "warning":
        return "Nothing, unless it comes again and again: it is tried again by itself."
    return "Nothing: all is as it should be."
