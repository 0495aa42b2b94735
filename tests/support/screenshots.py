"""Writes the screenshots of the documentation: ``python -m tests.support.screenshots docs/images``.

The terminal interface as it is, before a daemon that is played; every picture is the same on every machine.
"""

from __future__ import annotations

import asyncio
import html
import os
import re
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from unittest.mock import patch

from rich.cells import cell_len
from textual.widgets import Input

from tests.support import a_day
from tests.tui.conftest import Stage, digit, stage

SIZE: Final = (120, 36)
CELL: Final = 12.2
"""Width of a character's cell in the pictures."""
FONTS: Final = "ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace"


@dataclass(frozen=True)
class Shot:
    """One picture, and the way to it."""

    name: str
    pose: Callable[[Stage], Awaitable[None]]
    no_color: bool = False

    @property
    def file(self) -> str:
        return f"{self.name}.svg"


async def _transfers(st: Stage) -> None:
    await st.shows("copies among")


async def _shares(st: Stage) -> None:
    await st.press(digit("shares"), "j", "j")
    await st.shows("for its members · you are owner")
    await st.shows("step-8000")


async def _run(st: Stage) -> None:
    await st.press(digit("runs"))
    await st.shows("14 of 14")
    await st.press("enter")
    await st.shows("v13")


async def _compare(st: Stage) -> None:
    await _run(st)
    await st.press("c")
    await st.shows("Tensors changed")


async def _members(st: Stage) -> None:
    st.app.show_members(a_day.FLUX)
    await st.shows("bob-lab")
    await st.shows("They say")


async def _keys(st: Stage) -> None:
    await st.press(digit("keys"))
    await st.shows("Chen Wei")


async def _trust(st: Stage) -> None:
    await _keys(st)
    await st.press("j", "enter")
    await st.shows("first word")


async def _peers(st: Stage) -> None:
    await st.press(digit("peers"))
    await st.shows("10.4.0.17")
    await st.shows("The tracker says")


async def _log(st: Stage) -> None:
    st.client.logged[:] = a_day.log()
    await st.press(digit("log"))
    await st.shows("publishing lab/qwen")


async def _settings(st: Stage) -> None:
    await st.press(digit("settings"))
    await st.shows("seed_after_get")


async def _share(st: Stage) -> None:
    await st.press("n")
    with tempfile.TemporaryDirectory() as folder:
        st.app.screen.query_one("#path", Input).value = folder
        await st.shows("Card: README.md")
        for step in ("[2 Describe]", "[3 Who]", "[4 Review]"):
            await st.press("enter")
            await st.shows(step)
            if step == "[2 Describe]":
                st.app.screen.query_one("#version", Input).value = "step-9000"
                st.app.screen.query_one("#tags", Input).value = "stable"
            if step == "[3 Who]":
                st.app.screen.query_one("#expires").focus()
        await st.until(lambda: not st.static("#plan-facts").startswith("Comparing"))


async def _receive(st: Stage) -> None:
    await st.press("o")
    st.app.screen.query_one("#source", Input).value = f"{a_day.LINK}#secret"
    await st.press("enter")
    await st.until(lambda: "p2pckpt get" in st.static("#command"))


async def _verify(st: Stage) -> None:
    await st.press("j", "j", "enter", *["right_square_bracket"] * 3)
    await st.shows("4 damaged")


async def _help(st: Stage) -> None:
    await st.press("question_mark")
    await st.shows("= p2pckpt pause JOB")


async def _daemon_down(st: Stage) -> None:
    await st.shows("copies among")
    st.client.hang_up("the daemon closed the event stream")
    await st.shows("No daemon")


SHOTS: Final = (
    Shot("transfers", _transfers),
    Shot("transfers-no-color", _transfers, no_color=True),
    Shot("shares", _shares),
    Shot("run", _run),
    Shot("compare", _compare),
    Shot("members", _members),
    Shot("keys", _keys),
    Shot("trust", _trust),
    Shot("peers", _peers),
    Shot("log", _log),
    Shot("settings", _settings),
    Shot("share", _share),
    Shot("receive", _receive),
    Shot("verify", _verify),
    Shot("help", _help),
    Shot("daemon-down", _daemon_down),
)


async def take(shot: Shot) -> str:
    """The picture as SVG."""
    with ExitStack() as changed:
        plain = {"TZ": "UTC", "NO_COLOR": "1"} if shot.no_color else {"TZ": "UTC"}
        changed.enter_context(patch.dict(os.environ, plain))
        if not shot.no_color:
            os.environ.pop("NO_COLOR", None)
        changed.enter_context(patch.object(Input, "cursor_blink", False))
        changed.callback(time.tzset)
        time.tzset()
        async with stage(a_day.snapshot(), size=SIZE, replies=a_day.replies()) as st:
            st.app.animation_level = "none"
            minutes = a_day.minutes_before()
            st.client.play(*minutes)
            await st.until(lambda: st.client.played >= len(minutes))
            await shot.pose(st)
            await st.pilot.pause()
            return _plain(st.app.export_screenshot(title="p2pckpt", simplify=True))


def _plain(svg: str) -> str:
    """Without a name of any host, with the fonts of whoever looks, and small."""
    svg = re.sub(r"@font-face \{.*?\n    \}\n", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<!--.*?-->\n", "", svg)
    svg = re.sub(r'<clipPath id="\S+-line-\d+">.*?</clipPath>', "", svg, flags=re.DOTALL)
    prefix = re.search(r"terminal-\d+", svg)
    assert prefix is not None
    svg = svg.replace(f"{prefix[0]}-", "t").replace(' shape-rendering="crispEdges"', "")
    svg = svg.replace("Fira Code, monospace", FONTS).replace("font-family: arial", f"font-family: {FONTS}")
    # a cell is 12.2 wide: what most of these fonts need for it
    svg = svg.replace("font-size: 20px", "font-size: 20.27px").replace(
        "</style>", "rect { shape-rendering: crispEdges }</style>"
    )
    svg = re.sub(r'<text class="(\S+)" x="(\S+)" y="(\S+)" textLength="\S+" clip-path="\S+">(.*?)</text>', _texts, svg)
    return re.sub(r"\n\s*", "\n", svg).replace("&#160;", "\u00a0")


def _texts(found: re.Match[str]) -> str:
    """Each stretch of text at its own place: viewers are not agreed on blanks at the ends, nor on widths."""
    kind, x, y, text = found.groups()
    drawn = []
    for part in re.finditer(r"[^\u00a0]+(?:\u00a0[^\u00a0]+)*", html.unescape(text)):
        at, long = float(x) + CELL * cell_len(html.unescape(text)[: part.start()]), CELL * cell_len(part[0])
        words = html.escape(part[0], quote=False)
        drawn.append(f'<text class="{kind}" x="{at:.5g}" y="{y}" textLength="{long:.5g}">{words}</text>')
    return "".join(drawn)


async def write(directory: Path) -> None:
    """Every screenshot into ``directory``; pictures that are none of them go."""
    directory.mkdir(parents=True, exist_ok=True)
    for shot in SHOTS:
        (directory / shot.file).write_text(await take(shot), "utf-8")
    for path in directory.glob("*.svg"):
        if path.name not in {shot.file for shot in SHOTS}:
            path.unlink()


if __name__ == "__main__":
    asyncio.run(write(Path(sys.argv[1])))
