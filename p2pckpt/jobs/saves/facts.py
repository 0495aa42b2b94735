"""What a save says about itself: step, epoch and metrics, read without running anything in it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from p2pckpt.jobs.saves import names
from p2pckpt.jobs.saves.save import Save


@dataclass(frozen=True, slots=True)
class Facts:
    """As its writer states it; nothing of it is verified."""

    step: int | None = None
    """Optimizer steps done."""
    epoch: float | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    """The last known value of each, finite ones alone: ``loss``, ``eval_loss``, ``val_loss``…"""


def facts(directory: Path, save: Save) -> Facts:
    """The facts of ``save``, read from its snapshot in ``directory``. What can't be read is left out."""
    return Facts(save.step, names.epoch_in(save.name), names.metrics_in(save.name))
