"""Queries about requests for access: who asks to be let into a share."""

from __future__ import annotations

import time

from sqlalchemy import ColumnElement, Connection, delete, func, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from p2pckpt.tracker_protocol import AccessRequest
from p2pckpt.tracker_protocol.audit_log import AuditAction

from .tables import accounts, audit, requests

OPEN_PER_SHARE = 100
OPEN_PER_ACCOUNT = 20
QUIET = 24 * 3600
"""Seconds for which somebody who was denied is not heard again."""


def ask(connection: Connection, share_id: str, identity: str, message: str) -> bool:
    """Keep a request; False when nothing new is to be told to owners.

    Again while it is open changes the message only. Too many, or soon after a denial, it is dropped in silence:
    who asks is told the same in any case.
    """
    now = int(time.time())
    mine = (requests.c.share_id == share_id) & (requests.c.identity == identity)
    known = connection.execute(select(requests.c.denied_at).where(mine)).first()
    if known is not None and not known.denied_at:
        if message:
            connection.execute(update(requests).where(mine).values(message=message))
        return False
    if known is not None and known.denied_at > now - QUIET:
        return False
    if _open(connection, requests.c.share_id == share_id) >= OPEN_PER_SHARE:
        return False
    if _open(connection, requests.c.identity == identity) >= OPEN_PER_ACCOUNT:
        return False
    values = {"message": message, "requested_at": now, "denied_at": 0}
    statement = upsert(requests).values(share_id=share_id, identity=identity, **values)
    connection.execute(statement.on_conflict_do_update(index_elements=["share_id", "identity"], set_=values))
    return True


def open_requests(connection: Connection, share_id: str) -> list[AccessRequest]:
    """Oldest first."""
    removals = (
        select(audit.c.subject, func.max(audit.c.at).label("at"))
        .where(audit.c.share_id == share_id, audit.c.action == AuditAction.REMOVE.value)
        .group_by(audit.c.subject)
        .subquery()
    )
    rows = connection.execute(
        select(requests, accounts.c.name, accounts.c.receive_key, accounts.c.receive_key_signature, removals.c.at)
        .join(accounts, accounts.c.identity == requests.c.identity)
        .join(removals, removals.c.subject == requests.c.identity, isouter=True)
        .where(requests.c.share_id == share_id, requests.c.denied_at == 0)
        .order_by(requests.c.requested_at, requests.c.identity)
    )
    return [
        AccessRequest(
            identity=row.identity,
            name=row.name,
            receive_key=row.receive_key,
            receive_key_signature=row.receive_key_signature,
            message=row.message,
            requested_at=row.requested_at,
            removed_at=row.at or 0,
        )
        for row in rows
    ]


def deny(connection: Connection, share_id: str, identity: str) -> bool:
    """Close a request without letting anybody in; False when there is none open."""
    mine = (requests.c.share_id == share_id) & (requests.c.identity == identity) & (requests.c.denied_at == 0)
    return connection.execute(update(requests).where(mine).values(denied_at=int(time.time()))).rowcount > 0


def settle(connection: Connection, share_id: str, identity: str) -> bool:
    """Forget the request of somebody who is let in; False when none was open."""
    mine = (requests.c.share_id == share_id) & (requests.c.identity == identity)
    was_open = connection.execute(select(requests.c.identity).where(mine, requests.c.denied_at == 0)).first()
    connection.execute(delete(requests).where(mine))
    return was_open is not None


def account_name(connection: Connection, identity: str) -> str:
    """What the account calls itself."""
    name: str | None = connection.scalar(select(accounts.c.name).where(accounts.c.identity == identity))
    return name or ""


def _open(connection: Connection, which: ColumnElement[bool]) -> int:
    query = select(func.count()).select_from(requests).where(which, requests.c.denied_at == 0)
    return connection.scalar(query) or 0
