"""Pins as front ends ask for them: which there are, and setting and taking one away."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import structlog

from p2pckpt.control.pin_messages import PinRequest, PinRow
from p2pckpt.daemon.lookup import Lookup
from p2pckpt.errors import NotFound, P2pckptError
from p2pckpt.jobs import pins
from p2pckpt.jobs.services import Services
from p2pckpt.jobs.shares import split_name
from p2pckpt.store.catalogue import KnownShare
from p2pckpt.trust.admission import TrustedShare, is_number

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
        """What was pinned last comes first; of a share whose signed files can't be read numbers and sizes alone."""
        shares = {share.share_id: share for share in self._services.shares.known()}
        found = await asyncio.to_thread(self._services.catalogue.pins)
        return [await self._row(shares[row.share], row.version, row.since) for row in found if row.share in shares]

    async def change(self, request: PinRequest) -> PinRow:
        """Raises ``NotFound`` for what is not whole here, or with ``remove`` not pinned, ``VerificationFailed`` for
        what is damaged."""
        if request.remove:
            share, version = await self._pinned(request.name)
            since = await pins.unpin(self._services, share, version)
        else:
            share, version = await self._lookup.version(request.name, retired=True)
            since = await pins.pin(self._services, share, version, await self._damaged(share))
        _log.info(f"{'unpinned' if request.remove else 'pinned'} v{version} of {share.name}")
        await self._tell(share)
        return await self._row(share, version, since)

    async def _pinned(self, text: str) -> tuple[KnownShare, int]:
        """What NAME@VERSION stands for, among the pinned versions first: those that were retired have names, too."""
        name, selector = split_name(text)
        share = self._services.shares.find(name)
        kept = await asyncio.to_thread(self._services.catalogue.pinned, share.share_id)
        number = int(selector.removeprefix("v")) if is_number(selector) else 0
        if number in kept:
            return share, number
        trusted = await self._services.shares.trusted(share)
        if selector and not (number in trusted.targets.versions or trusted.is_retired(number)):
            tagged = trusted.targets.tags.get(selector, 0)
            if tagged in kept:
                return share, tagged
            for version in sorted(kept, reverse=True):
                if await self._name(share, trusted, version) == selector:
                    return share, version
        try:
            return await self._lookup.version(text, retired=True)
        except NotFound as exc:
            step = "p2pckpt pin lists what is pinned, with its number"
            raise NotFound(exc.fact, kept=exc.kept, next_step=step) from exc

    async def _row(self, share: KnownShare, version: int, since: int) -> PinRow:
        name, retired = "", None
        with contextlib.suppress(P2pckptError):  # one damaged share does not hide what else is pinned
            trusted = await self._services.shares.trusted(share)
            name, retired = await self._name(share, trusted, version), version not in trusted.targets.versions
        noted = await asyncio.to_thread(self._services.catalogue.retired, share.share_id) if retired else []
        return PinRow(
            share_id=share.share_id.hex(),
            share=share.name,
            version=version,
            name=name,
            since=since,
            size=await pins.size_here(self._services, (share.share_id, version)),
            retired=retired,
            retired_here=version in {row.version for row in noted},
        )

    async def _name(self, share: KnownShare, trusted: TrustedShare, version: int) -> str:
        """A version's name, of a retired one as its manifest has it; empty for none or where that is gone."""
        if version in trusted.targets.versions:
            return trusted.targets.versions[version].name
        try:
            manifest, _ = await self._services.shares.manifest(share, trusted, version)
        except P2pckptError:
            return ""
        return manifest.body.name
