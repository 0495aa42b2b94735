"""The append-only record of who did what in which share. Rows are chained: a changed or missing one shows."""

from __future__ import annotations

import hashlib
import json
import time

from sqlalchemy import Connection, insert, select

from .tables import audit

FIRST_LINK = "0" * 64


def record(connection: Connection, share_id: str, actor: str, action: str, subject: str = "") -> None:
    """Add a row within the caller's writing transaction."""
    last = connection.execute(select(audit.c.seq, audit.c.chain).order_by(audit.c.seq.desc()).limit(1)).first()
    seq, previous = (last.seq + 1, last.chain) if last is not None else (1, FIRST_LINK)
    at = int(time.time())
    chain = _link(previous, seq, at, share_id, actor, action, subject)
    connection.execute(
        insert(audit).values(
            seq=seq, at=at, share_id=share_id, actor=actor, action=action, subject=subject, chain=chain
        )
    )


def first_break(connection: Connection) -> int | None:
    """The sequence number of the first row that does not fit the one before it; None when all fit."""
    previous, expected = FIRST_LINK, 1
    for row in connection.execute(select(audit).order_by(audit.c.seq)):
        link = _link(previous, row.seq, row.at, row.share_id, row.actor, row.action, row.subject)
        if row.seq != expected or row.chain != link:
            return expected
        previous, expected = row.chain, expected + 1
    return None


def _link(previous: str, *fields: int | str) -> str:
    return hashlib.sha256(json.dumps([previous, *fields]).encode()).hexdigest()
