"""News from trackers: what each event means for the shares known here, and what front ends are told of it."""

from __future__ import annotations

import contextlib
from typing import Final

import structlog

from p2pckpt import tracker_protocol as tp
from p2pckpt.control import messages as m
from p2pckpt.daemon.access import Access
from p2pckpt.daemon.access_watch import AccessWatch
from p2pckpt.daemon.background import Background
from p2pckpt.daemon.feed import Feed
from p2pckpt.daemon.keys import Keys
from p2pckpt.errors import P2pckptError
from p2pckpt.jobs.measuring import learn
from p2pckpt.jobs.services import Services
from p2pckpt.store.catalogue import KnownShare
from p2pckpt.trust.admission import TrustedShare

_log = structlog.get_logger(__name__)

_MEASURED_AT_ONCE: Final = 20
"""Versions whose manifests are looked into for steps and metrics when a share is looked at or changed."""


class News:
    """Lives on the daemon's loop."""

    def __init__(
        self, services: Services, feed: Feed, access: Access, keys: Keys, watch: AccessWatch, background: Background
    ) -> None:
        self._services = services
        self._feed = feed
        self._access = access
        self._keys = keys
        self._watch = watch
        self._background = background
        self._measuring: set[bytes] = set()

    def on_tracker_event(self, tracker: str, event: tp.TrackerEvent) -> None:
        """News from a tracker, passed on to front ends."""
        if isinstance(event, tp.TargetsChanged | tp.MembersChanged | tp.Revoked):
            share = self._services.catalogue.share(bytes.fromhex(event.share_id))
            if share is not None:
                self._background.start(self._share_changed(share, event))
        elif isinstance(event, tp.AccessRequested | tp.RootProposed | tp.AccessChanged):
            share = self._services.catalogue.share(bytes.fromhex(event.share_id))
            if share is not None:
                self._watch.changed(share)
        elif isinstance(event, tp.Hello):
            self._background.start(self._catch_up(tracker))
        if not isinstance(event, tp.Ping | tp.PeersFound):
            self._background.start(self._access.on_tracker_event(tracker, event))

    def changed_here(self, share_id: str) -> None:
        """A share got a version by what this daemon did: as if its tracker had said so."""
        share = self._services.catalogue.share(bytes.fromhex(share_id))
        if share is not None:
            self.on_tracker_event(share.tracker, tp.TargetsChanged(share_id, 0))

    async def measure(self, share: KnownShare, trusted: TrustedShare) -> None:
        """Learn the steps and metrics of versions; readers hear of it as a change of the share."""
        if share.share_id in self._measuring:
            return
        self._measuring.add(share.share_id)
        try:
            if await learn(self._services, share, trusted, _MEASURED_AT_ONCE):
                await self._watch.tell(share)
        finally:
            self._measuring.discard(share.share_id)

    async def _catch_up(self, tracker: str) -> None:
        """The stream of events begins: what the keyrings say of swarms may have changed before."""
        for share in self._services.shares.known():
            if share.tracker != tracker:
                continue
            self._watch.changed(share)
            if self._services.swarms.is_in(share.share_id):
                with contextlib.suppress(P2pckptError):
                    await self._learn_tls(share, await self._services.shares.refresh(share))

    async def _learn_tls(self, share: KnownShare, trusted: TrustedShare) -> None:
        await self._services.swarms.set_tls(share.share_id, share.tracker, tls=trusted.swarm_tls)

    async def _share_changed(self, share: KnownShare, event: tp.TrackerEvent) -> None:
        if isinstance(event, tp.Revoked):
            self._feed.send(m.Notice("warning", f"your access to {share.name} was taken away"))
        with contextlib.suppress(P2pckptError):
            trusted = await self._services.shares.refresh(share)
            await self._learn_tls(share, trusted)
            await self._keys.enforce(share.share_id.hex())
            if isinstance(event, tp.MembersChanged):
                if event.identity == self._services.identity.hex:
                    share = await self._services.shares.learn_role(share)
                self._watch.changed(share)
                if event.role is not None:
                    self._feed.send(m.Notice("info", f"{event.identity[:8]} is now {event.role} of {share.name}"))
                else:
                    _log.info(f"{event.identity[:8]} is no longer a member of {share.name}")
            self._watch.seen(share, trusted)
            await self._watch.tell(share)
            self._background.start(self.measure(share, trusted))
