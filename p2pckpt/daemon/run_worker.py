"""One training run at work: its directory is looked at, finished saves are snapshotted, checked and published in turn.

The trainer never waits for any of it. A save that is finished is linked aside at once, before the trainer may rotate
it away; of those that wait only the newest keeps its snapshot, so a slow network costs the disk one save and no more.
"""

from __future__ import annotations

import asyncio
import shutil
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
from p2pckpt.control.run_messages import SaveRow, SaveState
from p2pckpt.daemon.run_book import RunBook, RunRecord, SaveRecord
from p2pckpt.errors import (
    BadUsage,
    Cancelled,
    ChangedWhileReading,
    NotFound,
    P2pckptError,
    UnsafeContent,
)
from p2pckpt.jobs import saves
from p2pckpt.jobs.scanning import fingerprint

_log = structlog.get_logger(__name__)
_PLACE: Final = ".p2pckpt"
"""Directory beside the saves, on their filesystem, that holds snapshots. Trainers look for names of their own."""
_LAST: Final = "last"
"""What Lightning calls the file that it writes over and over again, beside those that are named after their step."""
_LOOK_EVERY: Final = 1.0
"""Seconds between two looks at a directory, or so many times as long as a look takes. A network filesystem tells no
news, and a save is there for minutes: looking is enough."""
_LOOK_SHARE: Final = 20
_RETRY: Final = (5.0, 15.0, 60.0, 300.0)
"""Seconds until what failed is tried again."""


@dataclass(frozen=True, slots=True)
class Doors:
    """What a worker asks of the rest of the daemon."""

    publish: Callable[[PublishRequest], Awaitable[m.Job]]
    ended: Callable[[str], Awaitable[m.Job]]
    """The job once it works no more."""
    resume: Callable[[str], m.Job]
    remove: Callable[[str], Awaitable[None]]
    """Forgets a job; what it packed stays for the next one to find."""
    published: Callable[[str], Awaitable[None]]
    """Told of the run after every published save."""
    tell: Callable[[str], None]
    """Tells people what they should see."""


class RunWorker:
    """Works for as long as ``work`` runs."""

    def __init__(self, run: RunRecord, book: RunBook, doors: Doors) -> None:
        self.run = run
        self.problem = ""
        """Why nothing happens just now; empty when nothing is wrong."""
        self.restoring: set[Path] = set()
        """Places where a restore writes: no saves of the trainer's."""
        self._book = book
        self._doors = doors
        self._looking = asyncio.Lock()
        self._noticing = asyncio.Lock()
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
            except Exception:
                _log.exception("work for a run broke", run=self.run.name)
                await asyncio.sleep(_RETRY[-1])

    def keep(self, run: RunRecord) -> None:
        """How the run is published from now on."""
        self.run = run
        self._book.keep(run)

    # -- noticing

    async def _look(self) -> None:
        began = time.monotonic()
        try:
            await self._take_finished()
        except P2pckptError as exc:
            self._trouble(exc)
        await asyncio.sleep(max(_LOOK_EVERY, _LOOK_SHARE * (time.monotonic() - began)))

    async def settled(self) -> None:
        """Return once every save that lies there is finished, and published or refused."""
        # nothing tells when a trainer is done
        while (self.run.watching and await self._take_finished()) or self._book.unfinished(self.run.name):  # noqa: ASYNC110
            await asyncio.sleep(_LOOK_EVERY / 2)

    async def _take_finished(self) -> bool:
        """Take on what is finished by now; whether anything is not."""
        written = False
        async with self._looking:
            for save in await asyncio.to_thread(saves.find, Path(self.run.path)):
                known = self._book.find(self.run.name, str(save.path), fingerprint(save.print))
                if known is not None or save.path in self.restoring:
                    continue
                written = True
                if saves.is_finished(save, self.run.quiet, time.time()):
                    with suppress(ChangedWhileReading):  # it was not finished, after all
                        await self.notice(save)
        return written

    async def notice(
        self, save: saves.Save, step: int | None = None, metrics: dict[str, float] | None = None
    ) -> SaveRecord:
        """Take on a finished save; it may be deleted or written over once this returns.

        Raises ``ChangedWhileReading`` for one that is still written to.
        """
        async with self._noticing:
            known = self._book.find(self.run.name, str(save.path), fingerprint(save.print))
            if known is not None:
                return known
            row = SaveRow(
                name=save.name,
                path=str(save.path),
                state=SaveState.WAITING,
                step=step,
                metrics=metrics or {},
                noticed_at=int(time.time()),
            )
            record = SaveRecord(row=row, print=fingerprint(save.print), single=save.is_file)
            record = self._book.add(self.run.name, record)
            try:
                record = await self._snapshot(record, save)
            except P2pckptError:
                self._book.drop(record)
                raise
            for older in self._book.unfinished(self.run.name):
                if older.id < record.id and older.row.state is SaveState.WAITING and older.snapshot:
                    await self._let_go(older)
        self._news.set()
        return record

    async def _snapshot(self, record: SaveRecord, save: saves.Save) -> SaveRecord:
        place = _place(record) if record.single else _place(record) / save.name
        record = replace(record, snapshot=str(await asyncio.to_thread(saves.take, save, place)))
        self._book.note(record)
        return record

    async def _let_go(self, record: SaveRecord) -> SaveRecord:
        """Delete a save's snapshot; nothing but links to what the trainer wrote, mostly."""
        place = _place(record)
        await asyncio.to_thread(shutil.rmtree, place, ignore_errors=True)
        with suppress(OSError):
            place.parent.rmdir()
        record = replace(record, snapshot="")
        self._book.note(record)
        return record

    # -- publishing

    async def _publish_next(self) -> None:
        waiting = self._book.unfinished(self.run.name)
        if not waiting:
            self._news.clear()
            await self._news.wait()
            return
        record = waiting[0]
        try:
            await self._publish(record)
        except (UnsafeContent, BadUsage) as exc:
            await self._end(self._book_of(record), SaveState.REJECTED, exc.fact)
        except (ChangedWhileReading, NotFound) as exc:
            await self._end(self._book_of(record), SaveState.SUPERSEDED, exc.fact)
        except Cancelled:
            await asyncio.sleep(_LOOK_EVERY)
        except P2pckptError as exc:
            await self._failed(record, exc)
        else:
            self._failures, self.problem = 0, ""

    def _book_of(self, record: SaveRecord) -> SaveRecord:
        """The record as it is by now."""
        return self._book.find(self.run.name, record.row.path, record.print) or record

    async def _publish(self, record: SaveRecord) -> None:
        """From a finished save to a version; goes on where the last daemon ended."""
        if not record.job:
            if not record.snapshot:
                record = await self._snapshot_late(record)
            checked = await self._check(record)
            if checked is None:
                return
            record = checked
        elif self._failures:
            self._doors.resume(record.job)
        job = await self._doors.ended(record.job)
        if job.state is m.JobState.PAUSED:
            self.problem = f"publishing is paused: p2pckpt resume {job.id}"
            raise Cancelled("paused")
        if job.failure is not None:
            raise error_of(job.failure)
        row = replace(record.row, version=job.version, size=job.size)
        await self._end(replace(record, row=row), SaveState.PUBLISHED)
        await self._doors.published(self.run.name)

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
        directory, run = Path(record.snapshot), self.run
        looked_at = fingerprint((await asyncio.to_thread(saves.survey, directory))[0])
        check = partial(saves.check, as_written=True)
        checked = await asyncio.to_thread(check, directory, run.shape, run.allow_nonfinite, self._checkpoint)
        if checked.problems:
            await self._end(record, SaveState.REJECTED, "; ".join(checked.problems[:5]))
            return None
        save = await asyncio.to_thread(saves.look, directory / record.row.name if record.single else directory)
        facts = await asyncio.to_thread(saves.facts, directory, save)
        row = record.row
        step = facts.step if row.step is None else row.step
        if record.single and Path(row.name).stem == _LAST and (twin := self._twin(step)):
            await self._end(record, SaveState.SUPERSEDED, f"it is {twin} once more")
            return None
        row = replace(row, step=step, metrics={**facts.metrics, **row.metrics}, state=SaveState.PUBLISHING)
        self.keep(replace(self.run, shape=checked.shape, kind=str(save.writer)))
        job = await self._doors.publish(
            PublishRequest(
                path=row.path,
                snapshot=record.snapshot,
                # hard links: whoever opens the trainer's file again writes into the snapshot, too
                expected=looked_at,
                name=self.run.name,
                version_name=Path(row.name).stem if record.single else row.name,
                to=self.run.to,
                passed=True,
                delta=self.run.delta,
                allow_no_licence=True,
                # a trainer pickles objects of its own; what is known to be dangerous is refused all the same
                allow_unsafe_pickle=True,
                metrics=row.metrics,
                step=row.step,
            )
        )
        record = replace(record, row=row, job=job.id)
        self._book.note(record)
        return record

    def _twin(self, step: int | None) -> str:
        """The published save of this step, if it is the newest: some trainers write that a second time, as ``last``."""
        newest = next((s.row for s in self._book.saves(self.run.name, 5) if s.row.state is SaveState.PUBLISHED), None)
        return newest.name if newest is not None and step is not None and newest.step == step else ""

    def _checkpoint(self) -> None:
        if self._stop.is_set():
            raise Cancelled("the daemon stops")

    async def _end(self, record: SaveRecord, state: SaveState, why: str = "") -> None:
        row = replace(record.row, state=state, why=why, ended_at=int(time.time()))
        record = await self._let_go(replace(record, row=row))
        if state is SaveState.PUBLISHED:
            _log.info(f"{row.name} of {self.run.name} is version {row.version}", step=row.step)
            return
        told = f"{row.name} of {self.run.name} was not published: {why}"
        (_log.info if state is SaveState.SUPERSEDED else self._doors.tell)(told)
        if record.job:
            with suppress(NotFound):
                await self._doors.remove(record.job)

    async def _failed(self, record: SaveRecord, error: P2pckptError) -> None:
        """Try again later; a newer save goes before one that can't be published."""
        self._trouble(error)
        newer = [each for each in self._book.unfinished(self.run.name) if each.id > record.id]
        if newer:
            await self._end(self._book_of(record), SaveState.FAILED, error.fact)
            return
        pause = _RETRY[min(self._failures, len(_RETRY) - 1)]
        self._failures += 1
        self._news.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(pause):
                await self._news.wait()

    def _trouble(self, error: P2pckptError) -> None:
        if self.problem != error.fact:
            self.problem = error.fact
            self._doors.tell(f"{self.run.name}: {error.fact}")


def _place(record: SaveRecord) -> Path:
    """Where the snapshot of a save lies, and nothing else."""
    return Path(record.row.path).parent / _PLACE / f"save-{record.id}"
