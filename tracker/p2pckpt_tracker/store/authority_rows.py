"""Queries about the certificate authorities of swarms: one row a share, the present generation."""

from __future__ import annotations

import time

from sqlalchemy import Connection, delete, insert, select

from p2pckpt.tracker_protocol.audit_log import AuditAction

from ..certificates import Authority, new_authority
from . import audit
from .tables import swarm_authorities


def present(connection: Connection, share_id: str) -> Authority | None:
    row = connection.execute(select(swarm_authorities).where(swarm_authorities.c.share_id == share_id)).first()
    return Authority(row.generation, row.certificate, row.key) if row is not None else None


def generation(connection: Connection, share_id: str) -> int:
    """0 where no certificate was ever asked for."""
    query = select(swarm_authorities.c.generation).where(swarm_authorities.c.share_id == share_id)
    return connection.scalar(query) or 0


def ensure(connection: Connection, share_id: str) -> Authority:
    """The present authority, made at first need."""
    return present(connection, share_id) or _store(connection, share_id, 1)


def replace(connection: Connection, share_id: str) -> None:
    """A new authority in place of the old one, whose key is gone with it; nothing where there is none."""
    before = generation(connection, share_id)
    if before:
        connection.execute(delete(swarm_authorities).where(swarm_authorities.c.share_id == share_id))
        _store(connection, share_id, before + 1)
        audit.record(connection, share_id, "", AuditAction.CA_ROTATED, str(before + 1))


def _store(connection: Connection, share_id: str, number: int) -> Authority:
    now = int(time.time())
    made = new_authority(share_id, number, now)
    connection.execute(
        insert(swarm_authorities).values(
            share_id=share_id, generation=number, certificate=made.certificate, key=made.key, created_at=now
        )
    )
    return made
