"""Queries about licences that members accepted, each with the signature that proves it."""

from __future__ import annotations

import time

from sqlalchemy import Connection, select
from sqlalchemy.dialects.sqlite import insert as upsert

from .tables import acceptances


def accept(connection: Connection, share_id: str, identity: str, licence: str, signature: str) -> bool:
    """Keep an acceptance; False when it is here already."""
    statement = upsert(acceptances).values(
        share_id=share_id,
        identity=identity,
        licence=licence,
        signature=signature,
        accepted_at=int(time.time()),
    )
    return connection.execute(statement.on_conflict_do_nothing()).rowcount > 0


def accepted(connection: Connection, share_id: str, licence: str) -> set[str]:
    """Identities that have accepted exactly this licence of this share."""
    return set(
        connection.scalars(
            select(acceptances.c.identity).where(acceptances.c.share_id == share_id, acceptances.c.licence == licence)
        )
    )
