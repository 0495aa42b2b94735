"""Nothing that somebody else wrote acts on the terminal or on the app, wherever it is shown."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from textual.widgets import Button, Input

from p2pckpt.control import messages as m
from p2pckpt.control import publish_messages as pm
from p2pckpt.control.access_messages import AskReply
from p2pckpt.errors import NotFound, P2pckptError
from tests.support import replay_feed as replay
from tests.tui.conftest import Stage, stage

EVIL = "[@click=app.quit]x[/]\x1b]52;c;ZXZpbA==\x07\x9b31m\u202egnp\x00[bold red]"
INERT = "[@click=app.quit]x[/]"
ACTS = re.compile("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def poison(value: Any) -> Any:
    """``value`` with every free string in it replaced by the hostile one."""
    if isinstance(value, msgspec.Struct):
        return msgspec.structs.replace(
            value, **{name: poison(getattr(value, name)) for name in value.__struct_fields__}
        )
    if isinstance(value, tuple):
        return tuple(poison(item) for item in value)
    if isinstance(value, dict):
        return {poison(key): poison(item) for key, item in value.items()}
    return EVIL if type(value) is str else value


def evil_job(**changes: Any) -> m.Job:
    job: m.Job = poison(replay.busy_snapshot().jobs[5])
    return msgspec.structs.replace(job, **{"id": "j1", **changes})


def evil_snapshot() -> m.Snapshot:
    share = poison(replay.busy_snapshot().shares[0])
    status = poison(replay.status())
    return m.Snapshot(status=status, jobs=(evil_job(),), shares=(msgspec.structs.replace(share, share_id="aa"),))


def inert(st: Stage) -> None:
    for line in st.lines:
        assert not ACTS.search(line), repr(line)
    for strip in st.app.screen._compositor.render_strips():
        for segment in strip:
            meta = segment.style.meta if segment.style is not None else {}
            assert "app.quit" not in str(meta.get("@click", ""))
    assert st.app.is_running and not st.app._exit


async def test_a_hostile_name_is_shown_as_the_characters_it_is() -> None:
    async with stage(evil_snapshot(), size=(160, 40)) as st:
        st.client.replies["job_detail"] = poison(replay.job_detail(evil_job()))
        await st.shows(INERT)
        for _ in range(4):
            await st.press("right_square_bracket")
            inert(st)
        await st.pilot.click("#list", offset=(8, 1))
        inert(st)


async def test_every_tab_of_the_job_screen_is_inert() -> None:
    async with stage(evil_snapshot()) as st:
        st.client.replies["job_detail"] = poison(replay.job_detail(evil_job()))
        await st.press("enter")
        await st.until(lambda: st.client.called("job_detail"))
        for _ in range(4):
            await st.press("right_square_bracket")
            inert(st)


async def test_shares_are_inert() -> None:
    async with stage(evil_snapshot()) as st:
        share = st.client.snapshot.shares[0]
        detail = poison(replay.share_detail(share))
        st.client.replies["share_detail"] = msgspec.structs.replace(detail, share=share)
        await st.press("2")
        await st.until(lambda: st.client.called("share_detail"))
        await st.shows(INERT)
        inert(st)
        await st.press("enter")
        await st.shows(INERT)
        inert(st)


@pytest.mark.parametrize("key", ["d", "D"])
async def test_the_removal_question_is_inert(key: str) -> None:
    async with stage(evil_snapshot()) as st:
        await st.press(key)
        await st.shows(INERT)
        inert(st)


@pytest.mark.parametrize(
    "keys", [(), ("p", "enter"), ("d",), ("a",), ("l",), ("t",), ("c",), ("enter",), ("L",), ("Q",)]
)
async def test_members_and_their_dialogs_are_inert(keys: tuple[str, ...]) -> None:
    async with stage(evil_snapshot(), size=(160, 40)) as st:
        access = poison(replay.access(replay.busy_snapshot().shares[0]))
        st.client.replies |= {
            "access": access,
            "members": [poison(row) for row in replay.members()],
            "requests": [poison(row) for row in replay.requests()],
            "links": [poison(row) for row in replay.links()],
            "log": poison(replay.log_reply()),
        }
        st.app.show_members("aa")
        await st.until(lambda: st.client.called("links"))
        await st.shows("? [@click=app.quit]x[/]")
        inert(st)
        await st.press(*keys)
        await st.pilot.pause()
        inert(st)


async def test_a_proposal_and_a_refusal_of_members_are_inert() -> None:
    async with stage(evil_snapshot(), size=(160, 40)) as st:
        proposal = replay.proposal(owners_added=(EVIL,), publishers_removed=(), digest=EVIL)
        st.client.replies["access"] = replay.access(replay.busy_snapshot().shares[0], proposals=(proposal,))
        st.app.show_members("aa")
        await st.shows("change of keys")
        await st.press("p")
        await st.shows("Sign a change of keys")
        inert(st)
        await st.press("escape")
        st.client.failures["access"] = P2pckptError(EVIL, kept=EVIL, next_step=EVIL)
        st.client.play(m.AccessChanged("aa"))
        await st.shows("✗ [@click=app.quit]x[/]")
        inert(st)


async def test_a_link_that_is_drawn_is_inert() -> None:
    async with stage() as st:
        st.app.show_qr("aa", EVIL, f"p2pckpt:{EVIL}")
        await st.shows(INERT)
        inert(st)


async def test_what_comes_of_asking_is_inert() -> None:
    async with stage() as st:
        st.client.failures["fetch_plan"] = NotFound(EVIL, next_step=EVIL)
        st.client.replies["ask"] = AskReply(EVIL, EVIL, EVIL)
        await st.press("o")
        st.app.screen.query_one("#source", Input).value = EVIL
        await st.press("enter")
        await st.shows("Ask the owners")
        inert(st)
        st.app.screen.query_one("#ask-owners", Button).press()
        await st.until(lambda: st.app.screen.query("#message"))
        await st.press("enter")
        await st.shows("Tell an owner these words")
        await st.shows(INERT)
        inert(st)


async def test_notices_and_errors_are_inert() -> None:
    async with stage(evil_snapshot(), size=(120, 60)) as st:
        st.client.failures["resume"] = P2pckptError(EVIL, kept=EVIL, next_step=EVIL)
        st.client.play(m.Notice("error", EVIL))
        await st.press("space")
        await st.until(lambda: len(st.app._notifications) >= 2)
        await st.shows("That did not work")
        inert(st)


async def test_the_receive_preview_is_inert() -> None:
    async with stage() as st:
        st.client.replies["fetch_plan"] = poison(replay.fetch_preview())
        st.client.replies["fetch"] = evil_job()
        await st.press("o")
        st.app.screen.query_one("#source", Input).value = EVIL
        await st.press("enter")
        await st.until(lambda: st.client.called("fetch_plan"))
        await st.shows("Publisher")
        await st.shows(INERT)
        inert(st)
        assert not ACTS.search(st.client.called("fetch_plan")[0][0].source)


async def test_the_share_dialog_is_inert(tmp_path: Path) -> None:
    (tmp_path / "[@click=app.quit]x[!]\x1b]52;c;ZQ==\x07").mkdir()
    async with stage(browse_from=tmp_path) as st:
        plan = poison(replay.publish_plan(pm.PublishRequest(path=str(tmp_path))))
        st.client.replies["publish_plan"] = plan
        report = poison(replay.folder_report(pm.LookRequest(str(tmp_path))))
        st.client.replies["look"] = msgspec.structs.replace(report, path=str(tmp_path))
        st.client.replies["publish"] = evil_job(id="j90")
        await st.press("n")
        await st.shows("[@click=app.quit]x[!]")
        inert(st)
        st.app.screen.query_one("#path", Input).value = str(tmp_path)
        for shown in ("1 Folder", "[2 Describe]", "[3 Who]", "Contents"):
            await st.shows(shown)
            inert(st)
            if shown == "[3 Who]":
                st.app.screen.query_one("#expires").focus()
            if shown != "Contents":
                await st.press("enter")
        await st.until(lambda: not st.static("#plan-facts").startswith("Comparing"))
        inert(st)
        await st.press("enter")
        await st.until(lambda: st.client.called("publish"))
        await st.shows(INERT)
        inert(st)


async def test_the_down_banner_is_inert() -> None:
    async with stage(evil_snapshot()) as st:
        st.client.hang_up(EVIL)
        await st.shows("No daemon: [@click=app.quit]x[/]")
        inert(st)


async def test_a_pasted_escape_sequence_does_not_enter_the_filter() -> None:
    async with stage() as st:
        await st.press("slash")
        st.app.screen.query_one("#filter", Input).value = EVIL
        await st.press("enter")
        inert(st)
