"""Who fetched which version, for the audit logs: gathered in memory, written in batches, once each.

Announces must not wait for a disk, so what came in since the last batch is lost with a process that is killed.
"""

from __future__ import annotations

import asyncio

import structlog
from sqlalchemy import Connection

from p2pckpt.tracker_protocol.audit_log import AuditAction

from .store import audit
from .store.database import Database, StoreUnavailable

_BATCH = 500
"""Fetches in a transaction: a tenth of a second, in which other writes wait."""
_MOST = 10_000
"""Fetches that wait to be written; while the database is away for long, later ones are not recorded."""

_log = structlog.get_logger(__name__)


class FetchLog:
    """Collects fetches from the routes and announces."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: dict[tuple[str, str, str], None] = {}

    def add(self, share_id: str, identity: str, info_hash: str) -> None:
        """Somebody took a version's torrent, or completed it. Never waits; again is no second row."""
        if len(self._waiting) < _MOST:
            self._waiting[share_id, identity, info_hash] = None

    async def flush(self) -> None:
        """Write what waits. What can't be written waits on."""
        rows, self._waiting = list(self._waiting), {}
        for start in range(0, len(rows), _BATCH):
            batch = rows[start : start + _BATCH]

            def commit(connection: Connection, batch: list[tuple[str, str, str]] = batch) -> None:
                for share_id, identity, info_hash in batch:
                    audit.record_once(connection, share_id, identity, AuditAction.FETCHED, info_hash)

            try:
                await self._database.write(commit)
            except StoreUnavailable as exc:
                self._waiting = dict.fromkeys(rows[start:]) | self._waiting
                _log.warning("fetches not recorded yet", error=str(exc), waiting=len(self._waiting))
                return

    async def keep(self, every: float) -> None:
        """Write for ever."""
        while True:
            await asyncio.sleep(every)
            await self.flush()
