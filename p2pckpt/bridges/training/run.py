"""What all doors have in common: the options of a run, which rank speaks for it, and what counts as a metric."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from p2pckpt.config import Config
from p2pckpt.control.run_messages import Retention, SaveRequest
from p2pckpt.tracker_protocol import Visibility


class RunOptions(TypedDict, total=False):
    """Keywords that every door takes; ``Run`` says what they mean and what they are when left out."""

    to: Visibility | str | None
    delta: bool | None
    retention: Retention | None
    allow_nonfinite: Sequence[str] | None
    config: Config | None
    start_daemon: bool


@dataclass(frozen=True, kw_only=True)
class Run:
    """A training run as its saves are handed over."""

    name: str
    """Of its share; made with the first save if there is none."""
    to: Visibility | str | None = None
    """Who may have the saves: ``members``, ``link`` or ``public``. Counts for a new share only; None: ``members``."""
    delta: bool | None = None
    """Store tensors as differences to earlier saves where that is smaller; None: as the run did, at first True."""
    retention: Retention | None = None
    """Which versions are kept; None leaves the run's."""
    allow_nonfinite: Sequence[str] | None = None
    """Patterns of tensors in which infinities and NaN are no fault; None leaves the run's."""
    config: Config | None = None
    """Whose daemon; None: this user's."""
    start_daemon: bool = True
    """Start one if none runs; it goes on after the training has ended."""

    def request(self, path: Path, step: int | None, metrics: Mapping[str, Any]) -> SaveRequest:
        return SaveRequest(
            name=self.name,
            path=str(path),
            step=step,
            metrics=numbers(metrics),
            to=None if self.to is None else Visibility(self.to),
            delta=self.delta,
            retention=self.retention,
            allow_nonfinite=None if self.allow_nonfinite is None else tuple(self.allow_nonfinite),
        )


def is_rank_zero() -> bool:
    """Whether this process speaks for the training: the only one, or rank 0 by torch or by ``RANK``."""
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        return bool(distributed.get_rank() == 0)
    return os.environ.get("RANK", "0") == "0"


def numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Those that are finite numbers, or tensors of one."""
    kept = {}
    for name, value in metrics.items():
        try:
            number = float(value.item() if hasattr(value, "item") else value)
        except (TypeError, ValueError, RuntimeError):  # the last from a tensor of several
            continue
        if math.isfinite(number):
            kept[name] = number
    return kept
