"""Runs, and what can be done with versions: the history, comparing, tags, details, and every refusal."""

from __future__ import annotations

import msgspec
import pytest
from textual.widgets import Button, Input, TabbedContent

from p2pckpt.control import messages as m
from p2pckpt.control.pin_messages import PinRequest, PinRow
from p2pckpt.control.run_messages import WatchRequest
from p2pckpt.errors import NotAllowed, NotFound, TrackerUnreachable
from p2pckpt.tui.screens.compare_screen import CompareScreen
from p2pckpt.tui.screens.prompt import PromptDialog
from p2pckpt.tui.screens.receive_dialog import ReceiveDialog
from p2pckpt.tui.screens.runs import RunsScreen
from p2pckpt.tui.screens.share_detail import ShareScreen
from p2pckpt.tui.screens.snippet import SnippetScreen, snippet
from p2pckpt.tui.screens.version_screen import VersionScreen
from p2pckpt.tui.version_columns import curve
from tests.support import replay_feed as replay
from tests.tui.conftest import Stage, stage

LLAMA = replay.busy_snapshot().shares[1].share_id


async def open_run(st: Stage) -> None:
    """The versions of the measured share, on the whole screen."""
    await st.press("3", "enter")
    await st.until(lambda: isinstance(st.app.screen, ShareScreen))
    await st.shows("v41")


async def test_runs_are_the_shares_with_measurements() -> None:
    async with stage() as st:
        await st.press("3")
        screen = st.app.screen
        assert isinstance(screen, RunsScreen)
        assert [share.name for share in screen.table.rows] == ["lab/llama-70b-sft"]
        for text in (
            "1 run · ",
            "Step",
            "4,200",
            "loss",
            "2.08",
            "lowest 2.08 in v42",
            "Nobody else is known to seed v42",
        ):
            await st.shows(text)
        await st.press("M")
        await st.shows("eval ")
        await st.shows("lowest 2.58 in v29")


async def test_a_run_of_this_machine_says_where_it_saves_and_what_was_refused() -> None:
    async with stage() as st:
        await st.press("3")
        await st.shows("Run   /runs/l70 · transformers · a save every 11m")
        await st.shows("checkpoint-4210 was not published: model.safetensors ends before its tensors do")


async def test_a_directory_is_watched_from_the_list_of_runs() -> None:
    async with stage() as st:
        await st.press("3", "w")
        await st.until(lambda: isinstance(st.app.screen, PromptDialog))
        await st.press(*"runs", "enter")
        await st.shows("Write an absolute path")
        await st.press("home", "/", "enter")
        await st.toast("Every finished save in /runs becomes a version of lab/llama-70b-sft.")
        assert st.client.called("watch_run") == [(WatchRequest(path="/runs"),)]


async def test_the_newest_good_version_of_a_run_is_restored_where_the_run_saves_or_elsewhere() -> None:
    async with stage() as st:
        await st.press("3", "R")
        await st.until(lambda: isinstance(st.app.screen, PromptDialog))
        await st.press("enter")
        await st.toast("Transfers shows how far it is.")
        await st.press("R")
        await st.until(lambda: isinstance(st.app.screen, PromptDialog))
        await st.press(*"/back", "enter")
        await st.until(lambda: len(st.client.called("restore")) == 2)
        asked = [request for (request,) in st.client.called("restore")]
        assert [(request.source, request.to) for request in asked] == [(LLAMA, ""), (LLAMA, "/back")]


async def test_a_share_becomes_a_run_with_its_first_measurement() -> None:
    async with stage() as st:
        await st.press("3")
        plain = replay.busy_snapshot().shares[0]
        st.client.play(m.ShareChanged(msgspec.structs.replace(plain, measured=1)))
        await st.shows("2 runs")


async def test_no_runs_teach_how_one_begins() -> None:
    async with stage(replay.snapshot()) as st:
        await st.press("3")
        await st.shows("No training runs yet.")
        await st.shows("--step 42000 --metric loss=1.81")


async def test_two_marked_versions_are_compared_and_one_with_the_one_before_it() -> None:
    async with stage() as st:
        await open_run(st)
        await st.press("c")
        await st.until(lambda: isinstance(st.app.screen, CompareScreen))
        await st.shows("v41 (step-4100) → v42 (step-4200)")
        for text in (
            "1.0G new, 800M to fetch",
            "layer.0.weight, layer.1.weight, layer.2.weight, layer.3.weight and 5 more",
            "Tensors removed: old.bias",
            "eval 2.82 → 2.84 · loss 2.09 → 2.08",
            "Also changed: licence mit → apache-2.0",
            "~ model.safetensors",
            "+ notes.txt",
        ):
            await st.shows(text)
        await st.press("escape", "x", "j", "j", "x", "c")
        await st.until(lambda: len(st.client.called("diff")) == 2)
        assert st.client.called("diff") == [(f"{LLAMA}@v41", f"{LLAMA}@v42"), (f"{LLAMA}@v39", f"{LLAMA}@v42")]


async def test_the_oldest_version_alone_can_not_be_compared() -> None:
    async with stage() as st:
        await open_run(st)
        await st.press("G", "c")
        await st.toast("Mark two versions with x")


async def test_a_refused_comparison_is_said_on_its_screen() -> None:
    async with stage() as st:
        st.client.failures["diff"] = TrackerUnreachable("the tracker does not answer", next_step="try later")
        await open_run(st)
        await st.press("c")
        await st.shows("✗ the tracker does not answer")
        await st.shows("Next: try later")


async def test_a_version_is_tagged() -> None:
    async with stage() as st:
        await open_run(st)
        await st.press("j", "t")
        await st.shows("p2pckpt tag lab/llama-70b-sft@v41 TAG")
        await st.press(*"best", "enter")
        await st.until(lambda: st.client.called("tag"))
        assert st.client.called("tag") == [(m.TagRequest(f"{LLAMA}@v41", "best"),)]
        await st.toast("best is v41 now.")


async def test_a_tag_is_taken_away_from_a_version_that_has_one() -> None:
    async with stage() as st:
        await st.press("2", "enter")
        await st.shows("stable")
        await st.press("T")
        await st.toast("v3 has no tag that could be taken away.")
        await st.press("j", "T")
        await st.shows("Which tag of cars/flux-lora-portrait@v2: stable?")
        st.app.screen.query_one("#line", Input).value = "other"
        await st.press("enter")
        await st.shows("✗ v2 has these tags: stable")
        st.app.screen.query_one("#line", Input).value = "stable"
        await st.press("enter")
        await st.until(lambda: st.client.called("tag"))
        assert st.client.called("tag")[0][0].remove


async def test_a_refused_tag_is_told() -> None:
    async with stage() as st:
        st.client.failures["tag"] = NotAllowed("only publishers move tags", next_step="ask an owner")
        await open_run(st)
        await st.press("t", *"best", "enter")
        await st.toast("only publishers move tags\nNext: ask an owner")


async def test_a_version_is_received_verified_and_loaded_from_a_program() -> None:
    async with stage() as st:
        await open_run(st)
        await st.press("j", "f")
        await st.until(lambda: isinstance(st.app.screen, ReceiveDialog))
        assert st.app.screen.query_one("#source", Input).value == f"{LLAMA}@v41"
        await st.press("escape", "v")
        await st.until(lambda: st.client.called("verify"))
        assert st.client.called("verify") == [(m.VerifyRequest(name=f"{LLAMA}@v41"),)]
        await st.press("L")
        await st.until(lambda: isinstance(st.app.screen, SnippetScreen))
        await st.shows("p2pckpt.get('lab/llama-70b-sft@v41'")
        await st.press("y")
        assert st.app.clipboard == snippet("lab/llama-70b-sft@v41")


async def test_a_refused_verify_of_a_version_is_told() -> None:
    async with stage() as st:
        st.client.failures["verify"] = NotAllowed("nothing of it is here")
        await open_run(st)
        await st.press("v")
        await st.toast("nothing of it is here")


async def test_enter_shows_what_a_version_says_of_itself() -> None:
    async with stage() as st:
        await open_run(st)
        await st.press("enter")
        await st.until(lambda: isinstance(st.app.screen, VersionScreen))
        for text in ("Apache-2.0", "loss=2.08", "131,072,001 parameters", "model.pt imports numpy.core", "lusab-babad"):
            await st.shows(text)
        for tab, text in (("card", "It answers."), ("files", "model.safetensors"), ("tensors", "32000×4096")):
            await st.press("right_square_bracket")
            assert st.app.screen.query_one(TabbedContent).active == tab
            await st.shows(text)
        await st.press("escape")
        assert isinstance(st.app.screen, ShareScreen)


async def test_a_version_that_can_not_be_opened_says_why() -> None:
    async with stage() as st:
        st.client.failures["version_detail"] = NotAllowed("you read no content of this share", next_step="ask an owner")
        await open_run(st)
        await st.press("enter")
        await st.shows("✗ you read no content of this share")


async def test_versions_are_sorted_by_a_column() -> None:
    async with stage() as st:
        await open_run(st)
        screen = st.app.screen
        assert isinstance(screen, ShareScreen)
        table = screen._pane.versions
        await st.press("s")
        assert (table.sort_key, [row.version for row in table.rows[:2]]) == ("version", [29, 30])


@pytest.mark.parametrize("name", ["o'brien/x@v1", "plain@v2"])
def test_the_snippet_is_python_whatever_the_name(name: str) -> None:
    compile(snippet(name), "snippet", "exec")


async def test_a_version_s_data_is_removed_once_its_name_is_typed() -> None:
    async with stage() as st:
        await open_run(st)
        await st.press("D")
        await st.shows("Nobody else is known to seed")
        for text in ("Remove data", "lab/llama-70b-sft@v42", "= p2pckpt rm lab/llama-70b-sft@v42 --data"):
            await st.shows(text)
        yes = st.app.screen.query_one("#yes", Button)
        assert yes.disabled
        st.app.screen.query_one("#confirm", Input).value = "lab/llama-70b-sft@v42"
        await st.until(lambda: not yes.disabled)
        yes.press()
        await st.toast("freed.")
        assert st.client.called("drop_version") == [(f"{LLAMA}@v42",)]


async def test_a_version_is_pinned_and_let_go_and_its_row_says_so() -> None:
    async with stage() as st:
        await open_run(st)
        await st.press("p")
        await st.toast("v42 stays on this machine.")
        (run,) = [share for share in replay.busy_snapshot().shares if share.share_id == LLAMA]
        pinned = msgspec.structs.replace(run, pinned=(42,))
        st.client.replies["share_detail"] = replay.share_detail(pinned)
        st.client.play(m.ShareChanged(pinned))
        await st.shows("■ v42")
        await st.press("D")
        await st.toast("v42 is pinned, and stays: p lets go of it first.")
        assert isinstance(st.app.screen, ShareScreen)
        await st.press("enter")
        await st.shows("step-4200  ■ pinned")
        await st.press("p")
        await st.toast("v42 is pinned no more.")
        assert st.client.called("pin") == [(PinRequest(f"{LLAMA}@v42"),), (PinRequest(f"{LLAMA}@v42", remove=True),)]
        retired = PinRow(LLAMA, "lab/llama-70b-sft", 42, "", 1, 1, retired=True, retired_here=True)
        st.client.replies["pin"] = retired
        await st.press("p")
        await st.toast("It was retired: p2pckpt run prune lab/llama-70b-sft --undo takes it back")


async def test_what_is_pinned_and_retired_is_named_beside_the_versions() -> None:
    async with stage() as st:
        (run,) = [share for share in replay.busy_snapshot().shares if share.share_id == LLAMA]
        detail = replay.share_detail(run)
        pinned = msgspec.structs.replace(run, pinned=(42, 77, 78))
        st.client.replies["share_detail"] = msgspec.structs.replace(detail, share=pinned)
        await open_run(st)
        await st.shows("retired: v77, v78.")
        await st.shows("p2pckpt pin --remove lab/llama-70b-sft@v77")


async def test_of_several_versions_those_are_pinned_that_are_not_yet() -> None:
    async with stage() as st:
        (run,) = [share for share in replay.busy_snapshot().shares if share.share_id == LLAMA]
        st.client.play(m.ShareChanged(msgspec.structs.replace(run, pinned=(42,))))
        await open_run(st)
        await st.until(lambda: st.app.feed.state.shares[LLAMA].pinned)
        await st.press("x", "x", "p")
        await st.toast("v41 stays on this machine.")
        assert st.client.called("pin") == [(PinRequest(f"{LLAMA}@v41"),)]
        st.client.failures["pin"] = NotFound(
            "lab/llama-70b-sft@v41 is not on this machine", next_step="p2pckpt get lab/llama-70b-sft@v41, then pin it"
        )
        await st.press("p")
        await st.toast("is not on this machine")


async def test_refused_removals_of_data_are_told_one_by_one() -> None:
    async with stage() as st:
        await open_run(st)
        st.client.failures["drop_version"] = TrackerUnreachable("the tracker does not answer")
        await st.press("x", "x", "D")
        await st.shows("remove 2")
        st.app.screen.query_one("#confirm", Input).value = "remove 2"
        await st.until(lambda: not st.app.screen.query_one("#yes", Button).disabled)
        st.app.screen.query_one("#yes", Button).press()
        await st.toast("the tracker does not answer")
        assert len(st.client.called("drop_version")) == 2


@pytest.mark.parametrize(
    ("values", "drawn"),
    [
        ((-1.7e308, 0.0, 1.7e308), "▁▄█ -1.7e+308 → 1.7e+308, lowest -1.7e+308 in v1"),
        ((0.0, 5e-324), "▁▁ 0 → 4.941e-324, lowest 0 in v1"),
    ],
)
def test_a_curve_of_the_largest_and_smallest_numbers_is_drawn(values: tuple[float, ...], drawn: str) -> None:
    (row,) = replay.share_detail(replay.share("c1" * 16, "run", versions=1, latest=1)).versions
    rows = [
        msgspec.structs.replace(row, version=number, metrics={"loss": value})
        for number, value in enumerate(values, start=1)
    ]
    assert curve(rows, "loss", 40) == f"loss {drawn}"
