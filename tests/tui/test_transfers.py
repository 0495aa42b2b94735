"""Every key of Transfers and of a job's own screen, and what each says when the daemon refuses."""

from __future__ import annotations

import msgspec
import pytest
from textual.widgets import Button, Input, TabbedContent

from p2pckpt.control import messages as m
from p2pckpt.errors import NotAllowed, NotFound, P2pckptError
from p2pckpt.tui.screens.confirm import ConfirmDialog
from p2pckpt.tui.screens.job import JobScreen
from p2pckpt.tui.screens.transfers import TransfersScreen
from p2pckpt.tui.widgets.virtual_table import VirtualTable
from tests.support import replay_feed as replay
from tests.tui.conftest import Stage, stage

REFUSED = NotAllowed("the tracker says no", kept="all pieces", next_step="ask the owner")


def listed(st: Stage) -> list[str]:
    return [job.id for job in table(st).rows]


def table(st: Stage) -> VirtualTable[m.Job]:
    screen = st.app.screen
    assert isinstance(screen, TransfersScreen)
    return screen.table


async def refused(st: Stage) -> None:
    await st.toast("the tracker says no\nKept: all pieces\nNext: ask the owner")


async def test_each_state_has_its_own_glyph() -> None:
    async with stage() as st:
        glyphs = [line[2] for line in st.lines[5:13]]
        assert len(set(glyphs)) == 8


async def test_space_pauses_and_the_row_waits_for_the_daemon() -> None:
    async with stage() as st:
        await st.press("space")
        await st.until(lambda: st.client.called("pause") == [("j1",)])
        assert "› ▼ lab/llama-70b-sft" in st.text
        paused = msgspec.structs.replace(replay.busy_snapshot().jobs[0], state=m.JobState.PAUSED)
        st.client.play(m.JobChanged(paused))
        await st.shows("› ‖ lab/llama-70b-sft")
        await st.press("space")
        await st.until(lambda: st.client.called("resume") == [("j1",)])


async def test_space_resumes_a_failed_job_and_leaves_a_done_one() -> None:
    async with stage() as st:
        table(st).move_to(5)
        await st.press("space")
        await st.until(lambda: st.client.called("resume") == [("j6",)])
        await st.press("G", "space")
        await st.toast("There is nothing to pause")
        assert not st.client.called("pause")


@pytest.mark.parametrize(("key", "method"), [("space", "pause"), ("v", "verify")])
async def test_a_refused_request_is_told_and_changes_nothing(key: str, method: str) -> None:
    async with stage() as st:
        before = st.lines[5]
        st.client.failures[method] = REFUSED
        await st.press(key)
        await refused(st)
        assert st.lines[5] == before


async def test_v_verifies_the_version_of_the_row() -> None:
    async with stage() as st:
        await st.press("v")
        await st.toast("Verifying")
        assert st.client.called("verify") == [(m.VerifyRequest(name="lab/llama-70b-sft@v42"),)]


async def test_v_on_a_job_without_a_version_asks_nothing() -> None:
    async with stage(replay.snapshot((replay.job("j1", share="", version=0),))) as st:
        await st.press("v")
        await st.toast("has no version yet")
        assert not st.client.called("verify")


async def test_d_asks_with_consequences_and_no_is_at_hand() -> None:
    async with stage() as st:
        table(st).move_to(3)
        await st.press("d")
        assert isinstance(st.app.screen, ConfirmDialog)
        await st.shows("No other seed is known: without this machine nobody can fetch it.")
        await st.press("enter")
        assert isinstance(st.app.screen, TransfersScreen)
        assert not st.client.called("remove")


async def test_d_removes_after_yes_and_the_row_goes_when_the_daemon_says_so() -> None:
    async with stage() as st:
        await st.press("d", "right", "enter")
        await st.until(lambda: st.client.called("remove") == [("j1", False)])
        assert "j1" in listed(st)
        st.client.play(m.JobRemoved("j1"))
        await st.until(lambda: "j1" not in listed(st))


async def test_a_refused_removal_is_told() -> None:
    async with stage() as st:
        st.client.failures["remove"] = REFUSED
        await st.press("d", "right", "enter")
        await refused(st)
        assert "j1" in listed(st)


async def test_removing_data_needs_the_name_typed() -> None:
    async with stage() as st:
        await st.press("D")
        yes = st.app.screen.query_one("#yes", Button)
        assert yes.disabled
        confirm = st.app.screen.query_one("#confirm", Input)
        confirm.focus()
        await st.press(*"lab")
        assert yes.disabled
        confirm.value = "lab/llama-70b-sft"
        await st.pilot.pause()
        assert not yes.disabled
        yes.focus()
        await st.press("enter")
        await st.until(lambda: st.client.called("remove") == [("j1", True)])


async def test_marked_rows_are_what_a_command_is_for() -> None:
    async with stage() as st:
        await st.press("x", "x", "space")
        await st.until(lambda: st.client.called("pause") == [("j1",), ("j2",)])
        assert "* 2 marked" in st.static("#summary")
        assert st.lines[5].startswith(" *▼") and st.lines[7].startswith("› ≡")
        await st.press("A")
        assert "* 8 marked" in st.static("#summary")
        await st.press("A")
        assert "marked" not in st.static("#summary")


async def test_y_hands_the_link_to_the_terminal() -> None:
    async with stage() as st:
        table(st).move_to(3)
        await st.press("y")
        await st.toast("Link copied")
        assert st.app.clipboard == "p2pckpt:c1c1#secret"


async def test_y_without_a_link_says_so() -> None:
    async with stage() as st:
        await st.press("y")
        await st.toast("No link of lab/llama-70b-sft is known here")
        assert st.app.clipboard == ""


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("llama", ["j1"]),
        ("LAB/ step", ["j1", "j2"]),
        ("state:down", ["j1"]),
        ("state:up", ["j4"]),
        ("state:failed", ["j6"]),
        ("size:>100G", ["j1", "j2"]),
        ("seeds:12", ["j1"]),
        ("seeds:0 size:<=512M", ["j7", "j8"]),
        ("kind:verify", ["j3", "j8"]),
    ],
)
async def test_the_filter_language(text: str, ids: list[str]) -> None:
    async with stage() as st:
        await st.press("slash")
        st.app.screen.query_one("#filter", Input).value = text
        await st.until(lambda: listed(st) == ids)
        await st.press("enter")
        assert st.app.focused is table(st)
        assert f"({len(ids)} shown)" in st.static("#summary")
        await st.press("escape")
        assert len(listed(st)) == 8


@pytest.mark.parametrize("text", ["colour:red", "size:big", "state:"])
async def test_a_filter_that_makes_no_sense_is_told_and_keeps_the_list(text: str) -> None:
    async with stage() as st:
        await st.press("slash")
        box = st.app.screen.query_one("#filter", Input)
        box.value = text
        await st.until(lambda: box.has_class("-invalid"))
        await st.press("enter")
        await st.until(lambda: len(st.app._notifications) == 1)
        assert len(listed(st)) == 8


async def test_s_goes_through_the_columns_and_the_cursor_stays_on_its_row() -> None:
    async with stage() as st:
        table(st).sort_by("size")
        st.app.screen.list_rows()  # type: ignore[attr-defined]
        assert listed(st)[:3] == ["j2", "j1", "j5"]
        cursor = table(st).cursor
        assert cursor is not None and cursor.id == "j1"
        await st.press("S")
        assert listed(st)[-3:] == ["j5", "j1", "j2"]
        before = table(st).sort_key
        await st.press("s")
        assert table(st).sort_key != before
        assert "sort: Progress ↓" in st.static("#summary")


async def test_a_click_on_a_title_sorts_by_it() -> None:
    async with stage() as st:
        left = st.lines[4].index("Size")
        await st.pilot.click("#list", offset=(left, 0))
        await st.until(lambda: table(st).sort_key == "size")
        assert listed(st)[0] == "j2"


async def test_the_pane_asks_for_the_selected_job_only() -> None:
    async with stage() as st:
        await st.shows("35,600 pieces")
        assert {call[0] for call in st.client.called("job_detail")} == {"j1"}
        await st.press("j")
        await st.until(lambda: ("j2",) in st.client.called("job_detail"))
        st.client.calls.clear()
        st.app.screen.refresh_detail()  # type: ignore[attr-defined]
        await st.until(lambda: st.client.called("job_detail"))
        assert set(st.client.called("job_detail")) == {("j2",)}


async def test_a_narrow_terminal_hides_the_pane_and_asks_for_no_detail() -> None:
    async with stage(size=(99, 30)) as st:
        st.app.screen.refresh_detail()  # type: ignore[attr-defined]
        await st.press("j")
        assert not st.app.screen.query_one("#pane").display
        assert not st.client.called("job_detail")


async def test_the_tabs_show_peers_files_the_last_verify_and_log() -> None:
    async with stage() as st:
        await st.shows("Peers 2")
        await st.press("right_square_bracket")
        await st.shows("198.51.100.7:51413")
        await st.press("right_square_bracket")
        await st.shows("model-00002-of-00002.safetensors")
        await st.press("right_square_bracket")
        await st.shows("No verify of this version is known")
        await st.press("right_square_bracket")
        await st.shows("14:02:11 joined the swarm")
        await st.press("right_square_bracket", "left_square_bracket")
        assert st.app.screen.query_one(TabbedContent).active == "log"


async def test_a_refused_detail_is_told_once() -> None:
    async with stage(replay.snapshot((replay.job("j1"),)), size=(99, 30)) as st:
        st.client.failures["job_detail"] = REFUSED
        await st.pilot.resize_terminal(120, 40)
        st.client.play(m.JobChanged(replay.job("j1", done=1)))
        await refused(st)
        asked = len(st.client.called("job_detail"))
        st.app.screen.refresh_detail()  # type: ignore[attr-defined]
        st.client.play(m.JobChanged(replay.job("j1", done=2)))
        await st.until(lambda: st.app.feed.state.jobs["j1"].done == 2)
        await st.pilot.pause()
        assert len(st.client.called("job_detail")) == asked
        assert len(st.app._notifications) == 1


async def test_a_failed_job_says_what_was_kept_and_what_to_do() -> None:
    async with stage() as st:
        table(st).move_to(5)
        await st.shows("✗ the owner took your access away")
        await st.shows("Kept: 2.0 GiB in the store")
        await st.shows("Next: ask for a new link")


async def test_enter_opens_the_job_and_esc_goes_back() -> None:
    async with stage(size=(80, 24)) as st:
        await st.press("enter")
        assert isinstance(st.app.screen, JobScreen)
        await st.shows("35,600")
        await st.press("space")
        await st.until(lambda: st.client.called("pause") == [("j1",)])
        await st.press("escape")
        assert isinstance(st.app.screen, TransfersScreen)


async def test_the_job_screen_closes_when_its_job_is_removed() -> None:
    async with stage() as st:
        await st.press("enter")
        st.client.play(m.JobRemoved("j1"))
        await st.until(lambda: isinstance(st.app.screen, TransfersScreen))


async def test_an_event_about_another_job_keeps_the_cursor() -> None:
    async with stage() as st:
        await st.press("j", "j")
        st.client.play(m.JobRemoved("j1"), m.JobChanged(replay.job("j99", share="late")))
        await st.shows("late")
        cursor = table(st).cursor
        assert cursor is not None and cursor.id == "j3"
        assert "› ≡ sdxl-turbo-ft" in st.text


async def test_the_row_under_the_cursor_going_leaves_a_cursor_in_range() -> None:
    async with stage() as st:
        await st.press("G")
        st.client.play(m.JobRemoved("j8"))
        await st.until(lambda: len(listed(st)) == 7)
        cursor = table(st).cursor
        assert cursor is not None and cursor.id == "j7"


@pytest.mark.parametrize("error", [NotFound("gone"), P2pckptError("odd")])
async def test_an_error_without_advice_is_one_line(error: P2pckptError) -> None:
    async with stage() as st:
        st.client.failures["pause"] = error
        await st.press("space")
        await st.toast(error.fact)
        assert [note.message for note in st.app._notifications] == [error.fact]


async def test_what_is_done_is_cleared_after_a_question_and_a_refusal_is_told() -> None:
    async with stage() as st:
        done = [job.id for job in replay.busy_snapshot().jobs if job.state is m.JobState.DONE]
        assert len(done) == 1
        await st.press("C")
        await st.shows("Forget 1 job from which nothing more comes")
        await st.press("escape")
        assert st.client.called("remove") == []
        await st.press("C", "tab", "enter")
        await st.until(lambda: st.client.called("remove") == [(done[0], False)])
        st.client.play(m.JobRemoved(done[0]))
        await st.until(lambda: done[0] not in st.app.feed.state.jobs)
        await st.press("C")
        await st.toast("Nothing is done")


async def test_a_refused_clearing_is_told() -> None:
    async with stage() as st:
        st.client.failures["remove"] = NotFound("there is no such job")
        await st.press("C", "tab", "enter")
        await st.toast("there is no such job")
