"""What the daemon last said, folded from its events. No Textual and no I/O in here."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field

from p2pckpt.control import key_messages as km
from p2pckpt.control import messages as m
from p2pckpt.errors import P2pckptError

RATE_SAMPLES = 10
"""Status events whose rates the top bar draws."""


@dataclass(slots=True)
class Changes:
    """What differs since the last flush."""

    jobs: set[str] = field(default_factory=set)
    """Ids of jobs whose row changed, came or went."""
    shares: set[str] = field(default_factory=set)
    """Ids of shares whose row changed, came or went."""
    access: set[str] = field(default_factory=set)
    """Ids of shares whose members, links, requests or terms may be others."""
    keys: bool = False
    """Something about other people's keys is different."""
    settings: bool = False
    granted: set[str] = field(default_factory=set)
    """Ids of shares whose owners let us in."""
    everything: bool = False
    """A snapshot replaced the state, or the connection came or went."""


@dataclass(slots=True)
class State:
    """The daemon's jobs, shares and status as far as events told."""

    status: m.DaemonStatus | None = None
    jobs: dict[str, m.Job] = field(default_factory=dict)
    shares: dict[str, m.ShareRow] = field(default_factory=dict)
    job_counts: Counter[tuple[m.JobState, m.JobKind]] = field(default_factory=Counter)
    """How many jobs there are of each."""
    keys_to_review: int = 0
    """Keys that somebody should look at."""
    connected: bool = False
    updated_at: float = 0.0
    """When the last event was folded in; the lists are from then."""
    down: P2pckptError | None = None
    """Why there is no connection; None before the first attempt ended and while connected."""
    last_words: str = ""
    """Of the daemon that is away, in its log."""
    rates_down: deque[int] = field(default_factory=lambda: deque(maxlen=RATE_SAMPLES))
    rates_up: deque[int] = field(default_factory=lambda: deque(maxlen=RATE_SAMPLES))

    def apply(self, event: m.Event, changes: Changes, now: float) -> None:
        """Fold one event in and note what it touched. Notices change nothing."""
        self.updated_at = now
        match event:
            case m.JobChanged(job):
                self._count(self.jobs.get(job.id), job)
                self.jobs[job.id] = job
                changes.jobs.add(job.id)
            case m.Snapshot():
                self.jobs = {job.id: job for job in event.jobs}
                self.shares = {share.share_id: share for share in event.shares}
                self.job_counts = Counter((job.state, job.kind) for job in event.jobs)
                self._status(event.status)
                self.connected, self.down = True, None
                changes.everything = True
            case m.JobRemoved(job_id):
                self._count(self.jobs.pop(job_id, None), None)
                changes.jobs.add(job_id)
            case m.ShareChanged(share):
                self.shares[share.share_id] = share
                changes.shares.add(share.share_id)
            case m.ShareRemoved(share_id):
                self.shares.pop(share_id, None)
                changes.shares.add(share_id)
            case m.StatusChanged(status):
                self._status(status)
            case m.AccessChanged(share_id):
                changes.access.add(share_id)
            case km.KeysChanged(to_review):
                self.keys_to_review = to_review
                changes.keys = True
            case m.SettingsChanged():
                changes.settings = True
            case m.AccessGranted(share_id):
                changes.granted.add(share_id)
            case m.Notice():
                pass

    def lose(self, reason: P2pckptError, changes: Changes) -> None:
        """The connection is gone: lists stay as they were."""
        self.connected = False
        self.down = reason
        changes.everything = True

    def _count(self, before: m.Job | None, now: m.Job | None) -> None:
        if before is not None and now is not None and before.state is now.state and before.kind is now.kind:
            return
        if before is not None:
            self.job_counts[before.state, before.kind] -= 1
        if now is not None:
            self.job_counts[now.state, now.kind] += 1

    def _status(self, status: m.DaemonStatus) -> None:
        self.status = status
        self.keys_to_review = status.keys_to_review
        self.rates_down.append(status.rate_down)
        self.rates_up.append(status.rate_up)
