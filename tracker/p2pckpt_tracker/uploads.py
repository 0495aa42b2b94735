"""Manifests, torrents and cards from their arrival to their end, which is two days after nothing names them any more.

Two days, because what was retired is taken back within one, and because who read a timestamp may come for what it leads
to for another. They are days on which this tracker ran, counted in rounds of its own: no clock is read, so none that is
set, and no time in which nobody could ask for anything, ends them early.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import structlog
from sqlalchemy import Connection

from p2pckpt.tracker_protocol import BlobKind

from .held_shares import HeldShares
from .refusals import MetadataRefused, VersionConflict
from .signed_content import needs
from .store import share_rows, upload_rows
from .store.blobs import Blobs, upload_of
from .store.database import Database, StoreUnavailable
from .store.share_rows import Share

KEPT = 48 * 3600
"""Seconds of running for which an upload stays that nothing names."""
SHARES_AT_ONCE = 100
"""Shares that one round looks at; the next round goes on after them."""
UPLOADS_AT_ONCE = 200
"""Uploads of a share that one look notes, and that it deletes: a few hundredths of a second each."""
_TORRENT = upload_of(BlobKind.TORRENT, "")

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Found:
    """What one look at a share leads to."""

    noted: list[str]
    """Nothing names them, which is new."""
    forgotten: list[str]
    """They are named again, or gone."""
    over: list[str]
    """Their two days are over."""


class Uploads:
    """All uploads go through here, and all deletions; they are named as ``upload_of`` does."""

    def __init__(self, database: Database, blobs: Blobs, held: HeldShares) -> None:
        self._database = database
        self._blobs = blobs
        self._held = held
        self._after = ""
        """The share that the last round ended with."""
        self.deleted = 0
        """Since the start."""

    def path(self, share_id: str, upload: str) -> Path:
        """Where it lies, or would."""
        return self._blobs.upload_path(share_id, upload)

    async def is_here(self, share_id: str, upload: str) -> bool:
        """For who is about to upload it: one that is here stays for two days from now, named or not.

        Raises StoreUnavailable.
        """
        path = self.path(share_id, upload)
        if not await asyncio.to_thread(path.is_file):
            return False
        async with self._held.alone(share_id):
            await self._database.write(lambda connection: upload_rows.forget(connection, share_id, [upload]))
            return await asyncio.to_thread(path.is_file)

    async def place(self, share_id: str, upload: str, temp: IO[bytes]) -> None:
        """Put what was checked in its place. Raises StoreUnavailable, OSError."""
        async with self._held.alone(share_id):
            await self._database.write(lambda connection: upload_rows.forget(connection, share_id, [upload]))
            await asyncio.to_thread(self._blobs.place, temp, self.path(share_id, upload))

    async def keep(self, every: int) -> None:
        """Look at some shares every so many seconds, for ever."""
        passed = 0
        while True:
            await self.round(passed)
            await asyncio.sleep(every)
            passed = every

    async def round(self, passed: int) -> None:
        """Look at the next shares, ``passed`` seconds of running after the last round; what fails is logged."""
        try:
            now = await self._database.write(lambda connection: upload_rows.pass_time(connection, passed))
            after = self._after
            share_ids = await self._database.read(
                lambda connection: upload_rows.shares_after(connection, after, SHARES_AT_ONCE)
            )
        except StoreUnavailable as exc:
            _log.warning("uploads not looked at", error=str(exc))
            return
        for share_id in share_ids:
            try:
                await self._look(share_id, now)
            except (StoreUnavailable, OSError, MetadataRefused) as exc:
                _log.warning("uploads of a share not looked at", share=share_id, error=type(exc).__name__)
        self._after = share_ids[-1] if len(share_ids) == SHARES_AT_ONCE else ""

    async def _look(self, share_id: str, now: int) -> None:
        """Notes are forgotten before files go: one that survives a crash in between has its two days anew."""
        async with self._held.hold(share_id) as (share, _):
            since = await self._database.read(lambda connection: upload_rows.unnamed(connection, share_id))
            found = await asyncio.to_thread(self._find, share, since, now)

            def commit(connection: Connection) -> None:
                after = share_rows.get_share(connection, share_id)
                if after is None or after.targets_version != share.targets_version:
                    # of a request that was cancelled, which gave its turn away before its transaction had ended
                    raise VersionConflict("the share was changed at the same time")
                upload_rows.note(connection, share_id, found.noted, now)
                upload_rows.forget(connection, share_id, [*found.forgotten, *found.over])

            if found.noted or found.forgotten or found.over:
                await self._database.write(commit)
            await asyncio.to_thread(self._blobs.delete_uploads, share_id, found.over)
        if found.over:
            self.deleted += len(found.over)
            _log.info("deleted uploads that nothing names", share=share_id, count=len(found.over))

    def _find(self, share: Share, since: dict[str, int], now: int) -> _Found:
        path = self._blobs.metadata_path(share.share_id, f"{share.targets_version}.targets.json")
        needed = needs(path.read_bytes())
        unnamed = self._blobs.uploads(share.share_id) - needed.uploads
        if needed.all_torrents:
            unnamed = {upload for upload in unnamed if not upload.startswith(_TORRENT)}
        return _Found(
            noted=list(unnamed - since.keys())[:UPLOADS_AT_ONCE],
            forgotten=list(since.keys() - unnamed)[:UPLOADS_AT_ONCE],
            over=[upload for upload in unnamed & since.keys() if now - since[upload] >= KEPT][:UPLOADS_AT_ONCE],
        )
