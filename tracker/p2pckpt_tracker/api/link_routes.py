"""Links: registering, listing, revoking; what one leads to, and joining with it."""

from __future__ import annotations

import re
import time

from aiohttp import web
from sqlalchemy import Connection

from p2pckpt.tracker_protocol import (
    PROBLEM_CONFLICT,
    PROBLEM_LINK_SPENT,
    CreateLink,
    LinkRecord,
    MembersChanged,
    RedeemLink,
    RedeemReply,
    RewrapLink,
    Role,
)
from p2pckpt.tracker_protocol.audit_log import AuditAction

from ..store import audit, link_rows
from ..store.link_rows import LinkSpent, NoSuchLink, WrongAuth
from .call import Call, Refusal, not_found, reply
from .member_routes import apply_role, tell_owners

MAX_WRAPPED_KEYS = 64 << 10
_LINK_ID = re.compile("[0-9a-f]{16}")
_HEX64 = re.compile("[0-9a-f]{64}")
_SALT = re.compile("([0-9a-f]{2}){0,64}")


async def create_link(call: Call) -> web.Response:
    """Register a link that the owner's client made."""
    link = await call.body(CreateLink)
    if not _LINK_ID.fullmatch(link.link_id) or not _HEX64.fullmatch(link.auth_hash):
        raise Refusal(400, "malformed link", "link_id is 16 and auth_hash 64 lower-case hex digits")
    if link.role not in (Role.VIEWER, Role.DOWNLOADER):
        raise Refusal(400, "a link can't give this role", "viewer or downloader")
    if not _SALT.fullmatch(link.password_salt) or len(link.wrapped_keys) > MAX_WRAPPED_KEYS:
        raise Refusal(400, "malformed link", "password_salt is hex; wrapped_keys has at most 64 KiB")
    if not 0 <= link.max_uses < 1 << 31 or not (link.expires_at == 0 or time.time() < link.expires_at < 1 << 40):
        raise Refusal(400, "malformed link", "max_uses is negative, or expires_at has passed")
    share_id, actor = call.share_id, call.identity

    def commit(connection: Connection) -> LinkRecord | None:
        record = link_rows.add_link(connection, share_id, link)
        if record is not None:
            audit.record_once(connection, share_id, actor, AuditAction.LINK, f"{link.link_id} {link.role}")
        return record

    record = await call.services.database.write(commit)
    if record is None:
        raise Refusal(409, "link id taken", kind=PROBLEM_CONFLICT)
    tell_owners(call.services, share_id)
    return reply(record, 201)


async def list_links(call: Call) -> web.Response:
    """All links of the share, also spent ones."""
    share_id = call.share_id
    return reply(await call.services.database.read(lambda connection: link_rows.all_links(connection, share_id)))


async def rewrap_link(call: Call) -> web.Response:
    """Newer content keys for those who join through it from now on."""
    wrapped_keys = (await call.body(RewrapLink)).wrapped_keys
    if len(wrapped_keys) > MAX_WRAPPED_KEYS:
        raise Refusal(400, "malformed link", "wrapped_keys has at most 64 KiB")
    share_id, link_id = call.share_id, call.part("link")
    try:
        await call.services.database.write(
            lambda connection: link_rows.rewrap_link(connection, share_id, link_id, wrapped_keys)
        )
    except NoSuchLink:
        raise not_found() from None
    return web.Response(status=204)


async def revoke_link(call: Call) -> web.Response:
    """Nobody joins with it any more."""
    share_id, actor, link_id = call.share_id, call.identity, call.part("link")

    def commit(connection: Connection) -> None:
        link_rows.revoke_link(connection, share_id, link_id)
        audit.record_once(connection, share_id, actor, AuditAction.LINK_REVOKED, link_id)

    try:
        await call.services.database.write(commit)
    except NoSuchLink:
        raise not_found() from None
    tell_owners(call.services, share_id)
    return web.Response(status=204)


async def link_info(call: Call) -> web.Response:
    """Which share a link leads to."""
    link_id = call.part("link")
    try:
        return reply(await call.services.database.read(lambda connection: link_rows.link_info(connection, link_id)))
    except NoSuchLink:
        raise not_found() from None
    except LinkSpent:
        raise _spent() from None


async def redeem_link(call: Call) -> web.Response:
    """Join the link's share."""
    services, identity, link_id = call.services, call.identity, call.part("link")
    if services.failures.spent(call.seen.text):
        raise Refusal(429, "too many wrong attempts from this address")
    request = await call.body(RedeemLink)
    if not _HEX64.fullmatch(request.auth) or not _HEX64.fullmatch(request.binding):
        raise Refusal(400, "malformed", "auth and binding are 64 lower-case hex digits")
    try:
        result = await services.database.write(
            lambda connection: link_rows.redeem(connection, link_id, identity, request)
        )
    except NoSuchLink:
        services.failures.take(call.seen.text)
        raise not_found() from None
    if isinstance(result, WrongAuth):
        services.failures.take(call.seen.text)
        if result.burnt:
            tell_owners(services, result.share_id)
        raise Refusal(403, "wrong secret or password")
    if isinstance(result, LinkSpent):
        raise _spent()
    _joined(call, result)
    return reply(result)


def _joined(call: Call, result: RedeemReply) -> None:
    rules = call.services.rules
    if rules.shares[result.share_id].members.get(call.identity) is not result.role:
        apply_role(call.services, result.share_id, call.identity, result.role)
    else:  # the binding may be new, which is for owners to see
        owners = rules.owners(result.share_id)
        call.services.hub.send(owners, MembersChanged(result.share_id, call.identity, result.role))


def _spent() -> Refusal:
    return Refusal(410, "link spent", "it was revoked, has expired, or was used up", PROBLEM_LINK_SPENT)
