"""Reading one version without a checkout: ranges of its files, verified chunk by chunk, from wherever they are.

A chunk is taken from the store, from the version's checkout if its bytes are still right there, from what the store
has for other shares, or from the swarms: then the pieces under its frame are fetched, noted and offered to others as a
fetch's are, and nothing else is.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import AsyncGenerator, Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Final

import numpy as np
from blake3 import blake3

from p2pckpt.checkpoint.manifest import FileEntry, Manifest
from p2pckpt.checkpoint.plan import pieces_of_chunk, pieces_under
from p2pckpt.errors import BadUsage, NotFound, P2pckptError, VerificationFailed
from p2pckpt.jobs.chunk_cache import ChunkCache
from p2pckpt.jobs.fetch_plan import Source, places_in_store
from p2pckpt.jobs.inflow import Inflow
from p2pckpt.jobs.services import Services
from p2pckpt.jobs.unpacking import Unpacker
from p2pckpt.store.scrub import damaged_pieces

WINDOW: Final = 32 << 20
"""Raw bytes that are fetched ahead of who reads."""
_STEP: Final = WINDOW // 2
"""Raw bytes after which the window is moved on."""
_DECODED_AHEAD: Final = 2
"""Chunks that are being fetched and decoded while one is handed over."""


@dataclass(frozen=True, slots=True)
class Part:
    """The bytes ``[start, end)`` of a chunk that a range asks for."""

    chunk: int
    offset: int
    """Of the chunk in its file."""
    length: int
    """Of the whole chunk."""
    start: int
    end: int


class Parts:
    """The chunks under bytes ``[start, end)`` of a file, in order; made as they are looked at."""

    def __init__(self, manifest: Manifest, file: FileEntry, start: int, end: int) -> None:
        self._start = start
        self._end = end
        chunks = manifest.chunks_of(file)
        ends = np.cumsum(manifest.raw_lengths[chunks], dtype=np.uint64)
        places = np.searchsorted(ends, [start, end - 1], side="right").tolist() if start < end else (0, -1)
        self._chunks = chunks[places[0] : places[1] + 1]
        self._ends = ends[places[0] : places[1] + 1]
        self._lengths = manifest.raw_lengths[self._chunks]

    def __len__(self) -> int:
        return len(self._chunks)

    def __getitem__(self, place: int) -> Part:
        stop, length = int(self._ends[place]), int(self._lengths[place])
        offset = stop - length
        start, end = max(self._start, offset) - offset, min(self._end, stop) - offset
        return Part(int(self._chunks[place]), offset, length, start, end)

    def window(self, place: int) -> list[Part]:
        """Those from ``place`` on that are fetched together."""
        found: list[Part] = []
        size = 0
        while place < len(self) and size < WINDOW:
            found.append(self[place])
            size += found[-1].length
            place += 1
        return found


class _Turn:
    """A turn of one reading, which it has while any chunk of it is being made or handed over."""

    def __init__(self, turns: asyncio.Semaphore, patience: float) -> None:
        self._turns = turns
        self._patience = patience
        self._chunks = 0
        self._has_it = False
        self._taking = asyncio.Lock()

    async def take(self) -> None:
        """For one chunk more. Raises ``P2pckptError`` when nobody else's turn ended in time."""
        async with self._taking:
            if not self._has_it:
                try:
                    async with asyncio.timeout(self._patience or None):
                        await self._turns.acquire()
                except TimeoutError as exc:
                    raise P2pckptError(
                        "too much is being read at once", kept="what arrived", next_step="try again later"
                    ) from exc
                self._has_it = True
            self._chunks += 1

    def give_back(self) -> None:
        """For one chunk."""
        self._chunks -= 1
        if not self._chunks:
            self.end()

    def end(self) -> None:
        """No chunk is made any more."""
        if self._has_it:
            self._has_it = False
            self._turns.release()


class VersionReader:
    """One version, open for any number of readers at once. Lives on the daemon's loop; ``close`` it."""

    def __init__(
        self, services: Services, source: Source, cache: ChunkCache, turns: asyncio.Semaphore, job: str
    ) -> None:
        """``turns`` are those of all readers; ``job`` is the name under which the swarms know it."""
        self.source = source
        self.passed: set[str] = set()
        """Paths that the pickle gate has let through."""
        self._services = services
        self._manifest = source.manifest
        self._share = source.share.share_id
        self._cache = cache
        self._turns = turns
        self._inflow = Inflow(services, source, job)
        keys = services.shares.keys(source.share, source.trusted)
        locate = partial(services.catalogue.locate, self._share)
        self._unpacker = Unpacker(self._manifest, keys, services.objects, locate)
        self._files = {file.path: file for file in self._manifest.body.files}
        self._numbers = count()

    async def close(self) -> None:
        """Whoever still reads gets ``NotFound``."""
        await self._inflow.close()

    def file(self, path: str) -> FileEntry:
        """Raises ``NotFound``."""
        if path not in self._files:
            name = f"{self.source.share.name}@v{self.source.target.version}"
            raise NotFound(f"{name} has no file {path!r}", next_step=f"p2pckpt show {name} --files")
        return self._files[path]

    async def read(
        self, path: str, start: int, end: int, *, patience: float = 0, ahead: int = 0
    ) -> AsyncGenerator[memoryview, None]:
        """Bytes ``[start, end)`` of a file, a chunk's worth at a time, each equal to what was signed.

        ``ahead`` bytes more are fetched, and not waited for, when all of them were taken. Raises ``BadUsage`` for a
        range outside of the file, ``NoSeeds`` when not a byte came for ``patience`` seconds (0: wait for ever),
        ``NotAllowed``, ``VerificationFailed`` and others. As long as it takes the bytes, it has a turn; not while it
        waits for the swarm.
        """
        file = self.file(path)
        if not 0 <= start <= end <= file.size:
            raise BadUsage(f"bytes {start} to {end} are not within the {file.size} of {path}")
        parts = Parts(self._manifest, file, start, end)
        who = ("read", next(self._numbers))
        turn = _Turn(self._turns, patience)
        tasks: deque[tuple[Part, asyncio.Task[bytes]]] = deque()
        before: asyncio.Event | None = None
        # places up to which is wanted, raw bytes of those that were not handed over yet, places that were begun
        wanted_until = wanted = begun = 0
        try:
            for place in range(len(parts)):
                self._inflow.require_open()
                if wanted_until < len(parts) and wanted <= _STEP:
                    window = parts.window(place)
                    wanted_until, wanted = place + len(window), sum(part.length for part in window)
                    await self._want(who, path, window)
                while begun < min(place + _DECODED_AHEAD, len(parts)):
                    part = parts[begun]
                    here = asyncio.Event()
                    tasks.append((part, asyncio.create_task(self._raw(path, part, patience, turn, before, here))))
                    before = here
                    begun += 1
                part, task = tasks[0]
                raw = await task
                tasks.popleft()
                wanted -= part.length
                yield memoryview(raw)[part.start : part.end]
                del raw
                turn.give_back()
            if ahead > 0:
                beyond = Parts(self._manifest, file, end, min(file.size, end + min(ahead, WINDOW)))
                await self._want(("ahead", path), path, beyond.window(0))
        finally:
            for _, task in tasks:
                task.cancel()
            await asyncio.gather(*(task for _, task in tasks), return_exceptions=True)
            turn.end()
            self._inflow.drop(who)

    def require_patience(self, began: float, patience: float) -> None:
        """Raises ``NoSeeds`` for who waits since ``began``, on ``time.monotonic``, and not a byte came."""
        self._inflow.require_patience(began, patience)

    # -- inside

    async def _want(self, who: Hashable, path: str, parts: Sequence[Part]) -> None:
        """Have the swarms bring what is not on this disk."""
        missing = await asyncio.to_thread(self._missing, path, parts)
        if missing:
            await self._inflow.want(who, missing)

    def _missing(self, path: str, parts: Sequence[Part]) -> list[int]:
        """In a thread: chunks that have to come from others, as far as one can tell without reading them."""
        place, found = self._on_disk(path), []
        for part in parts:
            chunk_id = self._manifest.chunk_id(part.chunk)
            if (
                place is None
                and not places_in_store(self._services, self._share, self._manifest, part.chunk)
                and self._services.catalogue.locate_elsewhere(self._share, chunk_id) is None
            ):
                found.append(part.chunk)
        return list(dict.fromkeys(found))

    def _on_disk(self, path: str) -> Path | None:
        """Where the version's checkout or published directory has a file that may be the one that was signed."""
        row = self._services.catalogue.version(self._share, self.source.target.version)
        if row is None or not row.path:
            return None
        place = Path(row.path) / path
        try:
            return place if place.stat().st_size == self._files[path].size else None
        except OSError:
            return None

    async def _raw(
        self, path: str, part: Part, patience: float, turn: _Turn, before: asyncio.Event | None, here: asyncio.Event
    ) -> bytes:
        """A chunk's raw bytes, equal to its BLAKE3, which count in ``turn``.

        They are made once those ``before`` are ``here``, and only then: nothing is held while that is waited for.
        """
        if before is not None:
            await before.wait()
        await turn.take()
        chunk_id = self._manifest.chunk_id(part.chunk)
        raw = self._cache.get(chunk_id)
        if raw is None:
            raw = await self._local(path, part, here)
            if raw is None:
                raw = await self._fetched(part.chunk, patience, turn, here)
            self._cache.put(chunk_id, raw)
        here.set()
        return raw

    async def _local(self, path: str, part: Part, here: asyncio.Event) -> bytes | None:
        """From this disk; None if it is not there, or not as it was signed."""
        compute, loop = self._services.compute, asyncio.get_running_loop()
        try:
            raw = await compute(self._stored, part.chunk, partial(loop.call_soon_threadsafe, here.set))
        except VerificationFailed:
            await self._mend(part.chunk)
            raw = None
        if raw is None:
            raw = await compute(self._checked_out, path, part)
        return raw if raw is not None else await self._elsewhere(part.chunk)

    def _stored(self, chunk: int, found: Callable[[], object]) -> bytes | None:
        """In a worker. ``found`` is called before it is decoded, so that the next may be meanwhile."""
        places = places_in_store(self._services, self._share, self._manifest, chunk)
        if not places:
            return None
        found()
        return bytes(self._unpacker.chunk(chunk, places[0]))

    def _checked_out(self, path: str, part: Part) -> bytes | None:
        """In a worker. Users edit checkouts: only what hashes as it was signed counts."""
        place = self._on_disk(path)
        if place is None:
            return None
        try:
            with place.open("rb") as file:
                file.seek(part.offset)
                raw = file.read(part.length)
        except OSError:
            return None
        return raw if blake3(raw).digest() == self._manifest.chunk_id(part.chunk) else None

    async def _elsewhere(self, chunk: int) -> bytes | None:
        """From a frame of another share, if its keys are here."""
        services = self._services
        found = await asyncio.to_thread(
            services.catalogue.locate_elsewhere, self._share, self._manifest.chunk_id(chunk)
        )
        other = services.catalogue.share(found[0]) if found is not None else None
        if found is None or other is None:
            return None
        try:
            self._unpacker.know(other.share_id, services.shares.keys(other, await services.shares.trusted(other)))
            return await services.compute(lambda: bytes(self._unpacker.chunk(chunk, found[1], other.share_id)))
        except P2pckptError:  # that share's matter; this one has its own swarm
            return None

    async def _fetched(self, chunk: int, patience: float, turn: _Turn, here: asyncio.Event) -> bytes:
        """From the swarms; also what of them is here without having been decoded yet."""
        who = ("chunk", next(self._numbers))
        turn.give_back()
        try:
            for may_be_damaged in (True, False):
                made_of = await self._inflow.want(who, [chunk])
                await self._inflow.here(made_of[chunk], patience)
                await turn.take()
                here.set()
                try:
                    raw = await self._services.compute(lambda: bytes(self._unpacker.chunk(chunk)))
                    break
                except VerificationFailed:
                    # pieces that were here before; what came now was right, so that once more is enough
                    if not (await self._mend(chunk) and may_be_damaged):
                        raise
                    turn.give_back()
        finally:
            self._inflow.drop(who)
        self._inflow.decoded(chunk)
        return raw

    async def _mend(self, chunk: int) -> bool:
        """Forget pieces under a chunk that are not as they were hashed: then they are fetched again. Whether any was
        not."""
        damaged = await asyncio.to_thread(self._lose_damaged, chunk)
        if damaged:
            await self._services.swarms.forget(damaged)
        return bool(damaged)

    def _lose_damaged(self, chunk: int) -> set[bytes]:
        """In a thread: the objects that lost something."""
        services, manifest = self._services, self._manifest
        frames = {chunk, int(manifest.bases[chunk]) - 1} - {-1}
        under: defaultdict[bytes, set[int]] = defaultdict(set)
        for frame in frames:
            under[manifest.root(int(manifest.chunk_objects[frame]))] |= set(pieces_of_chunk(manifest, frame))
            known = services.catalogue.locate(self._share, manifest.chunk_id(frame))
            if known is not None:
                under[known.root] |= set(pieces_under(known.offset, known.length))
        damaged = set()
        for root, pieces in under.items():
            row, path = services.catalogue.object(root), services.layout.object(root)
            lost = damaged_pieces(path, row, pieces.intersection(row.pieces)) if row is not None else set()
            if lost:
                services.objects.forget(root)
                services.catalogue.lose_pieces(root, lost)
                damaged.add(root)
        return damaged
