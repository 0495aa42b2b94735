"""Links: registering, revoking, and redeeming them exactly as often as they allow."""

from __future__ import annotations

import hashlib
import hmac
import time
from typing import Any

from sqlalchemy import Connection, Row, func, insert, or_, select, update

from p2pckpt.tracker_protocol import CreateLink, LinkInfo, LinkRecord, RedeemLink, RedeemReply, Role
from p2pckpt.tracker_protocol.audit_log import AuditAction

from . import audit, member_rows, request_rows
from .tables import audit as audit_table
from .tables import links, redemptions

WRONG_AUTHS = 5
"""After so many the link is burnt."""


class NoSuchLink(Exception):
    """No link has this id."""


class LinkSpent(Exception):
    """The link is revoked, burnt, expired, or used up."""


class WrongAuth(Exception):
    """The auth value is not the one the link was registered with; already counted."""

    def __init__(self, share_id: str, *, burnt: bool) -> None:
        super().__init__()
        self.share_id = share_id
        self.burnt = burnt
        """Whether this was one too many."""


def add_link(connection: Connection, share_id: str, link: CreateLink) -> LinkRecord | None:
    """Register a link; None when the id is taken by a different one. The same again is idempotent."""
    known = connection.execute(select(links).where(links.c.link_id == link.link_id)).first()
    if known is not None:
        same = known.share_id == share_id and known.auth_hash == link.auth_hash
        return _record(known) if same else None
    connection.execute(
        insert(links).values(
            link_id=link.link_id,
            share_id=share_id,
            auth_hash=link.auth_hash,
            wrapped_keys=link.wrapped_keys,
            role=link.role.value,
            expires_at=link.expires_at,
            max_uses=link.max_uses,
            uses=0,
            wrong_auths=0,
            revoked=False,
            password_salt=link.password_salt,
            created_at=int(time.time()),
        )
    )
    return _record(connection.execute(select(links).where(links.c.link_id == link.link_id)).one())


def all_links(connection: Connection, share_id: str) -> list[LinkRecord]:
    rows = connection.execute(select(links).where(links.c.share_id == share_id).order_by(links.c.created_at))
    return [_record(row) for row in rows]


def rewrap_link(connection: Connection, share_id: str, link_id: str, wrapped_keys: bytes) -> None:
    """Replace the keys that the link gives. Raises NoSuchLink."""
    changed = connection.execute(
        update(links).where(links.c.share_id == share_id, links.c.link_id == link_id).values(wrapped_keys=wrapped_keys)
    )
    if changed.rowcount == 0:
        raise NoSuchLink


def revoke_link(connection: Connection, share_id: str, link_id: str) -> None:
    """Nobody can join with it from now on; members that did stay. Raises NoSuchLink."""
    changed = connection.execute(
        update(links).where(links.c.share_id == share_id, links.c.link_id == link_id).values(revoked=True)
    )
    if changed.rowcount == 0:
        raise NoSuchLink


def link_info(connection: Connection, link_id: str) -> LinkInfo:
    """Raises NoSuchLink, and LinkSpent for one that was revoked or burnt."""
    row = _find(connection, link_id)
    if row.revoked:
        raise LinkSpent
    return LinkInfo(share_id=row.share_id, password_salt=row.password_salt)


def redeem(
    connection: Connection, link_id: str, identity: str, request: RedeemLink
) -> RedeemReply | WrongAuth | LinkSpent:
    """Join a share with a link, inside a writing transaction: of parallel attempts, each sees the one before.

    Returns its refusals instead of raising them, because a wrong auth value must be committed as counted.
    Raises NoSuchLink.

    - Redeeming again as a member counts no use and lowers no role, and the member stays who it came as.
    - Whom an owner removed, or gave a lower role, since the link was made does not get in, or up, with it. Nor does
      who used it before.
    """
    row = _find(connection, link_id)
    if row.revoked:
        return LinkSpent()
    if not hmac.compare_digest(hashlib.sha256(bytes.fromhex(request.auth)).hexdigest(), row.auth_hash):
        return WrongAuth(row.share_id, burnt=_count_wrong(connection, row))
    role = Role(row.role)
    now = int(time.time())
    present = member_rows.role_of(connection, row.share_id, identity)
    used_before = connection.scalar(
        select(redemptions.c.identity).where(redemptions.c.link_id == link_id, redemptions.c.identity == identity)
    )
    turned_down = used_before or _turned_down(connection, row, identity)
    if present is not None and (turned_down or present.covers(role)):
        member_rows.refresh_binding(connection, row.share_id, identity, link_id, request.binding)
        return RedeemReply(share_id=row.share_id, role=present, wrapped_keys=row.wrapped_keys)
    expired = row.expires_at and row.expires_at <= now
    if turned_down or expired or (row.max_uses and row.uses >= row.max_uses):
        return LinkSpent()
    connection.execute(update(links).where(links.c.link_id == link_id).values(uses=row.uses + 1))
    connection.execute(insert(redemptions).values(link_id=link_id, identity=identity, redeemed_at=now))
    member_rows.set_role(connection, row.share_id, identity, role, link_id, request.binding)
    request_rows.settle(connection, row.share_id, identity)
    audit.record(connection, row.share_id, identity, AuditAction.JOIN, link_id)
    return RedeemReply(share_id=row.share_id, role=role, wrapped_keys=row.wrapped_keys)


def _turned_down(connection: Connection, row: Row[Any], identity: str) -> bool:
    """Whether an owner decided on this identity after the link was made: removed it, or gave it less than the link."""
    mine = (audit_table.c.share_id == row.share_id) & (audit_table.c.subject == f"{row.link_id} {row.role}")
    made = connection.scalar(
        select(func.min(audit_table.c.seq)).where(mine, audit_table.c.action == AuditAction.LINK.value)
    )
    less = [f"{identity} {role}" for role in Role if not role.covers(Role(row.role))]
    given = (AuditAction.ROLE.value, AuditAction.APPROVE.value)
    decided = connection.execute(
        select(audit_table.c.seq)
        .where(
            audit_table.c.share_id == row.share_id,
            audit_table.c.seq > (made or 0),
            or_(
                (audit_table.c.action == AuditAction.REMOVE.value) & (audit_table.c.subject == identity),
                audit_table.c.action.in_(given) & audit_table.c.subject.in_(less),
            ),
        )
        .limit(1)
    )
    return decided.first() is not None


def _count_wrong(connection: Connection, row: Row[Any]) -> bool:
    """Whether that burnt the link."""
    wrong = row.wrong_auths + 1
    burnt: bool = wrong >= WRONG_AUTHS
    connection.execute(update(links).where(links.c.link_id == row.link_id).values(wrong_auths=wrong, revoked=burnt))
    if burnt:
        audit.record(connection, row.share_id, "", AuditAction.LINK_BURNT, row.link_id)
    return burnt


def _find(connection: Connection, link_id: str) -> Row[Any]:
    row = connection.execute(select(links).where(links.c.link_id == link_id)).first()
    if row is None:
        raise NoSuchLink
    return row


def _record(row: Row[Any]) -> LinkRecord:
    return LinkRecord(
        link_id=row.link_id,
        role=Role(row.role),
        expires_at=row.expires_at,
        max_uses=row.max_uses,
        uses=row.uses,
        created_at=row.created_at,
        revoked=row.revoked,
        burnt=row.wrong_auths >= WRONG_AUTHS,
    )
