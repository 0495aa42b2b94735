"""What a terminal of a given size shows: text snapshots, and nothing beyond its edges.

``P2PCKPT_UPDATE_SNAPSHOTS=1`` writes the snapshots anew.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from rich.cells import cell_len
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Button, Checkbox, Input

from p2pckpt import config
from p2pckpt.control import publish_messages as pm
from p2pckpt.tracker_protocol import Visibility
from p2pckpt.trust import identity_file
from tests.support import replay_feed as replay
from tests.tui.conftest import SETTINGS_KEY, Stage, digit, stage

SNAPSHOTS = Path(__file__).parent / "snapshots"
SIZES = [(120, 40), (80, 24)]


def check(name: str, st: Stage) -> None:
    path = SNAPSHOTS / f"{name}-{st.app.size.width}x{st.app.size.height}.txt"
    drawn = "".join(line.rstrip() + "\n" for line in st.lines)
    if os.environ.get("P2PCKPT_UPDATE_SNAPSHOTS") == "1":
        path.write_text(drawn, "utf-8")
    assert path.is_file(), f"no snapshot {path.name}: set P2PCKPT_UPDATE_SNAPSHOTS=1 once and look at it"
    assert drawn == path.read_text("utf-8")


@pytest.mark.parametrize("size", SIZES)
async def test_transfers_look_as_they_did(size: tuple[int, int]) -> None:
    async with stage(size=size) as st:
        if size[0] >= 100:
            await st.shows("35,600 pieces")
            await st.shows("Files 3")
        check("transfers", st)


@pytest.mark.parametrize("size", SIZES)
async def test_shares_look_as_they_did(size: tuple[int, int]) -> None:
    async with stage(size=size) as st:
        await st.press("2")
        if size[0] >= 100:
            await st.shows("step-300")
        check("shares", st)


@pytest.mark.parametrize("size", SIZES)
async def test_settings_look_as_they_did(size: tuple[int, int]) -> None:
    async with stage(size=size) as st:
        st.client.replies["settings"] = replay.settings(upload_limit=5 << 20, port=6881, turtle_hours="09:00-18:00")
        await st.press(SETTINGS_KEY)
        await st.shows("seed_after_get")
        check("settings", st)


@pytest.mark.parametrize("size", SIZES)
async def test_members_look_as_they_did(size: tuple[int, int]) -> None:
    async with stage(size=size) as st:
        st.app.show_members("c1" * 16)
        await st.shows("bob-lab")
        await st.pilot.pause()
        check("members", st)


@pytest.mark.parametrize("size", SIZES)
async def test_the_audit_log_looks_as_it_did(size: tuple[int, int]) -> None:
    async with stage(size=size) as st:
        st.client.replies["log"] = replay.log_reply()
        st.app.show_members("c1" * 16)
        await st.shows("bob-lab")
        await st.press("L")
        await st.shows("link-burnt")
        await st.pilot.pause()
        check("audit", st)


@pytest.mark.parametrize("keys", [(), ("p",), ("p", "enter"), ("d",), *((key,) for key in "alctLQ"), ("enter",)])
async def test_nothing_of_members_overflows_at_80_by_24(keys: tuple[str, ...]) -> None:
    async with stage(size=(80, 24)) as st:
        st.app.show_members("c1" * 16)
        await st.shows("bob-lab")
        await st.press(*keys)
        await st.pilot.pause()
        overflows(st)


@pytest.mark.parametrize("text", ["p2pckpt:short?tr=x", "p2pckpt:" + "a" * 250])
async def test_a_code_or_what_it_needs_fits_at_80_by_24(text: str) -> None:
    async with stage(size=(80, 24)) as st:
        st.app.show_qr("c1" * 16, "cars", text)
        await st.shows("copies it")
        overflows(st)


@pytest.mark.parametrize("size", SIZES)
async def test_runs_and_their_versions_look_as_they_did(size: tuple[int, int]) -> None:
    async with stage(size=size) as st:
        await st.press("3")
        await st.shows("v41" if size[0] >= 100 else "llama")
        check("runs", st)
        await st.press("enter")
        await st.shows("v41")
        check("run", st)
        await st.press("c")
        await st.shows("notes.txt")
        check("compare", st)
        await st.press("escape", "enter")
        await st.shows("Apache-2.0")
        check("version", st)


@pytest.mark.parametrize("size", SIZES)
async def test_peers_look_as_they_did(size: tuple[int, int]) -> None:
    async with stage(size=size) as st:
        await st.press(digit("peers"))
        await st.shows("10.4.0.17:6881")
        check("peers", st)


@pytest.mark.parametrize("size", SIZES)
async def test_the_log_looks_as_it_did(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    async with stage(size=size) as st:
        await st.press(digit("log"))
        await st.shows("failed: whisper-de@v1")
        check("log", st)


@pytest.mark.parametrize("size", SIZES)
async def test_what_a_verify_found_looks_as_it_did(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    async with stage(size=size) as st:
        await st.press("j", "j", "enter", *["right_square_bracket"] * 3)
        await st.shows("3 damaged · 0 repaired")
        check("verify", st)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ["keys", "trust prompt", "changed key"])
async def test_keys_look_as_they_did(size: tuple[int, int], name: str) -> None:
    async with stage(size=size) as st:
        await st.pilot.app.run_action("app.go('keys')")
        await st.shows("Chen Wei")
        if name != "keys":
            await st.press("G", *["k"] * (name == "trust prompt"), "enter")
        await st.until(lambda: size[0] >= 100 or "Made " not in st.text)
        await st.pilot.pause()
        check(name.replace(" ", "-"), st)


WAYS: dict[str, tuple[str, ...]] = {
    "transfers": (),
    "job": ("enter",),
    "job verify": ("j", "j", "enter", *["right_square_bracket"] * 3),
    "repair": ("j", "j", "enter", *["right_square_bracket"] * 3, "r"),
    "export": ("j", "j", "enter", *["right_square_bracket"] * 3, "e"),
    "peers": (digit("peers"),),
    "peer": (digit("peers"), "enter"),
    "ban": (digit("peers"), "A", "b"),
    "bans": (digit("peers"), "B"),
    "log": (digit("log"),),
    "log record": (digit("log"), "enter"),
    "job files": ("enter", "right_square_bracket", "right_square_bracket"),
    "shares": ("2",),
    "share": ("2", "enter"),
    "own key": ("KEYS", "enter"),
    "trust prompt": ("KEYS", "G", "enter"),
    "trust prompt of a blocked key": ("KEYS", "j", "j", "enter"),
    "block": ("KEYS", "G", "b"),
    "forget": ("KEYS", "j", "f"),
    "rotate": ("KEYS", "R"),
    "share dialog": ("n",),
    "leave": ("2", "d"),
    "clear": ("C",),
    "runs": ("3",),
    "run": ("3", "enter"),
    "version": ("3", "enter", "enter"),
    "version tensors": ("3", "enter", "enter", "left_square_bracket"),
    "compare": ("3", "enter", "c"),
    "tag": ("3", "enter", "t"),
    "remove version data": ("3", "enter", "D"),
    "snippet": ("3", "enter", "L"),
    "receive dialog": ("o",),
    "remove": ("A", "d"),
    "remove with data": ("A", "D"),
    "help": ("question_mark",),
    "filter": ("slash",),
    "limit": ("l",),
    "limit of several": ("A", "l"),
    "settings": (SETTINGS_KEY,),
    "setting": (SETTINGS_KEY, "enter"),
    "setting of several": (SETTINGS_KEY, "j", "j", "j", "j", "enter"),
    "theme": (SETTINGS_KEY, "G", "enter"),
}


@pytest.mark.parametrize("way", WAYS)
async def test_nothing_overflows_at_80_by_24(way: str) -> None:
    async with stage(size=(80, 24)) as st:
        keys = list(WAYS[way])
        if keys[:1] == ["KEYS"]:
            await st.pilot.app.run_action("app.go('keys')")
            await st.shows("Chen Wei")
            del keys[0]
        await st.press(*keys)
        overflows(st)


async def test_a_backup_fits_at_80_by_24(tmp_path: Path) -> None:
    here = config.load(home=tmp_path / "home", environ={}, directory=tmp_path)
    identity_file.load_or_create(here.keys_dir, "alice")
    identity_file.set_passphrase(here.keys_dir, "orange tram")
    async with stage(size=(80, 24), config=here) as st:
        await st.pilot.app.run_action("app.go('keys')")
        await st.shows("Chen Wei")
        await st.press("B")
        await st.shows("Again")
        st.app.screen.query_one("#yes", Button).press()
        await st.shows("name a file")
        overflows(st)


async def test_nothing_overflows_at_80_by_24_without_a_daemon() -> None:
    async with stage(size=(80, 24)) as st:
        st.client.hang_up("x" * 500)
        await st.shows("No daemon")
        overflows(st)


async def test_the_second_step_of_receive_fits_at_80_by_24() -> None:
    async with stage(size=(80, 24)) as st:
        st.client.replies["fetch_plan"] = replay.fetch_preview(
            conflicts=tuple(f"shard-{i}.bin" for i in range(40)), warnings=("w" * 300,) * 5
        )
        await st.press("o")
        st.app.screen.query_one("#source", Input).value = "p2pckpt:abcd#secret"
        await st.press("enter")
        await st.until(lambda: "p2pckpt get" in st.static("#command"))
        overflows(st)
        assert "Start" in st.text
        await st.press("f")
        await st.shows("Files to receive")
        overflows(st)


@pytest.mark.parametrize("size", SIZES)
async def test_every_step_of_the_share_dialog_looks_as_it_did_and_fits(size: tuple[int, int], tmp_path: Path) -> None:
    folder = tmp_path / "sd15"
    folder.mkdir()
    async with stage(size=size, browse_from=folder) as st:
        st.client.replies["look"] = replay.folder_report(
            pm.LookRequest("/runs/sd15", "cars/sd15"), warnings=("w" * 300,) * 5
        )
        await st.press("n")
        st.app.screen.query_one("#path", Input).value = str(folder)
        await st.shows("Card: README.md")
        overflows(st)
        for step, name in (("[2 Describe]", "describe"), ("[3 Who]", "who"), ("[4 Review]", "review")):
            await st.press("enter")
            await st.shows(step)
            overflows(st)
            if name == "review":
                await st.until(lambda: not st.static("#plan-facts").startswith("Comparing"))
            check(f"share-{name}", st)
            if name == "who":
                st.app.screen.query_one("#expires").focus()
        assert "Publish" in st.text


@pytest.mark.parametrize("size", SIZES)
async def test_the_review_of_a_next_version_looks_as_it_did_and_fits(size: tuple[int, int], tmp_path: Path) -> None:
    async with stage(size=size, browse_from=tmp_path) as st:
        report = replay.folder_report(pm.LookRequest("/runs/sd15", "cars/sd15"), known_as=Visibility.LINK)
        st.client.replies["look"] = report
        st.client.replies["publish_plan"] = replay.publish_plan(pm.PublishRequest(path="/x"), delta_size=200 << 20)
        await st.press("n")
        st.app.screen.query_one("#path", Input).value = str(tmp_path)
        for step in ("[2 Describe]", "[3 Who]", "[4 Review]"):
            await st.press("enter")
            await st.shows(step)
        st.app.screen.query_one("#delta", Checkbox).focus()
        await st.press("space")
        await st.shows("--delta")
        await st.until(lambda: not st.static("#plan-facts").startswith("Comparing"))
        overflows(st)
        check("share-next-review", st)


def overflows(st: Stage) -> None:
    """Fail when a line is too long, or when a widget that does not scroll leaves its screen or its parent."""
    width, height = st.app.size
    assert len(st.lines) == height
    for line in st.lines:
        assert cell_len(line) == width
    for screen in st.app.screen_stack:
        for widget in screen.walk_children(Widget):
            if widget.display and widget.region and not _scrolled(widget):
                region = widget.region
                assert region.x >= 0 and region.right <= width, f"{widget} is {region}"
                assert region.y >= 0 and region.bottom <= height, f"{widget} is {region}"
            if not isinstance(widget, Input):
                assert not widget.show_horizontal_scrollbar, f"{widget} scrolls sideways"


def _scrolled(widget: Widget) -> bool:
    return any(
        isinstance(parent, Widget) and not isinstance(parent, Screen) and parent.max_scroll_y > 0
        for parent in widget.ancestors
    )


@pytest.mark.parametrize("no_color", [False, True])
@pytest.mark.parametrize("theme", ["p2pckpt", "ansi-dark", "textual-light"])
async def test_states_cursor_and_marks_can_be_read_without_colour(
    no_color: bool, theme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if no_color:
        monkeypatch.setenv("NO_COLOR", "1")
    async with stage() as st:
        assert st.app.no_color is no_color
        st.app.theme = theme
        await st.press("x")
        await st.until(lambda: st.lines[5].startswith(" *▼ lab/llama-70b-sft"))
        assert st.lines[6].startswith("› ◆ lab/qwen-moe-run7")
        glyphs = [line[2] for line in st.lines[5:13]]
        assert glyphs == ["▼", "◆", "≡", "▲", "‖", "✗", "◦", "✔"]
