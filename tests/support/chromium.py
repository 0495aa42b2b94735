"""Headless Chromium, driven over its DevTools protocol: open a page, press keys, read the terminal, take a picture."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp

from .debian import install
from .homes import DEADLINE, until

_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--window-size=1280,800",
    "--remote-debugging-port=0",
)
# textual.js keeps its xterm.js to itself: the page's one object with a property of that name is what reads it
_FIND_TERMINAL = """
Object.defineProperty(Object.prototype, "terminal", {configurable: true, set(value) {
  window.seenTerminal = value;
  Object.defineProperty(this, "terminal", {value, writable: true, configurable: true, enumerable: true});
}});
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) =>
  violations.push(event.violatedDirective + " " + event.blockedURI));
"""
_READ_TERMINAL = """
(() => {
  if (!window.seenTerminal || !seenTerminal.buffer) return "";
  const rows = seenTerminal.buffer.active;
  return Array.from({length: seenTerminal.rows}, (_, y) => rows.getLine(y)?.translateToString(true) ?? "").join("\\n");
})()
"""


class Page:
    """One tab, with nothing from any other."""

    def __init__(self, browser: Chromium, session: str, target: str) -> None:
        self._browser = browser
        self._session = session
        self._target = target

    async def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One DevTools command to this tab."""
        return await self._browser.send(method, self._session, **parameters)

    async def goto(self, url: str) -> None:
        """Leave for ``url``; what it shows is to be waited for."""
        await self.send("Page.navigate", url=url)

    async def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression, awaited if it is a promise."""
        reply = await self.send(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True, userGesture=True
        )
        assert "exceptionDetails" not in reply, reply
        return reply["result"].get("value")

    async def terminal(self) -> str:
        """The text in the page's terminal."""
        return str(await self.evaluate(_READ_TERMINAL))

    async def body(self) -> str:
        """The page's visible text."""
        return str(await self.evaluate("document.body ? document.body.innerText : ''"))

    async def shows(self, *texts: str, where: str = "terminal") -> None:
        """Wait until all ``texts`` are in the terminal, or with ``where="body"`` in the page."""
        seen = ""

        async def look() -> bool:
            nonlocal seen
            # while one page replaces another there is nothing to read
            with contextlib.suppress(DevToolsError):
                seen = await (self.terminal() if where == "terminal" else self.body())
            return all(text in seen for text in texts)

        try:
            await until(look, f"the {where} shows {texts}")
        except AssertionError as exc:
            exc.add_note(seen)
            raise

    async def type(self, text: str) -> None:
        """Press the keys of ``text``, one by one."""
        for key in text:
            await self.send("Input.dispatchKeyEvent", type="keyDown", text=key, key=key)
            await self.send("Input.dispatchKeyEvent", type="keyUp", key=key)

    async def press(self, key: str, **parameters: Any) -> None:
        """A key that is no text."""
        for kind in ("keyDown", "keyUp"):
            await self.send("Input.dispatchKeyEvent", type=kind, key=key, code=key, **parameters)
            parameters.pop("commands", None)

    async def paste(self) -> None:
        """What the browser's menu entry does."""
        await self.press("v", commands=["paste"])

    async def status(self, url: str) -> int:
        """The HTTP status of a GET by this page."""
        return int(await self.evaluate(f"fetch({url!r}).then((answer) => answer.status)"))

    async def refusal(self, promise: str) -> str:
        """The name of the error that a promise ends with, empty if it ends well."""
        return str(await self.evaluate(f"({promise}).then(() => '', (error) => error.name || 'refused')"))

    async def screenshot(self, path: Path) -> None:
        """What a person would see, as a PNG."""
        picture = await self.send("Page.captureScreenshot", format="png")
        path.write_bytes(base64.b64decode(picture["data"]))

    async def close(self) -> None:
        """As somebody who closes the tab."""
        await self._browser.send("Target.closeTarget", targetId=self._target)


class DevToolsError(Exception):
    """Chromium refuses a command."""


class Chromium:
    """One browser, started by ``chromium()``."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self.requested: list[str] = []
        """URLs that pages asked for."""

    async def send(self, method: str, session: str = "", **parameters: Any) -> dict[str, Any]:
        """One DevTools command and its result."""
        number = next(self._numbers)
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        message = {"id": number, "method": method, "params": parameters}
        await self._socket.send_json(message | ({"sessionId": session} if session else {}))
        return await asyncio.wait_for(answer, DEADLINE)

    async def page(self, url: str = "about:blank") -> Page:
        """A tab with cookies, storage and history of its own."""
        context = await self.send("Target.createBrowserContext")
        target = await self.send("Target.createTarget", url="about:blank", browserContextId=context["browserContextId"])
        attached = await self.send("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        page = Page(self, attached["sessionId"], target["targetId"])
        for domain in ("Page", "Runtime", "Network"):
            await page.send(f"{domain}.enable")
        await page.send("Page.addScriptToEvaluateOnNewDocument", source=_FIND_TERMINAL)
        await page.goto(url)
        return page

    async def read(self) -> None:
        """Hand out answers until the browser has gone."""
        async for message in self._socket:
            reply = message.json()
            if reply.get("method") == "Network.requestWillBeSent":
                self.requested.append(reply["params"]["request"]["url"])
            elif reply.get("method") == "Network.webSocketCreated":
                self.requested.append(reply["params"]["url"])
            answer = self._waiting.pop(reply.get("id", 0), None)
            if answer is not None and not answer.done():
                if "error" in reply:
                    answer.set_exception(DevToolsError(str(reply["error"])))
                else:
                    answer.set_result(reply["result"])


@contextlib.asynccontextmanager
async def chromium(directory: Path) -> AsyncIterator[Chromium]:
    """A browser with its profile in ``directory``; Debian's is installed where there is none."""
    if shutil.which("chromium") is None:
        await asyncio.to_thread(install, ["chromium"], deadline=600)
    directory.mkdir()
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            ["chromium", *_FLAGS, f"--user-data-dir={directory / 'profile'}", "about:blank"], stdout=log, stderr=log
        )
    port_file = directory / "profile" / "DevToolsActivePort"

    async def is_ready() -> bool:
        assert process.poll() is None, (directory / "log").read_text("utf-8", "replace")[-3000:]
        return port_file.exists() and len(port_file.read_text().split()) == 2

    try:
        await until(is_ready, "Chromium listens")
        port, path = port_file.read_text().split()
        async with (
            aiohttp.ClientSession() as http,
            http.ws_connect(f"ws://127.0.0.1:{port}{path}", max_msg_size=64 << 20) as socket,
        ):
            browser = Chromium(socket)
            reading = asyncio.create_task(browser.read())
            try:
                yield browser
            finally:
                reading.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await reading
    finally:
        process.terminate()
        try:
            await asyncio.to_thread(process.wait, 10)
        except subprocess.TimeoutExpired:
            process.kill()
            await asyncio.to_thread(process.wait)
