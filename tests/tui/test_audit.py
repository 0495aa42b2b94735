"""The audit log on screen: newest first, filtered, exported, and not shown when it does not verify."""

from __future__ import annotations

import errno
from pathlib import Path

import msgspec
import pytest
from textual.widgets import Button, Input

from p2pckpt import atomic
from p2pckpt.control import access_messages as am
from p2pckpt.control import messages as m
from p2pckpt.errors import VerificationFailed
from p2pckpt.tui.screens.audit import AuditScreen
from p2pckpt.tui.screens.members import MembersScreen
from tests.support import replay_feed as replay
from tests.tui.conftest import Stage, stage

MINE = "c1" * 16


async def log(st: Stage) -> AuditScreen:
    st.client.replies.setdefault("log", replay.log_reply())
    st.app.show_members(MINE)
    await st.shows("bob-lab")
    await st.press("L")
    await st.until(lambda: st.client.called("log"))
    await st.pilot.pause()
    screen = st.app.screen
    assert isinstance(screen, AuditScreen)
    return screen


async def test_rows_are_shown_newest_first_with_what_was_verified() -> None:
    async with stage() as st:
        screen = await log(st)
        assert [row.seq for row in screen.table.rows] == [4, 3, 2, 1]
        assert "✔ verified up to row 3, signed" in st.text
        assert "1 newer row will be signed" in st.text
        assert "bob-lab (b0b0b0b0) publisher" in st.text
        assert st.client.called("log") == [(am.LogRequest(MINE, 0, 10_000, False),)]
        await st.press("escape")
        assert isinstance(st.app.screen, MembersScreen)


async def test_an_event_brings_newer_rows() -> None:
    async with stage() as st:
        await log(st)
        newer = (*replay.log_reply().rows, am.LogRow(5, replay.NOW, replay.IDENTITY, "alice", "link", "99" * 8, ""))
        st.client.replies["log"] = replay.log_reply(rows=newer, verified=5)
        st.client.play(m.AccessChanged(MINE))
        await st.shows("99" * 8)


@pytest.mark.parametrize(("text", "found"), [("did:role", [2]), ("who:carol", [3]), ("alice", [2, 1]), ("row:>3", [4])])
async def test_a_filter_narrows_it_and_escape_ends_the_filter_first(text: str, found: list[int]) -> None:
    async with stage() as st:
        screen = await log(st)
        await st.press("slash")
        screen.query_one("#filter", Input).value = text
        await st.until(lambda: [row.seq for row in screen.table.rows] == found)
        await st.press("escape")
        assert st.app.screen is screen
        assert len(screen.table.rows) == 4
        await st.press("escape")
        assert isinstance(st.app.screen, MembersScreen)


async def test_what_is_shown_is_exported_to_a_new_file(tmp_path: Path) -> None:
    async with stage() as st:
        screen = await log(st)
        await st.press("slash")
        screen.query_one("#filter", Input).value = "alice"
        await st.until(lambda: len(screen.table.rows) == 2)
        await st.press("enter", "e")
        target = tmp_path / "log.json"
        for path, said in (
            ("", "name a file"),
            (str(tmp_path), "exists"),
            (str(tmp_path / "no" / "x"), "no directory"),
        ):
            st.app.screen.query_one("#line", Input).value = path
            await st.press("enter")
            await st.shows(said)
        st.app.screen.query_one("#line", Input).value = str(target)
        await st.press("enter")
        await st.toast("2 rows written")
        written = msgspec.json.decode(target.read_bytes(), type=am.LogReply)
        assert [row.seq for row in written.rows] == [1, 2]
        assert (written.verified, written.signed) == (4, 3)


async def test_a_file_that_cannot_be_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "no space left on device")

    async with stage() as st:
        await log(st)
        monkeypatch.setattr(atomic, "write_new", full)
        await st.press("e")
        st.app.screen.query_one("#line", Input).value = str(tmp_path / "log.json")
        await st.press("enter")
        await st.toast("cannot be written: no space left on device")


async def test_a_log_that_does_not_verify_is_not_shown_and_its_end_can_be_forgotten() -> None:
    async with stage() as st:
        st.client.failures["log"] = VerificationFailed(
            "row 3 does not follow row 2", next_step="ask the tracker's admin"
        )
        screen = await log(st)
        await st.shows("✗ row 3 does not follow row 2")
        assert not screen.table.rows
        await st.press("e")
        await st.toast("no verified log")
        del st.client.failures["log"]
        await st.press("R")
        await st.shows("restored from an older backup")
        st.app.screen.query_one("#yes", Button).press()
        await st.until(lambda: len(screen.table.rows) == 4)
        assert st.client.called("log")[-1] == (am.LogRequest(MINE, 0, 10_000, True),)
