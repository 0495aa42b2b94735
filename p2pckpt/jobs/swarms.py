"""The swarms this machine is in: who needs which torrent, announcing them, feeding peers to the engine.

Several jobs may need one torrent; it stays in the engine while anyone does, and wants the union of what they want.
The daemon announces for libtorrent (docs/adr/0004): passes never enter libtorrent, several swarms go in one
request, and the tracker learns every address this machine answers on.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import structlog

from p2pckpt import tracker_protocol as tp
from p2pckpt.access.pool import Trackers
from p2pckpt.checkpoint.pieces import PieceSet
from p2pckpt.checkpoint.pieces import count as piece_count
from p2pckpt.errors import NotAllowed, NotFound, P2pckptError
from p2pckpt.store.catalogue import Catalogue
from p2pckpt.store.layout import StoreLayout
from p2pckpt.swarm.engine import Engine, EngineEvent, EngineProblem, Flushed, PieceArrived, Placement, TorrentStats
from p2pckpt.swarm.torrent import Torrent

_log = structlog.get_logger(__name__)

_SETTLE: Final = 0.05
"""Seconds in which several joins become one announce."""
_RETRY: Final = 5.0
"""Seconds until an announce or event stream that failed is tried again…"""
_FIRST_RETRY: Final = 0.5
"""…and at first, since most trackers that go are restarted; doubled each time."""
_RENEW_BEFORE: Final = 3600
_MIN_INTERVAL: Final = 5
_FLUSH_DEADLINE: Final = 5.0
_SEED_WAITS: Final = 3.0
"""Seconds in which a receiver should have dialled a seed by itself. A router that drops the seed's dial in silence
would keep the receiver's own connection out for as long as the dial lasts."""

Listener = Callable[[EngineEvent], None]


@dataclass(slots=True)
class _Joined:
    torrent: Torrent
    share_id: bytes
    tracker: str
    wanted: dict[str, Mapping[int, set[int]]] = field(default_factory=dict)
    """By job."""
    left: dict[str, int] = field(default_factory=dict)
    have: tuple[PieceSet, ...] = ()
    """By file, what the engine was told is here."""
    arrived: dict[int, PieceSet] = field(default_factory=dict)
    """By file, what came since."""
    complete: bool = False
    announced: bool = False
    was_leech: bool = False
    seeds: int = 0
    leechers: int = 0
    failure: str = ""


class Swarms:
    """Everything the daemon seeds and fetches. Lives on the daemon's loop."""

    def __init__(
        self,
        engine: Engine,
        trackers: Trackers,
        catalogue: Catalogue,
        layout: StoreLayout,
        addresses: Callable[[], list[tp.Endpoint]],
    ) -> None:
        self._engine = engine
        self._trackers = trackers
        self._catalogue = catalogue
        self._layout = layout
        self._addresses = addresses
        self._peer_id = secrets.token_hex(20)
        self._joined: dict[bytes, _Joined] = {}
        self._changing = asyncio.Lock()
        """Held while torrents enter or leave the engine: several jobs may want one at the same moment."""
        self._listeners: dict[str, Listener] = {}
        self._passes: dict[bytes, tp.PassReply] = {}
        self._dirty: dict[str, asyncio.Event] = {}
        self._tasks: dict[str, list[asyncio.Task[None]]] = {}
        self._flushes: dict[bytes, list[asyncio.Future[None]]] = {}
        self._stats: Mapping[bytes, TorrentStats] = {}
        self._on_tracker_event: Callable[[str, tp.TrackerEvent], None] = lambda tracker, event: None
        self.tracker_state: dict[str, str] = {}
        """``connected``, ``connecting`` or why not, by tracker."""

    async def start(self) -> None:
        """Start the engine. Raises ``P2pckptError`` when its port is taken."""
        await self._engine.start(self._on_engine_event)

    def on_tracker_event(self, listener: Callable[[str, tp.TrackerEvent], None]) -> None:
        """Hand every event of every tracker to ``listener``."""
        self._on_tracker_event = listener

    async def stop(self) -> None:
        """Say good-bye to the trackers within two seconds, then leave."""
        for tasks in self._tasks.values():
            for task in tasks:
                task.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(2):
                await asyncio.gather(*(self._goodbye(tracker) for tracker in self._tasks), return_exceptions=True)
        for tasks in self._tasks.values():
            await asyncio.gather(*tasks, return_exceptions=True)
        await self._engine.stop()

    @property
    def port(self) -> int:
        return self._engine.port

    def follow(self, tracker: str) -> None:
        """Listen to a tracker's events and announce there, from now on."""
        if tracker in self._tasks:
            return
        self._dirty[tracker] = asyncio.Event()
        self.tracker_state[tracker] = "connecting"
        self._tasks[tracker] = [
            asyncio.create_task(self._announce_loop(tracker)),
            asyncio.create_task(self._event_loop(tracker)),
        ]

    # -- joining

    def placement(self, torrent: Torrent) -> Placement:
        """Where the torrent's files lie here and what of them is durable. Blocks on the catalogue."""
        paths: list[Path] = [self._layout.manifest(torrent.info_hash)]
        manifest_here = paths[0].exists()
        have = [PieceSet.full(torrent.manifest.length) if manifest_here else PieceSet()]
        for file in torrent.objects:
            path = self._layout.object(file.root)
            row = self._catalogue.object(file.root)
            paths.append(path)
            have.append(row.pieces if row is not None and path.exists() else PieceSet())
        return Placement(torrent, tuple(paths), tuple(have))

    async def join(
        self, job: str, share_id: bytes, tracker: str, torrent: Torrent, wanted: Mapping[int, set[int]], left: int
    ) -> None:
        """Take part in a swarm for ``job``: offer what is here, fetch ``wanted`` (file → pieces, ``left`` bytes)."""
        async with self._changing:
            joined = self._joined.get(torrent.info_hash)
            if joined is None:
                joined = _Joined(torrent, share_id, tracker)
                await self._add(joined)
                self._joined[torrent.info_hash] = joined
            elif any(piece in joined.have[file] for file, pieces in wanted.items() for piece in pieces):
                await self._renew(joined)  # the store lost what the engine still offers
            joined.wanted[job], joined.left[job] = wanted, left
            joined.was_leech = joined.was_leech or left > 0
            self._want(joined)
        self.follow(tracker)
        self._dirty[tracker].set()
        self._tell_arrived(job, joined)

    async def forget(self, roots: Collection[bytes]) -> None:
        """Objects were taken out of the store: torrents that carry them offer what is left."""
        async with self._changing:
            for joined in self._joined.values():
                if any(file.root in roots for file in joined.torrent.objects):
                    await self._renew(joined)
                    self._want(joined)
                    self._dirty[joined.tracker].set()

    def finish(self, job: str, info_hash: bytes) -> None:
        """What ``job`` wanted of this torrent is here; go on seeding it."""
        if (joined := self._joined.get(info_hash)) is not None and job in joined.left:
            joined.left[job] = 0
            self._dirty[joined.tracker].set()

    async def leave(self, job: str) -> None:
        """``job`` needs no swarm any more; torrents that nobody else needs leave the engine."""
        self._listeners.pop(job, None)
        left: list[_Joined] = []
        async with self._changing:
            for info_hash, joined in list(self._joined.items()):
                if joined.wanted.pop(job, None) is None:
                    continue
                joined.left.pop(job, None)
                if joined.wanted:
                    self._want(joined)
                    continue
                # written before it leaves: else it may write into a file that was deleted meanwhile
                await self._write_out(joined)
                del self._joined[info_hash]
                self._remove(info_hash)
                left.append(joined)
        for joined in left:
            if joined.announced:
                await self._stopped(joined)

    def listen(self, job: str, listener: Listener) -> None:
        """Hand the engine's events to ``job`` until it leaves."""
        self._listeners[job] = listener

    async def flush(self, info_hashes: set[bytes]) -> None:
        """Returns when everything that has arrived for these torrents is in the files."""
        loop = asyncio.get_running_loop()
        waiting: list[asyncio.Future[None]] = []
        for info_hash in info_hashes & self._joined.keys():
            future: asyncio.Future[None] = loop.create_future()
            self._flushes.setdefault(info_hash, []).append(future)
            waiting.append(future)
            self._engine.flush(info_hash)
        if waiting:
            await asyncio.gather(*waiting)

    def retry(self, job: str) -> None:
        """Clear errors of the torrents that ``job`` needs."""
        for info_hash, joined in self._joined.items():
            if job in joined.wanted:
                self._engine.clear_problem(info_hash)

    def drop_share(self, share_id: bytes) -> None:
        """Access to a share was taken away: its pass is void."""
        self._passes.pop(share_id, None)

    # -- what jobs and front ends ask

    async def refresh_stats(self) -> Mapping[bytes, TorrentStats]:
        self._stats = await self._engine.stats()
        return self._stats

    def torrents_of(self, job: str) -> list[bytes]:
        return [info_hash for info_hash, joined in self._joined.items() if job in joined.wanted]

    def stats(self, info_hash: bytes) -> TorrentStats | None:
        return self._stats.get(info_hash)

    def known_seeds(self, info_hash: bytes) -> int:
        """Seeds as of the last announce, this machine not counted."""
        joined = self._joined.get(info_hash)
        if joined is None:
            return 0
        is_seed = joined.announced and not joined.was_leech
        return max(0, joined.seeds - is_seed)

    async def ask_seeds(self, share_id: bytes, tracker: str, info_hash: bytes) -> int:
        """Seeds of a swarm this machine need not be in; 0 when the tracker does not say."""
        if info_hash in self._joined:
            return self.known_seeds(info_hash)
        with contextlib.suppress(P2pckptError):
            announce_pass = await self._pass(share_id, tracker)
            # leaving a swarm that we are not in changes nothing, and is answered with its counts
            state = tp.SwarmState(info_hash.hex(), announce_pass, 0, tp.SwarmEvent.STOPPED)
            reply = await self._trackers.client(tracker).announce(self._request([state]))
            return sum(swarm.seeds for swarm in reply.swarms)
        return 0

    def failure(self, info_hash: bytes) -> str:
        """Why the tracker refused the last announce of this torrent; empty when it did not."""
        joined = self._joined.get(info_hash)
        return joined.failure if joined is not None else ""

    def offers(self, info_hash: bytes) -> bool:
        """Whether this machine takes part in the swarm."""
        return info_hash in self._joined

    def addresses(self) -> list[tp.Endpoint]:
        """Where peers may reach this machine, the most public first."""
        return self._addresses()

    @property
    def engine(self) -> Engine:
        return self._engine

    # -- inside

    def _prepare(self, torrent: Torrent) -> Placement:
        placement = self.placement(torrent)
        for path in placement.paths:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        return placement

    async def _add(self, joined: _Joined) -> None:
        placement = await asyncio.to_thread(self._prepare, joined.torrent)
        adding = asyncio.create_task(asyncio.to_thread(self._engine.add, placement))
        try:
            await asyncio.shield(adding)
        except BaseException:
            # a thread can't be stopped half way: see how it ends, and leave nothing behind
            await asyncio.gather(adding, return_exceptions=True)
            self._engine.remove(joined.torrent.info_hash)
            raise
        joined.have, joined.arrived = placement.have, {}
        joined.complete = all(
            len(have) == piece_count(file.length)
            for have, file in zip(placement.have, joined.torrent.files, strict=True)
        )

    async def _renew(self, joined: _Joined) -> None:
        """Take a torrent out of the engine and add it with what is here now."""
        await self._write_out(joined)  # another job may wait for what has arrived
        self._remove(joined.torrent.info_hash)
        await self._add(joined)

    async def _write_out(self, joined: _Joined) -> None:
        """Have everything that arrived written, unless that takes for ever."""
        if joined.arrived:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_FLUSH_DEADLINE):
                    await self.flush({joined.torrent.info_hash})

    def _remove(self, info_hash: bytes) -> None:
        self._engine.remove(info_hash)
        for future in self._flushes.pop(info_hash, ()):
            if not future.done():
                future.set_result(None)  # no answer comes any more

    def _tell_arrived(self, job: str, joined: _Joined) -> None:
        """Pieces that another job fetched, or this one before it was paused, are not reported again by the engine."""
        listener = self._listeners.get(job)
        for file, pieces in joined.wanted[job].items():
            here = joined.arrived.get(file, PieceSet())
            for piece in sorted(pieces):
                if listener is not None and piece in here:
                    listener(PieceArrived(joined.torrent.info_hash, file, piece))

    def _want(self, joined: _Joined) -> None:
        union: dict[int, set[int]] = {}
        for wanted in joined.wanted.values():
            for file, pieces in wanted.items():
                union.setdefault(file, set()).update(pieces)
        self._engine.want(joined.torrent.info_hash, union)

    def _on_engine_event(self, event: EngineEvent) -> None:
        if isinstance(event, Flushed):
            waiting = self._flushes.get(event.info_hash)
            if waiting and not (future := waiting.pop(0)).done():
                future.set_result(None)
            return
        joined = self._joined.get(event.info_hash)
        if joined is not None and isinstance(event, PieceArrived):
            joined.arrived.setdefault(event.file, PieceSet()).add((event.piece,))
        for job in tuple(joined.wanted) if joined is not None else ():
            if (listener := self._listeners.get(job)) is not None:
                listener(event)
        if isinstance(event, EngineProblem):
            _log.warning("torrent stopped", info_hash=event.info_hash.hex(), reason=event.text)

    async def _announce_loop(self, tracker: str) -> None:
        interval: float = 0
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(interval or None):
                    await self._dirty[tracker].wait()
                    await asyncio.sleep(_SETTLE)
            self._dirty[tracker].clear()
            try:
                interval = await self._announce(tracker)
            except P2pckptError as exc:
                _log.warning("announce failed", tracker_reason=exc.fact)
                interval = _RETRY
            except Exception:
                _log.exception("announce failed")
                interval = _RETRY

    async def _announce(self, tracker: str) -> float:
        joined = [j for j in self._joined.values() if j.tracker == tracker]
        interval: float = 1800
        for start in range(0, len(joined), tp.MAX_SWARMS_PER_ANNOUNCE):
            batch = joined[start : start + tp.MAX_SWARMS_PER_ANNOUNCE]
            states = [state for j in batch if (state := await self._state(j)) is not None]
            if not states:
                interval = _RETRY
                continue
            reply = await self._trackers.client(tracker).announce(self._request(states))
            interval = max(_MIN_INTERVAL, min(interval, reply.interval))
            for swarm in reply.swarms:
                if (known := self._joined.get(bytes.fromhex(swarm.info_hash))) is not None:
                    known.seeds, known.leechers, known.failure = swarm.seeds, swarm.leechers, swarm.failure
                    known.announced = not swarm.failure
                    if swarm.failure:
                        self._passes.pop(known.share_id, None)
                        interval = _RETRY
                    self._connect(known.torrent.info_hash, swarm.peers)
        return interval if joined else 0

    def _connect(self, info_hash: bytes, peers: list[tp.Endpoint]) -> None:
        """Dial peers that the tracker told of; a seed leaves the first try to them."""
        joined = self._joined.get(info_hash)
        if joined is not None and not any(joined.left.values()):
            asyncio.get_running_loop().call_later(_SEED_WAITS, self._engine.connect, info_hash, peers)
        else:
            self._engine.connect(info_hash, peers)

    def _request(self, states: list[tp.SwarmState]) -> tp.AnnounceRequest:
        return tp.AnnounceRequest(
            peer_id=self._peer_id, port=self._engine.port, addresses=self._addresses(), swarms=states
        )

    async def _state(self, joined: _Joined, event: tp.SwarmEvent | None = None) -> tp.SwarmState | None:
        left = max(joined.left.values(), default=0)
        if event is None:
            event = tp.SwarmEvent.NONE if joined.announced else tp.SwarmEvent.STARTED
            if joined.announced and left == 0 and joined.was_leech:
                event, joined.was_leech = tp.SwarmEvent.COMPLETED, False
        try:
            announce_pass = await self._pass(joined.share_id, joined.tracker)
        except (NotAllowed, NotFound) as exc:
            joined.failure = exc.fact
            return None
        stats = self._stats.get(joined.torrent.info_hash)
        return tp.SwarmState(
            info_hash=joined.torrent.info_hash.hex(),
            announce_pass=announce_pass,
            left=left,
            event=event,
            uploaded=stats.uploaded if stats else 0,
            downloaded=stats.downloaded if stats else 0,
            partial_seed=left == 0 and not joined.complete,
        )

    async def _pass(self, share_id: bytes, tracker: str) -> str:
        held = self._passes.get(share_id)
        if held is None or held.expires_at - time.time() < _RENEW_BEFORE:
            held = self._passes[share_id] = await self._trackers.client(tracker).announce_pass(share_id.hex())
        return held.announce_pass

    async def _stopped(self, joined: _Joined) -> None:
        with contextlib.suppress(P2pckptError):
            state = await self._state(joined, tp.SwarmEvent.STOPPED)
            if state is not None:
                await self._trackers.client(joined.tracker).announce(self._request([state]))

    async def _goodbye(self, tracker: str) -> None:
        joined = [j for j in self._joined.values() if j.tracker == tracker and j.announced]
        states = [s for j in joined if (s := await self._state(j, tp.SwarmEvent.STOPPED)) is not None]
        for start in range(0, len(states), tp.MAX_SWARMS_PER_ANNOUNCE):
            batch = states[start : start + tp.MAX_SWARMS_PER_ANNOUNCE]
            await self._trackers.client(tracker).announce(self._request(batch))

    async def _event_loop(self, tracker: str) -> None:
        pause = _FIRST_RETRY
        while True:
            try:
                async for event in self._trackers.client(tracker).events():
                    pause = _FIRST_RETRY
                    if self.tracker_state[tracker] != "connected":
                        self.tracker_state[tracker] = "connected"
                        self._dirty[tracker].set()
                    if isinstance(event, tp.PeersFound):
                        self._connect(bytes.fromhex(event.info_hash), event.peers)
                    elif isinstance(event, tp.Revoked):
                        self.drop_share(bytes.fromhex(event.share_id))
                        self._dirty[tracker].set()  # the next announce tells what still may go on
                    self._on_tracker_event(tracker, event)
            except P2pckptError as exc:
                if self.tracker_state[tracker] != exc.fact:
                    _log.warning("tracker events stopped", reason=exc.fact)
                self.tracker_state[tracker] = exc.fact
                self._forget_announced(tracker)
            except Exception:
                _log.exception("tracker events stopped")
            await asyncio.sleep(pause)
            pause = min(_RETRY, 2 * pause)

    def _forget_announced(self, tracker: str) -> None:
        """A tracker that was away may have forgotten us: the next announce says ``started`` again."""
        for joined in self._joined.values():
            if joined.tracker == tracker:
                joined.announced = False
