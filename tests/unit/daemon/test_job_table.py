"""The table of jobs with work that only waits to be told how to end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from p2pckpt.control.messages import (
    Event,
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
from p2pckpt.daemon.feed import Feed
from p2pckpt.daemon.job_table import JobTable, Request
from p2pckpt.errors import Cancelled, Conflict, NoSeeds, NotFound
from p2pckpt.jobs.progress import Progress

DEADLINE = 10.0
SECRET = "correct horse battery staple " * 10


class Daemon:
    """A job table as a daemon has it, started anew with ``again``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ran: list[tuple[str, Request]] = []
        self.seeded: list[str] = []
        self.left: list[str] = []
        self.events: list[Event] = []
        self.endings: dict[str, asyncio.Future[JobState]] = {}
        self.cleaning: asyncio.Event | None = None
        """Work that is stopped waits for this before it ends."""

    async def start(self) -> None:
        self.feed = Feed()
        self.table = JobTable(self.path, self.feed, self._run, self._seed, self._leave)
        self.table.load()
        self.table.go_on()
        ready = asyncio.Event()
        self._reading = asyncio.create_task(self._read(ready))
        await ready.wait()

    async def again(self) -> None:
        """As after a restart of the machine."""
        await self.stop()
        self.ran.clear()
        self.seeded.clear()
        self.endings.clear()
        await self.start()

    async def stop(self) -> None:
        await self.table.stop()
        self.feed.close()
        await self._reading

    async def _read(self, ready: asyncio.Event) -> None:
        async def first() -> Event:
            ready.set()
            return Notice("info", "")

        async for batch in self.feed.follow(first()):
            self.events += batch

    async def _run(self, request: Request, progress: Progress) -> JobState:
        job_id = progress.job.id
        self.ran.append((job_id, request))
        ending: asyncio.Future[JobState] = asyncio.get_running_loop().create_future()
        self.endings[job_id] = ending
        try:
            return await ending
        except asyncio.CancelledError:
            if self.cleaning is not None:
                await self.cleaning.wait()
            raise

    async def _seed(self, progress: Progress) -> None:
        self.seeded.append(progress.job.id)

    async def _leave(self, job_id: str) -> None:
        self.left.append(job_id)

    def job(self, job_id: str) -> Job:
        return self.table.progress(job_id).job

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(DEADLINE):
            while not condition():
                await asyncio.sleep(0)

    async def begun(self, job_id: str) -> None:
        await self.until(lambda: job_id in self.endings and self.job(job_id).state is JobState.RUNNING)

    async def ended(self, job_id: str, how: JobState | BaseException) -> Job:
        """Let a job's work end, and return the job when the table has noticed."""
        await self.begun(job_id)
        ending = self.endings[job_id]
        if isinstance(how, BaseException):
            ending.set_exception(how)
        else:
            ending.set_result(how)
        await self.until(lambda: self.job(job_id).state.ended)
        return self.job(job_id)

    def fetch(self, path: str = "/out", source: str = "share@1", **fields: Any) -> Job:
        return self.table.submit(JobKind.FETCH, FetchRequest(source=source, to=path, **fields), path=path)

    def publish(self, path: str = "/in", **fields: Any) -> Job:
        return self.table.submit(JobKind.PUBLISH, PublishRequest(path=path, **fields), path=path, share="cars")


@pytest_asyncio.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Daemon]:
    made = Daemon(tmp_path / "jobs.db")
    await made.start()
    yield made
    await made.stop()


# -- running


@pytest.mark.parametrize("end", [JobState.SEEDING, JobState.DONE])
async def test_a_job_runs_to_the_end_that_its_work_says(daemon: Daemon, end: JobState) -> None:
    job = daemon.fetch()
    assert (job.state, job.path, job.ended_at) == (JobState.QUEUED, "/out", 0)
    assert job.created_at > 0
    done = await daemon.ended(job.id, end)
    assert (done.state, done.phase, done.failure) == (end, Phase.NONE, None)
    assert done.ended_at >= done.created_at
    assert daemon.ran == [(job.id, FetchRequest(source="share@1", to="/out"))]


async def test_jobs_are_numbered_and_numbers_never_come_back(daemon: Daemon) -> None:
    assert [daemon.fetch(f"/out{number}").id for number in range(3)] == ["j1", "j2", "j3"]
    await daemon.table.remove("j3")
    assert daemon.fetch("/more").id == "j4"
    assert [job.id for job in daemon.table.jobs()] == ["j1", "j2", "j4"]


async def test_changes_are_told_once_a_tick_and_as_they_are_then(daemon: Daemon) -> None:
    job = daemon.fetch()
    await daemon.begun(job.id)
    await daemon.until(lambda: daemon.events)
    daemon.events.clear()
    for number in range(1, 101):
        daemon.table.progress(job.id).update(done=number)
    await daemon.until(lambda: any(isinstance(event, JobChanged) for event in daemon.events))
    changes = [event.job.done for event in daemon.events if isinstance(event, JobChanged)]
    assert changes[-1] == 100
    assert len(changes) < 10


async def test_a_job_that_is_not_there_is_not_found(daemon: Daemon) -> None:
    for ask in (daemon.table.progress, daemon.table.resume):
        with pytest.raises(NotFound, match="no job 'j9'"):
            ask("j9")
    for command in (daemon.table.pause, daemon.table.remove):
        with pytest.raises(NotFound):
            await command("j9")


# -- failing


async def test_a_job_that_fails_keeps_what_there_is_to_say(daemon: Daemon) -> None:
    job = daemon.fetch()
    failed = await daemon.ended(job.id, NoSeeds("nobody is there", kept="half of it", next_step="wait"))
    assert failed.state is JobState.FAILED
    assert failed.failure is not None
    assert (failed.failure.code, failed.failure.fact) == ("no_seeds", "nobody is there")
    assert (failed.failure.kept, failed.failure.next_step) == ("half of it", "wait")
    assert failed.ended_at
    assert daemon.left == [job.id]
    await daemon.until(lambda: Notice("error", "nobody is there", job.id) in daemon.events)
    await daemon.again()
    assert daemon.job(job.id).failure == failed.failure
    assert daemon.ran == []


async def test_an_error_in_the_program_itself_fails_the_job_and_nothing_else(daemon: Daemon) -> None:
    broken, other = daemon.fetch("/one"), daemon.fetch("/two")
    failed = await daemon.ended(broken.id, ZeroDivisionError("oops"))
    assert failed.failure is not None
    assert "ZeroDivisionError: oops" in failed.failure.fact
    assert (await daemon.ended(other.id, JobState.DONE)).state is JobState.DONE


async def test_a_failed_job_runs_again_when_it_is_resumed(daemon: Daemon) -> None:
    job = daemon.fetch()
    await daemon.ended(job.id, NoSeeds("nobody is there"))
    daemon.endings.clear()
    again = daemon.table.resume(job.id)
    assert (again.state, again.failure, again.ended_at) == (JobState.QUEUED, None, 0)
    assert (await daemon.ended(job.id, JobState.SEEDING)).state is JobState.SEEDING
    assert len(daemon.ran) == 2


# -- restarts


async def test_a_restart_goes_on_with_what_was_running(daemon: Daemon) -> None:
    running, seeding, done, failed, paused = (daemon.fetch(f"/out{number}") for number in range(5))
    await daemon.begun(running.id)
    await daemon.ended(seeding.id, JobState.SEEDING)
    await daemon.ended(done.id, JobState.DONE)
    await daemon.ended(failed.id, NoSeeds("nobody"))
    await daemon.table.pause(paused.id)
    before = {job.id: job for job in daemon.table.jobs()}
    await daemon.again()
    await daemon.begun(running.id)
    await daemon.until(lambda: daemon.seeded)
    assert [job_id for job_id, _ in daemon.ran] == [running.id]
    assert daemon.ran[0][1] == FetchRequest(source="share@1", to="/out0")
    assert daemon.seeded == [seeding.id]
    states = {job.id: job.state for job in daemon.table.jobs()}
    assert states == {job_id: job.state for job_id, job in before.items()}
    assert daemon.job(done.id) == before[done.id]


async def test_rates_and_peers_of_the_last_run_are_not_shown_again(daemon: Daemon) -> None:
    job = daemon.fetch()
    await daemon.ended(job.id, JobState.SEEDING)
    daemon.table.progress(job.id).update(rate_up=5, rate_down=6, peers=7, eta=8, phase=Phase.DOWNLOADING, uploaded=9)
    await daemon.table.pause(job.id)
    daemon.table.resume(job.id)
    daemon.table.progress(job.id).update(rate_up=5, peers=7)
    daemon.table._save(job.id)
    await daemon.again()
    found = daemon.job(job.id)
    assert (found.rate_up, found.rate_down, found.peers, found.eta, found.phase) == (0, 0, 0, -1, Phase.NONE)
    assert found.uploaded == 9


async def test_a_row_that_cannot_be_read_is_left_alone(daemon: Daemon, tmp_path: Path) -> None:
    job = daemon.fetch()
    for kind, request, record in ((b"fetch", b"", b""), (b"dance", b"{}", b"{}"), (b"fetch", b"{}", b'{"id": "\xff"}')):
        daemon.table._db.execute(
            "INSERT INTO jobs(kind, request, job) VALUES (?, ?, ?)", (kind.decode(), request, record)
        )
    await daemon.again()
    assert [found.id for found in daemon.table.jobs()] == [job.id]
    assert daemon.fetch("/more").id == "j5"


async def test_stopping_ends_work_and_keeps_its_state(daemon: Daemon) -> None:
    job = daemon.fetch()
    await daemon.begun(job.id)
    progress = daemon.table.progress(job.id)
    await daemon.again()
    assert daemon.endings == {} or job.id in daemon.endings
    with pytest.raises(Cancelled):
        progress.checkpoint()
    await daemon.begun(job.id)


# -- pausing, resuming, removing


async def test_a_paused_job_stops_where_it_is_and_goes_on_when_resumed(daemon: Daemon) -> None:
    job = daemon.fetch()
    await daemon.begun(job.id)
    daemon.table.progress(job.id).update(done=50, rate_down=9, peers=2)
    work = daemon.endings[job.id]
    paused = await daemon.table.pause(job.id)
    assert (paused.state, paused.done, paused.rate_down, paused.peers) == (JobState.PAUSED, 50, 0, 0)
    assert work.cancelled()
    assert daemon.left == [job.id]
    assert (await daemon.table.pause(job.id)).state is JobState.PAUSED
    await daemon.again()
    assert daemon.job(job.id).state is JobState.PAUSED
    assert daemon.ran == []
    daemon.table.resume(job.id)
    assert (await daemon.ended(job.id, JobState.SEEDING)).state is JobState.SEEDING


async def test_seeding_is_paused_and_goes_on_without_working_again(daemon: Daemon) -> None:
    job = daemon.fetch()
    await daemon.ended(job.id, JobState.SEEDING)
    assert (await daemon.table.pause(job.id)).state is JobState.PAUSED
    assert daemon.left == [job.id]
    assert daemon.table.resume(job.id).state is JobState.SEEDING
    await daemon.until(lambda: daemon.seeded == [job.id])
    assert len(daemon.ran) == 1


async def test_a_running_or_finished_job_is_not_begun_twice(daemon: Daemon) -> None:
    job = daemon.fetch()
    await daemon.begun(job.id)
    assert daemon.table.resume(job.id).state is JobState.RUNNING
    await daemon.ended(job.id, JobState.DONE)
    assert daemon.table.resume(job.id).state is JobState.DONE
    assert (await daemon.table.pause(job.id)).state is JobState.DONE
    assert len(daemon.ran) == 1


async def test_a_job_resumed_while_it_is_still_stopping_waits_for_that(daemon: Daemon) -> None:
    job = daemon.fetch()
    await daemon.begun(job.id)
    first = daemon.endings.pop(job.id)
    daemon.cleaning = asyncio.Event()
    pausing = asyncio.create_task(daemon.table.pause(job.id))
    await daemon.until(lambda: first.cancelled())
    assert len(daemon.ran) == 1
    daemon.cleaning.set()
    await pausing
    daemon.table.resume(job.id)
    await daemon.begun(job.id)
    assert len(daemon.ran) == 2


async def test_work_that_is_asked_for_while_the_job_still_begins_to_seed_waits_for_that(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = daemon.fetch()
    await daemon.ended(job.id, JobState.SEEDING)
    begun, seeding = asyncio.Event(), asyncio.Event()

    async def slow(progress: Progress) -> None:
        begun.set()
        await seeding.wait()

    monkeypatch.setattr(daemon, "_seed", slow)
    await daemon.again()
    await begun.wait()
    assert daemon.fetch().state is JobState.QUEUED
    for _ in range(20):
        await asyncio.sleep(0)
    assert daemon.ran == []
    seeding.set()
    await daemon.begun(job.id)


async def test_a_removed_job_is_stopped_forgotten_and_said_to_be_gone(daemon: Daemon) -> None:
    job = daemon.fetch()
    await daemon.begun(job.id)
    work = daemon.endings[job.id]
    assert (await daemon.table.remove(job.id)).id == job.id
    assert work.cancelled()
    assert daemon.left == [job.id]
    assert daemon.table.jobs() == ()
    await daemon.until(lambda: JobRemoved(job.id) in daemon.events)
    await daemon.again()
    assert daemon.table.jobs() == ()
    assert daemon.ran == []


async def test_seeding_that_fails_after_a_restart_fails_the_job(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = daemon.fetch()
    await daemon.ended(job.id, JobState.SEEDING)

    async def fail(progress: Progress) -> None:
        raise NotFound("the store is gone")

    monkeypatch.setattr(daemon, "_seed", fail)
    await daemon.again()
    await daemon.until(lambda: daemon.job(job.id).state is JobState.FAILED)
    failure = daemon.job(job.id).failure
    assert failure is not None
    assert failure.fact == "the store is gone"


# -- asking for the same again


async def test_the_same_fetch_is_one_job(daemon: Daemon) -> None:
    job = daemon.fetch()
    await daemon.begun(job.id)
    assert daemon.fetch().id == job.id
    await daemon.ended(job.id, JobState.SEEDING)
    again = daemon.fetch()
    assert (again.id, again.state) == (job.id, JobState.QUEUED)
    daemon.endings.clear()
    await daemon.ended(job.id, JobState.SEEDING)
    assert daemon.fetch("/elsewhere").id != job.id


async def test_another_version_into_the_same_directory_is_the_same_job_later_and_a_conflict_meanwhile(
    daemon: Daemon,
) -> None:
    job = daemon.fetch(source="share@1")
    await daemon.begun(job.id)
    others: list[dict[str, Any]] = [{"source": "share@2"}, {"source": "other@1"}, {"only": ("weights",)}]
    for other in others:
        with pytest.raises(Conflict, match=job.id):
            daemon.fetch(**other)
    await daemon.ended(job.id, JobState.SEEDING)
    assert daemon.fetch(source="share@2").id == job.id
    daemon.endings.clear()
    await daemon.begun(job.id)
    assert daemon.ran[-1][1] == FetchRequest(source="share@2", to="/out")


async def test_who_waits_for_the_end_of_a_job_hears_of_a_pause_a_removal_and_the_end(daemon: Daemon) -> None:
    job = daemon.publish()
    await daemon.begun(job.id)
    waiting = asyncio.create_task(daemon.table.ended(job.id))
    await daemon.table.pause(job.id)
    assert (await waiting).state is JobState.PAUSED
    daemon.endings.clear()
    daemon.table.resume(job.id)
    waiting = asyncio.create_task(daemon.table.ended(job.id))
    await daemon.ended(job.id, JobState.SEEDING)
    assert (await waiting).state is JobState.SEEDING
    await daemon.table.remove(job.id)
    with pytest.raises(NotFound):
        await daemon.table.ended(job.id)


async def test_what_was_done_and_then_paused_is_in_nobodys_way(daemon: Daemon) -> None:
    job = daemon.publish()
    await daemon.ended(job.id, JobState.SEEDING)
    await daemon.table.pause(job.id)
    assert daemon.publish(version_name="another").id != job.id


async def test_the_same_publish_is_one_job_while_it_runs_and_a_new_one_afterwards(daemon: Daemon) -> None:
    job = daemon.publish()
    await daemon.begun(job.id)
    assert daemon.publish().id == job.id
    with pytest.raises(Conflict, match="is being worked on"):
        daemon.publish(version_name="another")
    await daemon.table.pause(job.id)
    daemon.endings.clear()
    assert daemon.publish().id == job.id
    await daemon.ended(job.id, JobState.SEEDING)
    assert daemon.publish().id != job.id


async def test_each_verify_is_a_job_of_its_own(daemon: Daemon) -> None:
    request = VerifyRequest(name="cars@1")
    jobs = [daemon.table.submit(JobKind.VERIFY, request, path="/out") for _ in range(2)]
    assert jobs[0].id != jobs[1].id
    assert (await daemon.ended(jobs[0].id, JobState.DONE)).kind is JobKind.VERIFY


# -- passwords


@pytest.mark.parametrize("end", [JobState.SEEDING, JobState.DONE])
async def test_a_password_is_on_disk_no_longer_than_the_job_needs_it(daemon: Daemon, end: JobState) -> None:
    others = [daemon.publish(f"/other{number}", password=SECRET) for number in range(8)]
    for other in others:
        await daemon.ended(other.id, end)
    job = daemon.publish(password=SECRET)
    await daemon.begun(job.id)
    assert SECRET in _on_disk(daemon.path)
    await daemon.again()
    await daemon.begun(job.id)
    (_, request) = daemon.ran[-1]
    assert isinstance(request, PublishRequest)
    assert request.password == SECRET
    await daemon.ended(job.id, end)
    ended = daemon.table.request(job.id)
    assert isinstance(ended, PublishRequest)
    assert SECRET not in ended.password
    assert SECRET not in _on_disk(daemon.path)
    await daemon.again()
    assert SECRET not in _on_disk(daemon.path)


async def test_the_password_of_a_removed_job_is_gone_from_the_disk(daemon: Daemon) -> None:
    job = daemon.publish(password=SECRET)
    await daemon.begun(job.id)
    await daemon.table.remove(job.id)
    assert SECRET not in _on_disk(daemon.path)


async def test_a_failed_job_keeps_its_password_for_the_next_try(daemon: Daemon) -> None:
    job = daemon.publish(password=SECRET)
    await daemon.ended(job.id, NoSeeds("nobody"))
    daemon.endings.clear()
    daemon.table.resume(job.id)
    await daemon.begun(job.id)
    request = daemon.ran[-1][1]
    assert isinstance(request, PublishRequest)
    assert request.password == SECRET


def _on_disk(path: Path) -> str:
    """Everything in the table's files, whether SQLite still counts it or not."""
    return "".join(part.read_bytes().decode("latin-1") for part in sorted(path.parent.glob("jobs.db*")))
