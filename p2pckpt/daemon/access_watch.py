"""How many members, requests and waiting changes of keys each share has, counted anew when its tracker says so.

One share after the other, whatever the number of events: each of them costs its tracker a few questions.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from p2pckpt import tracker_protocol as tp
from p2pckpt.control import messages as m
from p2pckpt.daemon.feed import Feed
from p2pckpt.errors import P2pckptError
from p2pckpt.jobs.services import Services
from p2pckpt.store.catalogue import KnownShare
from p2pckpt.trust.admission import TrustedShare

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Tally:
    """What a share's row says of people; only owners know the last two."""

    members: int = 0
    requests: int = 0
    proposals: int = 0
    """Changes of keys that wait for our signature."""


class AccessWatch:
    """Counts, then tells front ends. Lives on the daemon's loop."""

    def __init__(self, services: Services, feed: Feed, row: Callable[[KnownShare], Awaitable[m.ShareRow]]) -> None:
        self._services = services
        self._feed = feed
        self._row = row
        self._tallies: dict[bytes, Tally] = {}
        self._files: dict[bytes, int] = {}
        """Hashes of the root and the keyring that were seen last."""
        self._due: dict[bytes, KnownShare] = {}
        self._worker: asyncio.Task[None] | None = None

    def of(self, share_id: bytes) -> Tally:
        """As counted last; zeros before."""
        return self._tallies.get(share_id, Tally())

    def changed(self, share: KnownShare) -> None:
        """Members, links, requests or proposals may be others now."""
        self._due[share.share_id] = share
        if self._worker is None or self._worker.done():
            self._worker = asyncio.get_running_loop().create_task(self._work())

    def seen(self, share: KnownShare, trusted: TrustedShare) -> None:
        """Signed files were read: a new root or keyring changes who decides, reads or publishes; a version does not."""
        files = hash((trusted.root_bytes, trusted.keyring_bytes))
        if self._files.get(share.share_id) != files:
            self._files[share.share_id] = files
            self.changed(share)

    async def tell(self, share: KnownShare) -> None:
        """Send a share's row, unless it was left meanwhile."""
        row = await self._row(share)
        if self._services.catalogue.share(share.share_id) is not None:
            self._feed.send(m.ShareChanged(row))

    def forget(self, share_id: bytes) -> None:
        """The share was left."""
        for known in (self._tallies, self._files, self._due):
            known.pop(share_id, None)

    async def count(self, share: KnownShare) -> None:
        """Ask the share's tracker."""
        services, share_id = self._services, share.share_id.hex()
        members = len(await services.members.all(share))
        requests = proposals = 0
        if share.role == tp.Role.OWNER.value:
            requests = len(await services.shares.client(share).requests(share_id))
            proposals = sum(not each.signed_by_us for each in await services.owners.proposals(share))
        self._tallies[share.share_id] = Tally(members, requests, proposals)

    async def _work(self) -> None:
        while self._due:
            share_id = next(iter(self._due))
            share = self._due.pop(share_id)
            try:
                with contextlib.suppress(P2pckptError):  # no answer, or none for us: the numbers stay
                    await self.count(share)
                await self.tell(share)
                self._feed.send(m.AccessChanged(share_id.hex()))
            except Exception:
                _log.exception("the members of a share were not counted")
