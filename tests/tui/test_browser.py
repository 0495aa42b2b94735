"""The real thing in a browser: Chromium, a real daemon and transfer, by keys, read from the terminal in the page."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest

from bench.generate import make_checkpoint

from ..support.chromium import chromium
from ..support.homes import Home, until
from .test_web import command, no_process, processes


@pytest.mark.timeout(600)  # where the browser has to be installed first
async def test_a_person_uses_the_interface_in_a_browser(tmp_path: Path) -> None:
    source = tmp_path / "model"
    make_checkpoint(source, 2 << 20, "BF16", tensors=4)
    async with (
        Home(tmp_path / "alice") as alice,
        command(alice) as (process, url),
        chromium(tmp_path / "web") as browser,
    ):
        job = await alice.share(source)
        origin, _, token = url.partition("/#")
        stranger = await browser.page(origin + "/")
        await stranger.shows("Open the URL that p2pckpt printed.", where="body")
        assert await stranger.status(origin + "/") == 403
        assert processes() == []

        page = await browser.page(url)
        await page.shows("model", "seeding", "100%", "● daemon")
        address = await page.evaluate("location.href")
        assert re.fullmatch(re.escape(origin) + r"/[\w-]{22}/", address), "the token is gone from the address"
        history = await page.send("Page.getNavigationHistory")
        assert token not in str(history)
        assert await page.evaluate("document.cookie + document.referrer") in ("", origin + "/")
        await page.screenshot(tmp_path / "transfers.png")
        assert (tmp_path / "transfers.png").stat().st_size > 10_000

        await page.type("2")
        await page.shows("[2 Shares]", "owner", "latest v1")

        # OSC 52 fills the browser's clipboard, and its paste reaches the terminal
        await page.type("1")
        await page.shows("[1 Transfers]", "seeding")
        await page.type("y")
        await page.shows("Link copied")
        await page.type("o")
        await page.shows("Receive", "Link")

        async def has_focus() -> bool:
            """A dialog is drawn before the keys are its own."""
            await page.type("#")
            return "Link      #" in await page.terminal()

        await until(has_focus, "what is typed goes into the link")
        await page.paste()
        await page.shows(job.link[-40:])
        await page.press("Escape")

        # what is drawn learns nothing of the clipboard, and pages of others get nowhere
        assert await page.refusal("navigator.clipboard.readText()") == "NotAllowedError"
        assert await stranger.refusal(f"fetch('{address}', {{mode: 'no-cors'}}).then(r => {{if (!r.ok) throw r}})")
        await stranger.goto(address)
        await stranger.shows("Open the URL that p2pckpt printed.", where="body")
        again = await browser.page(url)
        await again.shows("This URL was used", where="body")

        assert len(processes()) == 1
        assert {part.split("/")[2] for part in browser.requested} == {origin.split("/")[2]}, "nothing from elsewhere"
        assert set(await page.evaluate("violations")) <= {"style-src-elem inline"}

        await page.close()
        await until(no_process, "the interface ends with its tab")

        # q ends it as well; the page says so, and can start it again
        second = await browser.page((await process.stdout.readline()).decode().strip())
        await second.shows("seeding")
        await second.type("q")
        await second.shows("The terminal interface has ended.", where="body")
        await until(no_process, "the interface has ended")
        await second.evaluate("document.getElementById('again').click()")

        async def has_started_again() -> bool:
            return len(processes()) == 1 and "has ended" not in await second.body()

        await until(has_started_again, "there is an interface again")
        await second.shows("seeding", "100%")

        process.send_signal(signal.SIGINT)
        await second.shows("The terminal interface has ended.", where="body")
        _, err = await process.communicate()
        assert process.returncode == 0
        assert "Stopped; 1 tab closed." in err.decode()
        assert processes() == []
