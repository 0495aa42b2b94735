"""Passes, announces of daemons, and the event stream."""

from __future__ import annotations

import asyncio
import re
import time

from aiohttp import web

from p2pckpt.tracker_protocol import (
    MAX_ADDRESSES,
    MAX_EVENT_GAP,
    MAX_SWARMS_PER_ANNOUNCE,
    PASS_LIFETIME,
    PASS_PREFIX,
    AnnounceReply,
    AnnounceRequest,
    Hello,
    PassReply,
    Ping,
)

from ..access_rules import Pass, digest, new_secret
from ..events import TooManyStreams, encode
from ..store import member_rows
from .call import Call, Refusal, reply

_PING_AFTER = MAX_EVENT_GAP * 2 / 3
"""Seconds of silence; leaves the rest of the gap to the network."""
_WRITE_LIMIT = 10.0
"""Seconds for a reader to take a line."""
_PEER_ID = re.compile("[0-9a-f]{40}")
_INFO_HASH = re.compile("[0-9a-f]{64}")


async def make_pass(call: Call) -> web.Response:
    """The right to announce in one share's swarms for a day."""
    secret = new_secret(PASS_PREFIX)
    share_id, identity = call.share_id, call.identity
    expires_at = int(time.time()) + PASS_LIFETIME
    await call.services.database.write(
        lambda connection: member_rows.add_pass(connection, digest(secret), share_id, identity, expires_at)
    )
    call.services.rules.passes[digest(secret)] = Pass(share_id, identity, expires_at)
    return reply(PassReply(secret, expires_at), 201)


async def announce(call: Call) -> web.Response:
    """All swarms of one daemon at once."""
    request = await call.body(AnnounceRequest)
    if len(request.swarms) > MAX_SWARMS_PER_ANNOUNCE or len(request.addresses) > MAX_ADDRESSES:
        raise Refusal(400, "too many swarms or addresses")
    if not _PEER_ID.fullmatch(request.peer_id) or not 0 < request.port < 65536:
        raise Refusal(400, "malformed announce", "peer_id is 40 hex digits, port is 1 to 65535")
    if not all(_INFO_HASH.fullmatch(state.info_hash) for state in request.swarms):
        raise Refusal(400, "malformed announce", "info_hash is 64 lower-case hex digits")
    desk = call.services.desk
    replies = desk.announce_daemon(call.identity, request, call.seen)
    return reply(AnnounceReply(desk.interval(), call.seen.text, replies))


async def stream_events(call: Call) -> web.StreamResponse:
    """Events until the client leaves, the tracker stops, the token expires, or the reader is too slow."""
    services = call.services
    try:
        subscription = services.hub.subscribe(call.identity, call.seen)
    except TooManyStreams:
        raise Refusal(429, "too many event streams of this account") from None
    response = web.StreamResponse(
        headers={
            "Content-Type": "application/x-ndjson",
            "Cache-Control": "no-store",
            "X-Accel-Buffering": "no",  # nginx would hold lines back
        }
    )
    token = call.request.headers["Authorization"].partition(" ")[2].strip()
    try:
        await response.prepare(call.request)
        line: bytes | None = encode(Hello(services.tracker_id))
        while line is not None:
            async with asyncio.timeout(_WRITE_LIMIT):
                await response.write(line)
            try:
                line = await subscription.next_line(_PING_AFTER)
            except TimeoutError:
                line = encode(Ping()) if services.rules.identity_of(token) else None
    except (TimeoutError, ConnectionError):
        if call.request.transport is not None:
            call.request.transport.abort()
    finally:
        services.hub.unsubscribe(subscription)
    return response
