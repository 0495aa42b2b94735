"""Pins as front ends ask for them: which there are, and setting and taking one away."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from p2pckpt.control.pin_messages import PinRequest, PinRow
from p2pckpt.daemon.lookup import Lookup
from p2pckpt.jobs import pins
from p2pckpt.jobs.services import Services
from p2pckpt.store.catalogue import KnownShare

_log = structlog.get_logger(__name__)


class Pinning:
    """Lives on the daemon's loop. ``tell`` sends a share's row; ``damaged`` names the versions of a share that verify
    found damaged."""

    def __init__(
        self,
        services: Services,
        lookup: Lookup,
        tell: Callable[[KnownShare], Awaitable[None]],
        damaged: Callable[[KnownShare], Awaitable[set[int]]],
    ) -> None:
        self._services = services
        self._lookup = lookup
        self._tell = tell
        self._damaged = damaged

    async def rows(self) -> list[PinRow]:
        """What was pinned last comes first."""
        shares = {share.share_id: share for share in self._services.shares.known()}
        found = await asyncio.to_thread(self._services.catalogue.pins)
        return [await self._row(shares[row.share], row.version, row.since) for row in found if row.share in shares]

    async def change(self, request: PinRequest) -> PinRow:
        """Raises ``NotFound`` for what is not whole here, or with ``remove`` not pinned, ``VerificationFailed`` for
        what is damaged."""
        share, version = await self._lookup.version(request.name, retired=True)
        if request.remove:
            since = await pins.unpin(self._services, share, version)
        else:
            since = await pins.pin(self._services, share, version, await self._damaged(share))
        _log.info(f"{'unpinned' if request.remove else 'pinned'} v{version} of {share.name}")
        await self._tell(share)
        return await self._row(share, version, since)

    async def _row(self, share: KnownShare, version: int, since: int) -> PinRow:
        targets = (await self._services.shares.trusted(share)).targets.versions
        return PinRow(
            share_id=share.share_id.hex(),
            share=share.name,
            version=version,
            name=targets[version].name if version in targets else "",
            since=since,
            size=await pins.size_here(self._services, (share.share_id, version)),
            retired=version not in targets,
        )
