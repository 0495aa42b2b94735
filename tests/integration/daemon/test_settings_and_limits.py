"""Settings that change while a daemon runs, and limits that hold over real transfers."""

from __future__ import annotations

import asyncio
import tomllib
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from textual.widgets import Input

from p2pckpt.control import messages as m
from p2pckpt.control.client import connect
from p2pckpt.control.settings_messages import JobLimitRequest, SetRequest, SettingRow, TurtleRequest
from p2pckpt.tui.app import P2pckptApp
from p2pckpt.tui.screens.main_screens import MAIN_SCREENS
from p2pckpt.tui.screens.prompt import PromptDialog
from p2pckpt.tui.screens.settings import SettingsScreen

from ...support.homes import Home, failure, seeded_bytes, tree, until, write_files

pytestmark = pytest.mark.asyncio(loop_scope="package")

MIB = 1 << 20


async def row(home: Home, key: str) -> SettingRow:
    return next(row for row in (await home.client.settings()).rows if row.key == key)


async def test_the_command_line_and_the_daemon_write_one_file(tmp_path: Path) -> None:
    async with Home(tmp_path / "dora") as dora:
        written = await dora.cli("config", "set", "upload_limit", "5M")
        assert (written.returncode, written.stderr.endswith("; in force\n")) == (0, True), written.stderr
        assert (await dora.client.limits()).up == 5 << 20
        assert (await row(dora, "upload_limit")).in_force == 5 << 20
        later = await dora.client.set_setting(SetRequest("workers", 3))
        assert (later.value, later.in_force) == (3, 0)
        assert tomllib.loads(dora.config.user_file.read_text()) == {"upload_limit": "5M", "workers": 3}
        assert (await dora.cli("config", "unset", "upload_limit")).returncode == 0
        assert (await dora.client.limits()).up == 0
        await dora.restart()
        assert (await row(dora, "workers")).in_force == 3


async def test_what_the_daemon_s_environment_says_can_t_be_set(tmp_path: Path) -> None:
    async with Home(tmp_path / "erik", turtle="off") as erik:
        refused = await failure(erik.client.turtle(TurtleRequest("on")))
        assert (refused.code, refused.fact.split()[:2]) == ("not_allowed", ["environment", "P2PCKPT_TURTLE"])
        limited = await erik.cli("limit", "--turtle", "on")
        assert limited.returncode == 4
        assert not erik.config.user_file.exists()


async def test_slow_mode_is_turned_by_hand_and_by_the_hours(tmp_path: Path) -> None:
    async with Home(tmp_path / "fay") as fay:
        client = fay.client
        slow = await client.turtle(TurtleRequest("toggle"))
        assert (slow.slow, slow.turtle, slow.down, slow.up) == (True, "on", 1 << 20, 1 << 20)
        assert (await client.status()).limits == slow
        fast = await client.turtle(TurtleRequest("toggle"))
        assert (fast.slow, fast.turtle, fast.down) == (False, "auto", 0)
        await client.set_setting(SetRequest("turtle_hours", "00:00-24:00"))
        assert (await client.limits()).slow
        assert (await fay.cli("limit", "--turtle", "off")).returncode == 0
        assert not (await client.limits()).slow
        assert (await failure(client.turtle(TurtleRequest("maybe")))).code == "usage"


async def test_the_log_level_counts_at_once(tmp_path: Path) -> None:
    async with Home(tmp_path / "gil") as gil:
        await gil.client.set_setting(SetRequest("log_level", "error"))
        before = gil.log
        await gil.client.set_setting(SetRequest("upload_limit", 1))
        assert gil.log == before
        await gil.client.set_setting(SetRequest("log_level", "info"))
        assert "log_level" in gil.log.removeprefix(before)


class Fetching:
    """A fetch that is measured: what it had moved, and when."""

    def __init__(self, home: Home, job: m.Job) -> None:
        self._home = home
        self._job = job

    async def ends_within(self, limit: int) -> m.Job:
        """Fail if ever more was moved than ``limit``, bytes per second, allows; the job at its end."""
        loop = asyncio.get_running_loop()
        begun, had = loop.time(), self._job.wire_done

        def ended(job: m.Job) -> bool:
            # told later than it was moved: what is slow on this side makes this weaker, never wrong
            assert job.wire_done - had <= limit * (loop.time() - begun) + limit // 2 + 2 * MIB
            return job.state.ended

        return await self._home.wait_until(self._job.id, ended)


async def test_a_daemon_stands_back_with_the_tracker_beside_it(tmp_path: Path) -> None:
    async with Home(tmp_path / "home", nice=7) as home:
        await home.share(write_files(tmp_path / "source", {"model.bin": b"weights"}), name="nice")
        daemon = psutil.Process((await home.client.status()).pid)
        programs = [daemon, *daemon.children()]
        assert [program.nice() for program in programs] == [7, 7]
        for group in (Path(f"/proc/{program.pid}/autogroup") for program in programs):
            assert not group.exists() or group.read_text().endswith("nice 7\n")
        assert (await failure(home.client.set_setting(SetRequest("nice", 20)))).exit_code == 2


async def test_a_limit_over_everything_holds_from_when_it_is_set(alice: Home, carol: Home, tmp_path: Path) -> None:
    source = write_files(tmp_path / "source", {"model.bin": seeded_bytes(12 * MIB, 70)})
    published = await alice.share(source, name="limited/all")
    await carol.client.set_setting(SetRequest("download_limit", "3M"))
    try:
        job = await carol.client.fetch(m.FetchRequest(source=published.link, to=str(tmp_path / "target")))
        done = await Fetching(carol, job).ends_within(3 * MIB)
        assert (done.state, done.wire_done >= 12 * MIB) == (m.JobState.SEEDING, True)
    finally:
        await carol.client.set_setting(SetRequest("download_limit", None))
    assert tree(tmp_path / "target") == tree(source)


async def test_a_job_s_limit_holds_for_its_torrents_together_and_after_a_restart(tmp_path: Path) -> None:
    async with Home(tmp_path / "hal") as hal, Home(tmp_path / "ida") as ida:
        source = write_files(tmp_path / "source", {"a.bin": seeded_bytes(6 * MIB, 71)})
        first = await hal.share(source, name="limited/two")
        write_files(source, {"b.bin": seeded_bytes(6 * MIB, 72)})
        second = await hal.share(source, name="limited/two")
        limited = await hal.cli("limit", second.id, "--up", "3M")
        assert limited.returncode == 0, limited.stderr
        await hal.restart()
        kept = [(job.limit_down, job.limit_up) for job in await hal.client.jobs()]
        assert kept == [(0, 0), (0, 3 * MIB)]
        await hal.wait_job(first.id, m.JobState.SEEDING)
        await until(hal.has_tracker, "its tracker runs again")
        job = await ida.client.fetch(m.FetchRequest(source=second.link, to=str(tmp_path / "target")))
        done = await Fetching(ida, job).ends_within(3 * MIB)
        assert (done.state, done.wire_done >= 12 * MIB) == (m.JobState.SEEDING, True)
        assert tree(tmp_path / "target") == tree(source)


async def test_a_limit_is_taken_back_and_what_makes_no_sense_is_refused(
    alice: Home, carol: Home, tmp_path: Path
) -> None:
    source = write_files(tmp_path / "source", {"model.bin": seeded_bytes(3 * MIB, 73)})
    published = await alice.share(source, name="limited/back")
    await alice.client.limit_job(published.id, JobLimitRequest(up=10_000))
    job = await carol.client.fetch(m.FetchRequest(source=published.link, to=str(tmp_path / "target")))
    await carol.client.limit_job(job.id, JobLimitRequest(down=10_000))
    await carol.wait_until(job.id, lambda job: job.peers > 0)
    assert (await carol.client.limit_job(job.id, JobLimitRequest())).limit_down == 10_000
    assert (await carol.client.limit_job(job.id, JobLimitRequest(down=0))).limit_down == 0
    assert not (await carol.client.job(job.id)).state.ended
    await alice.client.limit_job(published.id, JobLimitRequest(up=0))
    await carol.wait_job(job.id)
    assert (await failure(carol.client.limit_job("j999999", JobLimitRequest(down=1)))).code == "not_found"
    assert (await failure(carol.client.limit_job(job.id, JobLimitRequest(down=-1)))).code == "usage"


async def test_a_directory_that_is_shared_again_keeps_its_limit(alice: Home, tmp_path: Path) -> None:
    source = write_files(tmp_path / "source", {"model.bin": seeded_bytes(MIB, 74)})
    published = await alice.share(source, name="limited/again")
    await alice.client.limit_job(published.id, JobLimitRequest(up=MIB))
    again = await alice.share(source, name="limited/again")
    assert again.id != published.id
    assert (await alice.client.job(again.id)).limit_up == MIB


async def test_the_terminal_interface_turns_slow_mode_and_changes_settings(tmp_path: Path) -> None:
    async with Home(tmp_path / "jo") as jo:
        app = P2pckptApp(lambda start: connect(jo.config, start=start))
        async with app.run_test(size=(120, 40)) as pilot:

            async def shown(condition: Callable[[], object]) -> bool:
                await pilot.pause()
                return bool(condition())

            await until(lambda: shown(lambda: app.feed.state.connected), "it is connected")
            await pilot.press("t")
            await until(lambda: shown(lambda: (s := app.feed.state.status) and s.limits.slow), "slow mode is on")
            await pilot.press(next(str(n) for n, s in enumerate(MAIN_SCREENS, 1) if s.mode == "settings"))
            screen = app.screen
            assert isinstance(screen, SettingsScreen)
            await until(lambda: shown(lambda: screen.table.rows), "the settings are listed")
            rows = [row.key for row in screen.table.rows]
            screen.table.move_to(rows.index("upload_limit"))
            await pilot.press("enter")
            await until(lambda: shown(lambda: isinstance(app.screen, PromptDialog)), "a line is asked for")
            app.screen.query_one("#line", Input).value = "300K"
            await pilot.press("enter")
            told = rows.index("upload_limit")
            await until(lambda: shown(lambda: screen.table.rows[told].in_force == 300 << 10), "the list says so")
            assert (await jo.client.limits()).up == 300 << 10
        assert tomllib.loads(jo.config.user_file.read_text()) == {"turtle": "on", "upload_limit": "300K"}
