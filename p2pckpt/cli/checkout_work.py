"""What ``checkout`` does: find or restore a whole checkout, and have it placed where another program looks."""

from __future__ import annotations

import asyncio
import contextlib
import re
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from p2pckpt.bridges.placements import Placements
from p2pckpt.bridges.sources import Found, known_of, look, still_there
from p2pckpt.cli import text
from p2pckpt.cli.checkout_targets import Job, Target, require_wanted
from p2pckpt.cli.get import agree
from p2pckpt.cli.options import Invocation
from p2pckpt.cli.progress import Progress, summary
from p2pckpt.cli.session import follow, talk
from p2pckpt.cloning import Way
from p2pckpt.control import messages as m
from p2pckpt.control.client import ControlClient
from p2pckpt.control.read_messages import Contents
from p2pckpt.errors import ChangedWhileReading, P2pckptError, VerificationFailed

_THREADS: Final = 2
_READABLE: Final = 40
"""Letters of a share's name."""
_ID_DIGITS: Final = 16
_LOOK_EVERY: Final = 0.2
"""Seconds between two states of the line that tells how far the comparison is."""


@dataclass(frozen=True, slots=True)
class Checkout:
    """What was placed."""

    share: str
    version: int
    source: str
    """The checkout."""
    paths: tuple[str, ...]
    """What was made, or was there already."""
    copied: int
    """Bytes that were copied, and not shared with the checkout."""
    said: tuple[str, ...] = ()
    """How to go on, for people."""


def placements_directory(invocation: Invocation) -> Path:
    """Where this home remembers what it placed."""
    return invocation.config.data_dir / "placed"


def managed_directory(data_dir: Path, contents: Contents) -> Path:
    """Where a version is restored: by the share's id, with what may be a name of a file of the end of its name."""
    readable = re.sub(r"[^\w.+-]+|^\.+", "-", contents.share.rpartition("/")[2])[:_READABLE]
    return data_dir / "checkouts" / f"{contents.share_id[:_ID_DIGITS]}-{readable}" / f"v{contents.version}"


def run(
    invocation: Invocation,
    name: str,
    target: Target,
    *,
    to: Path | None,
    copy: bool,
    accept_licence: bool,
    allow_unsafe_pickle: bool,
) -> Checkout:
    """Place the version that ``name`` means at ``target``. The last two matter where it is restored first."""
    placements = Placements(placements_directory(invocation))
    stop = threading.Event()

    async def work(client: ControlClient) -> Checkout:
        try:
            return await placed(client)
        finally:
            stop.set()  # threads end before the loop waits for them

    async def placed(client: ControlClient) -> Checkout:
        contents = await client.contents(name)
        await asyncio.to_thread(target.require, contents)
        searching = _Search(invocation, client, contents, placements, stop, accept_licence, allow_unsafe_pickle)
        managed = to or managed_directory(invocation.config.data_dir, contents)
        source, found = await searching.whole_checkout(managed)
        rows: tuple[m.VersionRow, ...] = ()
        with contextlib.suppress(P2pckptError):  # only names for it
            rows = (await client.share_detail(contents.share_id)).versions
        tags = next((row.tags for row in rows if row.version == contents.version), ())
        job = Job(contents, source, found, tags, tuple(row.manifest for row in rows), placements, copy, stop)
        if not await asyncio.to_thread(still_there, found):
            raise ChangedWhileReading(
                f"{source} was written to meanwhile", kept="nothing was placed", next_step="try again"
            )
        made, paths, said = await asyncio.to_thread(target.place, job)
        copied = sum(placed.stat().st_size for placed, way in made.ways.items() if way is Way.COPY)
        shared = f"{text.size(copied)} copied" if copied else "no byte copied"
        said = (f"{contents.share}@v{contents.version} of {source}: {shared}", *said)
        return Checkout(contents.share, contents.version, str(source), paths, copied, said)

    return talk(invocation, work)


@dataclass(frozen=True, slots=True)
class _Search:
    invocation: Invocation
    client: ControlClient
    contents: Contents
    placements: Placements
    stop: threading.Event
    accept_licence: bool
    allow_unsafe_pickle: bool
    _counted: list[int] = field(default_factory=lambda: [0])
    """Bytes that were compared."""

    async def whole_checkout(self, managed: Path) -> tuple[Path, Found]:
        """A directory with all files of the version, verified; restored to ``managed`` if there is none."""
        for directory in dict.fromkeys([Path(self.contents.path), managed] if self.contents.path else [managed]):
            if directory.is_dir():
                found = await self._look(directory)
                if not found.problem:
                    return directory, found
                self.invocation.report.narrate(f"not from {directory}: {found.problem}")
        await self._restore(managed)
        found = await self._look(managed)
        if found.problem:
            raise VerificationFailed(found.problem, next_step=f"p2pckpt verify {managed} --repair")
        return managed, found

    async def _look(self, directory: Path) -> Found:
        known = known_of(self.placements.of_version(self.contents.share_id, self.contents.version))
        total = sum(file.size for file in self.contents.files)
        self._counted[0] = 0
        task = asyncio.create_task(asyncio.to_thread(look, self.contents, directory, known, _THREADS, self._count))
        while not task.done():
            await asyncio.wait({task}, timeout=_LOOK_EVERY)
            self.invocation.report.progress(f"comparing {text.size(self._counted[0])} of {text.size(total)}")
        return task.result()

    def _count(self, read: int) -> None:
        require_wanted(self.stop)
        self._counted[0] += read  # a number to look at: two threads may lose one another's

    async def _restore(self, managed: Path) -> None:
        """From the store, and what it lacks from others."""
        invocation = self.invocation
        request = m.FetchRequest(
            source=f"{self.contents.share_id}@{self.contents.version}",
            to=str(managed),
            seed=invocation.config.flag("seed_after_get"),
            allow_unsafe_pickle=self.allow_unsafe_pickle,
        )
        preview = await self.client.fetch_plan(request)
        if preview.licence_due:
            agree(invocation, preview, self.accept_licence)
            request = replace(request, accept_licence=preview.licence_due)
        progress = Progress(invocation.report, stream=False)
        job = await self.client.fetch(request)
        job = await follow(self.client, job.id, progress.update, progress.notice)
        invocation.report.narrate(summary(job))
