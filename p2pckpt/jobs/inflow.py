"""Pieces of one version that readers wait for: brought from its swarms, the most urgent first, and made durable.

Several readers share one place in each swarm, which is entered for the first chunk that has to come from there. What
arrives is flushed at once, because somebody waits for it, and noted in batches, as a fetch does.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import defaultdict
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from typing import Final

from p2pckpt.checkpoint.pieces import PieceSet
from p2pckpt.checkpoint.plan import PIECE_LENGTH, pieces_of_chunk
from p2pckpt.errors import NoSeeds, NoSpace, NotAllowed, NotFound, P2pckptError, disk_error
from p2pckpt.jobs.fetch_plan import Source
from p2pckpt.jobs.journal import Journal
from p2pckpt.jobs.seeding import check_objects, file_numbers, torrents_of
from p2pckpt.jobs.services import Services
from p2pckpt.swarm.engine import EngineEvent, EngineProblem, PieceArrived
from p2pckpt.swarm.torrent import Torrent

_BATCH_BYTES: Final = 32 << 20
"""Bytes that are made durable together…"""
_BATCH_SECONDS: Final = 0.5
"""…or whatever arrived in this time."""
_LOOK_SECONDS: Final = 0.5
"""Between looks at what no event tells: how much came of a piece, and whether the tracker refuses."""
_STUCK_SECONDS: Final = 5.0
"""After so long without a piece, the catalogue is asked again what is here."""

Piece = tuple[int, int]
"""Object and piece within it."""


class Inflow:
    """Lives on the daemon's loop; ``close`` it."""

    def __init__(self, services: Services, source: Source, job: str) -> None:
        """``job`` is the name under which the swarms know it."""
        self._services = services
        self._source = source
        self._manifest = source.manifest
        self._job = job
        self._opening = asyncio.Lock()
        self._torrents: dict[int, Torrent] = {}
        self._journal = Journal(services, self._manifest, {})
        self._object_of: dict[tuple[bytes, int], int] = {}
        """(infohash, file) → object."""
        self._file_of: dict[int, int] = {}
        """Object → its file in its torrent."""
        self._joined: set[int] = set()
        """Torrents whose swarm was entered."""
        self._wishes: dict[Hashable, dict[Piece, None]] = {}
        """By whoever wants them, in order: what has not arrived yet."""
        self._rechecked: defaultdict[int, PieceSet] = defaultdict(PieceSet)
        """By object: what was looked for in its file, or came since."""
        self._awaited: set[Piece] = set()
        self._arrived: set[Piece] = set()
        """Perhaps in memory only."""
        self._written: set[Piece] = set()
        """In the files, not durable yet."""
        self._decoded: set[int] = set()
        """Chunks to be noted with the pieces that they are made of."""
        self._closed = False
        self._problem: P2pckptError | None = None
        self._problems = 0
        """How many there were so far."""
        self._bell = asyncio.Event()
        self._work = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self._last_byte = 0.0
        self._downloaded = 0

    async def close(self) -> None:
        """Note what arrived, and leave the swarms, for good: who waits for more, or wants some, gets ``NotFound``."""
        self._closed = True
        self._ring()
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
            with contextlib.suppress(P2pckptError, OSError):
                await self._flush()
                await self._commit()
        await self._services.swarms.leave(self._job)

    def require_open(self) -> None:
        """Raises ``NotFound`` once it is closed."""
        if self._closed:
            share, version = self._source.share.name, self._source.target.version
            raise NotFound(f"{share}@v{version} is not read any more", kept="what arrived", next_step="try again")

    # -- wanting

    async def want(self, who: Hashable, chunks: Sequence[int]) -> Mapping[int, frozenset[Piece]]:
        """``who`` wants these chunks from now on, in this order, and nothing else. Returns what each is made of.

        Raises ``TrackerUnreachable`` and others when a torrent is neither here nor to be had.
        """
        try:
            await self._open()
            made_of, here = await asyncio.to_thread(self._look, chunks, self._awaited | self._arrived | self._written)
            for index, numbers in _by_object(piece for pieces in made_of.values() for piece in pieces).items():
                self._rechecked[index].add(numbers)
            wish = {piece: None for chunk in chunks for piece in sorted(made_of[chunk]) if piece not in here}
            await self._join({int(self._manifest.object_torrents[index]) for index, _ in wish})
            self.require_open()
        finally:
            if self._closed:  # meanwhile: it may have joined since
                await self._services.swarms.leave(self._job)
        here = self._arrived | self._written
        before = self._wishes.get(who)
        wish = self._wishes[who] = {piece: None for piece in wish if piece not in here}
        if before or wish.keys() - self._awaited:
            self._tell_swarms(wish)
        return made_of

    def drop(self, who: Hashable) -> None:
        """``who`` wants nothing any more."""
        if self._wishes.pop(who, None) and self._awaited - self._all_wishes():
            self._tell_swarms()

    async def here(self, pieces: Collection[Piece], patience: float) -> None:
        """Return once ``pieces``, which were wanted, are in the store's files.

        Raises ``NoSeeds`` when not a byte came for ``patience`` seconds (0: wait for ever), ``NotAllowed`` when the
        tracker refuses, ``NoSpace`` and others when what arrives can't be kept, ``NotFound`` once this is closed.
        """
        began = looked = time.monotonic()
        while any(piece in self._awaited or piece in self._arrived for piece in pieces):
            bell = self._bell
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_SECONDS):
                    await bell.wait()
            self.require_open()
            self._check()
            self.require_patience(began, patience)
            if time.monotonic() - looked > _STUCK_SECONDS:
                looked = time.monotonic()
                self._forget(await asyncio.to_thread(self._durable, self._awaited.intersection(pieces)))
        if self._problem is not None:
            raise self._problem

    def require_patience(self, began: float, patience: float) -> None:
        """Raises ``NoSeeds`` once not a byte came for ``patience`` seconds (0: wait for ever) since ``began``, as
        ``time.monotonic`` counts."""
        if patience and time.monotonic() - max(began, self._last_byte) > patience:
            share, version = self._source.share.name, self._source.target.version
            raise NoSeeds(
                f"nobody who has the missing pieces of {share}@v{version} was reached in {patience:g} s",
                kept="what arrived before",
                next_step=f"ask its publisher to seed; p2pckpt get {share}@v{version} waits",
            )

    def decoded(self, chunk: int) -> None:
        """``chunk`` was decoded from pieces that are here, and was right: the store may say where it lies."""
        if self._keeper is not None:
            base = int(self._manifest.bases[chunk])
            self._decoded |= {chunk, base - 1} if base else {chunk}
            self._work.set()

    # -- inside: the swarms

    async def _open(self) -> None:
        async with self._opening:
            self.require_open()
            services, source, manifest = self._services, self._source, self._manifest
            if self._problem is not None:  # somebody tries again
                self._problem = None
                for what in (self._wishes, self._awaited, self._arrived, self._joined, self._rechecked):
                    what.clear()
                await services.swarms.leave(self._job)
                services.swarms.listen(self._job, self._on_event, stay=True)
            if self._keeper is not None:
                return
            self._torrents = await torrents_of(services, source.share, bytes.fromhex(source.target.infohash), manifest)
            await asyncio.to_thread(check_objects, manifest, self._torrents)
            self._journal = Journal(services, manifest, self._torrents)
            await asyncio.to_thread(self._journal.record_carriers, source.target)
            await asyncio.to_thread(self._number)
            self.require_open()
            services.swarms.listen(self._job, self._on_event, stay=True)
            self._keeper = asyncio.create_task(self._keep())

    def _number(self) -> None:
        """In a thread: which file of which torrent an object is."""
        numbers = {number: file_numbers(torrent) for number, torrent in self._torrents.items()}
        for index, number in enumerate(self._manifest.object_torrents.tolist()):
            file = self._file_of[index] = numbers[number][self._manifest.root(index)]
            self._object_of[self._torrents[number].info_hash, file] = index

    async def _join(self, torrents: Collection[int]) -> None:
        swarms, share = self._services.swarms, self._source.share
        async with self._opening:
            for number in set(torrents) - self._joined:
                torrent = self._torrents[number]
                left = sum(file.length for file in torrent.objects)
                await swarms.join(
                    self._job, share.share_id, share.tracker, torrent, {}, left, tls=self._source.trusted.swarm_tls
                )
                self._joined.add(number)

    def _tell_swarms(self, first: Iterable[Piece] = ()) -> None:
        self._awaited = self._all_wishes()
        wanted: dict[int, dict[int, set[int]]] = {number: {} for number in self._joined}
        hurry: dict[int, list[tuple[int, int]]] = {number: [] for number in self._joined}
        for index, piece in self._awaited:
            number = int(self._manifest.object_torrents[index])
            wanted[number].setdefault(self._file_of[index], set()).add(piece)
        for index, piece in first:
            hurry[int(self._manifest.object_torrents[index])].append((self._file_of[index], piece))
        for number in self._joined:
            info_hash = self._torrents[number].info_hash
            self._services.swarms.want(self._job, info_hash, wanted[number], hurry[number])

    def _all_wishes(self) -> set[Piece]:
        return {piece for wish in self._wishes.values() for piece in wish}

    def _on_event(self, event: EngineEvent) -> None:
        if isinstance(event, EngineProblem):
            kind = NoSpace if event.disk_full else P2pckptError
            self._fail(kind(f"the swarm stopped: {event.text}", kept="what arrived", next_step="correct it, try again"))
        elif isinstance(event, PieceArrived):
            index = self._object_of.get((event.info_hash, event.file))
            if index is not None and (index, event.piece) in self._awaited:
                self._forget({(index, event.piece)})
                self._arrived.add((index, event.piece))
                self._last_byte = time.monotonic()
                self._work.set()

    def _forget(self, pieces: Iterable[Piece]) -> None:
        """They need not be waited for."""
        for piece in pieces:
            self._awaited.discard(piece)
            for wish in self._wishes.values():
                wish.pop(piece, None)

    def _fail(self, problem: P2pckptError) -> None:
        self._problem = problem
        self._problems += 1
        self._ring()

    def _ring(self) -> None:
        self._bell.set()
        self._bell = asyncio.Event()

    def _check(self) -> None:
        if self._problem is not None:
            raise self._problem
        swarms, downloaded = self._services.swarms, 0
        for number in self._joined:
            info_hash = self._torrents[number].info_hash
            if reason := swarms.failure(info_hash):
                raise NotAllowed(f"the tracker refuses: {reason}", next_step="ask an owner of the share")
            stats = swarms.stats(info_hash)
            downloaded += stats.downloaded if stats is not None else 0
        if downloaded != self._downloaded:
            self._downloaded, self._last_byte = downloaded, time.monotonic()

    # -- inside: the disk

    def _look(
        self, chunks: Iterable[int], expected: Collection[Piece]
    ) -> tuple[Mapping[int, frozenset[Piece]], set[Piece]]:
        """In a thread: the pieces that chunks are made of, and which of them are in the files.

        What an earlier daemon did not live to note is noted. ``expected`` are on their way.
        """
        made_of = {chunk: self._made_of(chunk) for chunk in chunks}
        wanted = {piece for pieces in made_of.values() for piece in pieces}
        here = self._durable(wanted)
        unknown = wanted - here - set(expected)
        for index, numbers in _by_object(each for each in unknown if each[1] not in self._rechecked[each[0]]).items():
            if self._services.layout.object(self._manifest.root(index)).exists():
                here |= {(index, piece) for piece in self._journal.recheck(index, numbers)}
        return made_of, here

    def _made_of(self, chunk: int) -> frozenset[Piece]:
        """The pieces under its frame and, for a delta whose base is not in the store, under its base's."""
        manifest, frames, base = self._manifest, [chunk], int(self._manifest.bases[chunk]) - 1
        if base >= 0:
            known = self._services.catalogue.locate(manifest.body.share_id, manifest.chunk_id(base))
            if known is None or known.delta:
                frames.append(base)
        return frozenset(
            (int(manifest.chunk_objects[frame]), piece)
            for frame in frames
            for piece in pieces_of_chunk(manifest, frame)
        )

    def _durable(self, pieces: Iterable[Piece]) -> set[Piece]:
        """In a thread: what the catalogue says is here."""
        found: set[Piece] = set()
        for index, numbers in _by_object(pieces).items():
            row = self._services.catalogue.object(self._manifest.root(index))
            if row is not None and self._services.layout.object(row.root).exists():
                found |= {(index, piece) for piece in numbers if piece in row.pieces}
        return found

    async def _keep(self) -> None:
        """Flush what arrives, and now and then make it durable."""
        due: float | None = None
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(due):
                    await self._work.wait()
            self._work.clear()
            try:
                if self._arrived:
                    await self._flush()
                now = asyncio.get_running_loop().time()
                if due is None and (self._written or self._decoded):
                    due = now + _BATCH_SECONDS
                if due is not None and (now >= due or len(self._written) * PIECE_LENGTH >= _BATCH_BYTES):
                    due = None
                    await self._commit()
            except P2pckptError as exc:
                self._fail(exc)
            except OSError as exc:
                self._fail(disk_error(exc, self._services.layout.root))

    async def _flush(self) -> None:
        arrived, problems = set(self._arrived), -1 if self._problem is not None else self._problems
        numbers = {int(self._manifest.object_torrents[index]) for index, _ in arrived}
        await self._services.swarms.flush({self._torrents[number].info_hash for number in numbers})
        self._arrived -= arrived
        if self._problems == problems:  # else what arrived may not have been written
            self._written |= arrived
        self._ring()

    async def _commit(self) -> None:
        written, decoded = set(self._written), set(self._decoded)
        await asyncio.to_thread(self._note, written, decoded)
        self._written -= written
        self._decoded -= decoded

    def _note(self, written: Iterable[Piece], decoded: Iterable[int]) -> None:
        """In a thread. Objects that were deleted meanwhile are passed over."""
        layout, catalogue, manifest = self._services.layout, self._services.catalogue, self._manifest
        arrived = {i: some for i, some in _by_object(written).items() if layout.object(manifest.root(i)).exists()}
        self._journal.sync(arrived)

        def is_noted(chunk: int) -> bool:
            index = int(manifest.chunk_objects[chunk])
            row = catalogue.object(manifest.root(index))
            pieces = set(pieces_of_chunk(manifest, chunk)) - arrived.get(index, set())
            return not pieces or (row is not None and row.pieces.covers(pieces))

        self._journal.record(arrived, list(filter(is_noted, decoded)))


def _by_object(pieces: Iterable[Piece]) -> dict[int, set[int]]:
    found: dict[int, set[int]] = {}
    for index, piece in pieces:
        found.setdefault(index, set()).add(piece)
    return found
