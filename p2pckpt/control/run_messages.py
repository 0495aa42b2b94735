"""Training runs between front ends and the daemon: what is watched, what became of each save, restoring, pruning."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from p2pckpt.tracker_protocol import Visibility


class Retention(msgspec.Struct, frozen=True, kw_only=True):
    """Which versions of a run are kept, besides tagged and pinned ones and the newest. All zero: every one."""

    last: int = 0
    """The newest so many."""
    every: int = 0
    """Those whose step is a multiple of this."""
    best: int = 0
    """The so many best by ``metric``."""
    metric: str = ""
    highest: bool = False
    """Whether more is better."""

    @property
    def keeps_all(self) -> bool:
        return not (self.last or self.every or self.best)


class SaveState(StrEnum):
    WAITING = "waiting"
    """Finished by the trainer; its turn has not come."""
    CHECKING = "checking"
    PUBLISHING = "publishing"
    PUBLISHED = "published"
    REJECTED = "rejected"
    """It did not pass: torn, incomplete or not finite; ``why`` says so. Never published."""
    SUPERSEDED = "superseded"
    """The trainer deleted it, or a newer one was finished, before its turn came."""
    FAILED = "failed"
    """It could not be published again and again, for a reason that a newer one may not have."""
    RESTORED = "restored"
    """Put there by a restore: it is the version that it was."""


class SaveRow(msgspec.Struct, frozen=True, kw_only=True):
    """One save of a run."""

    name: str
    """Of its directory or file, such as ``checkpoint-500``."""
    path: str
    state: SaveState
    step: int | None = None
    metrics: dict[str, float] = {}
    size: int = 0
    version: int = 0
    """Once published."""
    why: str = ""
    """Of one that was not."""
    noticed_at: int = 0
    ended_at: int = 0


class RunRow(msgspec.Struct, frozen=True, kw_only=True):
    """A run that is published from this machine."""

    name: str
    """Of its share."""
    path: str
    """The directory that is watched; empty for one that only hooks hand saves of."""
    kind: str
    """What writes it, as far as known: transformers, lightning, dcp, files."""
    watching: bool
    retention: Retention
    published: int
    """Saves so far; likewise ``rejected``."""
    rejected: int
    last: SaveRow | None
    every: int = 0
    """Seconds between saves lately; 0 when unknown."""
    problem: str = ""
    """Why nothing happens just now."""


class RunDetail(msgspec.Struct, frozen=True):
    run: RunRow
    saves: tuple[SaveRow, ...]
    """Newest first, at most 200."""


class WatchRequest(msgspec.Struct, frozen=True, kw_only=True):
    """``POST /v1/runs`` → RunRow: watch a run's directory, or change how it is watched."""

    path: str
    name: str = ""
    """Of the share; empty: after the directory."""
    to: Visibility = Visibility.MEMBERS
    delta: bool = True
    quiet: float = 3.0
    """Seconds without a change after which a save without a mark of its end is finished."""
    retention: Retention = Retention()
    allow_nonfinite: tuple[str, ...] = ()
    """Patterns of tensors in which infinities and NaN are no fault."""


class SaveRequest(msgspec.Struct, frozen=True, kw_only=True):
    """``POST /v1/saves`` → SaveRow, as soon as the save may be deleted or written over: a trainer's hook."""

    name: str
    """The run's share; made if there is none."""
    path: str
    """The finished save: a directory or a file."""
    step: int | None = None
    metrics: dict[str, float] = {}
    to: Visibility | None = None
    """None, here and below, leaves what counts for the run."""
    delta: bool | None = None
    retention: Retention | None = None
    allow_nonfinite: tuple[str, ...] | None = None


class RestoreRequest(msgspec.Struct, frozen=True, kw_only=True):
    """``POST /v1/restore`` → Job, which puts the newest version that verifies at ``to``."""

    source: str
    """NAME[@VERSION] or a link."""
    to: str = ""
    """Directory to restore into; empty: where the run saves, else below ``base``."""
    base: str = ""
    patience: float = 60.0
    """Seconds without a peer or a byte after which a version counts as not to be had."""
    password: str = ""
    seed: bool = True
    allow_nonfinite: tuple[str, ...] = ()
    """Besides what the run allows on this machine."""


class Tried(msgspec.Struct, frozen=True):
    version: int
    why: str
    """Why it was not restored."""


class Restored(msgspec.Struct, frozen=True):
    """What a restore ended with: ``restored`` of its job."""

    version: int
    step: int | None
    path: str
    """What the trainer resumes from: a directory, or the file in it that is the whole save."""
    tried: tuple[Tried, ...]
    """Newer versions that were passed over."""


class PruneRequest(msgspec.Struct, frozen=True, kw_only=True):
    """``POST /v1/prune`` → PruneReply: retire the versions that a policy does not keep."""

    name: str
    retention: Retention | None = None
    """None: the run's own."""
    dry_run: bool = False
    at_once: bool = False
    """Delete now what otherwise can be taken back for a day."""


class PruneRow(msgspec.Struct, frozen=True):
    version: int
    name: str
    step: int | None
    keep: str
    """Why it is kept; empty for one that is retired."""
    freed: int
    """Bytes that only it needs here."""


class PruneReply(msgspec.Struct, frozen=True):
    rows: tuple[PruneRow, ...]
    """Newest first."""
    freed: int
    """Bytes that go, together: more than the sum of the rows where retired versions share objects."""
    undo_until: int
    """Until when it can be taken back; 0 for not at all."""
    left: dict[int, str] = {}
    """Why other versions can't be taken back now, by number."""
