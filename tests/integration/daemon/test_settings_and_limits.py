"""Settings that change while a daemon runs, and limits that hold over real transfers."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from p2pckpt.control.settings_messages import SetRequest, SettingRow, TurtleRequest

from ...support.homes import Home, failure

pytestmark = pytest.mark.asyncio(loop_scope="package")


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
