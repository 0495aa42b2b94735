"""Settings, themes, limits of transfers and slow mode: what is asked of the daemon, and what is shown of it."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import cast

import msgspec
import pytest
from textual.widgets import Input, OptionList

from p2pckpt.control import messages as m
from p2pckpt.control import settings_messages as sm
from p2pckpt.errors import BadUsage, NotAllowed
from p2pckpt.tui.screens.choose import ChooseDialog
from p2pckpt.tui.screens.limit_dialog import LimitDialog
from p2pckpt.tui.screens.prompt import PromptDialog
from p2pckpt.tui.screens.settings import SettingsScreen
from p2pckpt.tui.screens.transfers import TransfersScreen
from tests.support import replay_feed as replay
from tests.tui.conftest import SETTINGS_KEY, Stage, stage

REFUSED = NotAllowed("environment P2PCKPT_TURTLE says what turtle is", kept="turtle is off")


def overridden(key: str, value: str | int) -> sm.Settings:
    """Settings of which an environment variable says one."""
    told = replay.settings(**{key: value})
    rows = (
        msgspec.structs.replace(row, origin=f"environment {row.environment}") if row.key == key else row
        for row in told.rows
    )
    return msgspec.structs.replace(told, rows=tuple(rows))


async def open_settings(st: Stage, settings: sm.Settings | None = None) -> SettingsScreen:
    if settings is not None:
        st.client.replies["settings"] = settings
    await st.press(SETTINGS_KEY)
    await st.shows("seed_after_get")
    return cast(SettingsScreen, st.app.screen)


async def go_to(st: Stage, key: str) -> None:
    """Put the cursor on a setting."""
    screen = cast(SettingsScreen, st.app.screen)
    screen.table.move_to(next(i for i, row in enumerate(screen.table.rows) if row.key == key))
    await st.until(lambda: st.static("#setting-facts").startswith(key))


# -- the list


async def test_settings_say_value_origin_and_when_they_count() -> None:
    async with stage() as st:
        await open_settings(st, replay.settings(upload_limit=5 << 20, port=6881))
        line = next(line for line in st.lines if " upload_limit" in line)
        assert line.split()[:5] == ["●", "Limits", "upload_limit", "5M/s", "config.toml"]
        port = next(line for line in st.lines if " port " in line)
        assert port.split()[:4] == ["!", "Network", "port", "6881"]
        await go_to(st, "port")
        facts = st.static("#setting-facts")
        for text in ("P2PCKPT_PORT", "default: 0", "The daemon goes on with 0 until it starts next."):
            assert text in facts


async def test_what_the_environment_says_is_marked_and_not_changed() -> None:
    async with stage() as st:
        await open_settings(st, overridden("turtle", "off"))
        await go_to(st, "turtle")
        assert "■ It overrides your config.toml" in st.static("#setting-facts")
        for key in ("enter", "r"):
            await st.press(key)
            await st.toast("environment P2PCKPT_TURTLE says what turtle is")
        assert isinstance(st.app.screen, SettingsScreen)
        assert st.client.called("set_setting") == []


async def test_the_filter_knows_groups_and_states() -> None:
    async with stage() as st:
        screen = await open_settings(st, replay.settings(upload_limit=5 << 20, port=6881))
        for text, keys in (
            ("state:waiting", ["port"]),
            ("state:yours", ["upload_limit"]),
            ("group:interface", ["theme"]),
            ("from:config.toml", ["port", "upload_limit"]),
        ):
            screen.query_one("#filter", Input).value = text
            await st.until(lambda keys=keys: [row.key for row in screen.table.rows] == keys)  # type: ignore[misc]


async def test_an_event_asks_for_the_settings_again() -> None:
    async with stage() as st:
        await open_settings(st)
        st.client.replies["settings"] = replay.settings(upload_limit=7 << 10)
        st.client.play(m.SettingsChanged())
        await st.shows("7K/s")


async def test_settings_that_are_not_told_teach_and_are_told_of() -> None:
    async with stage() as st:
        st.client.failures["settings"] = BadUsage("config.toml cannot be read", next_step="correct it")
        await st.press(SETTINGS_KEY)
        await st.toast("config.toml cannot be read\nNext: correct it")
        await st.shows("p2pckpt config show --origin")


# -- changing one


async def test_enter_edits_a_line_and_refuses_what_makes_no_sense() -> None:
    async with stage() as st:
        await open_settings(st, replay.settings(upload_limit=5 << 20))
        await go_to(st, "upload_limit")
        await st.press("enter")
        assert isinstance(st.app.screen, PromptDialog)
        line = st.app.screen.query_one("#line", Input)
        assert line.value == "5M"
        line.value = "fast"
        await st.press("enter")
        await st.shows("'fast' is no size")
        line.value = "7M"
        await st.press("enter")
        await st.until(lambda: st.client.called("set_setting") == [(sm.SetRequest("upload_limit", "7M"),)])
        assert "5M/s" in st.text, "the row changes when the daemon says so"


async def test_a_line_that_was_left_as_it_was_sets_nothing() -> None:
    async with stage() as st:
        await open_settings(st)
        await go_to(st, "turtle_hours")
        await st.press("enter", "enter")
        assert isinstance(st.app.screen, SettingsScreen)
        await st.press("enter", "escape")
        assert st.client.called("set_setting") == []


@pytest.mark.parametrize(
    ("key", "down", "value"), [("seed_after_get", 1, "false"), ("turtle", 1, "on"), ("log_level", 1, "warning")]
)
async def test_what_has_few_values_is_chosen(key: str, down: int, value: str) -> None:
    async with stage() as st:
        await open_settings(st)
        await go_to(st, key)
        await st.press("enter")
        assert isinstance(st.app.screen, ChooseDialog)
        await st.press(*["down"] * down, "enter")
        await st.until(lambda: st.client.called("set_setting") == [(sm.SetRequest(key, value),)])


async def test_a_choice_can_be_left() -> None:
    async with stage() as st:
        await open_settings(st)
        await go_to(st, "turtle")
        await st.press("enter", "escape")
        assert isinstance(st.app.screen, SettingsScreen)
        assert st.client.called("set_setting") == []


async def test_r_takes_a_setting_back_to_its_default() -> None:
    async with stage() as st:
        await open_settings(st, replay.settings(upload_limit=5 << 20))
        await go_to(st, "upload_limit")
        await st.press("r")
        await st.until(lambda: st.client.called("set_setting") == [(sm.SetRequest("upload_limit", None),)])
        await go_to(st, "port")
        await st.press("r")
        await st.toast("port is at its default.")
        assert len(st.client.called("set_setting")) == 1


async def test_a_change_that_waits_is_said_so_and_a_refusal_told() -> None:
    async with stage() as st:
        await open_settings(st)
        waiting = next(row for row in replay.settings(port=7).rows if row.key == "port")
        st.client.replies["set_setting"] = waiting
        await go_to(st, "port")
        await st.press("enter")
        st.app.screen.query_one("#line", Input).value = "7"
        await st.press("enter")
        await st.toast("port is 7 when the daemon starts next.")
        st.client.failures["set_setting"] = REFUSED
        await go_to(st, "turtle")
        await st.press("enter", "enter")
        await st.toast("environment P2PCKPT_TURTLE says what turtle is\nKept: turtle is off")


async def test_without_a_daemon_r_looks_for_it() -> None:
    async with stage() as st:
        await open_settings(st)
        st.daemon.running = False
        st.client.hang_up()
        await st.shows("No daemon")
        seen = len(st.daemon.starts)
        await st.press("r")
        await st.until(lambda: len(st.daemon.starts) == seen + 1)
        assert "seed_after_get" in st.text


# -- the file


async def test_e_opens_the_file_in_an_editor_and_has_it_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    editor, file = tmp_path / "my editor", tmp_path / "config.toml"
    editor.write_text('#!/bin/sh\necho "port = 7" > "$2"\n')
    editor.chmod(0o755)
    monkeypatch.setenv("EDITOR", f"'{editor}' --wait")
    monkeypatch.delenv("VISUAL", raising=False)
    async with stage() as st:
        monkeypatch.setattr(st.app, "suspend", contextlib.nullcontext)
        await open_settings(st, replay.settings(str(file)))
        st.client.replies["reload_settings"] = replay.settings(str(file), port=7)
        await st.press("e")
        await st.until(lambda: st.client.called("reload_settings"))
        assert file.read_text() == "port = 7\n"
        await go_to(st, "port")
        assert "config.toml" in st.static("#setting-facts")


async def test_a_file_that_was_edited_wrongly_is_told() -> None:
    async with stage() as st:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("VISUAL", "true")
            patch.setattr(st.app, "suspend", contextlib.nullcontext)
            await open_settings(st)
            st.client.failures["reload_settings"] = BadUsage("config.toml: there is no setting 'prot'")
            await st.press("e")
            await st.toast("config.toml: there is no setting 'prot'")


@pytest.mark.parametrize(
    ("editor", "said"),
    [("", "No editor is named"), ("/nonexistent/editor", "can't be started"), ("'", "can't be started")],
)
async def test_an_editor_that_does_not_open_is_said_so(editor: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDITOR", editor)
    monkeypatch.delenv("VISUAL", raising=False)
    async with stage() as st:
        monkeypatch.setattr(st.app, "suspend", contextlib.nullcontext)
        await open_settings(st)
        await st.press("e")
        await st.toast(said)
        assert st.client.called("reload_settings") == []


async def test_a_terminal_that_can_t_be_left_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDITOR", "true")
    async with stage() as st:
        await open_settings(st)
        await st.press("e")
        await st.toast("No editor can be opened in this terminal")


# -- themes


async def test_a_theme_is_a_setting_of_the_start() -> None:
    async with stage(theme="textual-light") as st:
        assert st.app.theme == "textual-light"
        assert st.client.called("set_setting") == []


async def test_a_theme_that_nobody_knows_leaves_the_default() -> None:
    async with stage(theme="no such") as st:
        assert st.app.theme == "p2pckpt"
        await st.toast("There is no theme called no such.")


async def test_choosing_a_theme_draws_in_it_and_keeps_it() -> None:
    async with stage() as st:
        st.app.call_later(st.app.action_change_theme)
        await st.until(lambda: isinstance(st.app.screen, ChooseDialog))
        choices = st.app.screen.query_one(OptionList)
        choices.highlighted = sorted(st.app.available_themes).index("dracula")
        await st.press("enter")
        await st.until(lambda: st.client.called("set_setting") == [(sm.SetRequest("theme", "dracula"),)])
        assert st.app.theme == "dracula"


async def test_a_theme_that_can_t_be_kept_is_told_and_drawn_all_the_same() -> None:
    async with stage() as st:
        st.client.failures["set_setting"] = NotAllowed("environment P2PCKPT_THEME says what theme is")
        st.app.call_later(st.app.action_change_theme)
        await st.until(lambda: isinstance(st.app.screen, ChooseDialog))
        await st.press("up", "enter")
        await st.toast("environment P2PCKPT_THEME says what theme is")
        assert st.app.theme != "p2pckpt"


async def test_a_theme_set_among_the_settings_is_drawn_once_the_daemon_has_it() -> None:
    async with stage() as st:
        await open_settings(st)
        told = next(row for row in replay.settings(theme="nord").rows if row.key == "theme")
        st.client.replies["set_setting"] = told
        await go_to(st, "theme")
        await st.press("enter")
        await st.until(lambda: isinstance(st.app.screen, ChooseDialog))
        await st.press("up", "enter")
        await st.until(lambda: st.app.theme == "nord")


# -- slow mode


async def test_t_turns_slow_mode_and_the_top_bar_shows_it() -> None:
    async with stage() as st:
        slow = sm.Limits(1 << 20, 1 << 20, slow=True, turtle="on")
        st.client.replies["turtle"] = slow
        assert "slow" not in st.lines[0]
        await st.press("t")
        await st.toast("Slow mode is on: ↓ 1M/s ↑ 1M/s for everything.")
        assert st.client.called("turtle") == [(sm.TurtleRequest("toggle"),)]
        st.client.play(m.StatusChanged(replay.status(limits=slow)))
        await st.until(lambda: "◔ slow" in st.lines[0])
        st.client.replies["turtle"] = sm.Limits()
        await st.press("t")
        await st.toast("Slow mode is off.")


async def test_slow_mode_that_can_t_be_turned_is_told() -> None:
    async with stage() as st:
        st.client.failures["turtle"] = REFUSED
        await st.press("t")
        await st.toast("environment P2PCKPT_TURTLE says what turtle is")


# -- limits of transfers


async def test_l_limits_a_transfer_and_the_pane_shows_it() -> None:
    async with stage() as st:
        await st.press("l")
        assert isinstance(st.app.screen, LimitDialog)
        st.app.screen.query_one("#down", Input).value = "5M"
        await st.press("enter", "enter")
        await st.until(lambda: st.client.called("limit_job") == [("j1", sm.JobLimitRequest(5 << 20, None))])
        limited = msgspec.structs.replace(replay.busy_snapshot().jobs[0], limit_down=5 << 20)
        st.client.play(m.JobChanged(limited))
        await st.shows("12 seeds · limit ↓ 5M/s · publisher")
        await st.press("l")
        assert st.app.screen.query_one("#down", Input).value == "5M"
        st.app.screen.query_one("#down", Input).value = ""
        st.app.screen.query_one("#up", Input).value = "1.5K"
        await st.press("tab", "enter")
        await st.until(lambda: st.client.called("limit_job")[1:] == [("j1", sm.JobLimitRequest(0, 1536))])


async def test_limits_that_differ_stay_unless_they_are_written() -> None:
    jobs = tuple(replay.job(f"j{n}", share=f"s{n}", limit_down=n << 20, limit_up=7 << 10) for n in (1, 2))
    async with stage(replay.snapshot(jobs)) as st:
        await st.press("A", "l")
        dialog = st.app.screen
        assert [dialog.query_one(field, Input).value for field in ("#down", "#up")] == ["", "7K"]
        dialog.query_one("#up", Input).value = "none"
        await st.press("enter", "enter")
        await st.until(lambda: len(st.client.called("limit_job")) == 2)
        assert {arguments[1] for arguments in st.client.called("limit_job")} == {sm.JobLimitRequest(None, 0)}


async def test_a_rate_that_makes_no_sense_keeps_the_dialog_open() -> None:
    async with stage() as st:
        await st.press("l")
        st.app.screen.query_one("#up", Input).value = "fast"
        await st.press("enter", "enter")
        await st.shows("'fast' is no size")
        await st.press("escape")
        assert isinstance(st.app.screen, TransfersScreen)
        assert st.client.called("limit_job") == []


async def test_a_limit_that_is_refused_is_told() -> None:
    async with stage() as st:
        st.client.failures["limit_job"] = BadUsage("there is no job j1")
        await st.press("l")
        st.app.screen.query_one("#down", Input).value = "5M"
        await st.press("enter", "enter")
        await st.toast("there is no job j1")
