"""Queries about shares and their published torrents."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, exists, insert, or_, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from p2pckpt.tracker_protocol import Visibility

from .tables import audit, members, shares, torrents

Values = dict[str, Any]
"""Column name → value for an update."""


@dataclass(frozen=True, slots=True)
class Share:
    """One row of ``shares``; the columns are described there."""

    share_id: str
    name: str
    torrent_name: str
    owner: str
    visibility: Visibility
    root_version: int
    targets_version: int
    keyring_version: int
    snapshot_version: int
    snapshot_expires: int
    timestamp_version: int
    timestamp_expires: int
    versions: int
    last_number: int
    created_at: int
    updated_at: int
    signed_seq: int
    licence: str


def add_share(connection: Connection, share: Share) -> None:
    connection.execute(
        insert(shares).values(
            **{column.name: getattr(share, column.name) for column in shares.columns if column.name != "visibility"},
            visibility=share.visibility.value,
        )
    )


def get_share(connection: Connection, share_id: str) -> Share | None:
    row = connection.execute(select(shares).where(shares.c.share_id == share_id)).first()
    return _share(row) if row is not None else None


def visible_shares(connection: Connection, identity: str, after: str, limit: int, query: str) -> list[Share]:
    """Shares that are public or have this member, by id from after ``after``; ``query`` is part of the name."""
    mine = select(members.c.share_id).where(members.c.identity == identity)
    rows = connection.execute(
        select(shares)
        .where(or_(shares.c.visibility == Visibility.PUBLIC.value, shares.c.share_id.in_(mine)))
        .where(shares.c.share_id > after)
        .where(shares.c.name.icontains(query, autoescape=True))
        .order_by(shares.c.share_id)
        .limit(limit)
    )
    return [_share(row) for row in rows]


def swap_version(connection: Connection, share_id: str, column: str, expected: int, values: Values) -> bool:
    """Update a share only if ``column`` still is ``expected``; False when somebody was faster."""
    changed = connection.execute(
        update(shares).where(shares.c.share_id == share_id, shares.c[column] == expected).values(**values)
    )
    return changed.rowcount == 1


def due_for_signing(connection: Connection, snapshot_before: int, timestamp_before: int) -> list[str]:
    """Shares whose snapshot or timestamp expires before the given Unix times, or whose log has grown."""
    grown = exists().where(audit.c.share_id == shares.c.share_id, audit.c.seq > shares.c.signed_seq)
    return list(
        connection.scalars(
            select(shares.c.share_id).where(
                or_(shares.c.snapshot_expires < snapshot_before, shares.c.timestamp_expires < timestamp_before, grown)
            )
        )
    )


def add_torrents(connection: Connection, share_id: str, info_hashes: Iterable[str]) -> None:
    now = int(time.time())
    for info_hash in info_hashes:
        statement = upsert(torrents).values(share_id=share_id, info_hash=info_hash, published_at=now)
        connection.execute(statement.on_conflict_do_nothing())


def _share(row: Row[Any]) -> Share:
    values = dict(row._mapping)
    values["visibility"] = Visibility(values["visibility"])
    return Share(**values)
