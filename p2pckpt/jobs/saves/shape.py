"""Which parts of a training run's state a save has, so that the next one can be held against it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    """What a file, or a part of a file, is for when a run is resumed."""

    WEIGHTS = "weights"
    OPTIMIZER = "optimizer"
    SCHEDULER = "scheduler"
    SCALER = "scaler"
    RNG = "rng"
    DATALOADER = "dataloader"
    CONFIG = "config"
    """What the model is built from."""
    PROGRESS = "progress"
    """Step, epoch, and what the trainer's callbacks remember."""


@dataclass(frozen=True, slots=True)
class Shape:
    """How many files, or entries of a file, have each role; roles without one are not listed."""

    parts: tuple[tuple[Role, int], ...] = ()

    @classmethod
    def of(cls, roles: Iterable[Role]) -> Shape:
        """One part for each role given."""
        return cls(tuple(sorted(Counter(roles).items())))

    def count(self, role: Role) -> int:
        """Parts that have this role."""
        return dict(self.parts).get(role, 0)
