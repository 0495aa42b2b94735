"""Members: listing, adding, changing, removing."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from aiohttp import web
from sqlalchemy import Connection

from p2pckpt.tracker_protocol import (
    PROBLEM_CONFLICT,
    AccessChanged,
    AuthorityChanged,
    Member,
    MembersChanged,
    Revoked,
    Role,
    SetMember,
)
from p2pckpt.tracker_protocol.audit_log import AuditAction

from ..accounts import is_identity
from ..refusals import MetadataRefused
from ..store import audit, authority_rows, member_rows, request_rows
from .call import Call, Refusal, not_found, reply
from .services import Services


async def list_members(call: Call) -> web.Response:
    """All members with their receive keys and how they joined."""
    share_id = call.share_id
    return reply(await call.services.database.read(lambda connection: member_rows.all_members(connection, share_id)))


async def set_member(call: Call) -> web.Response:
    """Add a member, also one who has never logged in here, or change a role."""
    share_id, actor, identity = call.share_id, call.identity, call.part("identity")
    if not is_identity(identity):
        raise Refusal(400, "not an identity", "64 lower-case hex digits")
    role = (await call.body(SetMember)).role

    def commit(connection: Connection) -> tuple[Role | None, Member, int]:
        before = member_rows.role_of(connection, share_id, identity)
        if before is Role.OWNER and role is not Role.OWNER:
            _keep_an_owner(connection, share_id, identity)
        if before is not role:
            member_rows.set_role(connection, share_id, identity, role)
            asked = request_rows.settle(connection, share_id, identity)
            action = AuditAction.APPROVE if asked else AuditAction.ROLE
            audit.record(connection, share_id, actor, action, f"{identity} {role}")
        member = member_rows.get_member(connection, share_id, identity)
        assert member is not None
        return before, member, authority_rows.generation(connection, share_id)

    async with _root_owners(call) as owners:
        if role is Role.OWNER and identity not in owners:
            raise Refusal(409, "no owner in the root", "sign a root that names this owner first", PROBLEM_CONFLICT)
        if role is not Role.OWNER and identity in owners:
            raise _still_in_root()
        before, member, authority = await call.services.database.write(commit)
    if before is not role:
        apply_role(call.services, share_id, identity, role, authority)
    return reply(member)


async def remove_member(call: Call) -> web.Response:
    """Take somebody's access: passes die, peers leave the swarms, the others are told."""
    share_id, actor, identity = call.share_id, call.identity, call.part("identity")

    def commit(connection: Connection) -> int | None:
        if member_rows.role_of(connection, share_id, identity) is Role.OWNER:
            _keep_an_owner(connection, share_id, identity)
        removed = member_rows.remove(connection, share_id, identity)
        if not removed:
            return None
        audit.record(connection, share_id, actor, AuditAction.REMOVE, identity)
        return authority_rows.generation(connection, share_id)

    async with _root_owners(call) as owners:
        if identity in owners:
            raise _still_in_root()
        authority = await call.services.database.write(commit)
    if authority is None:
        raise not_found()
    apply_role(call.services, share_id, identity, None, authority)
    return web.Response(status=204)


def apply_role(services: Services, share_id: str, identity: str, role: Role | None, authority: int = 0) -> None:
    """Bring memory, swarms and event streams in line with a committed change of one member.

    ``authority`` is the generation of the swarms' authority afterwards; 0 where it can't have changed.
    """
    rules, hub = services.rules, services.hub
    grants = rules.shares[share_id]
    rules.set_role(share_id, identity, role)
    if role is None or not role.covers(Role.DOWNLOADER):
        services.desk.evict(share_id, identity)
    if authority > grants.authority:
        grants.authority = authority
        hub.send(grants.members, AuthorityChanged(share_id, authority))
    hub.send(rules.owners(share_id) | {identity}, MembersChanged(share_id, identity, role))
    if not rules.may(share_id, identity, Role.VIEWER):
        hub.send([identity], Revoked(share_id))


def tell_owners(services: Services, share_id: str) -> None:
    """Links, requests or accepted licences are not what owners have seen."""
    services.hub.send(services.rules.owners(share_id), AccessChanged(share_id))


@contextlib.asynccontextmanager
async def _root_owners(call: Call) -> AsyncIterator[frozenset[str]]:
    """Who owns the share is for its signed root to say: one owner alone can't lock another out here."""
    try:
        async with call.services.shares.owners_held(call.share_id) as owners:
            yield owners
    except MetadataRefused:
        raise Refusal(503, "store unavailable", "the share's root can't be read") from None


def _still_in_root() -> Refusal:
    return Refusal(409, "an owner in the root", "sign a root without this owner first", PROBLEM_CONFLICT)


def _keep_an_owner(connection: Connection, share_id: str, identity: str) -> None:
    if not member_rows.other_owners(connection, share_id, identity):
        raise Refusal(409, "last owner", "a share keeps at least one owner", PROBLEM_CONFLICT)
