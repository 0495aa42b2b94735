"""The gateway's HTTP server: who may ask, then one method a route."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final
from urllib.parse import parse_qs, urlencode

from aiohttp import web

from p2pckpt.bridges.hub_gateway import answers
from p2pckpt.bridges.hub_gateway.beginnings import Beginnings
from p2pckpt.bridges.hub_gateway.etags import Span, commit_of, etag, is_named, span_of
from p2pckpt.bridges.hub_gateway.repos import Repos, Source
from p2pckpt.bridges.hub_gateway.routes import Kind, Route, parse
from p2pckpt.control.read_messages import Contents, FileInfo
from p2pckpt.errors import BadUsage, P2pckptError
from p2pckpt.loopback import ADDRESS, listen

_log = logging.getLogger("p2pckpt.bridges.hub_gateway")
PATIENCE: Final = 8.0
"""Seconds until a client is told to come back for a first byte: by itself it gives up after 10."""
_SHORTEST_SECRET: Final = 16
_MAX_BODY: Final = 2 << 20
"""Bytes of a request: the paths that somebody asks about."""
_MAX_PATHS: Final = 20_000
UNTOLD: Final = 50 * 1000**3
"""Bytes above which clients refuse what they know the size of, unless it comes by the hub's own protocols."""
_HEADERS: Final = {
    # a version's files are other people's: none is to run as a page of this address
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Server": "p2pckpt",
    "X-Content-Type-Options": "nosniff",
}


class HubGateway:
    """Serves what ``source`` has on a loopback port, below ``/SECRET``, which has 16 characters at least."""

    def __init__(
        self,
        source: Source,
        secret: str,
        *,
        patience: float = PATIENCE,
        retry_after: int = answers.RETRY_AFTER,
        untold: int = UNTOLD,
    ) -> None:
        if len(secret) < _SHORTEST_SECRET:
            raise BadUsage("the gateway's secret is too short", next_step="p2pckpt gateway start --new-token")
        self._source = source
        self._secret = secret
        self._linger = patience + 2 * retry_after
        self._reading = Beginnings(patience, linger=self._linger)
        self._retry_after = retry_after
        self._untold = untold
        self._repos = Repos(source)
        self._hosts: tuple[str, ...] = ()
        self._runner: web.AppRunner | None = None
        self._routes: dict[Kind, Callable[[web.Request, Route], Awaitable[web.StreamResponse]]] = {
            Kind.WHOAMI: self._whoami,
            Kind.INFO: self._info,
            Kind.REFS: self._refs,
            Kind.TREE: self._tree,
            Kind.PATHS_INFO: self._paths_info,
            Kind.RESOLVE: self._resolve,
        }

    async def start(self, port: int = 0) -> int:
        """Listen on ``port``, 0 for any, and return it. Raises ``BadUsage`` when it is taken."""
        listening = listen(port, otherwise="p2pckpt config set gateway_port")
        port = listening.getsockname()[1]
        self._hosts = tuple(f"{name}:{port}" for name in (ADDRESS, "localhost"))
        app = web.Application(client_max_size=_MAX_BODY)
        app.router.add_route("*", "/{target:.*}", self._answer)
        self._runner = web.AppRunner(
            app, access_log=None, handle_signals=False, handler_cancellation=True, shutdown_timeout=1
        )
        await self._runner.setup()
        await web.SockSite(self._runner, listening).start()
        return int(port)

    async def stop(self) -> None:
        await self._reading.close()
        if self._runner is not None:
            await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        """Everything that comes in; every error as a hub's clients read it."""
        agent = request.headers.get("User-Agent", "")
        try:
            # a name that somebody lets point here (DNS rebinding) makes their page same-origin; the name gives it away
            if request.headers.getall("Host", []) not in ([host] for host in self._hosts):
                raise BadUsage("this is no address of the gateway")
            route = parse(request.method, request.raw_path, self._secret)
            return await self._routes[route.kind](request, route)
        except P2pckptError as exc:
            refusal = answers.refusal(exc, agent, retry_after=self._retry_after)
        except web.HTTPException as exc:  # of aiohttp's own: a body that is too large
            refusal = answers.Refusal(exc.status, {}, exc.reason)
        except Exception as exc:  # the log has no target of a request: there is a secret in it
            _log.exception("a request broke: %s", type(exc).__name__)
            refusal = answers.Refusal(500, {}, "an error in p2pckpt itself; next: p2pckpt daemon logs")
        return _refuse(refusal)

    async def _whoami(self, request: web.Request, route: Route) -> web.StreamResponse:
        return _json(answers.whoami(await self._source.status()))

    async def _info(self, request: web.Request, route: Route) -> web.StreamResponse:
        contents = await self._repos.find(route.repo, route.revision)
        return _json(answers.repo_info(route.repo, contents, blobs=_flag(route, "blobs")), contents)

    async def _refs(self, request: web.Request, route: Route) -> web.StreamResponse:
        return _json(answers.refs(await self._repos.detail(route.repo)))

    async def _tree(self, request: web.Request, route: Route) -> web.StreamResponse:
        contents = await self._repos.find(route.repo, route.revision)
        page = answers.tree(
            contents,
            route.path,
            recursive=_flag(route, "recursive"),
            expand=_flag(route, "expand"),
            start=_number(route, "cursor", 0),
            limit=max(1, min(answers.PAGE, _number(route, "limit", answers.PAGE))),
        )
        response = _json(page.entries, contents)
        if page.next:
            path = request.raw_path.partition("?")[0]
            query = urlencode({**route.query, "cursor": page.next})
            # clients follow it as it stands: it has to be absolute
            response.headers["Link"] = f'<http://{request.headers["Host"]}{path}?{query}>; rel="next"'
        return response

    async def _paths_info(self, request: web.Request, route: Route) -> web.StreamResponse:
        paths, expand = _asked(request.content_type, await request.read())
        contents = await self._repos.find(route.repo, route.revision)
        return _json(answers.paths_info(contents, paths, expand=expand), contents)

    async def _resolve(self, request: web.Request, route: Route) -> web.StreamResponse:
        contents = await self._repos.find(route.repo, route.revision)
        commit = {"X-Repo-Commit": commit_of(contents.manifest)}
        try:
            file = answers.file_of(contents, route.path)
        except answers.EntryNotFound as exc:
            # with the commit, clients remember that this version lacks the file
            return _refuse(answers.refusal(exc, ""), commit)
        headers = {**_HEADERS, **commit, "ETag": etag(file), "X-Linked-ETag": etag(file), "Accept-Ranges": "bytes"}
        headers |= {"Content-Type": "application/octet-stream", "Content-Disposition": "attachment"}
        if is_named(request.headers.get("If-None-Match"), etag(file)):
            return web.Response(status=304, headers=headers)
        try:
            span = _span(request, file) if request.method == "GET" else None  # RFC 9110, 14.2: of no other method
        except ValueError:
            return web.Response(status=416, headers={**headers, "Content-Range": f"bytes */{file.size}"})
        is_old = answers.is_old(request.headers.get("User-Agent", ""))
        told = request.method == "GET" or file.size <= self._untold or is_old
        if told:
            headers["X-Linked-Size"] = str(file.size)
        if request.method == "HEAD":
            return await _head(request, headers, file.size if told else None)
        return await self._send(request, contents, file, span, headers)

    async def _send(
        self, request: web.Request, contents: Contents, file: FileInfo, span: Span | None, headers: dict[str, str]
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers=headers)
        part = span or Span(0, file.size)
        if span is not None:
            response.set_status(206)
            response.headers["Content-Range"] = f"bytes {part.start}-{part.end - 1}/{file.size}"
        response.content_length = part.end - part.start
        if part.start == part.end:
            await response.prepare(request)
            return response
        version = f"{contents.share_id}@{contents.version}"
        # while a client waits to come back, the daemon goes on: peers who hear of nothing wanted hang up
        pieces = self._source.read(version, file.path, part.start, part.end, patience=self._linger)
        async with self._reading.begun(pieces, (version, file.path, part.start)) as reading:
            await response.prepare(request)
            try:
                async for piece in reading:
                    await response.write(piece)
            except P2pckptError as exc:
                # the status is out: only a connection that breaks off says that this is not all, and clients go on
                _log.warning("a file broke off: %s", exc.fact)
                _break_off(request)
            except ConnectionError:
                pass
        return response


async def _head(request: web.Request, headers: dict[str, str], length: int | None) -> web.StreamResponse:
    response = web.StreamResponse(headers=headers)
    if length is not None:
        response.headers["Content-Length"] = str(length)
    await response.prepare(request)
    return response


def _break_off(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()


def _span(request: web.Request, file: FileInfo) -> Span | None:
    condition = request.headers.get("If-Range")
    if condition is not None and condition != etag(file):
        return None
    return span_of(request.headers.get("Range"), file.size)


def _json(body: Any, contents: Contents | None = None) -> web.Response:
    headers = dict(_HEADERS)
    if contents is not None:
        headers["X-Repo-Commit"] = commit_of(contents.manifest)
    return web.Response(text=json.dumps(body), content_type="application/json", headers=headers)


def _refuse(refusal: answers.Refusal, more: dict[str, str] | None = None) -> web.Response:
    message = "".join(letter if " " <= letter <= "~" else "?" for letter in refusal.message)
    headers = {**_HEADERS, **refusal.headers, **(more or {}), "X-Error-Message": message}
    text = json.dumps({"error": refusal.message})
    return web.Response(status=refusal.status, text=text, content_type="application/json", headers=headers)


def _asked(content_type: str, body: bytes) -> tuple[list[str], bool]:
    """The paths that a request's body names, as a form or as JSON, and whether it wants more about them."""
    try:
        if content_type == "application/json":
            fields = json.loads(body)
            paths, expand = fields["paths"], fields.get("expand", False)
        else:
            form = parse_qs(body.decode(), max_num_fields=_MAX_PATHS)
            paths, expand = form.get("paths", []), form.get("expand", [""])[0].lower() == "true"
        paths = [paths] if isinstance(paths, str) else paths
        if len(paths) > _MAX_PATHS or not all(isinstance(path, str) for path in paths):
            raise ValueError("paths")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
        raise BadUsage("the request names no paths") from exc
    return paths, expand is True


def _flag(route: Route, name: str) -> bool:
    return route.query.get(name, "").lower() in ("true", "1")


def _number(route: Route, name: str, otherwise: int) -> int:
    text = route.query.get(name, str(otherwise))
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise BadUsage(f"{name} is a number")
    return int(text)
