"""Queries about uploads that nothing names, and the clock that their days are counted by.

Uploads are named as ``blobs.upload_of`` does.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from sqlalchemy import Connection, delete, insert, select
from sqlalchemy.dialects.sqlite import insert as upsert

from .tables import facts, shares, unnamed_uploads

_CLOCK = "time_served"
_BATCH = 500
"""Rows that are looked at before the next are read: many at once are work for the collector, which stops everything."""


def pass_time(connection: Connection, seconds: int) -> int:
    """Count ``seconds`` more that the tracker has run; returns all that it ever has."""
    known = connection.scalar(select(facts.c.value).where(facts.c.name == _CLOCK))
    now = int(known or 0) + seconds
    statement = upsert(facts).values(name=_CLOCK, value=str(now))
    connection.execute(statement.on_conflict_do_update(index_elements=["name"], set_={"value": str(now)}))
    return now


def shares_after(connection: Connection, share_id: str, limit: int) -> list[str]:
    """The next share ids."""
    ids = select(shares.c.share_id).where(shares.c.share_id > share_id).order_by(shares.c.share_id)
    return list(connection.scalars(ids.limit(limit)))


def unnamed(connection: Connection, share_id: str) -> dict[str, int]:
    """What of a share is noted as named by nothing, and since when."""
    here = unnamed_uploads.c
    rows = connection.execute(select(here.upload, here.since).where(here.share_id == share_id))
    return {upload: since for batch in rows.partitions(_BATCH) for upload, since in batch}


def note(connection: Connection, share_id: str, uploads: Collection[str], now: int) -> None:
    """Nothing names these, since now."""
    rows = [{"share_id": share_id, "upload": each, "since": now} for each in uploads]
    if rows:
        connection.execute(insert(unnamed_uploads), rows)


def forget(connection: Connection, share_id: str, uploads: Iterable[str]) -> None:
    """Note of these nothing any more: they are named, new again, or about to be deleted."""
    here = unnamed_uploads.c
    for upload in uploads:
        connection.execute(delete(unnamed_uploads).where(here.share_id == share_id, here.upload == upload))
