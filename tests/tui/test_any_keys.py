"""Keys in any order, while rows come and go, requests fail and the daemon is lost: nothing may break.

``P2PCKPT_ANY_KEYS=SEEDS:KEYS`` goes on for longer than the suite does.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import os
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from textual import events
from textual.keys import _character_to_key

from p2pckpt.control import key_messages as km
from p2pckpt.control import messages as m
from p2pckpt.control.client import ControlClient
from p2pckpt.errors import BadUsage, DaemonUnavailable, NotAllowed, NotFound, P2pckptError
from p2pckpt.tui.app import P2pckptApp
from p2pckpt.tui.screens import settings as settings_screen
from p2pckpt.tui.screens.main_screens import MAIN_SCREENS
from tests.support import replay_feed as replay
from tests.tui.conftest import DEADLINE, FakeDaemon

SEEDS, KEYS = map(int, os.environ.get("P2PCKPT_ANY_KEYS", "4:80").split(":"))
SIZES = ((120, 40), (80, 24), (40, 10), (300, 80))
HOSTILE = "[red]\x1b[31mevil\x07\u202e [/] {x}\n" + "w\u0301" * 40
PLACES = [str(number) for number in range(1, len(MAIN_SCREENS) + 1)]
COMMON = ["enter", "escape", "down", "up", "tab", "space", "j", "k", "G", "g", "x", "A", "left", "right"]
RARE = [
    *"abcdefhilmnoprstuvwyzBCDEFHILMNRSTUVXY/?!-+*_.,;:[](){}<>@#$%^&=|~'\"\\",
    *("backspace", "delete", "home", "end", "pageup", "pagedown", "shift+tab"),
    *("ctrl+a", "ctrl+b", "ctrl+f", "ctrl+p", "ctrl+u", "ctrl+w", "f1"),
]
FAILURES: tuple[P2pckptError, ...] = (
    DaemonUnavailable("the daemon went away", next_step="p2pckpt daemon start"),
    NotFound(HOSTILE),
    NotAllowed(HOSTILE, kept=HOSTILE, next_step=HOSTILE),
    BadUsage("no"),
)


def _late(method: Callable[..., Awaitable[Any]], chance: random.Random) -> Callable[..., Awaitable[Any]]:
    @functools.wraps(method)
    async def answered(*arguments: Any, **named: Any) -> Any:
        for _ in range(chance.choice((0, 0, 1, 5, 40))):
            await asyncio.sleep(0)
        if chance.random() < 0.1:
            raise chance.choice(FAILURES)
        return await method(*arguments, **named)

    return answered


class _Trouble(FakeDaemon):
    """Answers late, or not at all."""

    chance = random.Random(0)

    async def connect(self, start: bool) -> ControlClient:
        client = await super().connect(start)
        for name, method in inspect.getmembers(client, inspect.iscoroutinefunction):
            if not name.startswith("_") and name != "close":
                setattr(client, name, _late(method, self.chance))
        return client


def _rows(count: int) -> m.Snapshot:
    busy = replay.busy_snapshot()
    jobs = tuple(replay.job(f"j{number}", share=HOSTILE if number % 7 == 0 else "a/b") for number in range(100, count))
    shares = tuple(
        replay.share(f"{number:032x}", f"many/{number}", measured=number % 2) for number in range(100, count)
    )
    return m.Snapshot(status=busy.status, jobs=busy.jobs + jobs, shares=busy.shares + shares)


def _event(chance: random.Random, snapshot: m.Snapshot) -> m.Event:
    job = chance.choice(snapshot.jobs or (replay.job("j1"),))
    share = chance.choice(snapshot.shares or (replay.share("c1" * 16, "new"),))
    states = list(m.JobState)
    return chance.choice(
        (
            lambda: m.JobRemoved(job.id),
            lambda: m.ShareRemoved(share.share_id),
            lambda: m.JobChanged(replay.job(job.id, kind=chance.choice(list(m.JobKind)), state=chance.choice(states))),
            lambda: m.ShareChanged(replay.share(share.share_id, HOSTILE, versions=0, latest=0, tags={})),
            lambda: m.ShareChanged(share),
            lambda: m.JobChanged(job),
            lambda: m.AccessChanged(share.share_id),
            lambda: m.AccessGranted(share.share_id),
            lambda: m.Notice("error", HOSTILE),
            lambda: m.StatusChanged(replay.status(name=HOSTILE, rate_down=0)),
            m.SettingsChanged,
            lambda: km.KeysChanged(1),
            lambda: m.Snapshot(status=snapshot.status, jobs=(), shares=()),
            lambda: snapshot,
        )
    )()


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_no_keys_break_it(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def no_systemd(self: P2pckptApp) -> None:
        return None

    monkeypatch.setattr(P2pckptApp, "_install", no_systemd)
    monkeypatch.setattr(settings_screen.subprocess, "run", lambda *_, **__: None)
    chance = random.Random(seed)
    snapshot = (replay.busy_snapshot, replay.snapshot, lambda: _rows(400), replay.busy_snapshot)[seed % 4]()
    daemon = _Trouble(snapshot)
    daemon.chance = random.Random(seed)
    app = P2pckptApp(daemon.connect, now=lambda: float(replay.NOW), backoff=(0.01,), browse_from=tmp_path)
    pressed: list[str] = []
    async with app.run_test(size=SIZES[(seed // 4) % 4], notifications=True) as pilot:
        for _ in range(KEYS):
            await _press(app, chance, pressed)
            if app._exception is not None or not app.is_running:
                break
            if chance.random() < 0.3 and daemon.clients:
                daemon.client.play(_event(chance, snapshot))
            if chance.random() < 0.02:
                daemon.running = not daemon.running
                if daemon.clients:
                    daemon.client.hang_up()
        trail = " ".join(pressed[-30:])
        assert app._exception is None, f"after {trail}"
        assert app.is_running, f"left after {trail}"
        # it still listens
        async with asyncio.timeout(DEADLINE):
            await pilot.press("escape", "1")  # also: no key is left for an app that is ending
            while len(app.screen_stack) > 1 or app.current_mode != MAIN_SCREENS[0].mode:
                await pilot.press("escape", "1")


async def _press(app: P2pckptApp, chance: random.Random, pressed: list[str]) -> None:
    """One key; now and then the next one comes before all of it was dealt with."""
    keys = chance.choices((COMMON, RARE, PLACES), (6, 6, 1))[0]
    key = chance.choice(keys)
    pressed.append(key)
    character = {"space": " ", "enter": "\r", "tab": "\t"}.get(key, key if len(key) == 1 else None)
    assert app._driver is not None
    app._driver.send_message(events.Key(_character_to_key(key) if len(key) == 1 else key, character))
    for _ in range(chance.choice((1, 20, 200))):
        await asyncio.sleep(0)
