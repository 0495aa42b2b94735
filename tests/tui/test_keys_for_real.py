"""Keys in front of a real daemon: what is decided in one terminal is seen in the other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from textual.pilot import Pilot

from p2pckpt.control import messages as m
from p2pckpt.control.client import ControlClient
from p2pckpt.trust.known_keys import KeyState
from p2pckpt.tui.app import P2pckptApp
from p2pckpt.tui.feed import ClientFactory
from p2pckpt.tui.screens.keys import KeysScreen
from tests.support.homes import Home, until, write_files
from tests.tui.conftest import digit


def _factory(home: Home) -> ClientFactory:
    async def connected(start: bool) -> ControlClient:
        return await ControlClient(home.config.socket_path).__aenter__()

    return connected


def _states(app: P2pckptApp) -> list[tuple[str, KeyState]]:
    screen = app.screen_stack[0]
    return [(row.name, row.state) for row in screen.table.rows] if isinstance(screen, KeysScreen) else []


async def _reach(apps: Sequence[tuple[P2pckptApp, Pilot[int]]], state: KeyState) -> None:
    """Until alice's key is in this state on every terminal."""

    async def reached() -> bool:
        for _, pilot in apps:
            await pilot.pause(0.01)
        return all(("alice", state) in _states(app) for app, _ in apps)

    await until(reached, f"all terminals show {state}")


async def test_two_terminals_show_what_one_of_them_decides(tmp_path: Path) -> None:
    async with Home(tmp_path / "alice") as alice, Home(tmp_path / "bob") as bob:
        link = (await alice.share(write_files(tmp_path / "source", {"x.bin": b"x" * 9999}), name="lab/keys")).link
        job = await bob.get(link, tmp_path / "got")
        await bob.client.fetch_plan(m.FetchRequest(source=link, base=str(tmp_path)))
        words = (await alice.client.key()).words
        one, two = P2pckptApp(_factory(bob), start=False), P2pckptApp(_factory(bob), start=False)
        async with one.run_test(size=(120, 40)) as pilot, two.run_test(size=(80, 24)) as other:
            both = [(one, pilot), (two, other)]
            for _, each in both:  # by keys alone: what is called from here runs in the name of the app made last
                await each.press(digit("keys"))
            await _reach(both, KeyState.UNVERIFIED)
            await pilot.press("G", "enter", *words.partition("-")[0], "enter", "enter")
            await _reach(both, KeyState.VERIFIED)
            await other.press("G", "b", "tab", "enter")
            await _reach(both, KeyState.BLOCKED)
            assert (await bob.wait_job(job.id, m.JobState.FAILED)).failure is not None
