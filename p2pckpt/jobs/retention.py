"""Which versions of a run a policy keeps, and why. Pure: what is done about the others is ``jobs.retire``'s."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from p2pckpt.control.run_messages import Retention
from p2pckpt.errors import BadUsage

PINNED: Final = "pinned here"
_LATEST: Final = "latest"


@dataclass(frozen=True, slots=True)
class Candidate:
    """What a policy looks at of one version."""

    number: int
    step: int | None = None
    """None for a version that is no save of a run."""
    metrics: Mapping[str, float] | None = None
    tags: Sequence[str] = ()
    verified: bool = False
    """Whether it is whole on this machine, as far as is known."""
    pinned: bool = False
    """Whether this machine's user wants it to stay here."""


def check(retention: Retention) -> None:
    """Raise ``BadUsage`` for a policy that says nothing that could be done."""
    if min(retention.last, retention.every, retention.best) < 0:
        raise BadUsage("what is kept is counted from 1")
    if retention.best and not retention.metric:
        raise BadUsage("the best by which metric?", next_step="name it: --keep-best 3 --metric eval_loss")


def judge(versions: Collection[Candidate], retention: Retention) -> dict[int, str]:
    """By number, newest first, why each version is kept; empty for one that is not.

    Any policy keeps the newest, every tagged and every pinned one, the newest that verifies, and whatever is no save.
    """
    ordered = sorted(versions, key=lambda version: -version.number)
    saves = [version for version in ordered if version.step is not None]
    reasons: dict[int, list[str]] = {version.number: [] for version in ordered}
    for version in ordered[:1]:
        reasons[version.number].append("newest")
    for version in ordered:
        if tags := sorted(set(version.tags) - ({_LATEST} if version is ordered[0] else set())):
            reasons[version.number].append(f"tagged {', '.join(tags)}")
        if version.pinned:
            reasons[version.number].append(PINNED)
        if version.step is None:
            reasons[version.number].append("not a save: no step")
    for version in saves[: retention.last]:
        reasons[version.number].append(f"one of the last {retention.last}" if retention.last > 1 else "the last one")
    for version in saves:
        if retention.every and version.step is not None and version.step % retention.every == 0:
            reasons[version.number].append(f"step is a multiple of {retention.every}")
    for rank, version in enumerate(best(saves, retention), start=1):
        reasons[version.number].append(f"{_ordinal(rank)}best by {retention.metric}")
    for version in [version for version in ordered if version.verified][:1]:
        if version is not ordered[0]:
            reasons[version.number].append("the last one that verifies")
    if retention.keeps_all:
        return {number: ", ".join(found) or "every version is kept" for number, found in reasons.items()}
    return {number: ", ".join(found) for number, found in reasons.items()}


def best(saves: Sequence[Candidate], retention: Retention) -> list[Candidate]:
    """The saves that are best by the policy's metric, the very best first, newer ones first among equals."""
    sign = -1 if retention.highest else 1
    measured = [
        (sign * value, -version.number, version)
        for version in saves
        if version.step is not None and math.isfinite(value := (version.metrics or {}).get(retention.metric, math.nan))
    ]
    return [version for _, _, version in sorted(measured, key=lambda each: each[:2])[: retention.best]]


def _ordinal(rank: int) -> str:
    """Nothing for 1, ``2nd `` for 2, ``11th `` for 11."""
    if rank == 1:
        return ""
    ending = "th" if 10 <= rank % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(rank % 10, "th")
    return f"{rank}{ending} "
