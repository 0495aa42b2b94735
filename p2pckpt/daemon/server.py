"""The daemon's door: HTTP on a Unix socket that only this user can open. Translation only, no logic."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
import structlog
from aiohttp import web

from p2pckpt.control import access_messages as am
from p2pckpt.control import gateway_messages as gm
from p2pckpt.control import health_messages as hm
from p2pckpt.control import key_messages as km
from p2pckpt.control import messages as m
from p2pckpt.control import pin_messages as pn
from p2pckpt.control import publish_messages as pm
from p2pckpt.control import run_messages as rm
from p2pckpt.control import settings_messages as sm
from p2pckpt.control.client import failure_of
from p2pckpt.control.read_messages import ReadRequest
from p2pckpt.daemon.feed import Feed
from p2pckpt.daemon.log import LogRing
from p2pckpt.daemon.operations import Operations
from p2pckpt.errors import BadUsage, NotAllowed, P2pckptError

_log = structlog.get_logger(__name__)
_T = TypeVar("_T")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_LINES: Final = 256
"""Events encoded at a time."""
_SLICE: Final = 1 << 16
"""Bytes of the event stream given to the transport at a time."""
_BYTES: Final = 1 << 20
"""The same of a file's bytes."""
_PATIENCE: Final = 120.0
"""Seconds in which a reader has to take such a slice."""


class ControlServer:
    """Serves ``Operations`` on ``socket_path``."""

    def __init__(self, operations: Operations, log: LogRing, socket_path: Path, stop: Callable[[], None]) -> None:
        self._operations = operations
        self._log = log
        self._socket_path = socket_path
        self._stop = stop
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Raises ``NotAllowed`` when the socket's directory belongs to somebody else."""
        directory = self._socket_path.parent
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        status = directory.lstat()
        if status.st_uid != os.getuid() or status.st_mode & 0o077:
            raise NotAllowed(f"{directory} is not private to this user", next_step=f"remove {directory}")
        self._socket_path.unlink(missing_ok=True)
        app = web.Application(middlewares=[_guard], client_max_size=1 << 20)
        app.router.add_routes(self._routes())
        self._runner = web.AppRunner(
            app, access_log=None, handle_signals=False, handler_cancellation=True, shutdown_timeout=1
        )
        await self._runner.setup()
        await web.UnixSite(self._runner, str(self._socket_path)).start()
        self._socket_path.chmod(0o600)

    async def close(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
        self._socket_path.unlink(missing_ok=True)

    def _routes(self) -> list[web.RouteDef]:
        do, sharing = self._operations, self._operations.sharing
        return [
            web.get("/v1/status", _answer(lambda r: _now(do.pulse.status()))),
            web.post("/v1/stop", self._stop_request),
            web.get("/v1/events", self._events),
            web.post("/v1/publish", _answer(_with(pm.PublishRequest, do.publish))),
            web.post("/v1/publish/look", _ask(_with(pm.LookRequest, do.look))),
            web.post("/v1/publish/plan", _ask(_with(pm.PublishRequest, do.publish_plan))),
            web.post("/v1/fetch", _answer(_with(m.FetchRequest, do.fetch))),
            web.post("/v1/fetch/plan", _answer(_with(m.FetchRequest, do.fetch_plan))),
            web.post("/v1/verify", _answer(_with(m.VerifyRequest, do.verify))),
            web.get("/v1/runs", _answer(lambda r: _now(do.runs.rows()))),
            web.post("/v1/runs", _answer(_with(rm.WatchRequest, do.runs.watch))),
            web.get("/v1/runs/{name}", _answer(lambda r: _now(do.runs.detail(r.match_info["name"])))),
            web.post("/v1/runs/{name}/flush", _ask(lambda r: do.runs.flush(r.match_info["name"]))),
            web.delete("/v1/runs/{name}", _answer(lambda r: do.runs.unwatch(r.match_info["name"]))),
            web.post("/v1/saves", _answer(_with(rm.SaveRequest, do.runs.save))),
            web.post("/v1/restore", _answer(_with(rm.RestoreRequest, do.restore))),
            web.get("/v1/jobs", _answer(lambda r: _now(do.jobs.jobs()))),
            web.get("/v1/jobs/{id}", _answer(lambda r: _now(do.jobs.progress(r.match_info["id"]).job))),
            web.get("/v1/jobs/{id}/detail", _answer(lambda r: do.job_detail(r.match_info["id"]))),
            web.post("/v1/jobs/{id}/pause", _answer(lambda r: do.jobs.pause(r.match_info["id"]))),
            web.post("/v1/jobs/{id}/resume", _answer(lambda r: _now(do.jobs.resume(r.match_info["id"])))),
            web.get("/v1/jobs/{id}/report", _answer(lambda r: do.report(r.match_info["id"]))),
            web.post("/v1/jobs/{id}/announce", _answer(lambda r: do.announce(r.match_info["id"]))),
            web.get("/v1/peers", _answer(lambda r: do.peers())),
            web.get("/v1/bans", _answer(lambda r: _now(do.bans.rows()))),
            web.post("/v1/bans", _answer(_with(hm.BanRequest, do.bans.add))),
            web.delete("/v1/bans", _answer(lambda r: do.bans.remove(_text(r, "network")))),
            web.post("/v1/jobs/{id}/limit", self._limit_job),
            web.delete("/v1/jobs/{id}", _answer(lambda r: do.remove(r.match_info["id"], data=_flag(r, "data")))),
            web.get("/v1/shares", _answer(lambda r: do.shares())),
            web.get("/v1/shares/{name}", _answer(lambda r: do.share_detail(r.match_info["name"]))),
            web.get("/v1/versions/{name}", _answer(lambda r: do.version_detail(r.match_info["name"]))),
            web.delete("/v1/versions/{name}", _answer(lambda r: do.drop_version(r.match_info["name"]))),
            web.get("/v1/versions/{name}/manifest", _answer(lambda r: do.manifest(r.match_info["name"]))),
            web.get("/v1/contents/{name}", _ask(lambda r: do.reading.contents(r.match_info["name"]))),
            web.get("/v1/bytes", self._bytes),
            web.get("/v1/diff", _answer(lambda r: do.diff(_text(r, "a"), _text(r, "b")))),
            web.post("/v1/prune", _answer(_with(rm.PruneRequest, do.retaining.prune))),
            web.post("/v1/prune/undo", _answer(lambda r: do.retaining.undo(_text(r, "name")))),
            web.post("/v1/tags", _answer(_with(m.TagRequest, do.tag))),
            web.get("/v1/pins", _answer(lambda r: do.pinning.rows())),
            web.post("/v1/pins", _answer(_with(pn.PinRequest, do.pinning.change))),
            web.get("/v1/members", _answer(lambda r: sharing.members(_text(r, "share")))),
            web.post("/v1/members", _answer(_with(am.SetMemberRequest, sharing.set_member))),
            web.get("/v1/leave", _answer(lambda r: do.leaving.plan(_text(r, "share")))),
            web.post("/v1/leave", _answer(lambda r: do.leaving.leave(_text(r, "share"), unpin=_flag(r, "unpin")))),
            web.post("/v1/asks", _answer(_with(am.AskRequest, do.access.ask))),
            web.get("/v1/requests", _answer(lambda r: do.access.requests(_text(r, "share")))),
            web.post("/v1/requests", _answer(_with(am.DecideRequest, do.access.decide))),
            web.post("/v1/invites", _answer(_with(am.InviteRequest, do.access.invite))),
            web.get(
                "/v1/log",
                _answer(lambda r: _now(self._log.read(_number(r, "since"), _level(r), _number(r, "limit", 1000)))),
            ),
            web.get("/v1/log/follow", self._follow_log),
            web.post("/v1/log", _answer(_with(am.LogRequest, do.access.log))),
            web.get("/v1/links", _answer(lambda r: sharing.links(_text(r, "share")))),
            web.get("/v1/link", _answer(lambda r: sharing.link(_text(r, "share"), _text(r, "id")))),
            web.post("/v1/links", _answer(_with(am.CreateLinkRequest, sharing.create_link))),
            web.delete("/v1/links/{id}", _answer(lambda r: sharing.revoke_link(_text(r, "share"), r.match_info["id"]))),
            web.get("/v1/access", _answer(lambda r: sharing.access(_text(r, "share")))),
            web.post("/v1/access", _answer(_with(am.TermsRequest, sharing.set_terms))),
            web.post("/v1/access/sign", _answer(lambda r: sharing.sign(_text(r, "share"), _text(r, "digest")))),
            web.post("/v1/access/withdraw", _answer(lambda r: sharing.withdraw(_text(r, "share")))),
            web.get("/v1/settings", _answer(lambda r: _now(do.settings.rows()))),
            web.post("/v1/settings", _answer(_with(sm.SetRequest, do.settings.set))),
            web.post("/v1/settings/reload", _answer(lambda r: do.settings.reload())),
            web.get("/v1/gateway", _answer(lambda r: _now(do.gateway.state))),
            web.post("/v1/gateway", _answer(_with(gm.GatewayRequest, do.gateway.set))),
            web.get("/v1/limits", _answer(lambda r: _now(do.limits()))),
            web.post("/v1/limits/turtle", _answer(_with(sm.TurtleRequest, do.turtle))),
            web.get("/v1/key", _answer(lambda r: do.keys.own())),
            web.get("/v1/keys", _answer(lambda r: do.keys.known())),
            web.post("/v1/keys", _answer(_with(km.DecideKeyRequest, do.keys.decide))),
        ]

    async def _stop_request(self, request: web.Request) -> web.Response:
        self._stop()
        return web.json_response(None)

    async def _limit_job(self, request: web.Request) -> web.StreamResponse:
        job_id = request.match_info["id"]
        limit = _with(sm.JobLimitRequest, lambda body: _now(self._operations.limit_job(job_id, body)))
        return await _answer(limit)(request)

    async def _events(self, request: web.Request) -> web.StreamResponse:
        return await stream(request, self._operations.feed, self._operations.snapshot)

    async def _bytes(self, request: web.Request) -> web.StreamResponse:
        try:
            wanted = msgspec.convert(dict(request.query), ReadRequest, strict=False)
        except msgspec.ValidationError as exc:
            raise BadUsage(f"the request is malformed: {exc}") from exc
        async with self._operations.reading.read(wanted) as (length, blocks):
            return await _send(request, length, blocks)

    async def _follow_log(self, request: web.Request) -> web.StreamResponse:
        since, level = _number(request, "since"), _level(request)
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        encode = msgspec.json.Encoder().encode_lines
        try:
            await response.prepare(request)
            async with contextlib.aclosing(self._log.follow(since, level)) as batches:
                async for batch in batches:
                    async with asyncio.timeout(_PATIENCE):
                        await response.write(encode(batch) or b"\n")
        except ConnectionError:
            pass
        except TimeoutError:
            if request.transport is not None:
                request.transport.abort()
        return response


async def stream(request: web.Request, feed: Feed, first: Callable[[], Awaitable[m.Event]]) -> web.StreamResponse:
    """The events of ``feed`` as lines of JSON, until it is closed or the reader is gone or reads nothing at all."""
    response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
    encode = msgspec.json.Encoder().encode_lines
    try:
        await response.prepare(request)
        async with contextlib.aclosing(feed.follow(first())) as batches:
            async for batch in batches:
                for start in range(0, len(batch), _LINES):
                    lines = memoryview(encode(batch[start : start + _LINES]))
                    for at in range(0, len(lines), _SLICE):
                        async with asyncio.timeout(_PATIENCE):
                            await response.write(lines[at : at + _SLICE])
    except ConnectionError:
        pass
    except TimeoutError:
        _log.info("a reader of events reads nothing and is let go")
        if request.transport is not None:
            request.transport.abort()
    return response


async def _send(request: web.Request, length: int, blocks: AsyncIterator[memoryview]) -> web.StreamResponse:
    """Bytes as fast as they are taken; what fails before the first of them is raised, and later breaks off."""
    block = await anext(blocks, None)
    response = web.StreamResponse(headers={"Content-Type": "application/octet-stream"})
    response.content_length = length
    try:
        await response.prepare(request)
        while block is not None:
            for at in range(0, len(block), _BYTES):
                async with asyncio.timeout(_PATIENCE):
                    await response.write(block[at : at + _BYTES])
            block = await anext(blocks, None)
    except ConnectionError:
        pass
    except Exception as exc:  # the answer has begun: an error can't be told any more
        if isinstance(exc, P2pckptError | TimeoutError):
            _log.info("a range broke off", reason=str(exc) or "its reader takes nothing")
        else:
            _log.exception("a range broke")
        if request.transport is not None:
            request.transport.abort()
    return response


@web.middleware
async def _guard(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Only this user; every error as a ``Failure``."""
    try:
        _check_peer(request)
        return await handler(request)
    except P2pckptError as exc:
        return _failed(exc)
    except web.HTTPException:
        raise
    except Exception as exc:
        _log.exception("a request broke", path=request.path)
        return _failed(
            P2pckptError(f"an error in p2pckpt itself: {type(exc).__name__}: {exc}", next_step="p2pckpt daemon logs")
        )


def _check_peer(request: web.Request) -> None:
    if sys.platform != "linux" or request.transport is None:
        return  # the directory's mode decides elsewhere
    peer = request.transport.get_extra_info("socket")
    credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _, uid, _ = struct.unpack("3i", credentials)
    if uid not in (os.getuid(), 0):
        raise NotAllowed("this daemon belongs to another user")


def _failed(error: P2pckptError) -> web.Response:
    return web.Response(status=400, body=msgspec.json.encode(failure_of(error)), content_type="application/json")


def _answer(operation: Callable[[web.Request], Awaitable[Any]]) -> Handler:
    """What was asked for is done to its end, also when whoever asked has left."""

    async def to_the_end(request: web.Request) -> Any:
        return await asyncio.shield(asyncio.ensure_future(operation(request)))

    return _ask(to_the_end)


def _ask(operation: Callable[[web.Request], Awaitable[Any]]) -> Handler:
    """A question that may take long: given up when nobody waits for the answer any more."""

    async def handle(request: web.Request) -> web.StreamResponse:
        result = await operation(request)
        return web.Response(body=msgspec.json.encode(result), content_type="application/json")

    return handle


def _with(kind: type[_T], operation: Callable[[_T], Awaitable[Any]]) -> Callable[[web.Request], Awaitable[Any]]:
    async def run(request: web.Request) -> Any:
        try:
            body = msgspec.json.decode(await request.read(), type=kind)
        except (msgspec.MsgspecError, ValueError) as exc:
            raise BadUsage(f"the request is malformed: {exc}") from exc
        return await operation(body)

    return run


async def _now(value: _T) -> _T:
    return value


def _number(request: web.Request, name: str, otherwise: int = 0) -> int:
    text = request.query.get(name, str(otherwise))
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise BadUsage(f"{name} is a number")
    return int(text)


def _level(request: web.Request) -> str:
    level = request.query.get("level", "")
    if level and level not in hm.LOG_LEVELS:
        raise BadUsage(f"level is one of {', '.join(hm.LOG_LEVELS)}")
    return level


def _flag(request: web.Request, name: str) -> bool:
    return request.query.get(name, "0") == "1"


def _text(request: web.Request, name: str) -> str:
    if name not in request.query:
        raise BadUsage(f"the request lacks {name!r}")
    return request.query[name]
