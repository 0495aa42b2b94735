"""What the parts of a check have in common: where findings go, and how much of them is kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Final

from p2pckpt.checkpoint.finite import NonFinite
from p2pckpt.checkpoint.formats.layout import short
from p2pckpt.jobs.saves.shape import Role

_MAX_LINES: Final = 50
_MAX_TENSORS: Final = 5
"""Tensors of one file that are named for the same fault."""


@dataclass(slots=True)
class Report:
    """Findings of a check, bounded in number and length."""

    checkpoint: Callable[[], None]
    """Called often; may raise to stop the check."""
    allowed: Sequence[str] = ()
    """Patterns of names of tensors that may hold infinities and NaN."""
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    tensors: int = 0
    roles: list[Role] = field(default_factory=list)
    nonfinite: int = 0
    """Problems that are tensors which are not finite."""
    _counts: dict[tuple[str, str], int] = field(default_factory=dict)

    def problem(self, path: str, text: str) -> None:
        """A reason for not restoring the save; ``path`` is of the file, empty for the save as a whole."""
        self._add(self.problems, path, text)

    def warn(self, path: str, text: str) -> None:
        """Something that is unusual, or was not looked at."""
        self._add(self.warnings, path, text)

    def tensor(self, path: str, name: str, fault: str) -> None:
        """A problem of one tensor; of those with a kind of fault many times in a file, some are named."""
        kind = (path, fault.partition(" at ")[0])
        self._counts[kind] = self._counts.get(kind, 0) + 1
        if self._counts[kind] <= _MAX_TENSORS:
            self.problem(path, f"tensor {short(name)} {fault}")

    def not_finite(self, path: str, name: str, found: NonFinite) -> None:
        """A problem of one tensor that has such an element."""
        before = len(self.problems)
        self.tensor(path, name, f"has {found.what} at element {found.index:,}")
        self.nonfinite += len(self.problems) - before

    def allows(self, path: str, name: str) -> bool:
        """Whether a tensor may hold infinities and NaN."""
        return any(fnmatchcase(name, pattern) or fnmatchcase(f"{path}:{name}", pattern) for pattern in self.allowed)

    def finish(self) -> None:
        """Say how many tensors were not named."""
        for (path, fault), count in self._counts.items():
            if count > _MAX_TENSORS:
                self.problem(path, f"{count - _MAX_TENSORS:,} more tensors: each {fault}")

    def _add(self, lines: list[str], path: str, text: str) -> None:
        if len(lines) < _MAX_LINES:
            lines.append(f"{path}: {text}" if path else text)
