"""One transfer in a few lines: what it shows, its keys, and how it ends."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from p2pckpt.control import messages as m
from p2pckpt.errors import Cancelled, NoSpace, P2pckptError
from p2pckpt.tui.inline import Ending, InlineApp
from tests.support import replay_feed as replay

from ..support.homes import Home
from .conftest import FakeDaemon, Stage
from .test_layout import SIZES, check, overflows


def job(**fields: Any) -> m.Job:
    """The job that is looked at, ``j1`` of the busy daemon, with other ``fields``."""
    (found,) = (job for job in replay.busy_snapshot().jobs if job.id == "j1")
    return msgspec.structs.replace(found, **fields)


@asynccontextmanager
async def view(*, size: tuple[int, int] = (80, 24), **options: Any) -> AsyncIterator[tuple[Stage, InlineApp]]:
    daemon = FakeDaemon(replay.busy_snapshot())
    app = InlineApp(daemon.connect, "j1", backoff=(0.0,), **options)
    async with app.run_test(size=size) as pilot:
        stage = Stage(app, pilot, daemon)  # type: ignore[arg-type]
        await stage.shows("step-42000")
        yield stage, app


async def ended(stage: Stage, app: InlineApp) -> Ending:
    await stage.until(lambda: app._exit)
    return app.ending


async def test_name_bar_rates_peers_and_pieces_fit_into_a_few_lines() -> None:
    async with view() as (st, _app):
        await st.until(lambda: st.client.called("job_detail"))
        for text in ("lab/llama-70b-sft @ step-42000", "▼ downloading", "68%", "↓ 388M/s", "↑ 12M/s", "2m05 left"):
            await st.shows(text)
        await st.shows("9 peers, 12 seeds")
        await st.shows("89G of 139G")
        await st.shows("█")
        await st.shows("space pause, resume   q leave")
        lines = [line.rstrip() for line in st.lines if line.strip()]
        assert len(lines) <= 7
        assert all(len(line) <= 80 for line in lines)


@pytest.mark.parametrize("size", SIZES)
async def test_it_looks_as_it_did_and_fits(size: tuple[int, int]) -> None:
    async with view(size=size) as (st, _app):
        await st.shows("»")
        check("inline", st)
        overflows(st)


async def test_it_follows_what_the_daemon_says_of_its_job_and_of_no_other() -> None:
    async with view() as (st, _app):
        st.client.play(m.JobChanged(replay.job("j9", share="other")), m.JobChanged(job(done=100 << 30)))
        await st.shows("71%")
        assert "other" not in st.text


async def test_space_pauses_and_resumes_and_the_daemon_s_word_is_drawn() -> None:
    async with view() as (st, _app):
        await st.press("space")
        await st.until(lambda: st.client.called("pause") == [("j1",)])
        assert "▼ downloading" in st.text, "until the daemon says so"
        st.client.play(m.JobChanged(job(state=m.JobState.PAUSED)))
        await st.shows("‖ paused")
        await st.press("space")
        await st.until(lambda: st.client.called("resume") == [("j1",)])


async def test_a_pause_that_is_refused_is_told() -> None:
    async with view() as (st, _app):
        st.client.failures["pause"] = P2pckptError("it can't be paused", kept="all of it", next_step="p2pckpt ls")
        await st.press("space")
        await st.shows("it can't be paused   Kept: all of it   Next: p2pckpt ls")


async def test_leaving_is_no_error_and_an_interrupt_is() -> None:
    async with view() as (st, app):
        await st.press("q")
        ending = await ended(st, app)
        assert ending.error is None
        assert ending.job is not None and not ending.job.state.ended
        assert not st.client.called("pause")
    async with view() as (st, app):
        await st.press("ctrl+c")
        assert isinstance((await ended(st, app)).error, Cancelled)


@pytest.mark.parametrize("state", [m.JobState.SEEDING, m.JobState.DONE])
async def test_it_ends_when_the_job_is_done(state: m.JobState) -> None:
    async with view() as (st, app):
        st.client.play(m.JobChanged(job(state=state)))
        ending = await ended(st, app)
        assert ending.job is not None and ending.job.state is state
        assert ending.error is None


async def test_it_ends_with_the_failure_of_the_job() -> None:
    failure = m.Failure(code="no_space", fact="the disk is full", kept="89G", next_step="free some space")
    async with view() as (st, app):
        st.client.play(m.JobChanged(job(state=m.JobState.FAILED, failure=failure)))
        error = (await ended(st, app)).error
        assert isinstance(error, NoSpace)
        assert (error.fact, error.kept, error.next_step) == ("the disk is full", "89G", "free some space")


async def test_it_ends_when_the_job_is_removed_also_while_nobody_looked() -> None:
    async with view() as (st, app):
        st.client.play(m.JobRemoved("j1"))
        assert isinstance((await ended(st, app)).error, Cancelled)
    async with view() as (st, app):
        st.daemon.snapshot = msgspec.structs.replace(st.daemon.snapshot, jobs=())
        st.client.hang_up()
        assert isinstance((await ended(st, app)).error, Cancelled)


async def test_a_daemon_that_went_away_is_told_and_waited_for() -> None:
    async with view() as (st, app):
        st.daemon.running = False
        st.client.hang_up()
        await st.shows("the daemon closed the event stream; looking again")
        assert "68%" in st.text, "what was known stays"
        st.daemon.running = True
        await st.until(lambda: len(st.daemon.clients) == 2 and app.feed.state.connected)
        await st.until(lambda: "looking again" not in st.text)
        assert not any(st.daemon.starts), "it starts no daemon by itself"


async def test_a_notice_about_the_job_is_shown_and_is_harmless() -> None:
    async with view() as (st, _app):
        st.client.play(
            m.Notice("info", "about another", job="j2"), m.Notice("warning", "a \x1b[31mseed [b]left", job="j1")
        )
        await st.shows("seed [b]left")
        assert "\x1b" not in st.text
        assert "another" not in st.text


async def test_the_key_map_moves_its_keys() -> None:
    daemon = FakeDaemon(replay.busy_snapshot())
    app = InlineApp(daemon.connect, "j1")
    app.set_keymap({"inline.leave": "x"})
    async with app.run_test(size=(80, 24)) as pilot:
        stage = Stage(app, pilot, daemon)  # type: ignore[arg-type]
        await stage.shows("x leave")
        await stage.press("x")
        await ended(stage, app)


@pytest.mark.parametrize(
    ("arguments", "fact"),
    [
        (("--inline",), "needs a terminal"),
        (("j1",), "JOB belongs to --inline"),
        (("--inline", "--web"), "exclude each other"),
    ],
)
async def test_what_makes_no_sense_is_refused(tmp_path: Path, arguments: tuple[str, ...], fact: str) -> None:
    home = Home(tmp_path / "alice")
    home.path.mkdir()
    refused = await home.cli("tui", *arguments)
    assert refused.returncode == 2
    assert fact in refused.stderr
