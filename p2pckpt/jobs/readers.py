"""The versions that are being read: opened by name, shared by who reads them, closed when nobody does any more."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from itertools import count
from typing import Final

from p2pckpt.access.client import licence_due
from p2pckpt.control.messages import FetchRequest
from p2pckpt.errors import NotFound, P2pckptError
from p2pckpt.jobs.chunk_cache import ChunkCache
from p2pckpt.jobs.fetch_plan import Source, find
from p2pckpt.jobs.reading import VersionReader
from p2pckpt.jobs.services import Services
from p2pckpt.jobs.shares import split_name
from p2pckpt.trust import links

_PREFIX: Final = "read "
_CACHED: Final = 64 << 20
"""Bytes of decoded chunks that are kept, over all versions."""
_OPEN: Final = 8
"""Versions that may be open at once: each holds its manifest, and buffers to decode into."""
_AT_ONCE: Final = 24
"""Ranges that may be decoded and handed over at once, each with up to three chunks in memory; more wait for their turn.
Who waits for the swarm has none."""
_LINGER: Final = 60.0
"""Seconds for which a version stays open, and in its swarms, after the last read."""
_SURE: Final = 30.0
"""Seconds for which the tracker need not be asked again whether we may read a version."""

Version = tuple[bytes, int]
"""Share and number."""


def is_reader(job: str) -> bool:
    """Whether a name that swarms know is that of a reader, and not of a job."""
    return job.startswith(_PREFIX)


@dataclass(slots=True, eq=False)
class _Open:
    reader: VersionReader
    asked_at: float
    users: int = 0
    idle_since: float = field(default_factory=time.monotonic)


class Readers:
    """Lives on the daemon's loop; ``run`` it, and ``close`` it at the end."""

    def __init__(self, services: Services, *, linger: float = _LINGER) -> None:
        self._services = services
        self._linger = linger
        self._cache = ChunkCache(_CACHED)
        self._open: dict[Version, _Open] = {}
        self._opening = asyncio.Lock()
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._numbers = count()

    @contextlib.asynccontextmanager
    async def look(self, name: str) -> AsyncIterator[Source]:
        """What ``name``, which is NAME[@VERSION|@TAG] or a link, stands for; fetches no content.

        Raises ``NotFound``, ``BlockedKey``, ``KeyToReview``, ``Stale`` and others, as a fetch does.
        """
        async with self._using(name) as entry:
            yield entry.reader.source

    @contextlib.asynccontextmanager
    async def reader(self, name: str) -> AsyncIterator[VersionReader]:
        """The same, to be read. Raises ``LicenceNotAccepted``, too."""
        if links.is_link(name):
            link = links.Link.parse(name)
            if self._services.catalogue.share(link.share_id) is not None:  # joined before: it need not be redeemed
                name = f"{link.share_id.hex()}@{link.version or ''}"
        async with self._using(name) as entry:
            if entry.reader.source.licence_due:
                raise licence_due(entry.reader.source.licence_due)
            yield entry.reader

    async def tidy(self) -> None:
        """Close what nobody has read for a while; to be called now and then."""
        async with self._opening:
            for version, entry in list(self._open.items()):
                if not entry.users and time.monotonic() - entry.idle_since >= self._linger:
                    await self._close(version)

    async def forget(self, share_id: bytes, number: int = 0) -> None:
        """A version, or all of a share, is to be read no more."""
        async with self._opening:
            for version in [v for v in self._open if v[0] == share_id and number in (0, v[1])]:
                await self._close(version)

    async def close(self) -> None:
        async with self._opening:
            for version in list(self._open):
                await self._close(version)

    # -- inside

    @contextlib.asynccontextmanager
    async def _using(self, name: str) -> AsyncIterator[_Open]:
        entry = await self._known(name)
        if entry is None:
            source = await find(self._services, FetchRequest(source=name))
            async with self._opening:
                entry = await self._enter(source)
                entry.users += 1
        else:
            entry.users += 1  # before anything is awaited: it may not be closed meanwhile
        try:
            source = entry.reader.source
            await self._services.key_book.require(source.share, source.trusted, source.target.version)
            await self._services.key_book.require_own_word(source.share, source.trusted, source.manifest)
            yield entry
        finally:
            entry.users -= 1
            entry.idle_since = time.monotonic()

    async def _enter(self, source: Source) -> _Open:
        version = source.share.share_id, source.target.version
        entry = self._open.get(version)
        if entry is not None and entry.reader.source.target == source.target and not entry.reader.source.licence_due:
            entry.asked_at = time.monotonic()
            return entry
        if entry is not None:
            await self._close(version)
        await self._make_room()
        # a name of its own: what a reader that was closed has still under way is not to touch its successor's swarms
        job = f"{_PREFIX}{next(self._numbers)}"
        reader = VersionReader(self._services, source, self._cache, self._turns, job)
        entry = self._open[version] = _Open(reader, time.monotonic())
        return entry

    async def _known(self, name: str) -> _Open | None:
        """What is open under this name and was asked for a moment ago."""
        shares = self._services.shares
        if links.is_link(name):
            return None
        text, selector = split_name(name)
        share = shares.find(text)
        try:
            version = (await shares.trusted(share)).resolve(selector)
        except NotFound:
            return None  # perhaps published since
        entry = self._open.get((share.share_id, version))
        if entry is None or entry.reader.source.licence_due or time.monotonic() - entry.asked_at > _SURE:
            return None
        return entry

    async def _make_room(self) -> None:
        while len(self._open) >= _OPEN:
            idle = [version for version, entry in self._open.items() if not entry.users]
            if not idle:
                raise P2pckptError(f"{_OPEN} versions are being read at once, and no more can be", next_step="wait")
            await self._close(min(idle, key=lambda version: self._open[version].idle_since))

    async def _close(self, version: Version) -> None:
        await self._open.pop(version).reader.close()
