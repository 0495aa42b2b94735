"""Peers, Log and Verify in front of a real daemon: banned and let back, damaged and repaired, all of it logged."""

from __future__ import annotations

from pathlib import Path

from textual.widgets import Button

from p2pckpt.control import messages as m
from p2pckpt.control.client import ControlClient
from p2pckpt.tui.app import P2pckptApp
from p2pckpt.tui.feed import ClientFactory
from p2pckpt.tui.screens.confirm import ConfirmDialog
from tests.support.homes import Home, flip_bit, seeded_bytes, tree, until, write_files
from tests.tui.conftest import digit

MIB = 1 << 20


async def test_what_is_slow_or_broken_is_seen_and_mended(tmp_path: Path) -> None:
    source = write_files(tmp_path / "source", {"model.bin": seeded_bytes(12 * MIB, 21)})
    target = tmp_path / "target"
    async with Home(tmp_path / "alice") as alice, Home(tmp_path / "bob", download_limit=64 << 10) as bob:
        shared = await alice.share(source, name="lab/slow")
        job = await bob.client.fetch(m.FetchRequest(source=shared.link, to=str(target)))
        app = P2pckptApp(_factory(bob), start=False)
        async with app.run_test(size=(120, 40), notifications=True) as pilot:

            async def shows(text: str) -> None:
                async def is_there() -> bool:
                    await pilot.pause(0.01)
                    return text in _text(app)

                await until(is_there, f"{text!r} is on screen")

            await shows("lab/slow")
            await pilot.press(digit("peers"))
            await shows("1 peer · ports")
            await shows("TCP over this machine")
            await shows("announced this address")
            # nothing to do with it any more; then again
            await pilot.press("b")
            await shows("This machine's own address")
            assert isinstance(app.screen, ConfirmDialog)
            app.screen.query_one("#yes", Button).press()
            await shows("Nobody is connected right now.")
            await pilot.press("B")
            await shows("127.0.0.1")
            await pilot.press("u")
            await shows("Nobody is banned.")
            await pilot.press("escape", "1", "r")
            await shows("Announced 1 torrent.")
            bob.set(download_limit=0)
            await bob.restart()
            app.feed.wake()
            await bob.wait_job(job.id)
            # damaged, seen, mended from the store
            before = tree(target)
            flip_bit(target / "model.bin", 5 * MIB)
            await shows("seeding")
            await pilot.press(*["right_square_bracket"] * 3)
            await shows("No verify of this version is known")
            await pilot.press("v")
            await shows("1 damaged · 0 repaired")
            await pilot.press("r")
            await shows("moved to .p2pckpt-replaced")
            assert isinstance(app.screen, ConfirmDialog)
            app.screen.query_one("#yes", Button).press()
            await shows("1 damaged · 1 repaired")
            await shows("✔ store")
            assert tree(target, leave_out=(".p2pckpt-replaced",)) == before
            await pilot.press(digit("log"))
            for event in ("received lab/slow@v1", "failed: lab/slow@v1", "verified and repaired lab/slow@v1"):
                await shows(event)


def _text(app: P2pckptApp) -> str:
    lines = [strip.text for strip in app.screen._compositor.render_strips()]
    return "\n".join([*lines, *(note.message for note in app._notifications)])


def _factory(home: Home) -> ClientFactory:
    async def connect(start: bool) -> ControlClient:
        client = ControlClient(home.config.socket_path)
        await client.__aenter__()
        await client.status()
        return client

    return connect
