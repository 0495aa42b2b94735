"""Shares and versions by the names that requests give them, and the trackers that these need."""

from __future__ import annotations

import contextlib

from p2pckpt.access.pool import BESIDE
from p2pckpt.checkpoint.manifest import Manifest
from p2pckpt.daemon.live_settings import LiveSettings
from p2pckpt.daemon.tracker_beside import TrackerBeside
from p2pckpt.errors import BadUsage, NotFound
from p2pckpt.jobs.services import Services
from p2pckpt.jobs.shares import split_name
from p2pckpt.store.catalogue import KnownShare
from p2pckpt.trust import links


class Lookup:
    """A share's tracker runs before anything is looked up there, if it is the one beside the daemon."""

    def __init__(self, services: Services, beside: TrackerBeside, settings: LiveSettings) -> None:
        self._services = services
        self._beside = beside
        self._settings = settings

    async def version(self, text: str, *, retired: bool = False) -> tuple[KnownShare, int]:
        """What NAME[@VERSION|@TAG] stands for, ``retired`` versions included. Raises ``NotFound`` and others."""
        name, selector = split_name(text)
        share = self._services.shares.find(name)
        await self.need_tracker_of(share)
        trusted = await self._services.shares.trusted(share)
        try:
            return share, trusted.resolve(selector, retired=retired)
        except NotFound:
            trusted = await self._services.shares.refresh(share)  # perhaps published since
            return share, trusted.resolve(selector, retired=retired)

    async def manifest(self, text: str) -> Manifest:
        """That of NAME[@VERSION|@TAG]. Raises as ``version`` does."""
        share, version = await self.version(text)
        trusted = await self._services.shares.trusted(share)
        return (await self._services.shares.manifest(share, trusted, version))[0]

    async def tracker(self, *, public: bool) -> str:
        """The tracker that new shares go to, running; with ``public`` it is open to stock clients."""
        configured = self._settings.config.text("tracker")
        if configured:
            return configured
        await self._beside.ensure(public=public)
        return BESIDE

    async def need_tracker(self, source: str) -> None:
        """The same of whatever ``source``, a link or a name, stands for, if that is known here."""
        with contextlib.suppress(NotFound, BadUsage):
            if not links.is_link(source):
                await self.need_tracker_of(self._services.shares.find(split_name(source)[0]))
            elif self._beside.is_named_by(links.Link.parse(source).tracker):
                await self._beside.ensure()

    async def need_tracker_of(self, share: KnownShare) -> None:
        """Have it running, if it is the one beside the daemon."""
        if share.tracker == BESIDE:
            await self._beside.ensure()
