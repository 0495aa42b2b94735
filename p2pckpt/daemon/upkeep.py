"""What a daemon looks after by itself for the shares it knows: due epochs, signatures that run out, frozen trackers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from p2pckpt.control.messages import Notice
from p2pckpt.daemon.feed import Feed
from p2pckpt.errors import NotFound, P2pckptError, Stale
from p2pckpt.jobs.services import Services
from p2pckpt.store.catalogue import KnownShare

_log = structlog.get_logger(__name__)
_ROUND: Final = 10.0
"""Seconds between rounds; most find nothing to do, and ask no tracker."""
_AGAIN: Final = 24 * 3600.0
"""Seconds after which somebody is told the same again."""
_RETRY: Final = 600.0
"""Seconds until what failed for one share is tried again."""


async def upkeep(services: Services, feed: Feed) -> None:
    """Run for as long as the daemon does."""
    keeper = _Keeper(services, feed)
    while True:
        for share in services.shares.known():
            try:
                await keeper.look_after(share)
            except Exception:
                _log.exception("upkeep broke", share=share.share_id.hex())
        await asyncio.sleep(_ROUND)


class _Keeper:
    def __init__(self, services: Services, feed: Feed) -> None:
        self._services = services
        self._feed = feed
        self._told: dict[tuple[bytes, str], float] = {}
        self._waiting: dict[tuple[bytes, str], float] = {}

    async def look_after(self, share: KnownShare) -> None:
        services = self._services
        if await self._owns(share):
            await self._try(share, "removal", lambda: services.members.finish_removals(share))
            await self._try(share, "renewal", lambda: self._renew(share))
        await self._try(share, "freshness", lambda: self._refresh(share))

    async def _owns(self, share: KnownShare) -> bool:
        try:
            return await self._services.owners.owns(share)
        except P2pckptError:  # never looked at, or the tracker is away
            return False

    async def _try(self, share: KnownShare, what: str, work: Callable[[], Awaitable[None]]) -> None:
        if self._waiting.get((share.share_id, what), 0) > time.monotonic():
            return
        try:
            await work()
        except P2pckptError as exc:
            self._waiting[share.share_id, what] = time.monotonic() + _RETRY
            _log.warning("upkeep failed", what=what, share=share.share_id.hex(), reason=exc.fact)

    async def _renew(self, share: KnownShare) -> None:
        if not await self._services.owners.renew(share):
            self._tell(share, f"the root of {share.name} runs out soon: another owner has to sign the next one")

    async def _refresh(self, share: KnownShare) -> None:
        """Ask for a newer timestamp once the last one has run out, and say so when there is none."""
        try:
            trusted = await self._services.shares.trusted(share)
            if trusted.fresh_until > time.time():
                return
            await self._services.shares.refresh(share)
        except NotFound:
            return  # not ours to see any more
        except Stale as exc:
            self._tell(share, f"{share.name} may be frozen: {exc.fact}")
            raise

    def _tell(self, share: KnownShare, text: str) -> None:
        if self._told.get((share.share_id, text), 0) <= time.monotonic():
            self._told[share.share_id, text] = time.monotonic() + _AGAIN
            self._feed.send(Notice("warning", text))
