"""Publishing leans on objects that it found in the catalogue and no version names yet: nobody deletes meanwhile."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from p2pckpt.store.catalogue import KnownShare
from p2pckpt.tracker_protocol import Visibility


class Leaning:
    """Who publishes goes before who deletes: deleting can be done later. Lives on the daemon's loop."""

    def __init__(self) -> None:
        self._publishing: Counter[bytes] = Counter()
        self._turns: defaultdict[bytes, asyncio.Lock] = defaultdict(asyncio.Lock)

    @asynccontextmanager
    async def publishing(self, share: KnownShare) -> AsyncIterator[None]:
        """Nothing that the share has in the store is deleted until this ends."""
        group = _group(share)
        async with self._turns[group]:
            self._publishing[group] += 1
        try:
            yield
        finally:
            self._publishing[group] -= 1

    @asynccontextmanager
    async def deleting(self, share: KnownShare) -> AsyncIterator[bool]:
        """Whether objects of the share may be deleted now; if so, no publish to it begins until this ends."""
        group = _group(share)
        async with self._turns[group]:
            yield not self._publishing[group]


def _group(share: KnownShare) -> bytes:
    """Public shares go together: equal content gives them equal objects."""
    return b"" if share.visibility == Visibility.PUBLIC.value else share.share_id
