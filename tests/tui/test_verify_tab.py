"""What a verify found, in a job's pane: checks, damaged places, repairing them, exporting it."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec

from p2pckpt.control import messages as m
from p2pckpt.errors import NotAllowed, P2pckptError
from p2pckpt.tui.screens.confirm import ConfirmDialog
from p2pckpt.tui.screens.job import JobScreen
from p2pckpt.tui.screens.prompt import PromptDialog
from tests.support import replay_feed as replay
from tests.tui.conftest import Stage, stage

TO_VERIFY = ("right_square_bracket",) * 3


async def open_report(st: Stage) -> None:
    """The report of the verify in the list, in its own screen."""
    await st.press("j", "j", "enter", *TO_VERIFY)
    assert isinstance(st.app.screen, JobScreen)
    await st.shows("35,600 chunks looked at · 3 damaged · 0 repaired")


async def test_checks_and_damaged_places_are_shown() -> None:
    async with stage() as st:
        await open_report(st)
        for text in (
            "✔ signature  9f3ac21d signed version 3",
            "✗ chunks     35,597 of 35,600 are what was signed",
            "! pickles    unknown: old/unet.ckpt",
            "- model.sig  none here",
            "model-00017-of-00030.safetensors",
            "19,204",
            "7f217f21",
            "ends at 1,000",
            "store 91aa91aa91aa",
            "✗ bad",
        ):
            assert text in st.text
        assert st.client.called("verify_report") == [("j3",)]


async def test_a_transfer_shows_the_last_verify_of_its_version_and_asks_again_when_one_ends() -> None:
    async with stage() as st:
        await st.press(*TO_VERIFY)
        await st.shows("No verify of this version is known. v checks every byte of it.")
        st.client.replies["verify_report"] = replay.verify_report("j50")
        job = replay.job("j50", kind=m.JobKind.VERIFY, share="lab/llama-70b-sft", version=42)
        st.client.play(m.JobChanged(msgspec.structs.replace(job, state=m.JobState.DONE, ended_at=replay.NOW)))
        await st.shows("3 damaged · 0 repaired")
        assert st.client.called("verify_report") == [("j1",), ("j1",)]


async def test_no_report_is_asked_for_before_its_tab_is_opened() -> None:
    async with stage() as st:
        await st.press("j", "j")
        await st.press(*TO_VERIFY)
        await st.shows("3 damaged")
        assert st.client.called("verify_report") == [("j3",)]


async def test_r_repairs_after_a_question_that_says_what_it_means() -> None:
    async with stage() as st:
        await open_report(st)
        await st.press("r")
        assert isinstance(st.app.screen, ConfirmDialog)
        for text in (
            "2 files of /data/checkouts/sdxl made anew",
            "moved to .p2pckpt-replaced",
            "Bad pieces of 1 object in the store",
            "! No other seed is known",
            "= p2pckpt verify --repair sdxl-turbo-ft@v3",
        ):
            assert text in st.text
        await st.press("escape")
        assert not st.client.called("verify")
        await st.press("r", "right", "enter")
        await st.toast("Repairing sdxl-turbo-ft@v3.")
        assert st.client.called("verify") == [(m.VerifyRequest(name="sdxl-turbo-ft@v3", repair=True),)]
        assert not st.client.called("announce")


async def test_a_refused_repair_is_told() -> None:
    async with stage() as st:
        st.client.failures["verify"] = NotAllowed("you may view this share, not download it")
        await open_report(st)
        await st.press("r", "right", "enter")
        await st.toast("you may view this share, not download it")


async def test_where_repairs_came_from_is_shown_and_there_is_nothing_left_to_do() -> None:
    async with stage() as st:
        rows = replay.verify_report("j3").damage
        rows = tuple(
            msgspec.structs.replace(row, fixed_from=s) for row, s in zip(rows, ("store", "swarm", "swarm"), strict=True)
        )
        st.client.replies["verify_report"] = replay.verify_report("j3", damage=rows, repaired=3)
        await st.press("j", "j", "enter", *TO_VERIFY)
        await st.shows("3 damaged · 3 repaired")
        assert "✔ store" in st.text and "✔ swarm" in st.text
        await st.press("r")
        await st.toast("There is nothing to repair.")


async def test_e_exports_the_report(tmp_path: Path) -> None:
    async with stage(browse_from=tmp_path) as st:
        await open_report(st)
        await st.press("e")
        assert isinstance(st.app.screen, PromptDialog)
        await st.press("enter")
        await st.toast("Written to")
        path = tmp_path / "sdxl-turbo-ft-v3-verify.json"
        assert json.loads(path.read_text())["damaged"] == 3
        assert path.stat().st_mode & 0o777 == 0o600


async def test_an_export_that_fails_is_told(tmp_path: Path) -> None:
    async with stage(browse_from=tmp_path) as st:
        await open_report(st)
        await st.press("e")
        (tmp_path / "sdxl-turbo-ft-v3-verify.json").write_text("mine")
        await st.press("enter")
        await st.shows("is there already")
        assert (tmp_path / "sdxl-turbo-ft-v3-verify.json").read_text() == "mine"


async def test_a_report_that_is_refused_is_told() -> None:
    async with stage() as st:
        st.client.failures["verify_report"] = P2pckptError("the report can't be read")
        await st.press("j", "j", *TO_VERIFY)
        await st.toast("the report can't be read")


async def test_without_a_report_r_announces() -> None:
    async with stage() as st:
        await st.press("enter", *TO_VERIFY)
        await st.shows("No verify of this version is known")
        await st.press("r")
        await st.toast("Announced 1 torrent.")
