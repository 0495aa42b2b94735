"""The append-only record of who did what in a share: one log a share, whose rows are chained.

A changed, missing or reordered row shows to whoever reads the whole log; its end is in the share's signed timestamp.
"""

from __future__ import annotations

import time

from sqlalchemy import Connection, insert, select

from p2pckpt.tracker_protocol.audit_log import AUDIT_START, AuditAction, AuditHead, AuditRow, audit_chain

from .tables import audit


def record(connection: Connection, share_id: str, actor: str, action: AuditAction, subject: str = "") -> None:
    """Add a row within the caller's writing transaction."""
    last = head(connection, share_id)
    seq, at = last.seq + 1, int(time.time())
    chain = audit_chain(last.chain, share_id, seq, at, actor, action, subject)
    connection.execute(
        insert(audit).values(
            share_id=share_id, seq=seq, at=at, actor=actor, action=action.value, subject=subject, chain=chain
        )
    )


def record_once(connection: Connection, share_id: str, actor: str, action: AuditAction, subject: str) -> None:
    """Add a row unless the log has one with the same actor, action and subject."""
    same = select(audit.c.seq).where(
        audit.c.share_id == share_id,
        audit.c.action == action.value,
        audit.c.subject == subject,
        audit.c.actor == actor,
    )
    if connection.execute(same.limit(1)).first() is None:
        record(connection, share_id, actor, action, subject)


def head(connection: Connection, share_id: str) -> AuditHead:
    """The newest row."""
    newest = select(audit.c.seq, audit.c.chain).where(audit.c.share_id == share_id).order_by(audit.c.seq.desc())
    row = connection.execute(newest.limit(1)).first()
    return AuditHead(row.seq, row.chain) if row is not None else AUDIT_START


def page(connection: Connection, share_id: str, after: int, limit: int) -> list[AuditRow]:
    """At most ``limit`` rows that follow row ``after``."""
    rows = connection.execute(
        select(audit).where(audit.c.share_id == share_id, audit.c.seq > after).order_by(audit.c.seq).limit(limit)
    )
    return [AuditRow(row.seq, row.at, row.actor, row.action, row.subject, row.chain) for row in rows]
