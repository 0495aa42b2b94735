"""Queries about members and passes."""

from __future__ import annotations

import time

from sqlalchemy import Connection, delete, func, insert, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from p2pckpt.tracker_protocol import Member, Role

from . import authority_rows
from .tables import acceptances, accounts, members, passes, shares


def all_members(connection: Connection, share_id: str) -> list[Member]:
    """Ordered by identity; who has never logged in has no name and no receive key yet."""
    return _members(connection, share_id, None)


def get_member(connection: Connection, share_id: str, identity: str) -> Member | None:
    return next(iter(_members(connection, share_id, identity)), None)


def role_of(connection: Connection, share_id: str, identity: str) -> Role | None:
    role = connection.scalar(
        select(members.c.role).where(members.c.share_id == share_id, members.c.identity == identity)
    )
    return Role(role) if role is not None else None


def other_owners(connection: Connection, share_id: str, identity: str) -> int:
    """How many owners there are beside this identity."""
    query = (
        select(func.count())
        .select_from(members)
        .where(
            members.c.share_id == share_id,
            members.c.role == Role.OWNER.value,
            members.c.identity != identity,
        )
    )
    return connection.scalar(query) or 0


def set_role(
    connection: Connection, share_id: str, identity: str, role: Role, link_id: str = "", binding: str = ""
) -> None:
    """Add a member or change the role; an existing member keeps how and when it joined."""
    before = role_of(connection, share_id, identity)
    statement = upsert(members).values(
        share_id=share_id,
        identity=identity,
        role=role.value,
        added_at=int(time.time()),
        link_id=link_id,
        binding=binding,
    )
    connection.execute(
        statement.on_conflict_do_update(index_elements=["share_id", "identity"], set_={"role": role.value})
    )
    if not role.covers(Role.DOWNLOADER):
        _end_downloads(connection, share_id, identity, before)


def refresh_binding(connection: Connection, share_id: str, identity: str, link_id: str, binding: str) -> None:
    """Note the newest proof a member brought with the link it joined by, for instance after a change of its receive
    key. Another link changes nothing: owners have to know which one let this member in."""
    connection.execute(
        update(members)
        .where(members.c.share_id == share_id, members.c.identity == identity, members.c.link_id == link_id)
        .values(binding=binding)
    )


def remove(connection: Connection, share_id: str, identity: str) -> bool:
    """Remove a member, its passes and the worth of its certificates; False when it was none."""
    _end_downloads(connection, share_id, identity, role_of(connection, share_id, identity))
    gone = connection.execute(delete(members).where(members.c.share_id == share_id, members.c.identity == identity))
    return gone.rowcount > 0


def add_pass(connection: Connection, digest: bytes, share_id: str, identity: str, expires_at: int) -> None:
    """Keep a pass's digest; takes the chance to drop those that are over."""
    connection.execute(delete(passes).where(passes.c.expires_at < int(time.time())))
    connection.execute(
        insert(passes).values(digest=digest, share_id=share_id, identity=identity, expires_at=expires_at)
    )


def _end_downloads(connection: Connection, share_id: str, identity: str, before: Role | None) -> None:
    """The right to download is gone: passes die, and so do all certificates of the share's swarms."""
    if before is not None and before.covers(Role.DOWNLOADER):
        authority_rows.replace(connection, share_id)
    connection.execute(delete(passes).where(passes.c.share_id == share_id, passes.c.identity == identity))


def _members(connection: Connection, share_id: str, identity: str | None) -> list[Member]:
    query = (
        select(
            members,
            accounts.c.name,
            accounts.c.receive_key,
            accounts.c.receive_key_signature,
            acceptances.c.accepted_at,
        )
        .join(shares, shares.c.share_id == members.c.share_id)
        .join(accounts, accounts.c.identity == members.c.identity, isouter=True)
        .join(
            acceptances,
            (acceptances.c.share_id == members.c.share_id)
            & (acceptances.c.identity == members.c.identity)
            & (acceptances.c.licence == shares.c.licence),
            isouter=True,
        )
        .where(members.c.share_id == share_id)
        .order_by(members.c.identity)
    )
    if identity is not None:
        query = query.where(members.c.identity == identity)
    return [
        Member(
            identity=row.identity,
            name=row.name or "",
            role=Role(row.role),
            receive_key=row.receive_key or "",
            receive_key_signature=row.receive_key_signature or "",
            added_at=row.added_at,
            link_id=row.link_id,
            binding=row.binding,
            accepted_at=row.accepted_at or 0,
        )
        for row in connection.execute(query)
    ]
