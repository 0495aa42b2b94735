"""An app in front of a replayed daemon, and ways to wait for it without sleeping."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Static

from p2pckpt.control.client import ControlClient
from p2pckpt.control.messages import Snapshot
from p2pckpt.errors import DaemonUnavailable
from p2pckpt.tui.app import P2pckptApp
from p2pckpt.tui.screens.main_screens import MAIN_SCREENS
from tests.support import replay_feed as replay

DEADLINE = 10.0
SETTINGS_KEY = next(str(digit) for digit, screen in enumerate(MAIN_SCREENS, start=1) if screen.mode == "settings")


def digit(mode: str) -> str:
    """The key that shows a main screen."""
    return str([screen.mode for screen in MAIN_SCREENS].index(mode) + 1)


@dataclass
class Stage:
    """One app, the client it was given last, and the pilot that drives it."""

    app: P2pckptApp
    pilot: Pilot[int]
    daemon: FakeDaemon

    @property
    def client(self) -> replay.ReplayClient:
        return self.daemon.client

    async def until(self, condition: Callable[[], object]) -> None:
        """Let the app run until ``condition`` holds; a failed test after the deadline."""
        loop = asyncio.get_running_loop()
        end = loop.time() + DEADLINE
        while not condition():
            if loop.time() > end:
                raise AssertionError(f"never became true; the screen was:\n{self.text}")
            await self.pilot.pause(0.01)

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)
        await self.pilot.pause()

    async def shows(self, text: str) -> None:
        """Wait until ``text`` is on screen."""
        await self.until(lambda: text in self.text)

    async def toast(self, text: str) -> None:
        """Wait for a notification that contains ``text``."""
        await self.until(lambda: any(text in note.message for note in self.app._notifications))

    @property
    def lines(self) -> list[str]:
        """What the terminal would show, one string a line."""
        return [strip.text for strip in self.app.screen._compositor.render_strips()]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def static(self, selector: str) -> str:
        """The plain text of a ``Static``."""
        return str(self.app.screen.query_one(selector, Static).content)


@dataclass
class FakeDaemon:
    """Gives out replay clients; ``running`` False refuses, as a daemon that is not there."""

    snapshot: Snapshot
    running: bool = True
    can_start: bool = True
    refusal: str = "the daemon does not answer"
    starts: list[bool] = field(default_factory=list)
    """The ``start`` of each attempt."""
    clients: list[replay.ReplayClient] = field(default_factory=list)
    replies: dict[str, Any] = field(default_factory=dict)
    """What every client answers, by method."""

    async def connect(self, start: bool) -> ControlClient:
        self.starts.append(start)
        if start and self.can_start:
            self.running = True
        if not self.running:
            raise DaemonUnavailable(self.refusal, next_step="p2pckpt daemon start")
        self.clients.append(replay.ReplayClient(self.snapshot))
        self.client.replies.update(self.replies)
        return self.clients[-1]

    @property
    def client(self) -> replay.ReplayClient:
        return self.clients[-1]


@asynccontextmanager
async def stage(
    snapshot: Snapshot | None = None,
    *,
    size: tuple[int, int] = (120, 40),
    running: bool = True,
    replies: dict[str, Any] | None = None,
    **options: Any,
) -> AsyncIterator[Stage]:
    """An app on a terminal of ``size``, connected unless ``running`` is False."""
    daemon = FakeDaemon(snapshot or replay.busy_snapshot(), running=running, can_start=running, replies=replies or {})
    options.setdefault("backoff", (60.0,))
    options.setdefault("browse_from", Path(__file__).parent)
    app = P2pckptApp(daemon.connect, now=lambda: float(replay.NOW), **options)
    async with app.run_test(size=size, notifications=True) as pilot:
        made = Stage(app, pilot, daemon)
        await made.until(lambda: app.feed.state.connected or app.feed.state.down is not None)
        await pilot.pause()
        yield made


@pytest.fixture(autouse=True)
def plain_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Colours as the tests expect them, whoever runs them."""
    monkeypatch.delenv("NO_COLOR", raising=False)
