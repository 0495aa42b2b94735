"""The swarms this machine is in: who needs which torrent, what of it, and who is told what comes of it.

Several jobs may need one torrent; it stays in the engine while anyone does, and wants the union of what they want.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection, Mapping, Sequence

import structlog

from p2pckpt import tracker_protocol as tp
from p2pckpt.access.pool import Trackers
from p2pckpt.checkpoint.pieces import PieceSet
from p2pckpt.errors import NotAllowed, P2pckptError
from p2pckpt.jobs.acquaintances import Acquaintances
from p2pckpt.jobs.announcing import Addresses, Announcer
from p2pckpt.jobs.job_limits import JobLimits
from p2pckpt.jobs.joined import NO_LONGER, Joined
from p2pckpt.jobs.membership import Membership
from p2pckpt.jobs.presence import Presence
from p2pckpt.store.catalogue import Catalogue
from p2pckpt.store.layout import StoreLayout
from p2pckpt.swarm.engine import (
    Engine,
    EngineEvent,
    EngineProblem,
    Flushed,
    PeerBanned,
    PieceArrived,
    TlsCredentials,
    TorrentStats,
)
from p2pckpt.swarm.torrent import Torrent

_log = structlog.get_logger(__name__)

Listener = Callable[[EngineEvent], None]


class Swarms:
    """Everything the daemon seeds and fetches. Lives on the daemon's loop."""

    def __init__(
        self,
        engine: Engine,
        trackers: Trackers,
        catalogue: Catalogue,
        layout: StoreLayout,
        addresses: Addresses,
    ) -> None:
        self._engine = engine
        self._joined: dict[bytes, Joined] = {}
        self._changing = asyncio.Lock()
        """Held while torrents enter or leave the engine: several jobs may want one at the same moment."""
        self._listeners: dict[str, Listener] = {}
        self._stay: set[str] = set()
        """Jobs that will want more soon."""
        self._membership = Membership(trackers, self._settle, self._leave_share)
        self._announcer = Announcer(
            engine, trackers, addresses, self._joined, self._heard, self._membership.authority_is
        )
        self._limits = JobLimits(engine, self._joined)
        self._presence = Presence(engine, catalogue, layout, self._membership.credentials, self._entered)
        self.acquaintances = Acquaintances(trackers)
        self._tasks: dict[str, list[asyncio.Task[None]]] = {}
        self._on_tracker_event: Callable[[str, tp.TrackerEvent], None] = lambda tracker, event: None

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
                await asyncio.gather(
                    *(self._announcer.goodbye(tracker) for tracker in self._tasks), return_exceptions=True
                )
        for tasks in self._tasks.values():
            await asyncio.gather(*tasks, return_exceptions=True)
        await self._engine.stop()

    @property
    def port(self) -> int:
        return self._engine.port

    @property
    def ports(self) -> tuple[int, int]:
        """Where peers connect to: plain, and with TLS."""
        return self._engine.port, self._engine.tls_port

    @property
    def tracker_state(self) -> Mapping[str, str]:
        """``connected``, ``connecting`` or why not, by tracker."""
        return self._announcer.tracker_state

    def follow(self, tracker: str) -> None:
        """Listen to a tracker's events and announce there, from now on."""
        if tracker in self._tasks:
            return
        self._announcer.open(tracker)
        self._tasks[tracker] = [
            asyncio.create_task(self._announcer.announce_for_ever(tracker)),
            asyncio.create_task(self._announcer.listen_for_ever(tracker)),
            asyncio.create_task(self._membership.keep(tracker)),
        ]

    # -- joining

    async def join(
        self,
        job: str,
        share_id: bytes,
        tracker: str,
        torrent: Torrent,
        wanted: Mapping[int, set[int]],
        left: int,
        *,
        tls: bool,
    ) -> None:
        """Take part in a swarm for ``job``: offer what is here, fetch ``wanted`` (file → pieces, ``left`` bytes).

        ``tls`` is what the signed keyring says of this share's swarms. Without a certificate the torrent waits for one
        outside of the swarm.
        """
        if self._membership.learn(share_id, tracker, tls=tls):
            await self._settle(share_id)
        async with self._changing:
            joined = self._joined.get(torrent.info_hash)
            if joined is None:
                joined = Joined(torrent, share_id, tracker)
                await self._presence.enter(joined)
                self._joined[torrent.info_hash] = joined
            elif not joined.in_engine:
                await self._presence.enter(joined)
            elif joined.problem or any(p in joined.have[file] for file, pieces in wanted.items() for p in pieces):
                # somebody tries again, or the store lost what the engine still offers
                await self._presence.renew(joined)
            joined.wanted[job], joined.left[job] = wanted, left
            joined.was_leech = joined.was_leech or left > 0
            self._limits.share_out(self._announcer.stats)
            self._want(joined)
        self.follow(tracker)
        self._announcer.soon(tracker)
        self._membership.wake(tracker)
        self._tell_arrived(job, joined)

    def want(
        self, job: str, info_hash: bytes, wanted: Mapping[int, set[int]], first: Sequence[tuple[int, int]] = ()
    ) -> None:
        """What ``job`` wants from now on of a torrent that it has joined; of that, ``first`` comes first, in order."""
        joined = self._joined.get(info_hash)
        if joined is None or job not in joined.wanted:
            return
        # the difference alone: another job may want hundreds of thousands of pieces
        more, fewer = joined.rewant(job, wanted)
        if joined.in_engine:
            self._engine.rewant(info_hash, more, fewer)
            self._engine.hurry(info_hash, first)
        self._tell_arrived(job, joined)

    async def forget(self, roots: Collection[bytes]) -> None:
        """Objects were taken out of the store: torrents that carry them offer what is left."""
        async with self._changing:
            for joined in self._joined.values():
                if not any(file.root in roots for file in joined.torrent.objects):
                    continue
                if not joined.in_engine:
                    joined.arrived = {}
                else:
                    await self._presence.renew(joined)
                    self._want(joined)
                    self._announcer.soon(joined.tracker)

    def finish(self, job: str, info_hash: bytes) -> None:
        """What ``job`` wanted of this torrent is here; go on seeding it."""
        if (joined := self._joined.get(info_hash)) is not None and job in joined.left:
            joined.left[job] = 0
            self._announcer.soon(joined.tracker)

    async def leave(self, job: str) -> None:
        """``job`` needs no swarm any more; torrents that nobody else needs leave the engine."""
        self._listeners.pop(job, None)
        if job in self._stay:
            self._stay.remove(job)
            self._engine.stay_connected(bool(self._stay))
        left: list[Joined] = []
        async with self._changing:
            for info_hash, joined in list(self._joined.items()):
                if joined.wanted.pop(job, None) is None:
                    continue
                joined.left.pop(job, None)
                if joined.wanted:
                    self._want(joined)
                    continue
                # written before it leaves: else it may write into a file that was deleted meanwhile
                await self._presence.take_out(joined)
                del self._joined[info_hash]
                left.append(joined)
        for joined in left:
            if joined.announced:
                await self._announcer.stopped(joined)

    def forget_share(self, share_id: bytes) -> None:
        """This machine has left a share, and no job is in its swarms any more."""
        self._announcer.forget_pass(share_id)
        self._membership.forget(share_id)

    def limit(self, job: str, down: int, up: int) -> None:
        """Bytes per second that all torrents of ``job`` may move together, 0 for none; it may join later."""
        self._limits.set(job, down, up)
        self._limits.share_out(self._announcer.stats)

    def listen(self, job: str, listener: Listener, *, stay: bool = False) -> None:
        """Hand the engine's events to ``job`` until it leaves. With ``stay``, peers are kept also while nothing is
        wanted of them: there will be more."""
        self._listeners[job] = listener
        if stay:
            self._stay.add(job)
            self._engine.stay_connected(True)

    async def flush(self, info_hashes: set[bytes]) -> None:
        """Returns when everything that has arrived for these torrents is in the files."""
        await self._presence.flush(self._joined[each] for each in info_hashes & self._joined.keys())

    def is_in(self, share_id: bytes) -> bool:
        """Whether any job needs torrents of this share."""
        return any(joined.share_id == share_id for joined in self._joined.values())

    async def set_tls(self, share_id: bytes, tracker: str, *, tls: bool) -> None:
        """What the signed keyring says now of a share's swarms: torrents change over, and wanted pieces stay wanted."""
        if self._membership.learn(share_id, tracker, tls=tls):
            await self._settle(share_id)
            self._membership.wake(tracker)

    # -- what jobs and front ends ask

    async def refresh_stats(self) -> Mapping[bytes, TorrentStats]:
        self._announcer.stats = await self._engine.stats()
        self._limits.share_out(self._announcer.stats)
        return self._announcer.stats

    def torrents_of(self, job: str) -> list[bytes]:
        return [info_hash for info_hash, joined in self._joined.items() if job in joined.wanted]

    def torrents_by_job(self) -> dict[str, list[bytes]]:
        """``torrents_of`` every job that has any, in one go."""
        found: dict[str, list[bytes]] = {}
        for info_hash, joined in self._joined.items():
            for job in joined.wanted:
                found.setdefault(job, []).append(info_hash)
        return found

    def all(self) -> tuple[Joined, ...]:
        """Every torrent that this machine takes part in, or waits to."""
        return tuple(self._joined.values())

    def announce_now(self, job: str) -> tuple[int, int]:
        """Tell trackers of a job's torrents at once, and have peers sought: how many torrents, and for how many of
        them elsewhere than at the tracker."""
        mine = [joined for joined in self._joined.values() if job in joined.wanted]
        for tracker in {joined.tracker for joined in mine}:
            self._announcer.soon(tracker)
        return len(mine), sum(self._engine.seek(joined.torrent.info_hash) for joined in mine)

    def stats(self, info_hash: bytes) -> TorrentStats | None:
        return self._announcer.stats.get(info_hash)

    def known_seeds(self, info_hash: bytes) -> int:
        """Seeds as of the last announce, this machine not counted."""
        joined = self._joined.get(info_hash)
        return joined.other_seeds if joined is not None else 0

    async def ask_seeds(self, share_id: bytes, tracker: str, info_hashes: Sequence[bytes]) -> dict[bytes, int]:
        """Other seeds of swarms that this machine need not be in, as far as the tracker says."""
        mine = [each for each in info_hashes if each in self._joined]
        others = [each for each in info_hashes if each not in self._joined]
        await self._announcer.count(tracker, [self._joined[each] for each in mine])
        found = {each: self.known_seeds(each) for each in mine}
        return found | (await self._announcer.seeds(share_id, tracker, others) if others else {})

    def failure(self, info_hash: bytes) -> str:
        """Why the tracker refused the last announce of this torrent; empty when it did not."""
        joined = self._joined.get(info_hash)
        return joined.failure if joined is not None else ""

    def offers(self, info_hash: bytes) -> bool:
        """Whether this machine takes part in the swarm."""
        return info_hash in self._joined

    def addresses(self) -> list[tp.Endpoint]:
        """Where peers may reach this machine, the most public first."""
        return self._announcer.addresses(False)

    @property
    def engine(self) -> Engine:
        return self._engine

    # -- inside

    def _entered(self, joined: Joined) -> None:
        self._limits.share_out(self._announcer.stats, joined.torrent.info_hash)

    async def _settle(self, share_id: bytes) -> None:
        """Bring the torrents of a share in line with its certificate and with what its keyring says."""
        async with self._changing:
            torrents = [joined for joined in self._joined.values() if joined.share_id == share_id]
            try:
                wanted = self._membership.credentials(share_id)
                may_enter = True
            except NotAllowed:
                wanted, may_enter = None, False
            # all of them leave before the first comes back: what has to end should end at once
            for joined in torrents:
                if joined.in_engine and not (may_enter and _same_authority(joined.tls, wanted)):
                    await self._presence.take_out(joined)
            for joined in torrents if may_enter else ():
                if not joined.in_engine:
                    try:
                        await self._presence.enter(joined)
                    except P2pckptError as exc:
                        _log.warning("torrent stays out", info_hash=joined.torrent.info_hash.hex(), reason=exc.fact)
                        continue
                    self._want(joined)
                    self._announcer.soon(joined.tracker)
                elif wanted is not None and wanted != joined.tls:
                    joined.tls = wanted
                    self._engine.renew(joined.torrent.info_hash, wanted)

    async def _leave_share(self, share_id: bytes, reason: str) -> None:
        """Access was taken away: be in none of the share's swarms."""
        self._announcer.forget_pass(share_id)
        self._membership.revoked(share_id)
        async with self._changing:
            for joined in self._joined.values():
                if joined.share_id == share_id:
                    joined.failure, joined.announced = reason, False
                    if joined.in_engine:
                        await self._presence.take_out(joined)

    def _tell_arrived(self, job: str, joined: Joined) -> None:
        """Pieces that another job fetched, or this one before it was paused, are not reported again by the engine."""
        listener = self._listeners.get(job)
        for file, pieces in joined.wanted[job].items():
            here = joined.arrived.get(file, PieceSet())
            for piece in sorted(pieces):
                if listener is not None and piece in here:
                    listener(PieceArrived(joined.torrent.info_hash, file, piece))

    def _want(self, joined: Joined) -> None:
        if joined.in_engine:
            self._engine.want(joined.torrent.info_hash, joined.wanted_by_any())

    async def _heard(self, tracker: str, event: tp.TrackerEvent) -> None:
        match event:
            case tp.Revoked():
                await self._leave_share(bytes.fromhex(event.share_id), NO_LONGER)
            case tp.AuthorityChanged():
                self._membership.authority_is(bytes.fromhex(event.share_id), event.generation)
            case tp.MembersChanged():
                self._membership.wake(tracker)  # perhaps we may download again
        self._on_tracker_event(tracker, event)

    def _on_engine_event(self, event: EngineEvent) -> None:
        if isinstance(event, Flushed):
            self._presence.flushed(event.info_hash)
            return
        if isinstance(event, PeerBanned):
            _log.warning("a peer sent false data", peer=event.address)
            return
        joined = self._joined.get(event.info_hash)
        if joined is not None and isinstance(event, EngineProblem):
            joined.problem = True
        if joined is not None and isinstance(event, PieceArrived):
            joined.arrived.setdefault(event.file, PieceSet()).add((event.piece,))
        for job in tuple(joined.wanted) if joined is not None else ():
            if (listener := self._listeners.get(job)) is not None:
                listener(event)
        if isinstance(event, EngineProblem):
            _log.warning("torrent stopped", info_hash=event.info_hash.hex(), reason=event.text)


def _same_authority(one: TlsCredentials | None, other: TlsCredentials | None) -> bool:
    """Whether connections made with the one may go on with the other."""
    if one is None or other is None:
        return one is other
    return one.authority == other.authority
