"""Log: read as it is written, filtered, frozen, opened, exported; and a daemon that goes and comes."""

from __future__ import annotations

import json
from pathlib import Path

from textual.widgets import Input

from p2pckpt.control import messages as m
from p2pckpt.control.health_messages import LogRecord
from p2pckpt.errors import P2pckptError
from p2pckpt.tui.screens.log import LogScreen, RecordDialog
from p2pckpt.tui.screens.prompt import PromptDialog
from tests.support import replay_feed as replay
from tests.tui.conftest import Stage, digit, stage

LOG = digit("log")


def said(st: Stage) -> list[str]:
    screen = st.app.screen_stack[0]
    assert isinstance(screen, LogScreen)
    return [record.event for record in screen.table.rows]


def at(st: Stage) -> LogRecord | None:
    screen = st.app.screen_stack[0]
    assert isinstance(screen, LogScreen)
    return screen.table.cursor


async def test_the_log_is_read_as_it_is_written() -> None:
    async with stage() as st:
        assert not st.client.called("follow_log")
        await st.press(LOG)
        await st.shows("failed: whisper-de@v1")
        for text in ("6 records", "✗ 1 error", "● following", "✗ error", "! warning", "peer=192.0.2.44:6881"):
            assert text in st.text
        await st.until(lambda: at(st) is not None and at(st).seq == 6)  # type: ignore[union-attr]
        st.client.write_log(replay.record(7, "info", "daemon.bans", "no longer banned: 192.0.2.44"))
        await st.shows("no longer banned: 192.0.2.44")
        await st.until(lambda: at(st) is not None and at(st).seq == 7)  # type: ignore[union-attr]


async def test_it_is_read_only_while_it_is_looked_at_and_goes_on_where_it_was() -> None:
    async with stage() as st:
        await st.press(LOG)
        await st.until(lambda: len(said(st)) == 6)
        await st.press("1")
        st.client.write_log(replay.record(7, "info", "daemon.bans", "banned 192.0.2.9"))
        await st.press(LOG)
        await st.shows("banned 192.0.2.9")
        assert st.client.called("follow_log") == [(0, ""), (6, "")]
        assert len(said(st)) == 7


async def test_levels_and_words_leave_out_what_is_not_wanted() -> None:
    async with stage() as st:
        await st.press(LOG)
        await st.until(lambda: len(said(st)) == 6)
        await st.press("l", "l")
        await st.until(lambda: len(said(st)) == 2)
        assert "level warning and above" in st.text
        await st.press("l")
        await st.until(lambda: said(st) == ["failed: whisper-de@v1"])
        await st.press("l", "slash")
        box = st.app.screen.query_one("#filter", Input)
        for text, count in (
            ("level:warn", 1),
            ("source:daemon.bans", 1),
            ("source:bans", 1),
            ("job:j6", 1),
            ("b0b1", 1),
        ):
            box.value = text
            await st.until(lambda count=count: len(said(st)) == count)  # type: ignore[misc]
        await st.press("escape")
        await st.until(lambda: len(said(st)) == 6)


async def test_who_moves_away_from_the_newest_stops_following() -> None:
    async with stage() as st:
        await st.press(LOG)
        await st.until(lambda: len(said(st)) == 6)
        await st.press("k")
        await st.shows("◦ not following")
        assert at(st) is not None and at(st).seq == 5  # type: ignore[union-attr]


async def test_what_is_not_followed_stands_still_and_counts_what_is_newer() -> None:
    async with stage() as st:
        await st.press(LOG)
        await st.until(lambda: len(said(st)) == 6)
        await st.press("F", "g")
        await st.shows("◦ not following, 0 newer")
        st.client.write_log(*(replay.record(n, "info", "x", f"event {n}") for n in range(7, 10)))
        await st.shows("◦ not following, 3 newer")
        assert len(said(st)) == 6
        assert at(st) is not None and at(st).seq == 1  # type: ignore[union-attr]
        await st.press("F")
        await st.until(lambda: len(said(st)) == 9)
        assert at(st) is not None and at(st).seq == 9  # type: ignore[union-attr]


async def test_enter_shows_all_of_a_record_and_what_to_do() -> None:
    async with stage() as st:
        await st.press(LOG)
        await st.until(lambda: len(said(st)) == 6)
        await st.press("enter")
        assert isinstance(st.app.screen, RecordDialog)
        for text in ("reason", "the owner took your access away", "Kept", "What to do", "ask for a new link"):
            assert text in st.text
        await st.press("escape", "k", "k", "enter")
        await st.shows("Nothing, unless it comes again and again")


async def test_a_traceback_is_shown_line_by_line() -> None:
    async with stage() as st:
        trace = "Traceback (most recent call last):\n  File one\nValueError: \x1b[2Jboom"
        st.client.logged = [replay.record(1, "error", "daemon.job_table", "a job stumbled", exception=trace)]
        await st.press(LOG)
        await st.shows("a job stumbled")
        await st.press("enter")
        await st.shows("ValueError:")
        assert "an error in p2pckpt itself" in st.text
        assert "\x1b" not in st.text


async def test_e_writes_what_is_shown_for_nobody_else_to_read(tmp_path: Path) -> None:
    async with stage(browse_from=tmp_path) as st:
        await st.press(LOG)
        await st.until(lambda: len(said(st)) == 6)
        await st.press("l", "l", "e")
        assert isinstance(st.app.screen, PromptDialog)
        await st.press("enter")
        path = tmp_path / "p2pckpt-log.jsonl"
        await st.toast("Written to")
        assert [json.loads(line)["seq"] for line in path.read_text().splitlines()] == [4, 6]
        assert path.stat().st_mode & 0o777 == 0o600
        await st.press("e", "enter")
        await st.shows("is there already")
        await st.press("escape")


async def test_an_export_that_fails_is_told(tmp_path: Path) -> None:
    async with stage(browse_from=tmp_path) as st:
        await st.press(LOG)
        await st.until(lambda: len(said(st)) == 6)
        await st.press("e")
        st.app.screen.query_one("#line", Input).value = str(tmp_path / "nowhere" / "log")
        await st.press("enter")
        await st.shows("there is no folder")
        st.app.screen.query_one("#line", Input).value = "x" * 300
        await st.press("enter")
        await st.shows("that is no name for a file")
        st.app.screen.query_one("#line", Input).value = "/proc/p2pckpt-log"
        await st.press("enter")
        await st.toast("nothing was written")


async def test_another_daemon_begins_another_log() -> None:
    async with stage() as st:
        await st.press(LOG)
        await st.until(lambda: len(said(st)) == 6)
        st.client.hang_up()
        await st.shows("No daemon")
        assert len(said(st)) == 6
        st.daemon.snapshot = replay.snapshot(started_at=replay.NOW - 5)
        await st.press("r")
        await st.until(lambda: st.app.feed.state.connected and len(st.daemon.clients) == 2)
        await st.until(lambda: st.client.called("follow_log") == [(0, "")])
        await st.until(lambda: len(said(st)) == 6)


async def test_a_log_that_is_refused_is_told() -> None:
    async with stage() as st:
        st.client.failures["follow_log"] = P2pckptError("the log is not kept")
        await st.press(LOG)
        await st.toast("the log is not kept")


async def test_ten_thousand_records_are_kept_and_no_more() -> None:
    async with stage() as st:
        await st.press(LOG)
        await st.until(lambda: len(said(st)) == 6)
        st.client.write_log(*(replay.record(n, "info", "x", f"event {n}") for n in range(7, 10_500)))
        await st.until(lambda: len(said(st)) == 10_000)
        await st.until(lambda: at(st) is not None and at(st).seq == 10_499)  # type: ignore[union-attr]
        st.client.play(m.StatusChanged(replay.status()))
        await st.press("k")


async def test_hostile_text_of_the_log_draws_nothing() -> None:
    async with stage() as st:
        st.client.logged = [replay.record(1, "warning", "x", "\x1b]0;pwned\x07[red]x[/red]\n\x1b[2J", note="\x1b[1m")]
        await st.press(LOG)
        await st.shows("[red]x[/red]")
        assert "\x1b" not in st.text
        await st.press("enter")
        await st.shows("note")
        assert "\x1b" not in st.text
