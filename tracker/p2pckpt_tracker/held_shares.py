"""One change of a share at a time.

Files are written under their final names before the database says that they count, so two writers of one share must
not overlap.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime
from weakref import WeakValueDictionary

from sqlalchemy import Connection

from p2pckpt.tracker_protocol.audit_log import AuditHead

from .metadata import SNAPSHOT_LIFETIME, TIMESTAMP_LIFETIME
from .refusals import MetadataRefused, VersionConflict
from .store import audit, share_rows
from .store.database import Database
from .store.share_rows import Share, Values


class HeldShares:
    """Whoever changes a share holds it while doing so."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @contextlib.asynccontextmanager
    async def alone(self, share_id: str) -> AsyncIterator[None]:
        """Nobody else holds this share, which need not exist, until this ends."""
        lock = self._locks.setdefault(share_id, asyncio.Lock())
        async with lock:
            yield

    @contextlib.asynccontextmanager
    async def hold(self, share_id: str) -> AsyncIterator[tuple[Share, AuditHead]]:
        """A share and the end of its log, which stay so until this ends.

        Rows that a change adds itself are signed with the next timestamp. Raises MetadataRefused, StoreUnavailable.
        """
        async with self.alone(share_id):
            yield await self._present(share_id)

    async def look(self, share_id: str) -> Share:
        """A share as it is at this moment. Raises MetadataRefused, StoreUnavailable."""
        return (await self._present(share_id))[0]

    async def _present(self, share_id: str) -> tuple[Share, AuditHead]:
        share, head = await self._database.read(
            lambda connection: (share_rows.get_share(connection, share_id), audit.head(connection, share_id))
        )
        if share is None:
            raise MetadataRefused("no such share")
        return share, head


def signed_anew(share: Share, now: datetime, head: AuditHead) -> Share:
    """The row of a share whose snapshot and timestamp are signed again at this moment."""
    return replace(
        share,
        snapshot_version=share.snapshot_version + 1,
        snapshot_expires=unix(now + SNAPSHOT_LIFETIME),
        timestamp_version=share.timestamp_version + 1,
        timestamp_expires=unix(now + TIMESTAMP_LIFETIME),
        updated_at=unix(now),
        signed_seq=head.seq,
    )


def swap(connection: Connection, before: Share, after: Share, values: Values) -> None:
    """Enter a row that was ``signed_anew``, with what else has changed. Raises VersionConflict when somebody was
    faster."""
    signed: Values = {
        "snapshot_version": after.snapshot_version,
        "snapshot_expires": after.snapshot_expires,
        "timestamp_version": after.timestamp_version,
        "timestamp_expires": after.timestamp_expires,
        "signed_seq": after.signed_seq,
    }
    if values:
        signed["updated_at"] = after.updated_at
    if not share_rows.swap_version(
        connection, before.share_id, "timestamp_version", before.timestamp_version, signed | values
    ):
        raise VersionConflict("the share was changed at the same time")


def unix(when: datetime) -> int:
    """As rows have it."""
    return int(when.timestamp())
