"""One API request on its way through an operation: who calls, reading the body, answering, refusing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
from aiohttp import web

from p2pckpt.tracker_protocol import MAX_JSON_BODY, Problem, Role

from ..peer_address import Address
from .services import Services

T = TypeVar("T")

_GRACE = 8.0
"""Seconds that a body may take however small it is."""
_SLOWEST = 16 << 10
"""Bytes a second that a body must bring on average beyond the grace."""

_encoder = msgspec.json.Encoder()


class Refusal(Exception):
    """Ends an operation with a problem document (RFC 9457)."""

    def __init__(self, status: int, title: str, detail: str = "", kind: str = "about:blank") -> None:
        super().__init__(title)
        self.problem = Problem(type=kind, title=title, status=status, detail=detail)


@dataclass(frozen=True, slots=True)
class Call:
    """A request that has passed the table: the caller is at least what the route needs."""

    request: web.Request
    services: Services
    seen: Address
    identity: str
    """Empty on routes that anyone may call."""
    share_id: str
    """Empty on routes outside shares."""
    role: Role | None

    def part(self, name: str) -> str:
        """A part of the path."""
        return self.request.match_info[name]

    async def chunks(self, limit: int) -> AsyncIterator[bytes]:
        """The body in pieces. Refuses more than ``limit`` bytes (413) and senders who dawdle (408)."""
        if (self.request.content_length or 0) > limit:
            raise Refusal(413, "body too large", f"at most {limit} bytes")
        loop = asyncio.get_running_loop()
        start = loop.time()
        received = 0
        while True:
            try:
                async with asyncio.timeout_at(start + _GRACE + received / _SLOWEST):
                    chunk = await self.request.content.readany()
            except TimeoutError:
                raise Refusal(408, "body too slow") from None
            if not chunk:
                return
            received += len(chunk)
            if received > limit:
                raise Refusal(413, "body too large", f"at most {limit} bytes")
            yield chunk

    async def body(self, kind: type[T], limit: int = MAX_JSON_BODY) -> T:
        """The JSON body as a struct. Refuses what does not fit it (400)."""
        data = b"".join([chunk async for chunk in self.chunks(limit)])
        try:
            return msgspec.json.decode(data, type=kind)
        except (msgspec.DecodeError, RecursionError) as exc:
            raise Refusal(400, "body not understood", str(exc)[:200]) from None


def reply(value: Any, status: int = 200) -> web.Response:
    """A JSON answer."""
    return web.Response(body=_encoder.encode(value), status=status, content_type="application/json")


def problem_response(problem: Problem) -> web.Response:
    response = web.Response(
        body=_encoder.encode(problem), status=problem.status, content_type="application/problem+json"
    )
    if problem.status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    if problem.status in (408, 413):
        response.force_close()
    if problem.status in (429, 503):
        response.headers["Retry-After"] = "10"
    return response


def not_found() -> Refusal:
    """For what is not there and for what the caller must not know to be there, alike."""
    return Refusal(404, "not found")
