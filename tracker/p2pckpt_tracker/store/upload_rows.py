"""Queries about uploads that nothing names, and the clock that their days are counted by."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from sqlalchemy import Connection, delete, insert, select
from sqlalchemy.dialects.sqlite import insert as upsert

from p2pckpt.tracker_protocol import BlobKind

from .blobs import Upload
from .tables import facts, shares, unnamed_uploads

_CLOCK = "time_served"


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


def unnamed(connection: Connection, share_id: str) -> dict[Upload, int]:
    """What of a share is noted as named by nothing, and since when."""
    rows = connection.execute(select(unnamed_uploads).where(unnamed_uploads.c.share_id == share_id))
    return {Upload(BlobKind(row.kind), row.name): row.since for row in rows}


def note(connection: Connection, share_id: str, uploads: Collection[Upload], now: int) -> None:
    """Nothing names these, since now."""
    rows = [{"share_id": share_id, "kind": each.kind.value, "name": each.name, "since": now} for each in uploads]
    if rows:
        connection.execute(insert(unnamed_uploads), rows)


def forget(connection: Connection, share_id: str, uploads: Iterable[Upload]) -> None:
    """Note of these nothing any more: they are named, new again, or about to be deleted."""
    for kind, name in uploads:
        here = unnamed_uploads.c
        connection.execute(
            delete(unnamed_uploads).where(here.share_id == share_id, here.kind == kind.value, here.name == name)
        )
