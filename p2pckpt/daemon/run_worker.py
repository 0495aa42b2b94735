"""One training run at work: its directory is looked at, finished saves are snapshotted, checked and published in turn.

The trainer never waits for any of it. A save that is finished is linked aside at once, before the trainer may rotate
it away; of those that wait only the newest keeps its snapshot, so a slow network costs the disk one save and no more.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import structlog
from msgspec.structs import replace

from p2pckpt.control import messages as m
from p2pckpt.control.client import error_of
from p2pckpt.control.publish_messages import PublishRequest
from p2pckpt.control.run_messages import SaveRow, SaveState
from p2pckpt.daemon.run_book import RunBook, RunRecord, SaveRecord
from p2pckpt.daemon.snapshots import Snapshots
from p2pckpt.errors import (
    BadUsage,
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
_LOOK_EVERY: Final = 1.0
"""Seconds between two looks at a directory, or so many times as long as a look takes. A network filesystem tells no
news, and a save is there for minutes: looking is enough."""
_LOOK_SHARE: Final = 20
_LOOK_AT_LEAST_EVERY: Final = 20.0
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
        self._known = book.prints(run.name)
        self._ignored: set[Path] = set()
        self._look_took = 0.0
        self._looking = asyncio.Lock()
        self._snapping = asyncio.Lock()
        self._news = asyncio.Event()
        self._failures = 0
        self._stop = threading.Event()

    async def work(self) -> None:
        """Until cancelled."""
        tasks = [asyncio.create_task(self._forever(self._publish_next))]
        if self.run.watching:
            tasks.append(asyncio.create_task(self._forever(self._look)))
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

    @contextmanager
    def ignoring(self, directory: Path) -> Iterator[None]:
        """While something that is no save of the trainer's is put there."""
        self._ignored.add(directory)
        try:
            yield
        finally:
            self._ignored.discard(directory)

    def know(self, save: saves.Save, version: int) -> None:
        """A save is what a version was restored to: not to be published again."""
        row = SaveRow(name=save.name, path=str(save.path), state=SaveState.RESTORED, version=version, step=save.step)
        record = SaveRecord(row=row, print=fingerprint(save.print), single=save.is_file)
        if (row.path, record.print) not in self._known:
            self._known.add((row.path, record.print))
            self._book.add(self.run.name, record)

    # -- noticing

    async def _look(self) -> None:
        try:
            await self._take_finished()
        except P2pckptError as exc:
            self._trouble(exc)
        await asyncio.sleep(min(max(_LOOK_EVERY, _LOOK_SHARE * self._look_took), _LOOK_AT_LEAST_EVERY))

    async def settled(self) -> None:
        """Return once every save that lies there is finished, and published or refused."""
        while (self.run.watching and await self._take_finished()) or self._book.next(self.run.name):  # noqa: ASYNC110
            await asyncio.sleep(_LOOK_EVERY / 2)

    async def _take_finished(self) -> bool:
        """Take on what is finished by now; whether anything is not."""
        written = False
        async with self._looking:
            for save in await asyncio.to_thread(self._new_saves):
                if not self._ignored.isdisjoint((save.path, *save.path.parents)):
                    continue
                written = True
                if saves.is_finished(save, self.run.quiet, time.time()):
                    await self._take_on(save)
        return written

    def _new_saves(self) -> list[saves.Save]:
        """In a thread: those that are not known as they are now."""
        began = time.monotonic()
        found = saves.find(Path(self.run.path), self._knows)
        new = [save for save in found if not self._knows(save.path, save.print)]
        self._look_took = time.monotonic() - began
        return new

    def _knows(self, path: Path, printed: saves.Print) -> bool:
        return (str(path), fingerprint(printed)) in self._known

    async def _take_on(self, save: saves.Save) -> None:
        """One that can't be taken stops no other."""
        try:
            await self.notice(save)
        except ChangedWhileReading:
            pass  # it was not finished, after all
        except BadUsage as exc:
            record = self._book.add(self.run.name, _record(save))
            self._known.add((record.row.path, record.print))
            await self._end(record, SaveState.REJECTED, exc.fact)
        except P2pckptError as exc:
            self._trouble(exc)

    async def notice(
        self, save: saves.Save, step: int | None = None, metrics: dict[str, float] | None = None
    ) -> SaveRecord:
        """Take on a finished save; it may be deleted or written over once this returns.

        Raises ``ChangedWhileReading`` for one that is still written to.
        """
        async with self._snapping:
            record = self._book.find(self.run.name, str(save.path), fingerprint(save.print))
            if record is None:
                record = self._book.add(self.run.name, _record(save, step, metrics))
                try:
                    record = await self._snapshot(record, save)
                except P2pckptError:
                    self._book.drop(record)
                    raise
                self._known.add((record.row.path, record.print))
                await self._let_go_of_older(record)
            elif record.row.state is SaveState.WAITING:
                record = await self._complete(record, save, step, metrics)
        self._news.set()
        return record

    async def _complete(
        self, record: SaveRecord, save: saves.Save, step: int | None, metrics: dict[str, float] | None
    ) -> SaveRecord:
        """What a hook says of a save that was seen before, which may have lost its snapshot since."""
        row = replace(record.row, step=record.row.step if step is None else step)
        record = replace(record, row=replace(row, metrics={**row.metrics, **(metrics or {})}))
        self._book.note(record)
        return record if record.snapshot else await self._snapshot(record, save)

    async def _snapshot(self, record: SaveRecord, save: saves.Save) -> SaveRecord:
        record = replace(record, snapshot=str(await asyncio.to_thread(self._snapshots.take, record, save)))
        self._book.note(record)
        return record

    async def _let_go_of_older(self, newest: SaveRecord) -> None:
        """Of the saves that wait for their turn."""
        older = self._book.next(self.run.name)
        while older is not None and older.id < newest.id:
            if older.row.state is SaveState.WAITING and older.snapshot:
                older = replace(older, snapshot="")
                self._book.note(older)
                await asyncio.to_thread(self._snapshots.let_go, older)
                return  # there is never more than one
            older = self._book.next(self.run.name, older.id)

    # -- publishing

    async def _publish_next(self) -> None:
        record = self._book.next(self.run.name)
        if record is None:
            self._news.clear()
            await self._news.wait()
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
            async with self._snapping:
                record = self._as_noted(record)
                if not await asyncio.to_thread(_has_snapshot, record):
                    record = await self._snapshot_late(record)
            begun = await self._check(replace(record, job=""))
            if begun is None:
                return None
            job = await self._doors.ended(begun.job)
        elif job.state is m.JobState.FAILED and self._failures:
            job = await self._doors.ended(self._doors.resume(job.id).id)
        if job.state is m.JobState.PAUSED and not job.ended_at:
            self.problem = f"publishing is paused: p2pckpt resume {job.id}"
            await asyncio.sleep(_LOOK_EVERY)
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
        if not await asyncio.to_thread(_has_snapshot, record):
            raise NotFound(f"the job that published {record.row.name} was removed")
        return None

    async def _snapshot_late(self, record: SaveRecord) -> SaveRecord:
        """Of one that waited without. Raises ``NotFound`` when it is there no more, or not as it was."""
        gone = NotFound(f"{record.row.name} was deleted or written over before its turn came")
        try:
            save = await asyncio.to_thread(saves.look, Path(record.row.path))
        except P2pckptError as exc:
            raise gone from exc
        if fingerprint(save.print) != record.print:
            raise gone
        return await self._snapshot(record, save)

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
        self._news.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(pause):
                await self._news.wait()

    def _trouble(self, error: P2pckptError) -> None:
        if self.problem != error.fact:
            self.problem = error.fact
            self._doors.tell(f"{self.run.name}: {error.fact}")


def _has_snapshot(record: SaveRecord) -> bool:
    return bool(record.snapshot) and Path(record.snapshot).exists()


def _record(save: saves.Save, step: int | None = None, metrics: dict[str, float] | None = None) -> SaveRecord:
    row = SaveRow(
        name=save.name,
        path=str(save.path),
        state=SaveState.WAITING,
        step=step,
        metrics=metrics or {},
        noticed_at=int(time.time()),
    )
    return SaveRecord(row=row, print=fingerprint(save.print), single=save.is_file)
