"""The jobs of this daemon: started, paused, resumed, and found again after a restart.

Requests and states are kept in SQLite; counters are not (they are derived again from the catalogue). A job that
was running when the daemon ended goes on when the next one starts; one that was seeding seeds again.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import msgspec
import structlog

from p2pckpt.control.client import failure_of
from p2pckpt.control.messages import (
    FetchRequest,
    Job,
    JobChanged,
    JobKind,
    JobRemoved,
    JobState,
    Notice,
    Phase,
    VerifyRequest,
)
from p2pckpt.control.publish_messages import PublishRequest
from p2pckpt.control.run_messages import RestoreRequest
from p2pckpt.daemon.feed import Feed
from p2pckpt.errors import Cancelled, Conflict, NotFound, P2pckptError
from p2pckpt.jobs.progress import Progress

_log = structlog.get_logger(__name__)

Request = PublishRequest | FetchRequest | VerifyRequest | RestoreRequest
Run = Callable[[Request, Progress], Awaitable[JobState]]
"""Does a job's work and says how it ended: seeding or done."""
Resume = Callable[[Progress], Awaitable[None]]
"""Seeds again what a finished job holds."""

_KINDS: Final[dict[JobKind, type[Request]]] = {
    JobKind.PUBLISH: PublishRequest,
    JobKind.FETCH: FetchRequest,
    JobKind.VERIFY: VerifyRequest,
    JobKind.RESTORE: RestoreRequest,
}
_BEGINS: Final = {
    JobKind.PUBLISH: "publishing",
    JobKind.FETCH: "receiving",
    JobKind.VERIFY: "verifying",
    JobKind.RESTORE: "restoring",
}
_ENDED: Final = {
    (JobKind.PUBLISH, False): "published",
    (JobKind.FETCH, False): "received",
    (JobKind.VERIFY, False): "verified",
    (JobKind.VERIFY, True): "verified and repaired",
    (JobKind.RESTORE, False): "restored",
}
_PASSWORD_USED: Final = "(used)"  # noqa: S105 - stands where a password was
_TICK: Final = 0.1
"""Seconds in which changes of one job become one event."""


class JobTable:
    """Lives on the daemon's loop. ``leave`` takes a job out of its swarms."""

    def __init__(self, path: Path, feed: Feed, run: Run, seed: Resume, leave: Callable[[str], Awaitable[None]]) -> None:
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        # no fsync on the loop: a power cut may take back the last change of a state, which costs nothing
        self._db.execute("PRAGMA synchronous=NORMAL")
        # what is overwritten is gone: requests may carry a password
        self._db.execute("PRAGMA secure_delete=ON")
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS jobs(id INTEGER PRIMARY KEY AUTOINCREMENT,"
            " kind TEXT NOT NULL, request BLOB NOT NULL, job BLOB NOT NULL)"
        )
        self._feed = feed
        self._run = run
        self._seed = seed
        self._leave = leave
        self._jobs: dict[str, Progress] = {}
        self._requests: dict[str, Request] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._changed: set[str] = set()
        self._flusher: asyncio.Task[None] | None = None
        self._moved = asyncio.Event()
        """Replaced by another when a job changed its state or was removed."""

    # -- life of the table

    def load(self) -> None:
        """Read what the last daemon left; before the first request is taken."""
        for number, kind, request, job in self._db.execute("SELECT id, kind, request, job FROM jobs").fetchall():
            try:
                record = msgspec.json.decode(job, type=Job)
                self._requests[record.id] = msgspec.json.decode(request, type=_KINDS[JobKind(kind)])
            except (msgspec.MsgspecError, ValueError):
                _log.exception("a job can't be read and is left alone", number=number)
                continue
            record = msgspec.structs.replace(record, rate_down=0, rate_up=0, peers=0, eta=-1, phase=Phase.NONE)
            self._jobs[record.id] = Progress(record, self._changed.add)

    def go_on(self) -> None:
        """Go on with what was not finished, and seed what was seeded."""
        self._flusher = asyncio.create_task(self._flush_loop())
        for job_id, progress in list(self._jobs.items()):
            if job_id in self._tasks:
                continue  # somebody asked for it already
            if progress.job.state in (JobState.RUNNING, JobState.QUEUED):
                self._begin(job_id)
            elif progress.job.state is JobState.SEEDING:
                self._tasks[job_id] = asyncio.create_task(self._reseed(job_id))

    async def stop(self) -> None:
        """Stop all work where it is; states stay as they are, so the next daemon goes on."""
        for progress in self._jobs.values():
            progress.stop()
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._flusher is not None:
            self._flusher.cancel()
        self._db.close()

    # -- looking

    def jobs(self) -> tuple[Job, ...]:
        return tuple(progress.job for progress in self._jobs.values())

    def progress(self, job_id: str) -> Progress:
        """Raises ``NotFound``."""
        if job_id not in self._jobs:
            raise NotFound(f"there is no job {job_id!r}", next_step="p2pckpt ls")
        return self._jobs[job_id]

    def request(self, job_id: str) -> Request:
        """What the job was asked to do; its password is gone once it has ended."""
        return self._requests[job_id]

    async def ended(self, job_id: str) -> Job:
        """The job once it works no more: ended, or paused by somebody. Raises ``NotFound`` when it was removed."""
        while not _rests(job := self.progress(job_id).job):
            await self._moved.wait()
        return job

    # -- commands

    def submit(self, kind: JobKind, request: Request, **fields: object) -> Job:
        """Start a job, or go on with the one that does exactly this already."""
        path = str(fields.get("path", ""))
        for job_id, progress in self._jobs.items():
            job = progress.job
            if kind is JobKind.FETCH and job.kind is kind and path and job.path == path:
                return self._fetch_again(job_id, request)
            alone = kind in (JobKind.PUBLISH, JobKind.RESTORE)
            if alone and job.kind is kind and job.path == path and not (job.state.ended or job.ended_at):
                if self._requests[job_id] != request:
                    raise Conflict(f"{path} is being worked on by {job_id}", next_step=f"p2pckpt watch {job_id}")
                return self.resume(job_id) if job.state is JobState.PAUSED else job
        cursor = self._db.execute("INSERT INTO jobs(kind, request, job) VALUES (?, ?, ?)", (kind.value, b"", b""))
        job_id = f"j{cursor.lastrowid}"
        record = Job(
            id=job_id, kind=kind, state=JobState.QUEUED, share_id="", share="", version=0, version_name="",
            publisher="", path=path, created_at=int(time.time()),
        )  # fmt: skip
        record = msgspec.structs.replace(record, **fields)
        self._jobs[job_id] = Progress(record, self._changed.add)
        self._requests[job_id] = request
        self._save(job_id)
        if record.state is JobState.QUEUED:
            self._begin(job_id)
        return self._jobs[job_id].job

    def resume(self, job_id: str) -> Job:
        """Go on with a paused or failed job; a running one is left as it is."""
        job = self.progress(job_id).job
        if job.state is JobState.PAUSED and job.ended_at:
            self._set_state(job_id, JobState.SEEDING)
            self._tasks[job_id] = asyncio.create_task(self._reseed(job_id))
        elif job.state in (JobState.PAUSED, JobState.FAILED):
            self._begin(job_id)
        return self.progress(job_id).job

    async def pause(self, job_id: str) -> Job:
        """Stop work or seeding; everything finished is kept."""
        job = self.progress(job_id).job
        if job.state in (JobState.RUNNING, JobState.QUEUED, JobState.SEEDING):
            await self._halt(job_id)
            self._set_state(job_id, JobState.PAUSED, phase=Phase.NONE, rate_down=0, rate_up=0, peers=0, eta=-1)
            self._tell(job_id, "paused")
        return self.progress(job_id).job

    def limit(self, job_id: str, down: int | None, up: int | None) -> Job:
        """Note a job's limits, bytes per second; None leaves one as it is."""
        progress = self.progress(job_id)
        given = {"limit_down": down, "limit_up": up}
        progress.update(**{name: value for name, value in given.items() if value is not None})
        self._save(job_id)
        return progress.job

    async def refuse(self, job_id: str, error: P2pckptError) -> None:
        """End work or seeding for a reason that lies outside of the job; everything finished is kept."""
        if job_id in self._jobs:
            await self._halt(job_id)
            await self._fail(job_id, error)

    async def remove(self, job_id: str) -> Job:
        """Forget a job; its data is the caller's business."""
        job = self.progress(job_id).job
        await self._halt(job_id)
        self._tell(job_id, "removed")
        self._db.execute("DELETE FROM jobs WHERE id = ?", (_number(job_id),))
        self._forget_password(self._requests[job_id])
        del self._jobs[job_id], self._requests[job_id]
        self._changed.discard(job_id)
        self._tell_waiting()
        self._feed.send(JobRemoved(job_id))
        return job

    # -- inside

    def _fetch_again(self, job_id: str, request: Request) -> Job:
        job, running = self._jobs[job_id].job, self._requests[job_id]
        if job.state in (JobState.RUNNING, JobState.QUEUED):
            if _content(running) != _content(request):
                raise Conflict(f"{job.path} is being filled by {job_id}", next_step=f"p2pckpt watch {job_id}")
            return job
        self._requests[job_id] = request
        self._save(job_id)
        self._begin(job_id)
        return self._jobs[job_id].job

    def _begin(self, job_id: str) -> None:
        old = self._jobs[job_id]
        progress = Progress(
            msgspec.structs.replace(old.job, state=JobState.QUEUED, failure=None, ended_at=0, warnings=()),
            self._changed.add,
        )
        progress.log = old.log
        self._jobs[job_id] = progress
        self._changed.add(job_id)
        previous = self._tasks.get(job_id)
        self._tasks[job_id] = asyncio.create_task(self._work(job_id, progress, previous))

    async def _work(self, job_id: str, progress: Progress, previous: asyncio.Task[None] | None) -> None:
        if previous is not None:
            await asyncio.gather(previous, return_exceptions=True)
        self._set_state(job_id, JobState.RUNNING)
        self._tell(job_id, _BEGINS[progress.job.kind])
        try:
            ended = await self._run(self._requests[job_id], progress)
            request = self._requests[job_id]
            self._requests[job_id] = _without_password(request)
            self._set_state(job_id, ended, phase=Phase.NONE, ended_at=int(time.time()), eta=-1)
            self._tell(job_id, _ENDED[progress.job.kind, getattr(request, "repair", False)])
            self._forget_password(request)
        except (Cancelled, asyncio.CancelledError):
            progress.stop()
            raise
        except P2pckptError as exc:
            await self._fail(job_id, exc)
        except Exception as exc:
            _log.exception("a job broke", job=job_id)
            await self._fail(
                job_id,
                P2pckptError(
                    f"an error in p2pckpt itself: {type(exc).__name__}: {exc}",
                    kept="everything that was finished",
                    next_step="p2pckpt daemon logs, and please report it",
                ),
            )

    async def _fail(self, job_id: str, error: P2pckptError) -> None:
        await self._leave(job_id)
        if job_id not in self._jobs:
            return
        self._jobs[job_id].note(error.fact)
        self._set_state(
            job_id, JobState.FAILED, failure=failure_of(error), ended_at=int(time.time()), eta=-1,
            rate_down=0, rate_up=0, peers=0, phase=Phase.NONE,
        )  # fmt: skip
        fields = {"reason": error.fact, "kept": error.kept, "next": error.next_step}
        self._tell(job_id, "failed:", logging.ERROR, **{name: text for name, text in fields.items() if text})
        self._feed.send(Notice("error", error.fact, job_id))

    async def _reseed(self, job_id: str) -> None:
        try:
            await self._seed(self._jobs[job_id])
        except P2pckptError as exc:
            await self._fail(job_id, exc)
        except Exception as exc:
            _log.exception("seeding broke", job=job_id)
            await self._fail(job_id, P2pckptError(f"seeding failed: {exc}", next_step="p2pckpt daemon logs"))

    async def _halt(self, job_id: str) -> None:
        self._jobs[job_id].stop()
        task = self._tasks.pop(job_id, None)
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await self._leave(job_id)

    def _set_state(self, job_id: str, state: JobState, **fields: object) -> None:
        if job_id in self._jobs:
            self._jobs[job_id].update(state=state, **fields)
            self._save(job_id)
            self._tell_waiting()

    def _tell_waiting(self) -> None:
        self._moved.set()
        self._moved = asyncio.Event()

    def _tell(self, job_id: str, what: str, level: int = logging.INFO, **fields: str) -> None:
        """A line of the log that says what became of a job."""
        if (progress := self._jobs.get(job_id)) is not None:
            job = progress.job
            version = f"@{job.version_name or f'v{job.version}'}" if job.version else ""
            _log.log(level, f"{what} {(job.share or Path(job.path).name)}{version}", job=job_id, **fields)

    def _save(self, job_id: str) -> None:
        job = self._jobs[job_id].job
        self._db.execute(
            "UPDATE jobs SET request = ?, job = ? WHERE id = ?",
            (msgspec.json.encode(self._requests[job_id]), msgspec.json.encode(job), _number(job_id)),
        )

    def _forget_password(self, request: Request) -> None:
        """After the request was taken out of the table: the write-ahead log has it still."""
        if not isinstance(request, VerifyRequest) and request.password:
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    async def _flush_loop(self) -> None:
        while True:
            await asyncio.sleep(_TICK)
            changed = [self._changed.pop() for _ in range(len(self._changed))]  # worker threads keep adding to it
            for job_id in sorted(changed, key=_number):  # new ones in the order in which they were made
                if job_id in self._jobs:
                    self._feed.send(JobChanged(self._jobs[job_id].job))


def _rests(job: Job) -> bool:
    """Whether no work happens without a command."""
    return job.state.ended or job.state is JobState.PAUSED


def _number(job_id: str) -> int:
    return int(job_id[1:])


def _content(request: Request) -> object:
    """What a fetch brings, whatever else was asked for with it."""
    return (request.source, request.only) if isinstance(request, FetchRequest) else request


def _without_password(request: Request) -> Request:
    """A finished job needs its password no more; that there was one is worth remembering."""
    if isinstance(request, VerifyRequest) or not request.password:
        return request
    return msgspec.structs.replace(request, password=_PASSWORD_USED)
