"""What removing transfers would mean."""

from __future__ import annotations

from collections.abc import Sequence

from p2pckpt.control.messages import Job, JobState
from p2pckpt.tui import format as f
from p2pckpt.tui.screens.confirm import ConfirmDialog

_NAMED = 3
"""Jobs whose consequences are spelled out; the rest are counted."""


def remove_dialog(jobs: Sequence[Job], *, data: bool) -> ConfirmDialog:
    """The question before ``jobs`` are removed; removing their data also wants the name typed."""
    name = f.share_name(jobs[0]) if len(jobs) == 1 else f"remove {len(jobs)}"
    return ConfirmDialog(
        "Remove with data" if data else "Remove",
        consequences(jobs, data=data),
        yes="Remove",
        expected=name if data else "",
        command=" ".join(["p2pckpt rm", *(job.id for job in jobs[:_NAMED]), *(["--data"] if data else [])]),
    )


def consequences(jobs: Sequence[Job], *, data: bool) -> list[str]:
    """What removing ``jobs`` means, most important first."""
    lines = []
    for job in jobs[:_NAMED]:
        lines.append(f"{f.glyph(job)} {f.share_name(job)} @ {f.version(job.version, job.version_name)}")
        lines += [f"  {line}" for line in _consequences(job, data=data)]
    if len(jobs) > _NAMED:
        lines.append(f"… and {len(jobs) - _NAMED} more")
    lines.append("")
    lines.append("No checkout and no published folder is touched.")
    return lines


def _consequences(job: Job, *, data: bool) -> list[str]:
    lines = []
    if job.state is JobState.SEEDING and job.seeds == 0:
        lines.append("! No other seed is known: without this machine nobody can fetch it.")
    elif job.state is JobState.SEEDING:
        lines.append(f"It is no longer offered from here; {f.plural(job.seeds, 'other seed')} known.")
    elif job.kind.receives and job.state is not JobState.DONE:
        lines.append(f"The transfer stops at {f.percent(f.fraction(job))}.")
    if data:
        lines.append("Its objects that nothing else needs are deleted from the store.")
    elif job.kind.receives:
        lines.append("What was received stays in the store and is reused by a later fetch.")
    else:
        lines.append("Its objects stay in the store.")
    return lines
