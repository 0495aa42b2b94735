"""New saves of one run: noticed when they are finished, and linked aside at once, before the trainer may delete them.

Of those that wait for their turn only the newest keeps its snapshot, so a slow network costs the disk one save and no
more.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from p2pckpt.control.run_messages import SaveRow, SaveState
from p2pckpt.daemon.run_book import RunBook, RunRecord, SaveRecord
from p2pckpt.daemon.snapshots import Snapshots
from p2pckpt.errors import BadUsage, ChangedWhileReading, NotFound, P2pckptError
from p2pckpt.jobs import saves
from p2pckpt.jobs.scanning import fingerprint

_LOOK_EVERY: Final = 1.0
"""Seconds between two looks at a directory, or so many times as long as a look takes. A network filesystem tells no
news, and a save is there for minutes: looking is enough."""
_LOOK_SHARE: Final = 20
_LOOK_AT_LEAST_EVERY: Final = 20.0


@dataclass(frozen=True, slots=True)
class Told:
    """Whom an intake tells what went wrong."""

    refused: Callable[[SaveRecord, str], Awaitable[None]]
    """A save that can't be taken, and why."""
    trouble: Callable[[P2pckptError], None]
    """What stands in the way of all of them."""


class Intake:
    """Lives on the daemon's loop."""

    def __init__(self, run: RunRecord, book: RunBook, snapshots: Snapshots, told: Told) -> None:
        """Where the run is watched, and how, stays as it is for as long as the intake lives."""
        self.news = asyncio.Event()
        """Set whenever a save was taken on."""
        self._run = run
        self._book = book
        self._snapshots = snapshots
        self._told = told
        self._known = book.prints(run.name)
        self._ignored: set[Path] = set()
        self._look_took = 0.0
        self._looking = asyncio.Lock()
        self._snapping = asyncio.Lock()

    async def look(self) -> None:
        """Take on what is finished by now, and wait until it is time for the next look."""
        try:
            await self._take_finished()
        except P2pckptError as exc:
            self._told.trouble(exc)
        await asyncio.sleep(min(max(_LOOK_EVERY, _LOOK_SHARE * self._look_took), _LOOK_AT_LEAST_EVERY))

    async def settled(self) -> None:
        """Return once every save that lies there is finished, and published or refused."""
        while (self._run.watching and await self._take_finished()) or self._book.next(self._run.name):  # noqa: ASYNC110
            await asyncio.sleep(_LOOK_EVERY / 2)

    async def notice(
        self, save: saves.Save, step: int | None = None, metrics: dict[str, float] | None = None
    ) -> SaveRecord:
        """Take on a finished save; it may be deleted or written over once this returns.

        Raises ``ChangedWhileReading`` for one that is still written to.
        """
        async with self._snapping:
            record = self._book.find(self._run.name, str(save.path), fingerprint(save.print))
            if record is None:
                record = self._book.add(self._run.name, _record(save, step, metrics))
                try:
                    record = await self._snapshot(record, save)
                except P2pckptError:
                    self._book.drop(record)
                    raise
                self._known.add((record.row.path, record.print))
                await self._let_go_of_older(record)
            elif record.row.state is SaveState.WAITING:
                record = await self._complete(record, save, step, metrics)
        self.news.set()
        return record

    async def snapshotted(self, record: SaveRecord) -> SaveRecord:
        """A save as it is known by now, with a snapshot: one that lost its own gets another.

        Raises ``NotFound`` when the save is there no more, or not as it was.
        """
        async with self._snapping:
            record = self._book.save(record.id) or record
            if await asyncio.to_thread(has_snapshot, record):
                return record
            gone = NotFound(f"{record.row.name} was deleted or written over before its turn came")
            try:
                save = await asyncio.to_thread(saves.look, Path(record.row.path))
            except P2pckptError as exc:
                raise gone from exc
            if fingerprint(save.print) != record.print:
                raise gone
            return await self._snapshot(record, save)

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
            self._book.add(self._run.name, record)

    # -- inside

    async def _take_finished(self) -> bool:
        """Take on what is finished by now; whether anything is not."""
        written = False
        async with self._looking:
            for save in await asyncio.to_thread(self._new_saves):
                if not self._ignored.isdisjoint((save.path, *save.path.parents)):
                    continue
                written = True
                if saves.is_finished(save, self._run.quiet, time.time()):
                    await self._take_on(save)
        return written

    def _new_saves(self) -> list[saves.Save]:
        """In a thread: those that are not known as they are now."""
        began = time.monotonic()
        found = saves.find(Path(self._run.path), self._knows)
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
            record = self._book.add(self._run.name, _record(save))
            self._known.add((record.row.path, record.print))
            await self._told.refused(record, exc.fact)
        except P2pckptError as exc:
            self._told.trouble(exc)

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
        older = self._book.next(self._run.name)
        while older is not None and older.id < newest.id:
            if older.row.state is SaveState.WAITING and older.snapshot:
                older = replace(older, snapshot="")
                self._book.note(older)
                await asyncio.to_thread(self._snapshots.let_go, older)
                return  # there is never more than one
            older = self._book.next(self._run.name, older.id)


def has_snapshot(record: SaveRecord) -> bool:
    """Blocks on the disk."""
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
