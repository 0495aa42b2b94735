from __future__ import annotations

import re
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from p2pckpt.control.messages import JobState, Phase
from p2pckpt.errors import Cancelled
from tests.unit.jobs.workshop import new_progress

WORKERS = 8


@pytest.fixture(autouse=True)
def frequent_switches() -> Iterator[None]:
    """Threads take turns as often as the interpreter lets them."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def at_once(work: Callable[[int], None]) -> None:
    """Run ``work`` in all workers, begun together."""
    barrier = threading.Barrier(WORKERS)

    def run(worker: int) -> None:
        barrier.wait()
        work(worker)

    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(run, range(WORKERS)))


def test_bytes_counted_by_many_threads_are_all_counted() -> None:
    progress = new_progress()

    def count(worker: int) -> None:
        for _ in range(300):
            progress.add(done=1, wire_done=2, reused=3)

    at_once(count)
    total = WORKERS * 300
    assert (progress.job.done, progress.job.wire_done, progress.job.reused) == (total, 2 * total, 3 * total)


def test_fields_set_by_one_thread_survive_counts_of_another() -> None:
    progress = new_progress()

    def work(worker: int) -> None:
        for number in range(200):
            if worker:
                progress.add(done=1)
            else:
                progress.update(wire_size=number)
                assert progress.job.wire_size == number

    at_once(work)
    assert progress.job.done == (WORKERS - 1) * 200


def test_no_warning_of_any_thread_is_lost_and_none_is_said_twice() -> None:
    progress = new_progress()

    def warn(worker: int) -> None:
        for number in range(25):
            progress.warn(f"warning {worker} {number}")
            progress.warn("the same for all")

    at_once(warn)
    assert len(progress.job.warnings) == len(set(progress.job.warnings)) == WORKERS * 25 + 1


def test_every_change_is_told() -> None:
    told: list[str] = []
    progress = new_progress(told.append, id="j7")
    progress.update(size=5)
    progress.add(done=1)
    progress.enter(Phase.PACKING)
    progress.warn("careful")
    assert told == ["j7"] * 4


def test_a_job_that_was_read_does_not_change_any_more() -> None:
    progress = new_progress()
    before = progress.job
    progress.update(state=JobState.PAUSED)
    progress.add(done=5)
    assert (before.state, before.done) == (JobState.RUNNING, 0)
    assert (progress.job.state, progress.job.done) == (JobState.PAUSED, 5)


def test_phases_and_warnings_are_in_the_log_once() -> None:
    progress = new_progress()
    for _ in range(3):
        progress.enter(Phase.PACKING)
    progress.enter(Phase.SIGNING)
    progress.warn("careful")
    progress.note("by the way")
    texts = [line.partition(" ")[2] for line in progress.log]
    assert texts == ["packing", "signing", "careful", "by the way"]
    assert all(re.fullmatch(r"\d\d:\d\d:\d\d .+", line) for line in progress.log)


def test_the_log_keeps_its_newest_lines() -> None:
    progress = new_progress()
    for number in range(500):
        progress.note(f"line {number}")
    assert len(progress.log) == 200
    assert progress.log[-1].endswith("line 499")


def test_workers_stop_at_their_next_checkpoint() -> None:
    progress = new_progress()
    progress.checkpoint()
    progress.stop()

    def work(worker: int) -> None:
        with pytest.raises(Cancelled):
            progress.checkpoint()

    at_once(work)
