"""Signed files as they are handed out: under a snapshot and a timestamp that have not run out.

The tracker signs both itself, before they run out and when a share's log has grown, and on the spot for whoever asks
after the machine has slept.
"""

from __future__ import annotations

import asyncio
import re
from datetime import timedelta
from pathlib import Path

import structlog

from p2pckpt.tracker_protocol import KEYRING_ROLE

from .held_shares import HeldShares, signed_anew, swap, unix
from .metadata import utc_now
from .refusals import MetadataRefused
from .share_files import ShareFiles
from .store import share_rows
from .store.database import Database, StoreUnavailable
from .store.share_rows import Share

_SNAPSHOT_MARGIN = timedelta(days=10)
_TIMESTAMP_MARGIN = timedelta(hours=12)
"""Signed anew when less than this is left."""
_FILE = re.compile(rf"([1-9][0-9]{{0,8}})\.(root|snapshot|targets|{KEYRING_ROLE})\.json")

_log = structlog.get_logger(__name__)


class Freshness:
    """What clients read of shares, and that it stays fresh."""

    def __init__(self, database: Database, held: HeldShares, files: ShareFiles) -> None:
        self._database = database
        self._held = held
        self._files = files

    async def metadata_file(self, share_id: str, file: str) -> tuple[Path, str] | None:
        """(path, entity tag) of a TUF file that counts; None for any other. Raises StoreUnavailable.

        A timestamp that has run out, because the machine slept for instance, is signed anew first.
        """
        share = await self._held.look(share_id)
        if file == "timestamp.json":
            if share.timestamp_expires <= unix(utc_now()):
                share = await self.sign_again(share_id)
            number, role = share.timestamp_version, "timestamp"
        else:
            match = _FILE.fullmatch(file)
            if match is None:
                return None
            number, role = int(match[1]), match[2]
            if number > getattr(share, f"{role}_version"):
                return None
        name = f"{number}.{role}.json"
        return self._files.path(share_id, name), f'"{name}"'

    async def read_file(self, path: Path) -> bytes:
        """A file that ``metadata_file`` named, read off the event loop. Raises OSError."""
        return await asyncio.to_thread(path.read_bytes)

    async def sign_again(self, share_id: str) -> Share:
        """Sign snapshot and timestamp anew if one is due or the log has grown.

        Raises StoreUnavailable, OSError, MetadataRefused.
        """
        async with self._held.hold(share_id) as (share, head):
            now = utc_now()
            fresh = share.signed_seq == head.seq and share.timestamp_expires > unix(now + _TIMESTAMP_MARGIN)
            if fresh and share.snapshot_expires > unix(now + _SNAPSHOT_MARGIN):
                return share
            after = signed_anew(share, now, head)
            await asyncio.to_thread(lambda: self._files.sign(after, now, head, *self._files.current(share)))
            await self._database.write(lambda connection: swap(connection, share, after, {}))
        return after

    async def keep(self, every: float) -> None:
        """Sign timestamps before they run out, for ever; a failure is logged and tried again next time."""
        while True:
            for share_id in await self.due():
                try:
                    await self.sign_again(share_id)
                except (StoreUnavailable, OSError, MetadataRefused) as exc:
                    # One damaged share must not let the others' timestamps run out.
                    _log.warning("timestamp not signed", share=share_id, error=type(exc).__name__)
            await asyncio.sleep(every)

    async def due(self) -> list[str]:
        """Shares that ``sign_again`` would sign; none while the database does not say."""
        now = utc_now()
        snapshot, timestamp = unix(now + _SNAPSHOT_MARGIN), unix(now + _TIMESTAMP_MARGIN)
        try:
            return await self._database.read(
                lambda connection: share_rows.due_for_signing(connection, snapshot, timestamp)
            )
        except StoreUnavailable as exc:
            _log.warning("timestamps not looked at", error=str(exc))
            return []
