"""Asking to be let into a share, what owners see of it, and accepting a share's licence."""

from __future__ import annotations

import re

from aiohttp import web
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import Connection

from p2pckpt.tracker_protocol import (
    ACCEPT_CONTEXT,
    MAX_REQUEST_MESSAGE,
    PROBLEM_BAD_SIGNATURE,
    PROBLEM_CONFLICT,
    AcceptLicence,
    AccessRequested,
    RequestAccess,
)
from p2pckpt.tracker_protocol.audit_log import AuditAction

from ..store import acceptance_rows, audit, request_rows
from .call import Call, Refusal, not_found, reply
from .member_routes import tell_owners

_HEX128 = re.compile("[0-9a-f]{128}")


async def request_access(call: Call) -> web.Response:
    """Ask the owners to be let in. The answer is the same for every id and caller: it teaches nobody anything."""
    services, identity, share_id = call.services, call.identity, call.part("share")
    if not services.requests.take(identity):
        raise Refusal(429, "too many requests for access from this account")
    message = (await call.body(RequestAccess)).message
    if len(message) > MAX_REQUEST_MESSAGE or not message.isprintable():
        raise Refusal(400, "malformed message", f"at most {MAX_REQUEST_MESSAGE} printable characters")
    grants = services.rules.shares.get(share_id)
    wanted = grants is not None and services.rules.role(share_id, identity) is None

    def commit(connection: Connection) -> str | None:
        if not wanted or not request_rows.ask(connection, share_id, identity, message):
            return None
        audit.record(connection, share_id, identity, AuditAction.REQUEST)
        return request_rows.account_name(connection, identity)

    name = await services.database.write(commit)
    if grants is not None and name is not None:
        services.hub.send(services.rules.owners(share_id), AccessRequested(share_id, identity, name))
    return web.Response(status=202)


async def list_requests(call: Call) -> web.Response:
    """Who asks to be let in, oldest first."""
    share_id = call.share_id
    return reply(await call.services.database.read(lambda connection: request_rows.open_requests(connection, share_id)))


async def deny_request(call: Call) -> web.Response:
    """Close a request; who asked is not told."""
    share_id, actor, identity = call.share_id, call.identity, call.part("identity")

    def commit(connection: Connection) -> bool:
        denied = request_rows.deny(connection, share_id, identity)
        if denied:
            audit.record(connection, share_id, actor, AuditAction.DENY, identity)
        return denied

    if not await call.services.database.write(commit):
        raise not_found()
    tell_owners(call.services, share_id)
    return web.Response(status=204)


async def accept_licence(call: Call) -> web.Response:
    """Keep the caller's signature under the share's present licence; again is fine."""
    services, share_id, identity = call.services, call.share_id, call.identity
    request = await call.body(AcceptLicence)
    present = services.rules.shares[share_id].licence
    if not present or request.licence != present:
        raise Refusal(409, "not the present licence", present, PROBLEM_CONFLICT)
    signed = ACCEPT_CONTEXT + bytes.fromhex(share_id) + request.licence.encode()
    try:
        if not _HEX128.fullmatch(request.signature):
            raise InvalidSignature
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(identity)).verify(bytes.fromhex(request.signature), signed)
    except InvalidSignature:
        raise Refusal(422, "signature refused", "it must be the caller's", PROBLEM_BAD_SIGNATURE) from None

    def commit(connection: Connection) -> bool:
        accepted = acceptance_rows.accept(connection, share_id, identity, request.licence, request.signature)
        if accepted:
            audit.record(connection, share_id, identity, AuditAction.LICENCE_ACCEPTED, request.licence)
        return accepted

    if await services.database.write(commit):
        tell_owners(services, share_id)
    grants = services.rules.shares[share_id]
    if grants.licence == request.licence:
        grants.accepted.add(identity)
    return web.Response(status=204)
