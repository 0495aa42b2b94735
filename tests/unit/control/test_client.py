"""The daemon's client against a socket that answers whatever a test wants."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import unquote

import msgspec
import pytest
import pytest_asyncio
from aiohttp import web

from p2pckpt import config
from p2pckpt.control import client as control
from p2pckpt.control import messages as m
from p2pckpt.control.client import ControlClient, connect, failure_of
from p2pckpt.errors import DaemonUnavailable, NoSeeds, NotFound, P2pckptError


class Daemon:
    """Answers every request alike, and the event stream with these blocks."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket
        self.status = 200
        self.body = b"[]"
        self.blocks: list[bytes] = []
        self.asked: list[tuple[str, str, bytes]] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.asked.append((request.method, request.raw_path, await request.read()))
        if request.path != "/v1/events" or self.status != 200:
            return web.Response(status=self.status, body=self.body)
        response = web.StreamResponse()
        await response.prepare(request)
        for block in self.blocks:
            await response.write(block)
        return response


@pytest_asyncio.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Daemon]:
    made = Daemon(tmp_path / "daemon.sock")
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", made.handle)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    await web.UnixSite(runner, str(made.socket)).start()
    yield made
    await runner.cleanup()


async def events(client: ControlClient) -> tuple[list[m.Event], P2pckptError]:
    """What came, and how it ended."""
    seen: list[m.Event] = []
    try:
        async for event in client.events():
            seen.append(event)
    except P2pckptError as exc:
        return seen, exc
    raise AssertionError("the stream ended without an error")


EVENTS: list[m.Event] = [m.JobRemoved("j1"), m.Notice("info", "naïve ✓"), m.ShareRemoved("ab")]
LINES = b"".join(msgspec.json.encode(event) + b"\n" for event in EVENTS)


@pytest.mark.parametrize("size", [1, 7, 1000])
async def test_events_are_put_together_however_they_come(daemon: Daemon, size: int) -> None:
    daemon.blocks = [LINES[at : at + size] for at in range(0, len(LINES), size)]
    async with ControlClient(daemon.socket) as client:
        seen, end = await events(client)
    assert seen == EVENTS
    assert isinstance(end, DaemonUnavailable)


async def test_empty_lines_are_no_events(daemon: Daemon) -> None:
    daemon.blocks = [b"\n\n", LINES, b"\n"]
    async with ControlClient(daemon.socket) as client:
        assert (await events(client))[0] == EVENTS


@pytest.mark.parametrize("line", [b"not json\n", b'{"type": "dance"}\n', b'"\xff"\n', b"[]\n"], ids=ascii)
async def test_garbage_in_the_stream_ends_it(daemon: Daemon, line: bytes) -> None:
    daemon.blocks = [LINES, line]
    async with ControlClient(daemon.socket) as client:
        seen, end = await events(client)
    assert seen == EVENTS
    assert isinstance(end, DaemonUnavailable)


async def test_a_line_without_end_is_not_collected_for_ever(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "_MAX_LINE", 1000)
    daemon.blocks = [b"x" * 700] * 3
    async with ControlClient(daemon.socket) as client:
        _, end = await events(client)
    assert isinstance(end, DaemonUnavailable)


async def test_errors_come_out_as_what_they_were(daemon: Daemon) -> None:
    daemon.status = 400
    daemon.body = msgspec.json.encode(failure_of(NoSeeds("nobody", kept="half", next_step="wait")))
    async with ControlClient(daemon.socket) as client:
        with pytest.raises(NoSeeds) as failed:
            await client.status()
        assert (failed.value.kept, failed.value.next_step) == ("half", "wait")
        assert isinstance((await events(client))[1], NoSeeds)


@pytest.mark.parametrize("body", [b"", b"not json", b'"\xff"', b"{}"], ids=ascii)
async def test_answers_that_cannot_be_read_are_errors_of_ours(daemon: Daemon, body: bytes) -> None:
    daemon.body = body
    async with ControlClient(daemon.socket) as client:
        with pytest.raises(DaemonUnavailable, match="another version"):
            await client.status()
        daemon.status = 500
        with pytest.raises(P2pckptError, match="unreadable"):
            await client.status()


async def test_names_travel_whatever_is_in_them(daemon: Daemon) -> None:
    daemon.status = 400
    daemon.body = msgspec.json.encode(failure_of(NotFound("no")))
    async with ControlClient(daemon.socket) as client:
        with pytest.raises(NotFound):
            await client.share_detail("cars/sd 15?x=1#y")
    (_, path, _) = daemon.asked[0]
    assert unquote(path) == "/v1/shares/cars/sd 15?x=1#y"
    assert (path.count("/"), path.count("?"), path.count("#")) == (3, 0, 0)


@pytest.mark.parametrize("what", ["nothing", "a file", "a directory"])
async def test_no_daemon_is_said_to_be_none(tmp_path: Path, what: str) -> None:
    socket = tmp_path / "daemon.sock"
    if what == "a file":
        socket.write_bytes(b"")
    elif what == "a directory":
        socket.mkdir()
    async with ControlClient(socket) as client:
        with pytest.raises(DaemonUnavailable, match="does not"):
            await client.status()
        assert isinstance((await events(client))[1], DaemonUnavailable)


async def test_connecting_does_not_start_a_daemon_unless_it_may(tmp_path: Path) -> None:
    found = config.load(home=tmp_path / "home", environ={}, directory=tmp_path)
    with pytest.raises(DaemonUnavailable):
        await connect(found, start=False)
    assert not (tmp_path / "home").exists()
