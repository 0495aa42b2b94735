"""Share a folder and Receive: the way through, and every refusal on it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from textual import events
from textual.widgets import Button, Checkbox, Input

from p2pckpt.control import messages as m
from p2pckpt.control import publish_messages as pm
from p2pckpt.control.access_messages import AskRequest
from p2pckpt.errors import BadUsage, NoSpace, NotAllowed, NotFound, TrackerUnreachable
from p2pckpt.tracker_protocol import Visibility
from p2pckpt.tui.screens.ask_dialog import AskDialog
from p2pckpt.tui.screens.confirm import ConfirmDialog
from p2pckpt.tui.screens.files_dialog import FilesDialog
from p2pckpt.tui.screens.receive_dialog import ReceiveDialog
from p2pckpt.tui.screens.share_dialog import ShareDialog
from p2pckpt.tui.screens.transfers import TransfersScreen
from tests.support import replay_feed as replay
from tests.tui.conftest import Stage, stage


def put(st: Stage, selector: str, text: str) -> None:
    st.app.screen.query_one(selector, Input).value = text


async def to_review(st: Stage, folder: Path, **fields: str) -> None:
    """Through the first three steps of the share dialog with what is given typed into its inputs."""
    await st.press("n")
    put(st, "#path", str(folder))
    await st.press("enter")
    await st.shows("[2 Describe]")
    for name, text in fields.items():
        put(st, f"#{name.replace('_', '-')}", text)
    await st.press("enter")
    await st.shows("[3 Who]")
    st.app.screen.query_one("#expires").focus()
    await st.press("enter")


async def test_share_goes_from_folder_over_review_to_link(tmp_path: Path) -> None:
    async with stage() as st:
        await st.press("n")
        assert isinstance(st.app.screen, ShareDialog)
        put(st, "#path", str(tmp_path))
        await st.shows("3 files, 4.0G")
        await st.shows("Card: README.md, licence Apache-2.0")
        await st.press("enter")
        await st.shows("[2 Describe]")
        put(st, "#name", "cars/new")
        put(st, "#version", "step-9")
        put(st, "#tags", "stable, best")
        st.app.screen.query_one("#no-licence", Checkbox).value = True
        st.app.screen.query_one("#unsafe-pickle", Checkbox).value = True
        await st.press("enter")
        await st.shows("[3 Who]")
        await st.press("down", "space")
        put(st, "#max-uses", "3")
        put(st, "#password", "sesame")
        st.app.screen.query_one("#max-uses").focus()
        await st.press("enter")
        await st.shows("[4 Review]")
        for text in (
            "cars/new, its first version",
            "members only",
            "for 3 uses, with a password",
            "1.0G in 2 files",
            "at most 1.0G of 100G free",
            "optimizer.pt is a pickle",
        ):
            await st.shows(text)
        options = "--version-name step-9 --to members --tag stable --tag best --max-uses 3 --password-stdin"
        assert f"--name cars/new {options}" in st.static("#command")
        assert "sesame" not in st.text
        request = pm.PublishRequest(
            path=str(tmp_path),
            name="cars/new",
            version_name="step-9",
            to=Visibility.MEMBERS,
            tags=("stable", "best"),
            allow_no_licence=True,
            allow_unsafe_pickle=True,
            max_uses=3,
            password="sesame",
        )
        assert st.client.called("publish_plan") == [(request,)]
        assert not st.client.called("publish")
        await st.press("enter")
        await st.shows("The link appears here as soon as the daemon has it")
        assert st.client.called("publish") == [(request,)]
        await st.press("y")
        assert st.app.clipboard == ""
        made = replay.job("j90", kind=m.JobKind.PUBLISH, share="cars/new", link="p2pckpt:abcd#secret")
        st.client.play(m.JobChanged(made))
        await st.shows("p2pckpt:abcd#secret")
        await st.press("y")
        assert st.app.clipboard == "p2pckpt:abcd#secret"
        await st.press("escape")
        assert isinstance(st.app.screen, TransfersScreen)


async def test_a_changed_card_is_sent_and_the_review_says_what_is_written(tmp_path: Path) -> None:
    async with stage() as st:
        await to_review(st, tmp_path, licence="mit", base_model="a/b, c/d")
        await st.shows("license: mit; base_model: a/b, c/d")
        await st.press("enter")
        await st.until(lambda: st.client.called("publish"))
        card = st.client.called("publish")[0][0].card
        assert card == pm.CardFields(licence="mit", base_model=("a/b", "c/d"), tags=("sft", "en"))


async def test_a_share_that_exists_keeps_who_it_is_for(tmp_path: Path) -> None:
    async with stage() as st:
        report = replay.folder_report(pm.LookRequest(str(tmp_path)), known_as=Visibility.PUBLIC, name="cars/sd15")
        st.client.replies["look"] = report
        await to_review(st, tmp_path)
        await st.shows("cars/sd15, a new version of it")
        await st.shows("anyone, stock BitTorrent clients too; not encrypted (as it is)")
        assert "--to" not in st.static("#command")


@pytest.mark.parametrize(("box", "typed"), [("#expires", "soon"), ("#max-uses", "0"), ("#max-uses", "many")])
async def test_limits_that_make_no_sense_are_said_so(box: str, typed: str, tmp_path: Path) -> None:
    async with stage() as st:
        await st.press("n")
        put(st, "#path", str(tmp_path))
        await st.press("enter")
        await st.shows("[2 Describe]")
        await st.press("enter")
        await st.shows("[3 Who]")
        put(st, box, typed)
        st.app.screen.query_one(box).focus()
        await st.press("enter")
        await st.shows(f"✗ '{typed}' is no ")
        assert "[3 Who]" in st.text


async def test_steps_go_back_and_keep_what_was_typed(tmp_path: Path) -> None:
    async with stage() as st:
        await to_review(st, tmp_path, tags="stable")
        await st.shows("[4 Review]")
        for step in ("[3 Who]", "[2 Describe]", "[1 Folder]"):
            await st.press("ctrl+b")
            await st.shows(step)
        await st.press("enter")
        await st.shows("[2 Describe]")
        assert st.app.screen.query_one("#tags", Input).value == "stable"


async def test_share_refuses_a_path_that_is_no_folder() -> None:
    async with stage() as st:
        await st.press("n")
        put(st, "#path", "/nowhere/at/all")
        await st.press("enter")
        await st.shows("✗ /nowhere/at/all is not a folder on this machine.")
        assert not st.client.called("look")


async def test_share_shows_why_a_folder_cannot_be_shared_and_stays(tmp_path: Path) -> None:
    async with stage() as st:
        st.client.failures["look"] = BadUsage("a.sock is a socket", next_step="move or rename these")
        await st.press("n")
        put(st, "#path", str(tmp_path))
        await st.press("enter")
        await st.shows("✗ a.sock is a socket")
        await st.shows("Next: move or rename these")
        del st.client.failures["look"]
        await st.press("enter")
        await st.shows("[2 Describe]")
        assert "socket" not in st.static("#error")


async def test_share_shows_why_there_is_no_plan_and_may_publish_all_the_same(tmp_path: Path) -> None:
    async with stage() as st:
        st.client.failures["publish_plan"] = TrackerUnreachable("the tracker does not answer", next_step="try later")
        await to_review(st, tmp_path)
        await st.shows("✗ the tracker does not answer")
        await st.press("enter")
        await st.until(lambda: st.client.called("publish"))


async def test_share_shows_why_it_could_not_publish(tmp_path: Path) -> None:
    async with stage() as st:
        st.client.failures["publish"] = NoSpace("the disk is full")
        await to_review(st, tmp_path)
        await st.shows("Changed")
        await st.press("enter")
        await st.shows("✗ the disk is full")
        assert "[4 Review]" in st.text


async def test_a_publish_that_fails_later_is_seen_in_the_dialog(tmp_path: Path) -> None:
    async with stage() as st:
        await to_review(st, tmp_path)
        await st.shows("Changed")
        await st.press("enter")
        failed = replay.job(
            "j90",
            kind=m.JobKind.PUBLISH,
            state=m.JobState.FAILED,
            failure=m.Failure("failed", "a file changed", "", "again"),
        )
        st.client.play(m.JobChanged(failed))
        await st.shows("a file changed")


async def test_a_folder_of_the_tree_becomes_the_path(tmp_path: Path) -> None:
    (tmp_path / "checkpoint-1").mkdir()
    async with stage(browse_from=tmp_path) as st:
        await st.press("n")
        await st.shows("checkpoint-1")
        st.app.screen.query_one("#tree").focus()
        await st.press("down", "enter")
        await st.until(lambda: st.app.screen.query_one("#path", Input).value == str(tmp_path / "checkpoint-1"))


async def test_receive_previews_and_starts_what_was_previewed() -> None:
    async with stage() as st:
        await st.press("o")
        put(st, "#source", "p2pckpt:abcd#secret")
        put(st, "#to", "/data/here")
        put(st, "#password", "sesame")
        st.app.screen.query_one("#weights", Checkbox).value = True
        st.app.screen.query_one("#seed", Checkbox).value = False
        await st.press("enter")
        await st.shows("cars/sd15 @ v7 “step-42000” (latest, stable)")
        for text in (
            "9f3ac21d-0e77b614-55a03d9c",
            "apache-2.0",
            "4.0G in 2 files",
            "1.0G need no network",
            "2.0G from 9 seeds",
            "/data/here",
            "needs 5.0G of 100G free",
            "config.json differs: it is moved aside, not overwritten",
            "2 tensors with NaN",
        ):
            assert text in st.text
        request = m.FetchRequest(
            source="p2pckpt:abcd#secret",
            to="/data/here",
            base=str(Path.cwd()),
            only=("weights",),
            seed=False,
            password="sesame",
        )
        assert st.client.called("fetch_plan") == [(request,)]
        assert not st.client.called("fetch")
        await st.press("enter")
        await st.toast("Receiving cars/sd15")
        assert st.client.called("fetch") == [(request,)]
        assert isinstance(st.app.screen, TransfersScreen)


async def test_receive_seeds_afterwards_unless_the_setting_says_otherwise() -> None:
    async with stage() as st:
        st.client.replies["settings"] = replay.settings(seed_after_get=False)
        await st.press("o")
        await st.until(lambda: st.app.screen.query_one("#seed", Checkbox).value is False)


async def test_receive_without_an_answer_about_settings_seeds_afterwards() -> None:
    async with stage() as st:
        st.client.failures["settings"] = NotFound("there are no settings")
        await st.press("o")
        await st.until(lambda: st.client.called("settings"))
        assert st.app.screen.query_one("#seed", Checkbox).value is True
        assert not st.app._notifications


async def test_receive_warns_before_it_starts() -> None:
    async with stage() as st:
        st.client.replies["fetch_plan"] = replay.fetch_preview(licence="", seeds=0, disk_free=1 << 20)
        await st.press("o")
        put(st, "#source", "p2pckpt:abcd#secret")
        await st.press("enter")
        for text in ("The disk is too full for it.", "No seed is known now", "none named"):
            await st.shows(text)


async def test_receive_starts_only_what_was_accepted_where_the_owner_asks_for_that() -> None:
    async with stage() as st:
        st.client.replies["fetch_plan"] = replay.fetch_preview(licence_due="openrail-m")
        await st.press("o")
        put(st, "#source", "cars/sd15")
        await st.press("enter")
        await st.shows("The owner asks you to accept this licence: openrail-m")
        await st.press("enter")
        await st.shows("✗ The owner asks you to accept the licence first.")
        assert not st.client.called("fetch")
        await st.until(lambda: st.app.focused is st.app.screen.query_one("#accept"))
        await st.press("space", "tab", "enter")
        await st.until(lambda: bool(st.client.called("fetch")))
        assert st.client.called("fetch")[0][0].accept_licence == "openrail-m"


async def test_receive_without_a_link_asks_nobody() -> None:
    async with stage() as st:
        await st.press("o", "enter")
        await st.shows("✗ Paste a link first.")
        assert not st.client.called("fetch_plan")


async def test_receive_shows_a_refused_link_and_stays() -> None:
    async with stage() as st:
        st.client.failures["fetch_plan"] = TrackerUnreachable(
            "the tracker does not answer", kept="nothing", next_step="try later"
        )
        await st.press("o")
        put(st, "#source", "p2pckpt:abcd#secret")
        await st.press("enter")
        await st.shows("✗ the tracker does not answer")
        await st.shows("Next: try later")
        assert isinstance(st.app.screen, ReceiveDialog)


async def test_receive_shows_why_it_could_not_start() -> None:
    async with stage() as st:
        st.client.failures["fetch"] = NoSpace("the disk is full", kept="nothing was written")
        await st.press("o")
        put(st, "#source", "p2pckpt:abcd#secret")
        await st.press("enter")
        await st.shows("Start")
        await st.until(lambda: st.client.called("fetch_plan"))
        await st.until(lambda: st.app.focused is st.app.screen.query_one("#start"))
        await st.press("enter")
        await st.shows("✗ the disk is full")
        assert isinstance(st.app.screen, ReceiveDialog)


async def test_a_dialog_that_is_closed_early_hears_no_answer() -> None:
    async with stage() as st:
        st.client.failures["fetch_plan"] = TrackerUnreachable("the tracker does not answer")
        await st.press("o")
        put(st, "#source", "p2pckpt:abcd#secret")
        await st.pilot.press("enter", "escape")
        await st.until(lambda: isinstance(st.app.screen, TransfersScreen))


async def test_a_dialog_without_a_daemon_says_how_to_start_one() -> None:
    async with stage(running=False) as st:
        await st.press("o")
        put(st, "#source", "p2pckpt:abcd#secret")
        await st.press("enter")
        await st.shows("✗ the daemon is not running")


async def test_a_plan_that_is_too_big_for_the_disk_says_so(tmp_path: Path) -> None:
    async with stage() as st:
        plan = replay.publish_plan(pm.PublishRequest(path="/x"), version=1)
        st.client.replies["publish_plan"] = msgspec.structs.replace(plan, disk_free=1)
        await to_review(st, tmp_path)
        await st.shows("The disk may be too full for it.")


async def test_a_next_version_may_be_stored_as_differences_and_says_what_that_saves(tmp_path: Path) -> None:
    async with stage() as st:
        request = pm.LookRequest(str(tmp_path), "cars/again")
        st.client.replies["look"] = replay.folder_report(request, known_as=Visibility.LINK)
        st.client.replies["publish_plan"] = replay.publish_plan(pm.PublishRequest(path="/x"), delta_size=200 << 20)
        await to_review(st, tmp_path)
        await st.shows("about 700M, compressed; as differences 200M")
        assert "--delta" not in st.static("#command")
        st.app.screen.query_one("#delta", Checkbox).focus()
        await st.press("space")
        await st.shows("about 200M as differences; without, 700M")
        assert st.static("#command").endswith(" --delta")
        await st.press("ctrl+b")
        await st.press("enter")
        await st.shows("about 200M as differences")  # going back and forth keeps what was chosen
        await st.press("enter")
        await st.until(lambda: st.client.called("publish"))
        (published,) = st.client.called("publish")[0]
        assert published.delta
        assert {asked.delta for (asked,) in st.client.called("publish_plan")} == {False}


@pytest.mark.parametrize(
    ("known_as", "tags", "delta_size", "said"),
    [
        (None, "", -1, ""),
        (Visibility.LINK, "stable", 1, "no differences: a version with a tag is whole"),
        (Visibility.LINK, "", -1, "no differences: this version is whole in any case"),
    ],
    ids=["a first version", "a tagged one", "one without a whole one before it"],
)
async def test_differences_are_not_offered_to_a_version_that_has_none(
    known_as: Visibility | None, tags: str, delta_size: int, said: str, tmp_path: Path
) -> None:
    async with stage() as st:
        request = pm.LookRequest(str(tmp_path), "cars/again")
        st.client.replies["look"] = replay.folder_report(request, known_as=known_as)
        plan = replay.publish_plan(pm.PublishRequest(path="/x"), delta_size=delta_size)
        st.client.replies["publish_plan"] = plan
        await to_review(st, tmp_path, tags=tags)
        await st.shows("Changed")
        check = st.app.screen.query_one("#delta", Checkbox)
        check.value = True  # as it was chosen before the tag was typed, or the plan was there
        await st.shows(said or "its first version")
        assert check.disabled and check.display is bool(said)
        assert "--delta" not in st.static("#command")
        await st.press("enter")
        await st.until(lambda: st.client.called("publish"))
        (published,) = st.client.called("publish")[0]
        assert not published.delta


async def test_who_is_refused_may_ask_the_owners_and_goes_on_once_let_in() -> None:
    async with stage() as st:
        st.client.failures["fetch_plan"] = NotFound("there is no such share, or you are no member")
        await st.press("o")
        assert not st.app.screen.query_one("#ask-owners").display
        st.app.screen.query_one("#source", Input).value = "p2pckpt:aa?tr=x"
        await st.press("enter")
        await st.shows("you are no member")
        st.app.screen.query_one("#ask-owners", Button).press()
        await st.until(lambda: st.app.screen.query("#message"))
        box = st.app.screen.query_one("#message", Input)
        box.value = "x" * 201
        await st.press("enter")
        await st.shows("more than 200 characters")
        box.value = "dave from the lab"
        await st.press("enter")
        await st.shows("lusab-babad")
        assert st.client.called("ask") == [(AskRequest("p2pckpt:aa?tr=x", "dave from the lab"),)]
        del st.client.failures["fetch_plan"]
        st.client.play(m.AccessChanged("ab" * 32), m.AccessGranted("cd" * 32))
        await st.until(lambda: st.client.played == 2 and st.app.feed._timer is None)
        assert isinstance(st.app.screen, AskDialog), "neither is about this share's owners letting us in"
        st.client.play(m.AccessGranted("ab" * 32))
        await st.shows("Publisher")


async def test_a_request_that_is_refused_stays_in_the_form_and_a_failure_of_another_kind_offers_none() -> None:
    async with stage() as st:
        st.client.failures |= {"fetch_plan": NotAllowed("not for you"), "ask": TrackerUnreachable("it does not answer")}
        await st.press("o")
        st.app.screen.query_one("#source", Input).value = "p2pckpt:aa?tr=x"
        await st.press("enter")
        await st.shows("Ask the owners")
        st.app.screen.query_one("#ask-owners", Button).press()
        await st.until(lambda: st.app.screen.query("#message"))
        await st.press("enter")
        await st.shows("✗ it does not answer")
        await st.press("escape")
        st.client.failures["fetch_plan"] = TrackerUnreachable("it does not answer")
        await st.press("enter")
        await st.until(lambda: not st.app.screen.query_one("#ask-owners").display)


async def test_files_are_chosen_and_what_that_means_is_looked_at_again() -> None:
    async with stage() as st:
        await st.press("o")
        put(st, "#source", "cars/sd15@v7")
        await st.press("enter")
        await st.shows("Files (f)")
        await st.press("f")
        await st.until(lambda: isinstance(st.app.screen, FilesDialog))
        await st.shows("2 files of 2, 4.0G")
        await st.press("x")
        await st.shows("1 file of 2")
        await st.press("enter")
        await st.until(lambda: len(st.client.called("fetch_plan")) == 2)
        left = st.client.called("fetch_plan")[1][0]
        assert left.only == ("config.json",)
        await st.until(lambda: "--only config.json" in st.static("#command"))
        await st.press("f", "A", "enter")
        await st.until(lambda: len(st.client.called("fetch_plan")) == 3)
        assert st.client.called("fetch_plan")[2][0].only == ()


async def test_start_sends_what_is_shown_when_another_choice_could_not_be_looked_at() -> None:
    async with stage() as st:
        await st.press("o")
        put(st, "#source", "cars/sd15@v7")
        await st.press("enter")
        await st.shows("Files (f)")
        shown = st.static("#command")
        st.client.failures["fetch_plan"] = TrackerUnreachable("it does not answer")
        await st.press("f", "x", "enter")
        await st.shows("✗ it does not answer")
        assert len(st.client.called("fetch_plan")) == 2
        assert st.static("#command") == shown
        await st.press("f")
        await st.shows("2 files of 2")
        await st.press("escape")
        await st.until(lambda: st.app.screen.query("#start"))
        st.app.screen.query_one("#start", Button).press()
        await st.until(lambda: st.client.called("fetch"))
        assert st.client.called("fetch")[0][0].only == ()


async def test_no_files_can_not_be_taken_and_esc_changes_nothing() -> None:
    async with stage() as st:
        await st.press("o")
        put(st, "#source", "cars/sd15@v7")
        await st.press("enter")
        await st.shows("Files (f)")
        await st.press("f", "A")
        await st.shows("0 files of 2")
        await st.press("enter")
        assert isinstance(st.app.screen, FilesDialog)
        await st.press("escape")
        assert len(st.client.called("fetch_plan")) == 1


async def test_a_version_is_only_added() -> None:
    async with stage() as st:
        st.client.replies["fetch"] = replay.job("j91", state=m.JobState.PAUSED, share="cars/sd15")
        await st.press("o")
        put(st, "#source", "cars/sd15")
        await st.press("enter")
        await st.shows("Only add, paused")
        await st.until(lambda: st.app.focused is st.app.screen.query_one("#start"))
        await st.press("tab", "enter")
        await st.toast("cars/sd15 is added as j91; space begins it.")
        assert st.client.called("fetch")[0][0].paused


async def test_the_command_line_that_is_shown_holds_no_secret() -> None:
    async with stage() as st:
        await st.press("o")
        put(st, "#source", "p2pckpt:abcd#secret")
        put(st, "#password", "sesame")
        put(st, "#to", "/data/here")
        await st.press("enter")
        await st.until(lambda: "p2pckpt get - --to /data/here --password-file FILE" in st.static("#command"))
        assert "secret" not in st.text and "sesame" not in st.text


async def test_how_long_it_takes_is_told_by_the_last_transfer() -> None:
    ended = replay.job(
        "j1", state=m.JobState.SEEDING, wire_done=1 << 30, created_at=replay.NOW - 200, ended_at=replay.NOW - 100
    )
    async with stage(replay.snapshot((ended,))) as st:
        await st.press("o")
        put(st, "#source", "cars/sd15")
        await st.press("enter")
        await st.shows("about 3m21 at your last rate")


def press_at_once(st: Stage, *keys: str) -> None:
    """Keys that are all there before the first one was dealt with."""
    assert st.app._driver is not None
    for key in keys:
        st.app._driver.send_message(events.Key(key, "\r" if key == "enter" else None))


@pytest.mark.parametrize("below", [(), ("enter",)], ids=["a list below", "a detail below"])
@pytest.mark.parametrize(
    ("opened", "keys"),
    [
        (("d", "tab"), ("enter", "enter")),
        (("d",), ("escape", "escape")),
        (("l",), ("escape", "escape")),
        (("o",), ("escape", "escape")),
        (("question_mark",), ("escape", "escape")),
    ],
    ids=str,
)
async def test_keys_pressed_twice_close_a_dialog_and_nothing_below(
    below: tuple[str, ...], opened: tuple[str, ...], keys: tuple[str, ...]
) -> None:
    async with stage() as st:
        await st.press(*below)
        screens = list(st.app.screen_stack)
        await st.press(*opened)
        dialog = st.app.screen
        assert dialog not in screens
        press_at_once(st, *keys)
        await st.until(lambda: dialog not in st.app.screen_stack)
        await st.pilot.pause()
        assert st.app.screen_stack == screens[: len(st.app.screen_stack)]
        assert st.app.is_running and st.app._exception is None
        assert len(st.client.called("remove")) == (("tab" in opened) and 1)


async def test_a_dialog_that_is_done_while_another_screen_is_above_closes_with_it() -> None:
    async with stage() as st:
        await st.press("o")
        below = st.app.screen
        assert isinstance(below, ReceiveDialog)
        await st.press("ctrl+p")
        await st.until(lambda: st.app.screen is not below)
        below.dismiss(None)
        below.dismiss(None)
        await st.until(lambda: len(st.app.screen_stack) == 1)
        assert st.app.is_running


async def test_a_dialog_that_is_answered_twice_is_answered_once() -> None:
    async with stage() as st:
        await st.press("enter")
        screens = list(st.app.screen_stack)
        await st.press("d")
        dialog = st.app.screen
        assert isinstance(dialog, ConfirmDialog)
        dialog.action_yes()
        dialog.action_yes()
        dialog.action_no()
        await st.until(lambda: st.client.called("remove"))
        await st.pilot.pause()
        assert st.app.screen_stack == screens
        assert len(st.client.called("remove")) == 1
