"""Training runs of this machine: watched directories and trainers' hooks, each run with a worker of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Final

from msgspec.structs import replace

from p2pckpt.control.run_messages import (
    Retention,
    RunDetail,
    RunRow,
    SaveRequest,
    SaveRow,
    SaveState,
    WatchRequest,
)
from p2pckpt.daemon.run_book import RunBook, RunRecord
from p2pckpt.daemon.run_worker import Doors, RunWorker
from p2pckpt.errors import BadUsage, NotFound
from p2pckpt.jobs import folder, saves
from p2pckpt.jobs.retention import check
from p2pckpt.jobs.services import Services
from p2pckpt.jobs.shares import check_name

_SHOWN: Final = 200
_PACE: Final = 8
"""Saves from whose times the interval between two is told."""


class Runs:
    """One method a request. Lives on the daemon's loop."""

    def __init__(self, services: Services, book: RunBook, doors: Doors) -> None:
        self._services = services
        self._book = book
        self._doors = doors
        self._workers: dict[str, tuple[RunWorker, asyncio.Task[None]]] = {}

    def go_on(self) -> None:
        """Go on with every run where the last daemon ended."""
        for run in self._book.runs():
            self._start(run)

    async def stop(self) -> None:
        for name in list(self._workers):
            await self._halt(name)
        self._book.close()

    # -- what front ends and hooks ask for

    async def watch(self, request: WatchRequest) -> RunRow:
        """Watch a directory, which may not be there yet; what lies in it already is published, too.

        Of a run that is watched already, what was rejected last is looked at again, by what is asked for now.
        """
        check(request.retention)
        path = Path(request.path)
        if not path.is_absolute():
            raise BadUsage(f"{request.path!r} is no absolute path")
        path = await asyncio.to_thread(_resolved, path)
        name = request.name or await asyncio.to_thread(folder.default_name, path)
        for run in self._book.runs():
            if run.watching and run.path == str(path) and run.name != name:
                raise BadUsage(f"{path} is watched as {run.name}", next_step=f"p2pckpt run unwatch {run.name}")
        run = await self._run(name)
        run = replace(
            run,
            path=str(path),
            watching=True,
            to=request.to,
            delta=request.delta,
            quiet=request.quiet,
            retention=request.retention,
            allow_nonfinite=request.allow_nonfinite,
            shape=None,  # what a save has to have may be another from now on
        )
        self._book.keep(run)
        await self._halt(name)
        self._book.look_again(name)
        self._start(run)
        return self._row(run)

    async def unwatch(self, name: str) -> RunRow:
        """Look at the directory no more; what was noticed is still published, and versions stay."""
        run = replace(self._published_here(name), watching=False)
        self._book.keep(run)
        await self._halt(name)
        self._start(run)
        return self._row(run)

    async def save(self, request: SaveRequest) -> SaveRow:
        """Take on a save that a trainer's hook tells of; it may be rotated away once this returns."""
        check(request.retention or Retention())
        path = Path(request.path)
        if not path.is_absolute():
            raise BadUsage(f"{request.path!r} is no absolute path")
        save = await asyncio.to_thread(saves.look, path)
        run = await self._run(request.name)
        given = {name: getattr(request, name) for name in ("to", "delta", "retention", "allow_nonfinite")}
        asked = replace(run, **{name: value for name, value in given.items() if value is not None})
        if run.name not in self._workers:
            self._book.keep(asked)
            self._start(asked)
        worker = self._workers[run.name][0]
        if asked != run:
            worker.keep(asked)
        return (await worker.intake.notice(save, request.step, dict(request.metrics))).row

    async def flush(self, name: str) -> RunDetail:
        """Wait until every save of a run is published or refused."""
        self._published_here(name)
        await self._workers[name][0].intake.settled()
        return self.detail(name)

    def rows(self) -> list[RunRow]:
        return [self._row(run) for run in self._book.runs()]

    def row(self, name: str) -> RunRow | None:
        """The run of that name, if there is one."""
        run = self._book.run(name)
        return self._row(run) if run is not None else None

    def detail(self, name: str) -> RunDetail:
        return RunDetail(
            self._row(self._published_here(name)), tuple(save.row for save in self._book.saves(name, _SHOWN))
        )

    # -- what other parts of the daemon ask for

    def known(self, name: str, share_id: str = "") -> RunRecord:
        """How the run of that name is published from here; of one that is not, or to another share, what counts for
        any."""
        run = self._book.run(name)
        if run is None or (share_id and run.share_id and run.share_id != share_id):
            return RunRecord(name=name)
        return run

    async def left(self, name: str, share_id: str) -> None:
        """The run's share is left: it is published no more, and forgotten."""
        run = self._book.run(name)
        if run is not None and run.share_id in ("", share_id):
            await self._halt(name)
            self._book.forget(name)

    @asynccontextmanager
    async def restoring(self, name: str, share_id: str, target: Path, version: int) -> AsyncIterator[None]:
        """While a version is put at ``target`` it is no new save, and afterwards it is known as what it is."""
        if not self.known(name, share_id).watching or name not in self._workers:
            yield
            return
        intake = self._workers[name][0].intake
        with intake.ignoring(target):
            yield
            for save in await asyncio.to_thread(_saves_at, target):
                intake.know(save, version)

    # -- inside

    def _published_here(self, name: str) -> RunRecord:
        run = self._book.run(name)
        if run is None:
            raise NotFound(f"no run {name!r} is published from here", next_step="p2pckpt run ls")
        return run

    async def _run(self, name: str) -> RunRecord:
        """The run of that name, or a new one. Raises ``BadUsage`` where we can't publish to its share."""
        known = self._book.run(name)
        if known is not None:
            return known
        check_name(name)
        if any(share.name == name for share in self._services.shares.known()):
            share = await self._services.shares.own(name)
            if share is None:
                raise BadUsage(f"{name} is somebody else's share", next_step="choose another name with --name")
        return RunRecord(name=name)

    def _start(self, run: RunRecord) -> None:
        worker = RunWorker(run, self._book, self._doors)
        self._workers[run.name] = worker, asyncio.create_task(worker.work())

    async def _halt(self, name: str) -> None:
        found = self._workers.pop(name, None)
        if found is not None:
            found[1].cancel()
            await asyncio.gather(found[1], return_exceptions=True)

    def _row(self, run: RunRecord) -> RunRow:
        recent = [save for save in self._book.saves(run.name, _PACE) if save.row.state is not SaveState.RESTORED]
        times = sorted({save.row.noticed_at for save in recent if save.row.noticed_at})
        gaps = [later - earlier for earlier, later in pairwise(times)]
        found = self._workers.get(run.name)
        return RunRow(
            name=run.name,
            path=run.path,
            kind=run.kind,
            watching=run.watching,
            retention=run.retention,
            published=self._book.count(run.name, SaveState.PUBLISHED),
            rejected=self._book.count(run.name, SaveState.REJECTED),
            last=recent[0].row if recent else None,
            every=int(median(gaps)) if gaps else 0,
            problem=found[0].problem if found is not None else "",
        )


def _resolved(path: Path) -> Path:
    """Raises ``BadUsage`` for a file."""
    if path.exists() and not path.is_dir():
        raise BadUsage(f"{path} is a file", next_step=f"p2pckpt run watch {path.parent}")
    return path.resolve()


def _saves_at(target: Path) -> list[saves.Save]:
    """Whatever a look at the directory above would take for saves: ``target``, or files in it."""
    return [save for save in saves.find(target.parent) if save.path == target or target in save.path.parents] or [
        saves.look(target)
    ]
