"""Members in front of a real daemon: somebody is let in by key, and removed while their transfer runs."""

from __future__ import annotations

from pathlib import Path

from textual.pilot import Pilot
from textual.widgets import Button, Input

from p2pckpt.control import messages as m
from p2pckpt.control.client import ControlClient
from p2pckpt.errors import NotAllowed, NotFound
from p2pckpt.tracker_protocol import Visibility
from p2pckpt.tui import format as f
from p2pckpt.tui.app import P2pckptApp
from p2pckpt.tui.feed import ClientFactory
from p2pckpt.tui.screens.confirm import ConfirmDialog
from p2pckpt.tui.screens.members import MembersScreen
from p2pckpt.tui.screens.qr import QrScreen
from tests.support.homes import Home, failure, seeded_bytes, until, write_files

MIB = 1 << 20


async def test_an_owner_lets_somebody_in_and_removes_them_while_their_transfer_runs(tmp_path: Path) -> None:
    source = write_files(tmp_path / "source", {"model.bin": seeded_bytes(64 * MIB, 11)})
    async with Home(tmp_path / "alice") as alice, Home(tmp_path / "bob", download_limit=2 * MIB) as bob:
        shared = await alice.share(source, name="lab/m", to=Visibility.MEMBERS)
        key = await bob.client.key()
        app = P2pckptApp(_factory(alice), start=False)
        async with app.run_test(size=(120, 40), notifications=True) as pilot:

            async def shows(text: str) -> None:
                async def is_there() -> bool:
                    await pilot.pause(0.01)
                    return text in _text(app)

                await until(is_there, f"{text!r} is on screen")

            await _connected(app, pilot)
            app.show_members(shared.share_id)
            await shows("you are owner · 1 member · 0 requests")
            # by key: the link that comes of it is of use to bob alone
            await pilot.press("a")
            await pilot.pause()
            app.screen.query_one("#key", Input).value = key.public_text
            await shows(key.words)
            app.screen.query_one("#yes", Button).press()
            await shows("It is no secret")
            assert isinstance(app.screen, QrScreen)
            link = app.screen._link
            await pilot.press("escape")
            await shows("2 members")
            await shows(f"▼ {f.identity(key.identity)}")
            job = await bob.client.fetch(m.FetchRequest(source=link, to=str(tmp_path / "to bob")))
            await bob.wait_until(job.id, lambda job: job.wire_done >= 2 * MIB)
            # out again, while it runs
            screen = app.screen
            assert isinstance(screen, MembersScreen)
            keys = [row.key for row in screen.table.rows]
            screen.table.move_to(keys.index(f"member {key.identity}"))
            await pilot.pause()
            await pilot.press("d")
            await shows("Transfers to them are cut within seconds")
            await shows("(epoch 2)")
            assert isinstance(app.screen, ConfirmDialog)
            app.screen.query_one("#yes", Button).press()
            ended = await bob.wait_job(job.id, m.JobState.FAILED)
            assert ended.failure is not None
            assert "your access to this share was taken away" in ended.failure.fact
            assert ended.wire_done < ended.wire_size
            await shows("1 member ·")
            await shows("epoch 2 ·")
            assert f"▼ {f.identity(key.identity)}" not in _text(app)
            assert isinstance(await failure(bob.get(link, tmp_path / "again")), NotAllowed | NotFound)
            # and asks to be let in again: the owner sees it without pressing anything
            asked = await bob.cli("get", link, "--request", "--message", "please")
            assert asked.returncode == 0, asked.stderr
            await shows("! 1 request")
            await shows("asks again")
            await pilot.press("L")
            await shows("verified up to row")
            for action in ("role", "remove", "request"):
                await shows(f" {action} ")


def _factory(home: Home) -> ClientFactory:
    async def connect(start: bool) -> ControlClient:
        return await ControlClient(home.config.socket_path).__aenter__()

    return connect


async def _connected(app: P2pckptApp, pilot: Pilot[int]) -> None:
    async def is_connected() -> bool:
        await pilot.pause(0.01)
        return app.feed.state.connected

    await until(is_connected, "the app is connected")


def _text(app: P2pckptApp) -> str:
    return "\n".join(strip.text for strip in app.screen._compositor.render_strips())
