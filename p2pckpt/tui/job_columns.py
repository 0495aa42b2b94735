"""The columns and filter fields of Transfers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from p2pckpt.control.messages import Job, JobKind, JobState
from p2pckpt.tui import format as f
from p2pckpt.tui.filters import Fields
from p2pckpt.tui.widgets.columns import Cell, Column

_TONES: Final[dict[JobState, str]] = {
    JobState.QUEUED: "dim",
    JobState.RUNNING: "active",
    JobState.PAUSED: "warn",
    JobState.SEEDING: "good",
    JobState.DONE: "",
    JobState.FAILED: "bad",
}
_ALIASES: Final[dict[JobState, tuple[str, ...]]] = {
    JobState.QUEUED: ("waiting",),
    JobState.RUNNING: (),
    JobState.PAUSED: (),
    JobState.SEEDING: ("up",),
    JobState.DONE: (),
    JobState.FAILED: ("error",),
}
_RUNNING_ALIASES: Final[dict[JobKind, tuple[str, ...]]] = {
    JobKind.FETCH: ("down",),
    JobKind.PUBLISH: ("publishing",),
    JobKind.VERIFY: ("verifying",),
    JobKind.RESTORE: ("restoring",),
}
_SUMMARY: Final = ("▼ down", "◆ publish", "≡ verify", "▲ seed", "‖ paused", "◦ queued", "✔ done", "✗ failed")


def tone(job: Job) -> str:
    """The tone of a job's state."""
    return _TONES[job.state]


def _progress(job: Job, width: int) -> Cell:
    part = f.fraction(job)
    return f"{f.bar(part, max(width - 5, 1))} {f.percent(part):>4}", tone(job)


def _seeds(job: Job, width: int) -> Cell:
    lonely = job.state is JobState.RUNNING and job.kind.receives and job.seeds == 0
    return str(job.seeds), "warn" if lonely else ""


def _eta(job: Job, width: int) -> Cell:
    return f.duration(job.eta if job.state is JobState.RUNNING else -1), "dim"


def _ratio(job: Job) -> float:
    return job.uploaded / job.size if job.size else 0.0


COLUMNS: Final[tuple[Column[Job], ...]] = (
    Column("state", "S", 1, lambda j, w: (f.glyph(j), tone(j)), sort=lambda j: j.state.value),
    Column("name", "Name", 16, lambda j, w: (f.share_name(j), "strong"), grow=2, sort=lambda j: j.share),
    Column("version", "Version", 11, lambda j, w: (f.version(j.version, j.version_name), ""), 1, grow=1),
    Column("size", "Size", 5, lambda j, w: (f.size(j.size), ""), right=True, sort=lambda j: j.size, descending=True),
    Column("progress", "Progress", 16, _progress, grow=1, sort=f.fraction, descending=True),
    Column(
        "down",
        "↓/s",
        5,
        lambda j, w: (f.rate(j.rate_down), ""),
        right=True,
        sort=lambda j: j.rate_down,
        descending=True,
    ),
    Column("up", "↑/s", 5, lambda j, w: (f.rate(j.rate_up), ""), right=True, sort=lambda j: j.rate_up, descending=True),
    Column("eta", "ETA", 5, _eta, 3, right=True, sort=lambda j: j.eta if j.eta >= 0 else float("inf")),
    Column(
        "peers", "Peers", 5, lambda j, w: (str(j.peers), ""), 4, right=True, sort=lambda j: j.peers, descending=True
    ),
    Column("seeds", "Seeds", 5, _seeds, 2, right=True, sort=lambda j: j.seeds),
    Column("ratio", "Ratio", 5, lambda j, w: (f"{_ratio(j):.2f}", ""), 5, right=True, sort=_ratio, descending=True),
    Column("publisher", "Publisher", 9, lambda j, w: (f.identity(j.publisher) or "-", "dim"), 6),
)


def _state_words(job: Job) -> tuple[str, ...]:
    running = _RUNNING_ALIASES[job.kind] if job.state is JobState.RUNNING else ()
    return (job.state.value, job.phase.value, *_ALIASES[job.state], *running)


FIELDS: Final[Fields[Job]] = Fields(
    name=lambda j: f"{j.share} {j.version_name} {j.path}",
    words={"state": _state_words, "kind": lambda j: (j.kind.value,), "publisher": lambda j: (j.publisher,)},
    numbers={
        "size": lambda j: j.size,
        "seeds": lambda j: j.seeds,
        "peers": lambda j: j.peers,
        "down": lambda j: j.rate_down,
        "up": lambda j: j.rate_up,
        "version": lambda j: j.version,
    },
)


def summary(jobs: Mapping[tuple[JobState, JobKind], int], *, short: bool = False) -> str:
    """``all 7 · ▼ 2 down · ▲ 3 seed``: how many there are of each state; ``short`` leaves the words out."""
    counts: dict[str, int] = {}
    for (state, kind), count in jobs.items():
        glyph = f.state_glyph(state, kind)
        counts[glyph] = counts.get(glyph, 0) + count
    found = [label for label in _SUMMARY if counts.get(label[0])]
    total = f"all {sum(counts.values())}"
    if short:
        return "  ".join([total, *(f"{label[0]} {counts[label[0]]}" for label in found)])
    return " · ".join([total, *(f"{label[0]} {counts[label[0]]} {label[2:]}" for label in found)])
