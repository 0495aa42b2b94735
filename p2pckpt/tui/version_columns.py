"""The columns of a share's versions: a release history, and with steps and metrics a training run's."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from p2pckpt.control.messages import VersionRow
from p2pckpt.tui import format as f
from p2pckpt.tui.widgets.columns import Cell, Column

_SHOWN = 3
"""Metrics with a column of their own."""
_FIRST = ("loss", "train_loss", "eval_loss")
"""Metrics that come before others."""


def columns(now: Callable[[], float], metrics: Sequence[str] = (), *, steps: bool = False) -> list[Column[VersionRow]]:
    """``metrics`` names those there are, the main one first; ``steps`` whether any version has a step."""
    found: list[Column[VersionRow]] = [
        Column("held", "H", 1, _held),
        Column("version", "Version", 7, lambda v, w: (f"v{v.version}", "strong"), sort=lambda v: v.version),
        Column("name", "Name", 10, lambda v, w: (f.safe(v.name, 60) or "-", ""), 1, grow=2),
    ]
    if steps:
        found.append(Column("step", "Step", 8, _step, 1, right=True, sort=_step_value))
    found += [_metric_column(name, number) for number, name in enumerate(metrics[:_SHOWN])]
    found += [
        Column("tags", "Tags", 8, _tags, 2, grow=1),
        Column("size", "Size", 5, lambda v, w: (f.size(v.size) if v.size else "-", ""), 3, right=True),
        Column("added", "Added", 5, lambda v, w: (f.size(v.wire_size), ""), right=True, sort=lambda v: v.wire_size),
        Column("seeds", "Seeds", 5, _seeds, right=True, sort=lambda v: v.seeds),
        Column("publisher", "Publisher", 9, lambda v, w: (f.identity(v.publisher), "dim"), 7),
        Column("published", "Published", 10, lambda v, w: (f.ago(v.published_at, now()), "dim"), 2, right=True),
    ]
    return found


def metric_names(versions: Sequence[VersionRow], main: str = "") -> list[str]:
    """Every metric, ``main`` or else a loss first."""
    names = sorted({name for version in versions for name in version.metrics})
    first = [name for name in (main, *_FIRST) if name in names][:1]
    return [*first, *(name for name in names if name not in first)]


def curve(versions: Sequence[VersionRow], metric: str, width: int) -> str:
    """A metric over the versions, oldest first: ``loss ▇▅▃▂▁ 2.5 → 1.81, lowest 1.79 in v3``."""
    points = [(v.version, v.metrics[metric]) for v in sorted(versions, key=lambda v: v.version) if metric in v.metrics]
    if not points:
        return ""
    values = [value for _, value in points]
    low, high = min(values), max(values)
    shown = values[-max(width, 1) :]
    span = high / 2 - low / 2  # halves: two numbers can lie further apart than any number is large
    scaled = [round((value / 2 - low / 2) / span * 1000) if span > 0 else 0 for value in shown]
    best = min(points, key=lambda point: point[1])
    last = f"{values[0]:.4g} → {values[-1]:.4g}" if len(values) > 1 else f"{values[0]:.4g}"
    return f"{f.safe(metric, 40)} {f.sparkline(scaled)} {last}, lowest {best[1]:.4g} in v{best[0]}"


def only_here(versions: Sequence[VersionRow]) -> list[int]:
    """Numbers of the versions that this machine alone seeds, as far as the tracker says."""
    return [version.version for version in versions if version.held and version.seeds == 0]


def _metric_column(name: str, number: int) -> Column[VersionRow]:
    def draw(version: VersionRow, width: int) -> Cell:
        value = version.metrics.get(name)
        return ("-", "dim") if value is None else (f"{value:.4g}", "")

    def value(version: VersionRow) -> float:
        return version.metrics.get(name, float("inf"))

    return Column(f"metric {name}", f.safe(name, 8), 8, draw, 4 + number if number else 0, right=True, sort=value)


def _held(version: VersionRow, width: int) -> Cell:
    if version.pinned:
        return "■", "good"
    return ("●", "good") if version.held else ("◦", "dim")


def _step(version: VersionRow, width: int) -> Cell:
    return ("-", "dim") if version.step is None else (f"{version.step:,}", "")


def _step_value(version: VersionRow) -> float:
    return -1 if version.step is None else version.step


def _tags(version: VersionRow, width: int) -> Cell:
    return ", ".join(f.safe(tag, 40) for tag in version.tags) or "-", "active"


def _seeds(version: VersionRow, width: int) -> Cell:
    if version.seeds < 0:
        return "-", "dim"
    return str(version.seeds), "warn" if version.seeds == 0 else ""
