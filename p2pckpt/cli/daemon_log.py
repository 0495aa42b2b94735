"""Reading the daemon's log file: records of one line, and what belongs to them below (tracebacks, plain output)."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

LEVELS = ("debug", "info", "warning", "error", "critical")
_PAIR = re.compile(r"""(\w+)=('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|\S+)(?:\s|$)""")


@dataclass(slots=True)
class Record:
    """A record and the lines it was read from."""

    lines: list[str]
    pairs: dict[str, Any] = field(default_factory=dict)
    """Empty for lines that no daemon of ours wrote as a record, such as what it said before its log was set up."""

    @property
    def level(self) -> str:
        """What it weighs; output that is no record counts as an error, for that is what it tells of."""
        return str(self.pairs.get("level", "error"))

    def weighs(self, least: str) -> bool:
        """Whether it is at least as grave as ``least``; everything is, where that is empty."""
        if not least or self.level not in LEVELS:
            return True
        return LEVELS.index(self.level) >= LEVELS.index(least)

    def as_json(self) -> dict[str, Any]:
        """Time, level, source, event and whatever else it has; what stands below its line as ``more``."""
        known = {name: self.pairs.get(key, "") for name, key in _NAMES}
        if not self.pairs:
            return {**known, "level": self.level, "event": self.lines[0], "fields": {}, "more": self.lines[1:]}
        fields = {key: value for key, value in self.pairs.items() if key not in _KEYS}
        return {**known, "fields": fields, "more": self.lines[1:]}


_NAMES = (("time", "timestamp"), ("level", "level"), ("source", "source"), ("event", "event"))
_KEYS = {key for _, key in _NAMES}


def records(lines: Iterable[str]) -> Iterator[Record]:
    """Records of ``lines``, each once it is whole: when the next one begins, or at the end.

    What follows a record and is none belongs to it.
    """
    latest: Record | None = None
    for line in lines:
        line = line.rstrip("\n")
        if latest is not None and latest.pairs and not line.startswith("timestamp="):
            latest.lines.append(line)
            continue
        if latest is not None:
            yield latest
        latest = parse(line)
    if latest is not None:
        yield latest


def parse(line: str) -> Record:
    """One line as the daemon writes it; any other line is a record without pairs."""
    if not line.startswith("timestamp="):
        return Record([line])
    return Record([line], {key: _value(text) for key, text in _PAIR.findall(line)})


def _value(text: str) -> Any:
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text
    return value if isinstance(value, str | int | float | bool | None) else text
