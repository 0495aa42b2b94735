"""Passes, announces of daemons, and the event stream."""

from __future__ import annotations

import asyncio
import re
import time

from aiohttp import web
from sqlalchemy import Connection

from p2pckpt.tracker_protocol import (
    MAX_ADDRESSES,
    MAX_EVENT_GAP,
    MAX_SWARMS_PER_ANNOUNCE,
    PASS_LIFETIME,
    PASS_PREFIX,
    PROBLEM_CONFLICT,
    AnnounceReply,
    AnnounceRequest,
    CertificateReply,
    Hello,
    IssueCertificate,
    PassReply,
    Ping,
    Role,
    Visibility,
)

from ..access_rules import Pass, digest, new_secret
from ..certificates import CannotIssue, issue
from ..events import TooManyStreams, encode
from ..store import authority_rows, member_rows, share_rows
from .call import Call, Refusal, not_found, reply

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


async def issue_certificate(call: Call) -> web.Response:
    """The right to connect to peers in one share's swarms for a day."""
    services, share_id, identity = call.services, call.share_id, call.identity
    public_key = (await call.body(IssueCertificate)).public_key
    grants = services.rules.shares[share_id]
    if grants.visibility is Visibility.PUBLIC:
        raise Refusal(409, "a public share", "its swarms are open to everybody", PROBLEM_CONFLICT)
    now = int(time.time())
    until = now + services.certificate_lifetime

    def commit(connection: Connection) -> CertificateReply:
        # asked again in the transaction that reads the key: a removal may have been committed meanwhile, and the
        # authority that came with it must not vouch for whom it was made against
        role = member_rows.role_of(connection, share_id, identity)
        share = share_rows.get_share(connection, share_id)
        if share is None or role is None or not role.covers(Role.DOWNLOADER):
            raise not_found()
        authority = authority_rows.ensure(connection, share_id)
        certificate = issue(authority, public_key, identity, share.torrent_name, now, until)
        return CertificateReply(certificate, authority.certificate, authority.generation, now, until)

    try:
        answer = await services.database.write(commit)
    except CannotIssue as exc:
        raise Refusal(400, "no certificate for this", str(exc)) from None
    grants.authority = max(grants.authority, answer.generation)
    return reply(answer, 201)


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


async def list_peers(call: Call) -> web.Response:
    """Which member announced which address, for those who are told the addresses anyway."""
    return reply(call.services.desk.peers_of(call.share_id, call.seen))


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
