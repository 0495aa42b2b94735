"""One training run at work: what its intake takes on is checked and published, one save after the other.

The trainer never waits for any of it.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import structlog
from msgspec.structs import replace

from p2pckpt.control import messages as m
from p2pckpt.control.client import error_of
from p2pckpt.control.publish_messages import PublishRequest
from p2pckpt.control.run_messages import SaveState
from p2pckpt.daemon.intake import Intake, Told, has_snapshot
from p2pckpt.daemon.run_book import RunBook, RunRecord, SaveRecord
from p2pckpt.daemon.snapshots import Snapshots
from p2pckpt.errors import (
    Cancelled,
    ChangedWhileReading,
    NoSpace,
    NotFound,
    P2pckptError,
    TrackerUnreachable,
    UnsafeContent,
)
from p2pckpt.jobs import saves
from p2pckpt.jobs.scanning import fingerprint

_log = structlog.get_logger(__name__)
_LAST: Final = "last"
"""What Lightning calls the file that it writes over and over again, beside those that are named after their step."""
_PAUSED: Final = 1.0
"""Seconds between two looks at a job that somebody paused."""
_RETRY: Final = (5.0, 15.0, 60.0, 300.0)
"""Seconds until what failed is tried again."""
_TRIES: Final = 3
"""Failures of one save after which a newer one goes before it, unless the cause would stop that one, too."""
_ALIKE: Final = 3
"""Saves in a row that lack the same parts: the trainer saves otherwise than it did."""
_RECENT: Final = 20
_MAX_NAME: Final = 100


@dataclass(frozen=True, slots=True)
class Doors:
    """What a worker asks of the rest of the daemon."""

    publish: Callable[[PublishRequest], Awaitable[m.Job]]
    ended: Callable[[str], Awaitable[m.Job]]
    """The job once it works no more: ended, or paused by somebody. Raises ``NotFound`` for one that was removed."""
    resume: Callable[[str], m.Job]
    remove: Callable[[str], Awaitable[None]]
    """Forgets a job; what it packed stays for the next one to find."""
    published: Callable[[RunRecord], Awaitable[None]]
    """Told of the run after every published save."""
    tell: Callable[[str], None]
    """Tells people what they should see."""


class RunWorker:
    """Works for as long as ``work`` runs."""

    def __init__(self, run: RunRecord, book: RunBook, doors: Doors) -> None:
        self.run = run
        self.problem = ""
        """Why nothing happens just now; empty when nothing is wrong."""
        self._book = book
        self._doors = doors
        self._snapshots = Snapshots(book.token)
        self.intake = Intake(run, book, self._snapshots, Told(self._refused, self._trouble))
        self._failures = 0
        self._stop = threading.Event()

    async def work(self) -> None:
        """Until cancelled."""
        tasks = [asyncio.create_task(self._forever(self._publish_next))]
        if self.run.watching:
            tasks.append(asyncio.create_task(self._forever(self.intake.look)))
        try:
            await asyncio.gather(*tasks)
        finally:
            self._stop.set()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _forever(self, step: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await step()
            except Exception as exc:
                _log.exception("work for a run broke", run=self.run.name)
                self.problem = f"an error in p2pckpt itself, see p2pckpt daemon logs: {exc}"
                await asyncio.sleep(_RETRY[-1])

    def keep(self, run: RunRecord) -> None:
        """How the run is published from now on."""
        self.run = run
        self._book.keep(run)

    # -- publishing

    async def _publish_next(self) -> None:
        record = self._book.next(self.run.name)
        if record is None:
            self.intake.news.clear()
            await self.intake.news.wait()
            return
        try:
            job = await self._published(record)
        except UnsafeContent as exc:
            await self._end(self._as_noted(record), SaveState.REJECTED, exc.fact)
        except (ChangedWhileReading, NotFound) as exc:
            await self._end(self._as_noted(record), SaveState.SUPERSEDED, exc.fact)
        except P2pckptError as exc:
            await self._failed(record, exc)
        else:
            if job is not None:
                await self._note_version(self._as_noted(record), job)

    def _as_noted(self, record: SaveRecord) -> SaveRecord:
        """The record as it is by now."""
        return self._book.save(record.id) or record

    async def _published(self, record: SaveRecord) -> m.Job | None:
        """The job that made a version of a save, whichever daemon began it; None for one that did not pass."""
        job = await self._job_of(record) if record.job else None
        if job is None:
            begun = await self._check(replace(await self.intake.snapshotted(record), job=""))
            if begun is None:
                return None
            job = await self._doors.ended(begun.job)
        elif job.state is m.JobState.FAILED and self._failures:
            job = await self._doors.ended(self._doors.resume(job.id).id)
        if job.state is m.JobState.PAUSED and not job.ended_at:
            self.problem = f"publishing is paused: p2pckpt resume {job.id}"
            await asyncio.sleep(_PAUSED)
            return None
        if job.failure is not None:
            raise error_of(job.failure)
        return job

    async def _job_of(self, record: SaveRecord) -> m.Job | None:
        """The job that was begun for a save; None when a power cut or a person took it away: then it begins again."""
        try:
            job = await self._doors.ended(record.job)
        except NotFound:
            job = None
        if job is not None and job.path == record.row.path:
            return job
        if not await asyncio.to_thread(has_snapshot, record):
            raise NotFound(f"the job that published {record.row.name} was removed")
        return None

    async def _check(self, record: SaveRecord) -> SaveRecord | None:
        """Look into a save and begin to publish it; None for one that did not pass."""
        record = replace(record, row=replace(record.row, state=SaveState.CHECKING))
        self._book.note(record)
        directory, row = Path(record.snapshot), record.row
        looked_at = fingerprint((await asyncio.to_thread(saves.survey, directory))[0])
        checked = await self._checked(directory)
        if checked.problems:
            await self._end(record, SaveState.REJECTED, "; ".join(checked.problems[:5]))
            return None
        save = await asyncio.to_thread(saves.look, directory / row.name if record.single else directory)
        facts = await asyncio.to_thread(saves.facts, directory, save)
        step = facts.step if row.step is None else row.step
        if record.single and Path(row.name).stem == _LAST and (twin := self._twin(step)):
            await self._end(record, SaveState.SUPERSEDED, f"it is {twin} once more")
            return None
        row = replace(row, step=step, metrics={**facts.metrics, **row.metrics}, state=SaveState.PUBLISHING)
        self.keep(replace(self.run, shape=checked.shape, kind=str(save.writer)))
        job = await self._doors.publish(self._request(replace(record, row=row), looked_at))
        record = replace(record, row=row, job=job.id)
        self._book.note(record)
        return record

    async def _checked(self, directory: Path) -> saves.Checked:
        """A save that lacks what the one before had is refused, but not for ever: some are meant so."""
        check = partial(saves.check, directory, checkpoint=self._checkpoint, as_written=True)
        allowed = self.run.allow_nonfinite
        checked = await asyncio.to_thread(check, self.run.shape, allowed)
        if not checked.problems or self.run.shape is None:
            return checked
        why = "; ".join(checked.problems[:5])
        judged = (SaveState.PUBLISHED, SaveState.REJECTED)
        before = [save.row for save in self._book.saves(self.run.name, _RECENT) if save.row.state in judged]
        if len(before) >= _ALIKE - 1 and all(row.why == why for row in before[: _ALIKE - 1]):
            alone = await asyncio.to_thread(check, None, allowed)
            if not alone.problems:
                _log.info(f"saves of {self.run.name} are made otherwise from now on: {why}")
                return alone
        return checked

    def _request(self, record: SaveRecord, looked_at: str) -> PublishRequest:
        row = record.row
        name = Path(row.name).stem if record.single else row.name
        return PublishRequest(
            path=row.path,
            snapshot=record.snapshot,
            # hard links: whoever opens the trainer's file again writes into the snapshot, too
            expected=looked_at,
            name=self.run.share_id or self.run.name,
            version_name="".join(char if char.isprintable() else "?" for char in name)[:_MAX_NAME],
            to=self.run.to,
            passed=True,
            delta=self.run.delta,
            allow_no_licence=True,
            # a trainer pickles objects of its own; what is known to be dangerous is refused all the same
            allow_unsafe_pickle=True,
            metrics=row.metrics,
            step=row.step,
        )

    def _twin(self, step: int | None) -> str:
        """The published save of this step, if it is the newest: some trainers write that a second time, as ``last``."""
        newest = self._book.newest(self.run.name, SaveState.PUBLISHED)
        return newest.row.name if newest is not None and step is not None and newest.row.step == step else ""

    def _checkpoint(self) -> None:
        if self._stop.is_set():
            raise Cancelled("the daemon stops")

    async def _note_version(self, record: SaveRecord, job: m.Job) -> None:
        self._failures, self.problem = 0, ""
        row = replace(record.row, version=job.version, size=job.size)
        await self._end(replace(record, row=row), SaveState.PUBLISHED)
        if self.run.share_id != job.share_id:
            self.keep(replace(self.run, share_id=job.share_id))
        try:
            await self._doors.published(self.run)
        except P2pckptError as exc:  # the version stands, whatever else could not be done for it
            self._trouble(exc)

    async def _refused(self, record: SaveRecord, why: str) -> None:
        await self._end(record, SaveState.REJECTED, why)

    async def _end(self, record: SaveRecord, state: SaveState, why: str = "") -> None:
        row = replace(record.row, state=state, why=why, ended_at=int(time.time()))
        # in this order: what a crash leaves open is looked at again, and nothing is left lying there
        await asyncio.to_thread(self._snapshots.let_go, record)
        self._book.note(replace(record, row=row, snapshot=""))
        if state is SaveState.PUBLISHED:
            _log.info(f"{row.name} of {self.run.name} is version {row.version}", step=row.step)
            return
        told = f"{row.name} of {self.run.name} was not published: {why}"
        (_log.info if state is SaveState.SUPERSEDED else self._doors.tell)(told)
        if record.job:
            with suppress(NotFound):
                await self._doors.remove(record.job)

    async def _failed(self, record: SaveRecord, error: P2pckptError) -> None:
        """Try again later; after some tries a newer save goes before one that can't be published by itself."""
        self._trouble(error)
        pause = _RETRY[min(self._failures, len(_RETRY) - 1)]
        self._failures += 1
        of_all = isinstance(error, TrackerUnreachable | NoSpace)
        if not of_all and self._failures >= _TRIES and self._book.next(self.run.name, record.id) is not None:
            self._failures = 0
            await self._end(self._as_noted(record), SaveState.FAILED, error.fact)
            return
        self.intake.news.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(pause):
                await self.intake.news.wait()

    def _trouble(self, error: P2pckptError) -> None:
        if self.problem != error.fact:
            self.problem = error.fact
            self._doors.tell(f"{self.run.name}: {error.fact}")
