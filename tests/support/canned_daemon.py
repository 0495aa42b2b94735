"""A daemon that only answers what a test put into it: a real HTTP server on a real Unix socket, no work behind it.

Also builders of the messages it speaks, with every field filled in.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import msgspec
from aiohttp import web

from p2pckpt.control import messages as m
from p2pckpt.tracker_protocol import Role, Visibility


def job(**changes: Any) -> m.Job:
    """A fetch at 40 of 100 MB."""
    base = m.Job(
        id="j12",
        kind=m.JobKind.FETCH,
        state=m.JobState.RUNNING,
        share_id="ab" * 32,
        share="cars/sd15",
        version=3,
        version_name="step-3000",
        publisher="cd" * 32,
        path="/models/sd15",
        phase=m.Phase.DOWNLOADING,
        size=100_000_000,
        done=40_000_000,
        wire_size=70_000_000,
        wire_done=28_000_000,
        rate_down=12_000_000,
        peers=4,
        seeds=2,
        eta=65,
        created_at=1_000_000,
    )
    return msgspec.structs.replace(base, **changes)


def share(**changes: Any) -> m.ShareRow:
    base = m.ShareRow(
        share_id="ab" * 32,
        name="cars/sd15",
        role=Role.OWNER,
        visibility=Visibility.LINK,
        owner="cd" * 32,
        tracker="https://tracker.example:4433",
        versions=3,
        latest=3,
        size=100_000_000,
        stored=70_000_000,
        tags={"latest": 3, "stable": 2},
        seeds=2,
        members=4,
        updated_at=1_000_000,
    )
    return msgspec.structs.replace(base, **changes)


def version(number: int = 3, **changes: Any) -> m.VersionRow:
    base = m.VersionRow(
        version=number,
        name=f"step-{number}000",
        tags=("latest",) if number == 3 else (),
        published_at=1_000_000,
        publisher="cd" * 32,
        size=100_000_000,
        wire_size=30_000_000,
        files=5,
        held=True,
        info_hash="ef" * 32,
    )
    return msgspec.structs.replace(base, **changes)


def version_detail(**changes: Any) -> m.VersionDetail:
    base = m.VersionDetail(
        share_id="ab" * 32,
        share="cars/sd15",
        version=version(),
        publisher="cd" * 32,
        encoder="p2pckpt 0.1.0",
        licence="apache-2.0",
        base_model=("base/one",),
        card="# A card\n\nwith two paragraphs",
        files=(m.FileRow("unet/model.safetensors", 99_000_000, 99_000_000, "safetensors"),),
        directories=(),
        tensors=(m.TensorRow("conv_in.weight", "BF16", (320, 4, 3, 3), 11_520, "unet/model.safetensors"),),
        parameters=11_520,
        chunks=100,
        objects=3,
        stored=70_000_000,
        info_hashes=("ef" * 32,),
        warnings=(),
    )
    return msgspec.structs.replace(base, **changes)


def status(**changes: Any) -> m.DaemonStatus:
    base = m.DaemonStatus(
        version="0.1.0",
        pid=4711,
        started_at=1_000_000,
        home="/home/alice",
        identity="cd" * 32,
        name="alice",
        listen_ports=(6881,),
        tracker="https://tracker.example:4433",
        tracker_state="connected",
        embedded_tracker=True,
        rate_down=0,
        rate_up=0,
        free_bytes=10**12,
        stored_bytes=10**9,
        max_loop_stall_ms=1.5,
        rss_bytes=10**8,
        peak_rss_bytes=10**8,
        jobs=1,
    )
    return msgspec.structs.replace(base, **changes)


def preview(**changes: Any) -> m.FetchPreview:
    base = m.FetchPreview(
        share_id="ab" * 32,
        share="cars/sd15",
        version=3,
        version_name="step-3000",
        tags=("latest",),
        publisher="cd" * 32,
        licence="apache-2.0",
        files=(m.FileRow("model.safetensors", 100_000_000, 30_000_000, "safetensors"),),
        size=100_000_000,
        reused=30_000_000,
        wire_size=50_000_000,
        disk_needed=150_000_000,
        disk_free=10**12,
        seeds=2,
        to="/models/sd15",
        conflicts=("README.md",),
        warnings=(),
    )
    return msgspec.structs.replace(base, **changes)


class CannedDaemon:
    """Serves ``replies`` by (method, path as sent + decoded query) and ``events``.

    A context manager. A reply is a message, a ``Failure`` (sent as status 400), or None for an empty 204.
    ``requests`` collects (method, path with query, decoded body) in the order in which they came.
    The event stream closes after its last event.
    Anything that was not put into it is answered with 404 and kept in ``unexpected``.
    """

    def __init__(self, socket_path: Path) -> None:
        self.replies: dict[tuple[str, str], Any] = {("GET", "/v1/status"): status()}
        self.events: list[m.Event] = []
        self.requests: list[tuple[str, str, Any]] = []
        self.unexpected: list[tuple[str, str]] = []
        self.hold_stream = False
        """Keep the event stream open after its last event, until the client leaves."""
        self.gates: dict[tuple[str, str], threading.Event] = {}
        """Replies that are held back until the event is set."""
        self._closing = asyncio.Event()
        self._socket_path = socket_path
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="canned daemon")
        self._runner: web.AppRunner | None = None

    def follow(self, *jobs: m.Job) -> None:
        """Events of one job's life: its first state in the snapshot, the others as changes."""
        self.events = [m.Snapshot(status(), jobs[:1], ()), *(m.JobChanged(change) for change in jobs[1:])]

    def asked(self, method: str, path: str) -> list[Any]:
        """Bodies of the requests to one route."""
        return [body for seen, where, body in self.requests if (seen, where) == (method, path)]

    def __enter__(self) -> CannedDaemon:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._open(), self._loop).result(timeout=30)
        return self

    def __exit__(self, *exc: object) -> None:
        assert self._runner is not None
        self._loop.call_soon_threadsafe(self._closing.set)
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result(timeout=30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=30)
        self._loop.close()

    async def _open(self) -> None:
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(application)
        await self._runner.setup()
        self._socket_path.parent.mkdir(parents=True, exist_ok=True)
        await web.UnixSite(self._runner, str(self._socket_path)).start()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        self.requests.append((request.method, request.raw_path, msgspec.json.decode(raw) if raw else None))
        if request.raw_path == "/v1/events":
            return await self._stream(request, self.events)
        path, mark, query = request.raw_path.partition("?")
        key = (request.method, path + mark + unquote(query))
        if key not in self.replies:
            self.unexpected.append(key)
            return _answer(m.Failure("not_found", f"the canned daemon has nothing for {key}"))
        if key in self.gates:
            await asyncio.to_thread(self.gates[key].wait, 30)
        return _answer(self.replies[key])

    async def _stream(self, request: web.Request, events: Iterable[m.Event]) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for event in events:
            await response.write(msgspec.json.encode(event) + b"\n")
        if self.hold_stream:
            await self._closing.wait()
        # a client that has seen enough is no error
        with contextlib.suppress(ConnectionResetError):
            await response.write_eof()
        return response


def _answer(reply: Any) -> web.Response:
    if reply is None:
        return web.Response(status=204)
    code = 400 if isinstance(reply, m.Failure) else 200
    return web.Response(status=code, body=msgspec.json.encode(reply), content_type="application/json")
