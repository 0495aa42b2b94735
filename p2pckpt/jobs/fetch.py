"""Fetching: a version of a share becomes a checkout, chunk by chunk, while its pieces arrive.

What is on this disk is used first (the store, then files at the target); the rest comes from the swarms that carry
it, by piece. A chunk is placed once its pieces are flushed, opened, decoded and equal to its BLAKE3. In batches the
objects and the checkout are then fsynced and the catalogue told, in that order: whatever the catalogue says is true
after a power cut, and whatever it does not say is fetched again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from blake3 import blake3

from p2pckpt.checkpoint.pickles import Verdict
from p2pckpt.checkpoint.plan import PIECE_LENGTH, wire_bytes
from p2pckpt.control.messages import FetchRequest, Phase
from p2pckpt.errors import Cancelled, ChangedWhileReading, NoSpace, NotAllowed, P2pckptError, VerificationFailed
from p2pckpt.jobs import model_signature
from p2pckpt.jobs.arrivals import Arrivals, Places
from p2pckpt.jobs.fetch_plan import OnDisk, Source, checkout_path, look, resolve, to_fetch
from p2pckpt.jobs.journal import Journal
from p2pckpt.jobs.progress import Progress
from p2pckpt.jobs.safety import as_warnings, require_receivable, scan_files
from p2pckpt.jobs.seeding import check_objects, file_numbers, torrents_of
from p2pckpt.jobs.services import Services
from p2pckpt.jobs.unpacking import Unpacker
from p2pckpt.store.catalogue import VersionRow
from p2pckpt.store.checkout import PartialCheckout, require_space
from p2pckpt.swarm.engine import EngineEvent, EngineProblem, PieceArrived
from p2pckpt.swarm.torrent import Torrent

_BATCH_BYTES: Final = 32 << 20
"""Raw bytes that are made durable together…"""
_BATCH_SECONDS: Final = 0.5
"""…or whatever arrived in this time."""
_LOCAL_BATCH_BYTES: Final = 64 << 20
"""The same for what needs no network: less is lost when it is interrupted."""
_GROUP_BYTES: Final = 8 << 20
"""Raw bytes that one worker takes at a time."""


Placed = Callable[[int, str], None]
"""Chunk, and where its bytes came from: ``store``, ``checkout`` or ``swarm``. Called in workers."""
Inspect = Callable[[Mapping[str, Path]], None]
"""Called in a thread with where each file lies, by its path; raises what keeps them from appearing at the target."""


async def fetch(
    services: Services,
    request: FetchRequest,
    progress: Progress,
    *,
    restore: Collection[bytes] = (),
    placed: Placed = lambda chunk, source: None,
    inspect: Inspect | None = None,
) -> None:
    """Run one fetch to its end: the checkout is complete and durable when this returns.

    Of the objects named in ``restore`` all pieces are fetched that are not here, also those that no file needs.
    ``placed`` hears of every chunk that this run writes. ``inspect`` looks at what is complete and verified, before any
    of it is at the target; what it does not let through leaves nothing but what is in the store.
    """
    progress.enter(Phase.CONTACTING)
    source = await resolve(services, request)
    path = checkout_path(source, request)
    _describe(source, path, progress)
    for warning in (*source.doubts, *(() if source.manifest.body.licence or source.own else ("no licence is named",))):
        progress.warn(warning)
    progress.enter(Phase.ADOPTING)
    # who goes on seeding needs this share's own frames, so nothing would be saved
    found = await look(services, source, path, progress.checkpoint, borrow=not request.seed)
    run = _Fetch(services, source, path, found, progress, request, restore, placed, inspect)
    try:
        await run.run()
    finally:
        run.close()


def _describe(source: Source, path: Path, progress: Progress) -> None:
    progress.update(
        share_id=source.share.share_id.hex(),
        share=source.trusted.terms.name,
        version=source.target.version,
        version_name=source.target.name,
        publisher=source.manifest.body.publisher.hex(),
        path=str(path),
        size=source.size,
        done=0,
        wire_done=0,
        reused=0,
    )


class _Fetch:
    def __init__(
        self,
        services: Services,
        source: Source,
        path: Path,
        found: OnDisk,
        progress: Progress,
        request: FetchRequest,
        restore: Collection[bytes],
        placed: Placed,
        inspect: Inspect | None,
    ) -> None:
        self._services = services
        self._source = source
        self._found = found
        self._progress = progress
        self._seed = request.seed
        self._restore = restore
        self._placed = placed
        self._inspect = inspect
        self._only = request.only
        self._allow_unsafe_pickle = request.allow_unsafe_pickle
        self._manifest = source.manifest
        self._job = progress.job.id
        self._files = [n for n in source.files if n not in found.in_place]
        self._places = Places(source.manifest, source.files, found.in_place)
        self._partial = PartialCheckout(path, source.manifest, source.mark, source.files, found.in_place)
        keys = services.shares.keys(source.share, source.trusted)
        locate = partial(services.catalogue.locate, source.share.share_id)
        self._unpacker = Unpacker(source.manifest, keys, services.objects, locate)
        for other, other_keys in found.keys.items():
            self._unpacker.know(other, other_keys)
        self._awaited: dict[int, set[int]] = {}
        """Object → wanted pieces that have not arrived: each counts once, however often it is reported."""
        self._on_the_way = 0
        """How many those are."""
        self._fresh: dict[int, set[int]] = {}
        """Object → pieces that arrived and are not yet durable."""
        self._file_of: dict[tuple[bytes, int], int] = {}
        """(infohash, file) → object."""
        self._torrents: dict[int, Torrent] = {}
        self._journal = Journal(services, self._manifest, {})
        self._wake = asyncio.Event()
        self._problem: EngineProblem | None = None

    async def run(self) -> None:
        services, source, progress = self._services, self._source, self._progress
        self._torrents = await torrents_of(
            services, source.share, bytes.fromhex(source.target.infohash), self._manifest
        )
        await asyncio.to_thread(check_objects, self._manifest, self._torrents)
        self._journal = Journal(services, self._manifest, self._torrents)
        await asyncio.to_thread(self._journal.record_carriers, source.target)
        missing, wanted = await asyncio.to_thread(to_fetch, services, source, self._found, self._restore)
        if await self._recheck(wanted):
            missing, wanted = await asyncio.to_thread(to_fetch, services, source, self._found, self._restore)
        wire = wire_bytes(self._manifest, wanted)
        in_place = sum(self._manifest.body.files[n].size for n in self._found.in_place)
        progress.update(wire_size=wire, done=in_place, reused=in_place)
        await asyncio.to_thread(self._require_space, wire)
        await asyncio.to_thread(self._partial.open)
        self._count_placed()
        if not await self._place_local(missing):
            missing, wanted = await asyncio.to_thread(to_fetch, services, source, self._found, self._restore)
            progress.update(wire_size=wire_bytes(self._manifest, wanted))
        await self._download(missing, wanted)
        progress.enter(Phase.FINISHING if self._inspect is None else Phase.CHECKING)
        await asyncio.to_thread(self._gate)
        progress.enter(Phase.FINISHING)
        if len(source.files) == len(self._manifest.body.files):
            await asyncio.to_thread(model_signature.add, self._partial, self._manifest.body)
        moved = await asyncio.to_thread(self._partial.finish, self._found.in_place)
        if moved:
            progress.warn(f"{len(moved)} files that differed were kept in {Path(moved[0]).parts[0]}")
        await asyncio.to_thread(self._record)
        progress.update(phase=Phase.NONE, done=source.size)

    def close(self) -> None:
        self._partial.close()

    def _gate(self) -> None:
        """Look for pickles in every chosen file, whatever way it came: what is loaded is what lies here now."""
        files, target = self._manifest.body.files, self._partial.target
        roots = ((n, target if n in self._found.in_place else self._partial.root) for n in self._source.files)
        places = {files[n].path: root / files[n].path for n, root in roots}
        findings = scan_files(list(places.items()), self._progress.checkpoint)
        # what can't be followed, such as a shard of several archives, we published ourselves in the knowledge of it
        ours = [each for each in findings if self._source.own and each.verdict is Verdict.UNREADABLE]
        require_receivable([each for each in findings if each not in ours], target, allow=self._allow_unsafe_pickle)
        if not self._source.own:  # who published it was told then, and meant it
            for text in as_warnings(tuple(map(str, findings))):
                self._progress.warn(text)
        if self._inspect is not None:
            try:
                self._inspect(places)
            except Cancelled:
                raise
            except P2pckptError:
                self._partial.discard()
                raise

    # -- what is on this disk

    def _require_space(self, wire: int) -> None:
        target = self._partial.target
        todo = sum(self._manifest.body.files[n].size for n in self._files)
        store = self._services.layout.root
        same = _device(target.parent) == _device(store)
        allocated = sum(_allocated(self._partial.root / self._manifest.body.files[n].path) for n in self._files)
        todo = max(0, todo - allocated)
        require_space(target.parent, todo + (wire if same else 0), "this checkout")
        if not same:
            require_space(store, wire, "this download")

    async def _recheck(self, wanted: dict[int, set[int]]) -> bool:
        """Note pieces that an earlier run received and did not live to note; whether there are any.

        Their hashes tell, and then they are made durable: a daemon that was killed loses what the engine had queued,
        not what arrived since the last batch.
        """
        begun = [i for i in wanted if self._services.layout.object(self._manifest.root(i)).exists()]
        if begun:
            self._progress.enter(Phase.CHECKING)
        found = await asyncio.gather(
            *(self._services.compute(self._recheck_object, index, wanted[index]) for index in begun),
            return_exceptions=True,
        )
        for result in found:
            if isinstance(result, BaseException):
                raise result
        return any(found)

    def _recheck_object(self, index: int, pieces: set[int]) -> bool:
        """In a worker."""
        self._progress.checkpoint()
        return bool(self._journal.recheck(index, pieces))

    def _count_placed(self) -> None:
        places = filter(self._places.is_open, self._partial.placed)
        done = sum(int(self._manifest.raw_lengths[self._places.chunks[place]]) for place in places)
        self._progress.add(done=done, reused=done)

    async def _place_local(self, missing: set[int]) -> bool:
        """Chunks that the store or the target's old files have. False when another share's turned out not to serve."""
        hoped_for = len(self._found.elsewhere)
        here = sorted(
            chunk
            for chunk in self._places.needed() - missing
            if not self._partial.placed.covers(self._places.of(chunk))
        )
        syncing: asyncio.Future[None] | None = None
        try:
            for batch in _groups(here, self._raw_length, _LOCAL_BATCH_BYTES):
                await self._in_workers(batch, self._place_known)
                places = [place for chunk in batch for place in self._places.of(chunk)]
                if syncing is not None:
                    await syncing
                syncing = asyncio.ensure_future(asyncio.to_thread(self._partial.sync, places))
        finally:
            if syncing is not None:  # while a batch is made durable, the next one is decoded
                await syncing
        return len(self._found.elsewhere) == hoped_for

    def _place_known(self, chunks: Sequence[int]) -> None:
        for chunk in chunks:
            self._progress.checkpoint()
            raw: memoryview | bytes
            came_from = "store"
            if chunk in self._found.stored:
                chunk_id = self._manifest.chunk_id(chunk)
                location = self._services.catalogue.locate(self._source.share.share_id, chunk_id)
                raw = self._unpacker.chunk(chunk, location)
            elif chunk in self._found.adoptable:
                raw, came_from = self._adopted(chunk), "checkout"
            else:
                share, location = self._found.elsewhere[chunk]
                try:
                    raw = self._unpacker.chunk(chunk, location, share)
                except VerificationFailed:  # that share's matter; this one has its own swarm
                    del self._found.elsewhere[chunk]
                    continue
            self._write(chunk, raw)
            self._placed(chunk, came_from)
            self._progress.add(reused=len(raw) * len(self._places.of(chunk)))

    def _adopted(self, chunk: int) -> bytes:
        path, offset = self._found.adoptable[chunk]
        with path.open("rb") as file:
            file.seek(offset)
            raw = file.read(self._raw_length(chunk))
        if blake3(raw).digest() != self._manifest.chunk_id(chunk):
            raise ChangedWhileReading(
                f"{path} changed while it was adopted", kept="everything placed so far", next_step="p2pckpt resume"
            )
        return raw

    def _write(self, chunk: int, raw: memoryview | bytes) -> None:
        for place in self._places.of(chunk):
            self._partial.write(int(self._places.files[place]), int(self._places.offsets[place]), raw)
            self._progress.add(done=len(raw))

    # -- what others have

    async def _download(self, missing: set[int], wanted: dict[int, set[int]]) -> None:
        arrivals = Arrivals(self._manifest, missing, wanted)
        if not arrivals.outstanding and not wanted:
            await self._join({})
            return
        self._progress.enter(Phase.CONNECTING if wanted else Phase.DOWNLOADING)
        self._services.swarms.listen(self._job, lambda event: self._on_event(event, arrivals))
        await self._join(wanted)
        last = time.monotonic()
        while arrivals.outstanding or self._on_the_way:
            ready = sum(map(self._raw_length, arrivals.ready))
            everything = ready and len(arrivals.ready) == arrivals.outstanding
            # pieces that complete no chunk yet are noted, too: large chunks may be long in coming
            due = time.monotonic() - last >= _BATCH_SECONDS and (ready or self._fresh)
            if ready >= _BATCH_BYTES or everything or due:
                last = time.monotonic()
                await self._keep(arrivals.take())
                continue
            self._wake.clear()
            await _wait(self._wake, _BATCH_SECONDS)
            self._check_swarms()
        await self._make_durable()

    async def _join(self, wanted: dict[int, set[int]]) -> None:
        by_torrent: dict[int, dict[int, set[int]]] = {}
        self._awaited = {index: set(pieces) for index, pieces in wanted.items()}
        self._on_the_way = sum(map(len, self._awaited.values()))
        for index, pieces in wanted.items():
            number = int(self._manifest.object_torrents[index])
            torrent = self._torrents[number]
            file = file_numbers(torrent)[self._manifest.root(index)]
            self._file_of[torrent.info_hash, file] = index
            by_torrent.setdefault(number, {})[file] = pieces
        share = self._source.share
        for number, torrent in self._torrents.items():
            pieces_by_file = by_torrent.get(number, {})
            left = sum(map(len, pieces_by_file.values())) * PIECE_LENGTH
            if pieces_by_file or self._seed:
                await self._services.swarms.join(
                    self._job, share.share_id, share.tracker, torrent, pieces_by_file, left,
                    tls=self._source.trusted.swarm_tls,
                )  # fmt: skip

    def _on_event(self, event: EngineEvent, arrivals: Arrivals) -> None:
        if isinstance(event, EngineProblem):
            self._problem = event
        elif isinstance(event, PieceArrived):
            index = self._file_of.get((event.info_hash, event.file))
            if index is None or event.piece not in self._awaited[index]:
                return
            self._awaited[index].discard(event.piece)
            self._on_the_way -= 1
            self._fresh.setdefault(index, set()).add(event.piece)
            arrivals.arrived(index, event.piece)
            length = int(self._manifest.object_lengths[index]) - event.piece * PIECE_LENGTH
            self._progress.add(wire_done=min(PIECE_LENGTH, length))
        self._wake.set()

    def _check_problem(self) -> None:
        if self._problem is not None:
            problem, self._problem = self._problem, None
            raise (NoSpace if problem.disk_full else P2pckptError)(
                f"the swarm stopped: {problem.text}",
                kept="everything that arrived so far",
                next_step="correct it, then: p2pckpt resume",
            )

    def _check_swarms(self) -> None:
        self._check_problem()
        swarms = self._services.swarms
        peers = 0
        for info_hash in swarms.torrents_of(self._job):
            if reason := swarms.failure(info_hash):
                raise NotAllowed(
                    f"the tracker refuses this download: {reason}",
                    kept="everything that arrived so far",
                    next_step="ask an owner of the share, then: p2pckpt resume",
                )
            stats = swarms.stats(info_hash)
            peers += stats.peers if stats is not None else 0
        self._progress.enter(Phase.DOWNLOADING if peers else Phase.CONNECTING)

    async def _keep(self, chunks: list[int]) -> None:
        """Place a batch of chunks whose pieces are here, and make all of it durable."""
        self._progress.enter(Phase.DOWNLOADING)
        arrived = await self._flushed()
        await self._in_workers(chunks, self._place_arrived)
        places = [place for chunk in chunks for place in self._places.of(chunk)]
        await asyncio.to_thread(self._commit, arrived, chunks, places)

    async def _make_durable(self) -> None:
        """Pieces that came along without completing a chunk of ours are worth keeping, too."""
        if self._fresh:
            await asyncio.to_thread(self._commit, await self._flushed(), [], [])

    async def _flushed(self) -> dict[int, set[int]]:
        arrived, self._fresh = self._fresh, {}
        info_hashes = {self._torrents[int(self._manifest.object_torrents[i])].info_hash for i in arrived}
        await self._services.swarms.flush(info_hashes)
        self._check_problem()  # what arrived and could not be written must not count as durable
        return arrived

    def _place_arrived(self, chunks: Sequence[int]) -> None:
        for chunk in chunks:
            self._progress.checkpoint()
            self._write(chunk, self._unpacker.chunk(chunk))
            self._placed(chunk, "swarm")

    def _commit(self, arrived: dict[int, set[int]], chunks: list[int], places: list[int]) -> None:
        """Objects, checkout, catalogue: each is durable before the next one speaks of it."""
        self._journal.sync(arrived)
        self._partial.sync(places)
        self._journal.record(arrived, chunks)

    async def _in_workers(self, chunks: Iterable[int], work: Callable[[Sequence[int]], None]) -> None:
        groups = list(_groups(chunks, self._raw_length, _GROUP_BYTES))
        results = await asyncio.gather(*(self._services.compute(work, g) for g in groups), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result

    def _raw_length(self, chunk: int) -> int:
        return int(self._manifest.raw_lengths[chunk])

    def _record(self) -> None:
        """The version is held if every object it needs is whole here."""
        services, manifest, target = self._services, self._manifest, self._source.target
        share_id, info_hash = self._source.share.share_id, bytes.fromhex(target.infohash)
        rows = (services.catalogue.object(manifest.root(index)) for index in range(manifest.object_count))
        held = all(row is not None and row.complete for row in rows)
        services.catalogue.record_version(
            VersionRow(share_id, target.version, info_hash, held, str(self._partial.target), self._only)
        )


async def _wait(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass


def _groups(chunks: Iterable[int], length: Callable[[int], int], limit: int) -> Iterable[list[int]]:
    """``chunks`` in runs of about ``limit`` bytes."""
    group: list[int] = []
    size = 0
    for chunk in chunks:
        group.append(chunk)
        size += length(chunk)
        if size >= limit:
            yield group
            group, size = [], 0
    if group:
        yield group


def _device(path: Path) -> int:
    return next(p for p in (path, *path.parents) if p.exists()).stat().st_dev


def _allocated(path: Path) -> int:
    """Bytes of disk that a file of an earlier run already has."""
    try:
        return path.stat().st_blocks * 512
    except FileNotFoundError:
        return 0
