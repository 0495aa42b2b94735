"""Shares, one share's own screen, and what they say when the daemon refuses."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import msgspec
from textual.widgets import Button, Input

from p2pckpt.control import messages as m
from p2pckpt.errors import NotAllowed, NotFound
from p2pckpt.tracker_protocol import Role
from p2pckpt.tui.screens.share_detail import ShareScreen
from p2pckpt.tui.screens.share_dialog import ShareDialog
from p2pckpt.tui.screens.shares import SharesScreen
from tests.support import replay_feed as replay
from tests.tui.conftest import Stage, stage


def names(st: Stage) -> list[str]:
    screen = st.app.screen
    assert isinstance(screen, SharesScreen)
    return [share.name for share in screen.table.rows]


def share_id(name: str) -> str:
    return next(share.share_id for share in replay.busy_snapshot().shares if share.name == name)


def _lists(st: Stage, found: list[str]) -> bool:
    return names(st) == found


async def test_a_share_shows_versions_tags_and_seeds() -> None:
    async with stage() as st:
        await st.press("2")
        await st.shows("step-300")
        for text in (
            "latest v3, stable v2",
            "0 seeds of the newest",
            "Nobody else is known to seed",
            "for whoever has a link",
        ):
            assert text in st.text
        assert st.client.called("share_detail") == [(share_id("cars/flux-lora-portrait"),)]
        await st.press("j")
        await st.until(lambda: (share_id("lab/llama-70b-sft"),) in st.client.called("share_detail"))
        await st.shows("v42")


async def test_an_event_asks_for_the_versions_again() -> None:
    async with stage() as st:
        await st.press("2")
        await st.shows("step-300")
        newer = msgspec.structs.replace(replay.busy_snapshot().shares[0], versions=4, latest=4)
        st.client.replies["share_detail"] = replay.share_detail(newer)
        st.client.play(m.ShareChanged(newer))
        await st.shows("step-400")
        assert len(st.client.called("share_detail")) == 2


async def test_events_about_jobs_ask_for_no_versions() -> None:
    async with stage() as st:
        await st.press("2")
        await st.shows("step-300")
        st.client.play(m.JobChanged(replay.job("j1", share="other")))
        await st.until(lambda: st.app.feed.state.jobs["j1"].share == "other")
        await st.until(lambda: st.app.feed._timer is None)
        await st.pilot.pause()
        assert len(st.client.called("share_detail")) == 1


async def test_refused_versions_are_told() -> None:
    async with stage() as st:
        st.client.failures["share_detail"] = NotAllowed("you are no member any more", next_step="p2pckpt ls")
        await st.press("2")
        await st.toast("you are no member any more\nNext: p2pckpt ls")


async def test_v_verifies_the_newest_version() -> None:
    async with stage() as st:
        await st.press("2", "v")
        await st.toast("Verifying")
        assert st.client.called("verify") == [(m.VerifyRequest(name="cars/flux-lora-portrait"),)]


async def test_a_refused_verify_is_told() -> None:
    async with stage() as st:
        st.client.failures["verify"] = NotFound("nothing of it is here")
        await st.press("2", "v")
        await st.toast("nothing of it is here")


async def test_y_copies_the_link_of_the_newest_publish() -> None:
    async with stage() as st:
        await st.press("2", "y")
        await st.toast("Link copied")
        assert st.app.clipboard == "p2pckpt:c1c1#secret"
        await st.press("j", "y")
        await st.toast("No link of lab/llama-70b-sft is known here")


async def test_filter_and_sort() -> None:
    async with stage() as st:
        await st.press("2", "slash")
        box = st.app.screen.query_one("#filter", Input)
        for text, found in (
            ("for:public", ["whisper-de"]),
            ("role:owner", ["cars/flux-lora-portrait"]),
            ("tag:stable", ["cars/flux-lora-portrait"]),
        ):
            box.value = text
            await st.until(partial(_lists, st, found))
        await st.press("escape", "s")
        assert "sort:" in st.static("#summary")


async def test_enter_opens_the_share_and_esc_goes_back() -> None:
    async with stage(size=(80, 24)) as st:
        await st.press("2")
        assert not st.client.called("share_detail")
        await st.press("enter")
        await st.shows("step-300")
        await st.press("escape")
        assert isinstance(st.app.screen, SharesScreen)


async def test_the_share_screen_closes_when_the_share_goes() -> None:
    async with stage() as st:
        await st.press("2", "enter")
        assert isinstance(st.app.screen, ShareScreen)
        st.client.play(m.ShareRemoved("c1" * 16))
        await st.until(lambda: isinstance(st.app.screen, SharesScreen))
        assert "cars/flux-lora-portrait" not in names(st)


async def test_1_leaves_a_detail_for_the_list() -> None:
    async with stage() as st:
        await st.press("2", "enter", "1")
        await st.shows("[1 Transfers]")


async def test_leaving_says_what_it_means_and_wants_the_name() -> None:
    async with stage() as st:
        await st.press("2", "d")
        await st.shows("Leave cars/sd15")
        for text in ("Nobody else is known to seed v2, v3", "2 jobs, 200M of objects.", "= p2pckpt leave cars/sd15"):
            assert text in st.text
        assert st.app.screen.query_one("#yes", Button).disabled
        await st.press("escape")
        assert st.client.called("leave") == []
        await st.press("d")
        await st.shows("Leave cars/sd15")
        st.app.screen.query_one("#confirm", Input).value = "cars/sd15"
        await st.until(lambda: not st.app.screen.query_one("#yes", Button).disabled)
        st.app.screen.query_one("#yes", Button).press()
        await st.toast("Left cars/sd15")
        assert st.client.called("leave") == [(share_id("cars/flux-lora-portrait"), False)]
        assert "cars/flux-lora-portrait" in names(st), "the row goes when the daemon says so"
        st.client.play(m.ShareRemoved(share_id("cars/flux-lora-portrait")))
        await st.until(lambda: "cars/flux-lora-portrait" not in names(st))


async def test_who_is_missed_by_nobody_leaves_without_typing_and_hears_of_a_refusal() -> None:
    async with stage() as st:
        plan = replay.leave_plan(role=Role.DOWNLOADER, alone=(), consequences=("\x1b[31mIts jobs end.",), link="")
        st.client.replies["leave_plan"] = plan
        st.client.failures["leave"] = NotFound("no share of that name is known here")
        await st.press("2", "d")
        await st.shows("Its jobs end.")
        assert "To come back" not in st.text
        st.app.screen.query_one("#yes", Button).press()
        await st.toast("no share of that name is known here")
        st.client.failures["leave_plan"] = NotFound("the plan can't be made")
        await st.press("d")
        await st.toast("the plan can't be made")
        assert isinstance(st.app.screen, SharesScreen)


async def test_a_share_with_pinned_versions_is_left_by_typing_its_name() -> None:
    async with stage() as st:
        st.client.replies["leave_plan"] = replay.leave_plan(role=Role.DOWNLOADER, alone=(), pinned=(3,))
        await st.press("2", "d")
        await st.shows("= p2pckpt leave cars/sd15 --unpin")
        assert st.app.screen.query_one("#yes", Button).disabled
        st.app.screen.query_one("#confirm", Input).value = "cars/sd15"
        await st.until(lambda: not st.app.screen.query_one("#yes", Button).disabled)
        st.app.screen.query_one("#yes", Button).press()
        await st.toast("Left cars/sd15")
        assert st.client.called("leave") == [(share_id("cars/flux-lora-portrait"), True)]


async def test_a_new_version_is_published_from_the_folder_of_the_last_one(tmp_path: Path) -> None:
    async with stage() as st:
        share = share_id("cars/flux-lora-portrait")
        jobs = [job for job in replay.busy_snapshot().jobs if job.share_id == share and job.kind is m.JobKind.PUBLISH]
        newest = max(jobs, key=lambda job: job.version)
        st.client.play(m.JobChanged(msgspec.structs.replace(newest, path=str(tmp_path))))
        await st.until(lambda: st.app.feed.state.jobs[newest.id].path == str(tmp_path))
        await st.press("2", "p")
        await st.until(lambda: isinstance(st.app.screen, ShareDialog))
        assert st.app.screen.query_one("#path", Input).value == str(tmp_path)
        await st.until(lambda: st.client.called("look"))
        (request,) = st.client.called("look")[0]
        assert request.path == str(tmp_path)


async def test_a_share_that_came_from_others_has_no_folder_to_publish_from() -> None:
    async with stage() as st:
        await st.press("2", "j", "p")
        await st.toast("No folder is known here that lab/llama-70b-sft was published from")
        assert isinstance(st.app.screen, SharesScreen)
