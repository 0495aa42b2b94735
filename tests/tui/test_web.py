"""The server behind ``tui --web``, asked without a browser: who gets in, and that each tab's process ends."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import stat
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest

from p2pckpt import config
from p2pckpt.errors import BadUsage, NotFound
from p2pckpt.tui.web import tab
from p2pckpt.tui.web.gate import COOKIE
from p2pckpt.tui.web.server import WebServer

from ..support.homes import Home, until

HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "clipboard-read=(), clipboard-write=(self)",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


@dataclass
class Served:
    """A server, a client without cookies, and the URLs that were told so far."""

    server: WebServer
    http: aiohttp.ClientSession
    urls: list[str] = field(default_factory=list)

    @property
    def origin(self) -> str:
        return self.server.gate.origin

    @property
    def path(self) -> str:
        return self.server.gate.path

    async def enter(self, token: str | None = None) -> aiohttp.ClientResponse:
        """What the door's script does with the last URL."""
        token = self.urls[-1].partition("#")[2] if token is None else token
        return await self.http.post(f"{self.origin}/enter", data=token, headers={"Origin": self.origin})

    async def cookie(self) -> dict[str, str]:
        """The header that a browser sends once it was let in."""
        answer = await self.enter()
        assert answer.status == 200
        return {"Cookie": f"{COOKIE}={answer.cookies[COOKIE].value}"}

    async def tab(self, cookie: dict[str, str]) -> aiohttp.ClientWebSocketResponse:
        """A tab that has drawn its first screen."""
        url = f"{self.origin}{self.path}/ws?width=100&height=30"
        ws = await self.http.ws_connect(url, headers={**cookie, "Origin": self.origin}, max_msg_size=0)
        await shows(ws, "1 Transfers")
        return ws


async def shows(ws: aiohttp.ClientWebSocketResponse, text: str) -> None:
    """Read until ``text`` was drawn in one piece."""
    async with asyncio.timeout(60):
        while True:
            message = await ws.receive()
            assert message.type is aiohttp.WSMsgType.BINARY, message
            if text in re.sub("\x1b\\[[0-9;?]*[a-zA-Z]", "", message.data.decode()):
                return


async def close_code(ws: aiohttp.ClientWebSocketResponse) -> int | None:
    """What the server closes with, whatever is drawn before."""
    async with asyncio.timeout(60):
        async for _ in ws:
            pass
    return ws.close_code


@contextlib.asynccontextmanager
async def serving(home: Path, **options: Any) -> AsyncIterator[Served]:
    urls: list[str] = []
    server = WebServer(config.load(home=home, environ={}, directory=Path("/")), urls.append, **options)
    await server.start()
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http:
        try:
            yield Served(server, http, urls)
        finally:
            await server.stop()
    assert processes() == []


def processes() -> list[psutil.Process]:
    """The interfaces that this process, or one that it started, has running."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if "p2pckpt.tui.web" in process.cmdline() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


async def no_process() -> bool:
    return not processes()


async def test_every_route_is_closed_to_whoever_lacks_the_cookie_or_comes_from_elsewhere(tmp_path: Path) -> None:
    async with Home(tmp_path / "alice") as alice, serving(alice.path) as served:
        cookie = await served.cookie()
        own = {"Host": served.server.gate.host, "Origin": served.origin}
        port = served.server.gate.host.rpartition(":")[2]
        foreign = {
            "no cookie": own,
            "wrong cookie": own | {"Cookie": f"{COOKIE}=wrong"},
            "a cookie that is no text": own | {"Cookie": f"{COOKIE}=\xff\xfe"},
            "the token as cookie": own | {"Cookie": f"{COOKIE}={served.urls[-1].partition('#')[2]}"},
            "foreign host": own | cookie | {"Host": f"rebound.example:{port}"},
            "localhost": own | cookie | {"Host": f"localhost:{port}"},
            "another port": own | cookie | {"Host": "127.0.0.1:1"},
            "foreign origin": own | cookie | {"Origin": "http://evil.example"},
            "another port's origin": own | cookie | {"Origin": "http://127.0.0.1:1"},
            "no page's origin": own | cookie | {"Origin": "null"},
        }
        routes = [
            (route.method, str(resource.canonical))
            for resource in served.server.app.router.resources()
            for route in resource
        ]
        assert len(routes) > 12
        wrong, counted = [], 0
        for method, path in [*routes, ("GET", "/nothing"), ("GET", f"{served.path}/static/"), ("PUT", "/")]:
            upgrade = UPGRADE if path.endswith("/ws") else {}
            for name, headers in foreign.items():
                answer = await served.http.request(
                    method, served.origin + path, headers=headers | upgrade, data=b"x" if method == "POST" else None
                )
                counted += 1
                if answer.status != 403 or any(answer.headers.get(key) != value for key, value in HEADERS.items()):
                    wrong.append((method, path, name, answer.status, dict(answer.headers)))
                assert not any(key.startswith("Access-Control") for key in answer.headers)
        assert wrong == []
        assert counted > 120

        expected = {"/": 403, "/enter": 200, f"{served.path}/ws": 101}
        for method, path in routes:
            headers, data = own | cookie, None
            if path.endswith("/ws"):
                headers |= UPGRADE
            elif path == "/enter":
                data = served.urls[-1].partition("#")[2]
            answer = await served.http.request(method, served.origin + path, headers=headers, data=data)
            assert answer.status == expected.get(path, 200), (method, path)
            assert all(answer.headers.get(key) == value for key, value in HEADERS.items()), (method, path)
            answer.close()


async def test_a_websocket_needs_an_origin_at_all(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        headers = {**await served.cookie(), **UPGRADE}
        answer = await served.http.get(f"{served.origin}{served.path}/ws", headers=headers)
        assert answer.status == 403


async def test_a_url_lets_one_browser_in_and_then_there_is_another(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        first = served.urls[0]
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/#[\w-]{43}", first), "256 bits, where no request carries them"
        for token in ("", "x", "\xff" * 20, "x" * 43):
            assert (await served.enter(token)).status == 403
        assert (await served.enter("x" * 100_000)).status == 413
        assert served.urls == [first], "a wrong token burns nothing"

        answer = await served.enter()
        cookie = answer.cookies[COOKIE]
        assert cookie["httponly"] and cookie["samesite"] == "Strict"
        assert cookie["path"] == served.path + "/", "other servers on this address don't get to see it"
        assert not cookie["max-age"] and not cookie["expires"], "it ends with the browser"
        assert (await served.enter(first.partition("#")[2])).status == 403
        assert len(served.urls) == 2
        assert served.urls[1] != first
        assert (await served.enter()).status == 200


async def test_no_page_refers_to_another_host(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        cookie = await served.cookie()
        for path in ("/", f"{served.path}/", f"{served.path}/page.css", f"{served.path}/page.js"):
            answer = await served.http.get(served.origin + path, headers=cookie)
            text = await answer.text()
            own = text.replace(f"ws://{served.server.gate.host}", "")
            assert "//" not in re.sub("^ *//.*|//.*$", "", own, flags=re.MULTILINE), path
            policy = answer.headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy and "unsafe" not in policy
            assert set(re.findall(r"\w+://[^ ;]+", policy)) == {f"ws://{served.server.gate.host}"}


async def test_no_more_tabs_than_the_machine_can_bear(tmp_path: Path) -> None:
    async with Home(tmp_path / "alice") as alice, serving(alice.path, max_tabs=1) as served:
        cookie = await served.cookie()
        ws = await served.tab(cookie)
        page = await served.http.get(f"{served.origin}{served.path}/", headers=cookie)
        assert page.status == 503
        assert "Close one first" in await page.text()
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await served.tab(cookie)
        assert refused.value.status == 503
        await ws.close()

        async def is_free() -> bool:
            return served.server.tabs == 0

        await until(is_free, "there is room again")
        assert processes() == []
        await (await served.tab(cookie)).close()


@pytest.mark.parametrize(
    "message",
    [
        "",
        "x",
        "1",
        "[]",
        "{}",
        "[1]",
        '["stdin"]',
        '["stdin", 1]',
        '["stdin", "a", "b"]',
        '["resize", 3]',
        '["resize", {"width": "80", "height": 24}]',
        '["quit"]',
        '["deliver_chunk_request", "key"]',
        "[" * 100_000,
        b"binary",
    ],
    ids=lambda message: repr(message[:30]),
)
def test_what_the_page_never_says_is_refused(message: str | bytes) -> None:
    with pytest.raises(tab.BadMessage):
        tab.to_process(message)


async def test_a_tab_that_talks_nonsense_or_too_much_is_closed_with_its_process(tmp_path: Path) -> None:
    async with Home(tmp_path / "alice") as alice, serving(alice.path) as served:
        cookie = await served.cookie()
        for message, code in (("nonsense", 1008), (json.dumps(["stdin", "x" * tab.MAX_MESSAGE]), 1009)):
            ws = await served.tab(cookie)
            await ws.send_str(message)
            assert await close_code(ws) == code
            await until(no_process, "the process ends with its tab")


async def test_only_addresses_of_the_web_are_opened_and_never_in_place_of_the_page() -> None:
    for url in ("javascript:alert(1)", "data:text/html,x", "file:///etc/passwd", "//host", "", 7):
        assert tab.for_page({"type": "open_url", "url": url, "new_tab": False}) is None
    opened = tab.for_page({"type": "open_url", "url": "https://example.org/a", "new_tab": False})
    assert opened == ["open_url", {"url": "https://example.org/a", "new_tab": True}]
    assert tab.for_page({"type": "deliver_file_start", "key": "k", "path": "/etc/passwd"}) is None


def test_a_terminal_has_a_size_that_a_screen_could_have() -> None:
    assert tab.to_process('["resize", {"width": 100000000, "height": -3}]')[5:] == (
        b'{"type": "resize", "width": 1000, "height": 1}'
    )


async def test_quitting_ends_process_and_tab(tmp_path: Path) -> None:
    async with Home(tmp_path / "alice") as alice, serving(alice.path) as served:
        ws = await served.tab(await served.cookie())
        (process,) = processes()
        assert process.environ()["P2PCKPT_HOME"] == str(alice.path)
        await ws.send_str('["stdin", "q"]')
        assert await close_code(ws) == 1000
        await until(no_process, "the process has ended")


async def test_a_process_that_does_not_listen_is_ended_all_the_same(tmp_path: Path) -> None:
    async with Home(tmp_path / "alice") as alice, serving(alice.path, patience=0.3) as served:
        ws = await served.tab(await served.cookie())
        (process,) = processes()
        process.suspend()
        await ws.close()
        await until(no_process, "the process has ended")


async def test_stopping_the_server_closes_tabs_and_their_processes(tmp_path: Path) -> None:
    async with Home(tmp_path / "alice") as alice, serving(alice.path) as served:
        cookie = await served.cookie()
        tabs = [await served.tab(cookie), await served.tab(cookie)]
        assert len(processes()) == 2
        *codes, _ = await asyncio.gather(*map(close_code, tabs), served.server.stop())
        assert processes() == []
        assert codes == [1001, 1001]


def test_without_the_extra_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "textual_serve", None)
    with pytest.raises(NotFound) as missing:
        WebServer(config.load(home=tmp_path, environ={}, directory=Path("/")), print)
    assert missing.value.next_step == "pip install 'p2pckpt[web]'"


async def test_a_port_that_is_taken_is_told(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        second = WebServer(config.load(home=tmp_path, environ={}, directory=Path("/")), print)
        with pytest.raises(BadUsage, match="can't be used"):
            await second.start(int(served.origin.rpartition(":")[2]))
        await second.stop()


# -- the command


@contextlib.asynccontextmanager
async def command(home: Home, *arguments: str, **environment: str) -> AsyncIterator[tuple[Any, str]]:
    """``p2pckpt tui --web`` and the URL it printed."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "p2pckpt", "--home", str(home.path), "tui", "--web", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=home.path,
        env={key: value for key, value in home.env.items() if key not in ("DISPLAY", "WAYLAND_DISPLAY")} | environment,
    )
    try:
        assert process.stdout is not None
        yield process, (await process.stdout.readline()).decode().strip()
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
    await until(no_process, "no interface outlives the server")


async def open_tab(http: aiohttp.ClientSession, url: str) -> aiohttp.ClientWebSocketResponse:
    """A tab of a server in another process."""
    origin, _, token = url.partition("/#")
    entered = await http.post(f"{origin}/enter", data=token, headers={"Origin": origin})
    headers = {"Cookie": f"{COOKIE}={entered.cookies[COOKIE].value}", "Origin": origin}
    ws = await http.ws_connect(f"{origin}{await entered.text()}ws?width=100&height=30", headers=headers)
    await shows(ws, "1 Transfers")
    return ws


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
async def test_ctrl_c_ends_it_with_every_tab_and_says_so(tmp_path: Path, number: signal.Signals) -> None:
    async with Home(tmp_path / "alice") as alice, command(alice) as (process, url):
        async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http:
            ws = await open_tab(http, url)
            assert len(processes()) == 1
            process.send_signal(number)
            assert await close_code(ws) == 1001
        out, err = await process.communicate()
        assert process.returncode == 0
        assert processes() == []
        assert "Stopped; 1 tab closed." in err.decode()
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/#[\w-]{43}\n", out.decode()), "the URL for the next browser"


async def test_no_interface_outlives_a_server_that_was_killed(tmp_path: Path) -> None:
    async with (
        Home(tmp_path / "alice") as alice,
        command(alice) as (process, url),
        aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http,
    ):
        await open_tab(http, url)
        (interface,) = processes()
        process.kill()
        await process.wait()

        async def has_ended() -> bool:
            return not interface.is_running() or interface.status() == psutil.STATUS_ZOMBIE

        await until(has_ended, "the process sees that its server is gone")


async def test_a_browser_is_opened_without_the_token_in_its_arguments(tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {seen}.part\nmv {seen}.part {seen}\n')
    browser.chmod(0o700)

    async def was_started() -> bool:
        return seen.exists()

    async with (
        Home(tmp_path / "alice") as alice,
        command(alice, "--open", DISPLAY=":99", BROWSER=str(browser)) as (process, url),
    ):
        await until(was_started, "the browser is started")
        argument = seen.read_text().strip()
        assert argument.startswith("file:///")
        assert url.partition("#")[2] not in argument
        page = Path(argument.removeprefix("file://"))
        assert stat.S_IMODE(page.stat().st_mode) == 0o600
        assert f'location.replace("{url}")' in page.read_text()
        process.send_signal(signal.SIGINT)
        await process.communicate()
        assert not page.exists()


async def test_without_a_display_no_browser_is_opened(tmp_path: Path) -> None:
    async with Home(tmp_path / "alice") as alice, command(alice, "--open") as (process, _url):
        process.send_signal(signal.SIGINT)
        _, err = await process.communicate()
        assert "no display" in err.decode()


async def test_options_of_the_browser_make_no_sense_without_it(tmp_path: Path) -> None:
    home = Home(tmp_path / "alice")
    home.path.mkdir()
    refused = await home.cli("tui", "--port", "8000")
    assert (refused.returncode, "--web" in refused.stderr) == (2, True)


async def test_neither_log_nor_state_keeps_a_secret(tmp_path: Path) -> None:
    async with Home(tmp_path / "alice") as alice, serving(alice.path) as served:
        cookie = await served.cookie()
        await (await served.tab(cookie)).close()
        await until(no_process, "the process has ended")
        secrets = [url.partition("#")[2] for url in served.urls] + [cookie["Cookie"].partition("=")[2], served.path[1:]]
        log = alice.config.state_dir / "web.log"
        assert stat.S_IMODE(log.stat().st_mode) == 0o600
        for path in alice.path.rglob("*"):
            if path.is_file() and os.access(path, os.R_OK):
                content = path.read_bytes()
                assert not any(secret.encode() in content for secret in secrets), path
