"""Torrents in and out of the engine, with what of them lies here and the certificate that their share asks for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from p2pckpt.checkpoint.pieces import PieceSet
from p2pckpt.checkpoint.pieces import count as piece_count
from p2pckpt.errors import NotAllowed
from p2pckpt.jobs.joined import Joined
from p2pckpt.store.catalogue import Catalogue
from p2pckpt.store.layout import StoreLayout
from p2pckpt.swarm.engine import Engine, Placement, TlsCredentials
from p2pckpt.swarm.torrent import Torrent

_FLUSH_DEADLINE: Final = 5.0

Credentials = Callable[[bytes], TlsCredentials | None]
"""What torrents of a share should be in the engine with. Raises ``NotAllowed`` while nothing will do."""


class Presence:
    """Lives on the daemon's loop. One torrent enters or leaves at a time: callers see to that."""

    def __init__(
        self,
        engine: Engine,
        catalogue: Catalogue,
        layout: StoreLayout,
        credentials: Credentials,
        entered: Callable[[Joined], None],
    ) -> None:
        """``entered`` is told of every torrent that is new in the engine, which knows of no limits for it yet."""
        self._engine = engine
        self._catalogue = catalogue
        self._layout = layout
        self._credentials = credentials
        self._entered = entered
        self._flushes: dict[bytes, list[asyncio.Future[None]]] = {}

    async def enter(self, joined: Joined) -> None:
        """Put a torrent into the engine if it may be there now."""
        try:
            joined.tls = self._credentials(joined.share_id)
        except NotAllowed:
            return
        await self._add(joined)
        joined.failure = ""

    async def renew(self, joined: Joined) -> None:
        """Take a torrent out of the engine and add it with what is here now."""
        await self.take_out(joined)  # written: another job may wait for what has arrived
        joined.arrived = {}
        await self._add(joined)

    async def take_out(self, joined: Joined) -> None:
        """Leave the swarm for now; what arrived is in the files and is known to be."""
        if not await self._write_out(joined):
            joined.arrived = {}
        info_hash = joined.torrent.info_hash
        self._engine.remove(info_hash)
        for future in self._flushes.pop(info_hash, ()):
            if not future.done():
                future.set_result(None)  # no answer comes any more
        joined.in_engine = False

    async def flush(self, torrents: Iterable[Joined]) -> None:
        """Returns when everything that has arrived for these torrents is in the files."""
        loop = asyncio.get_running_loop()
        waiting: list[asyncio.Future[None]] = []
        for joined in torrents:
            if not joined.in_engine:
                continue  # it was flushed when it left
            future: asyncio.Future[None] = loop.create_future()
            self._flushes.setdefault(joined.torrent.info_hash, []).append(future)
            waiting.append(future)
            self._engine.flush(joined.torrent.info_hash)
        if waiting:
            await asyncio.gather(*waiting)

    def flushed(self, info_hash: bytes) -> None:
        """The engine's answer to the oldest call that waits for this torrent."""
        waiting = self._flushes.get(info_hash)
        if waiting and not (future := waiting.pop(0)).done():
            future.set_result(None)

    # -- inside

    async def _add(self, joined: Joined) -> None:
        placement = await asyncio.to_thread(place, joined.torrent, self._catalogue, self._layout)
        joined.have = placement.have
        placement = replace(placement, have=_together(placement, joined.arrived), tls=joined.tls)
        adding = asyncio.create_task(asyncio.to_thread(self._engine.add, placement))
        try:
            await asyncio.shield(adding)
        except BaseException:
            # a thread can't be stopped half way: see how it ends, and leave nothing behind
            await asyncio.gather(adding, return_exceptions=True)
            self._engine.remove(joined.torrent.info_hash)
            raise
        joined.in_engine, joined.problem = True, False
        self._entered(joined)
        joined.complete = all(
            len(have) == piece_count(file.length)
            for have, file in zip(placement.have, joined.torrent.files, strict=True)
        )

    async def _write_out(self, joined: Joined) -> bool:
        """Have everything that arrived written, unless that takes for ever; whether it is."""
        if joined.arrived:
            try:
                async with asyncio.timeout(_FLUSH_DEADLINE):
                    await self.flush([joined])
            except TimeoutError:
                return False
        return True


def place(torrent: Torrent, catalogue: Catalogue, layout: StoreLayout) -> Placement:
    """Where a torrent's files lie here, in directories that exist, and what of them is durable. Blocks."""
    paths: list[Path] = [layout.manifest(torrent.info_hash)]
    manifest_here = paths[0].exists()
    have = [PieceSet.full(torrent.manifest.length) if manifest_here else PieceSet()]
    for file in torrent.objects:
        path = layout.object(file.root)
        row = catalogue.object(file.root)
        paths.append(path)
        have.append(row.pieces if row is not None and path.exists() else PieceSet())
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    return Placement(torrent, tuple(paths), tuple(have))


def _together(placement: Placement, arrived: Mapping[int, PieceSet]) -> tuple[PieceSet, ...]:
    """What is durable, and what came since and was written out."""
    have = [PieceSet(bytes(pieces)) for pieces in placement.have]
    for file, pieces in arrived.items():
        if placement.paths[file].exists():
            have[file].add(pieces)
    return tuple(have)
