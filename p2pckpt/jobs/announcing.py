"""Announcing torrents to trackers and listening to what trackers tell (docs/adr/0004).

The daemon announces for libtorrent: passes never enter it, several swarms go in one request, and the tracker learns
every address this machine answers on.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final

import structlog

from p2pckpt import tracker_protocol as tp
from p2pckpt.access.pool import Trackers
from p2pckpt.errors import NotAllowed, NotFound, P2pckptError
from p2pckpt.jobs.joined import Joined, why
from p2pckpt.swarm.engine import Engine, TorrentStats

_log = structlog.get_logger(__name__)

_SETTLE: Final = 0.05
"""Seconds in which several joins become one announce."""
_RETRY: Final = 5.0
"""Seconds until an announce or event stream that failed is tried again…"""
_FIRST_RETRY: Final = 0.5
"""…and at first, since most trackers that go are restarted; doubled each time."""
_RENEW_BEFORE: Final = 3600
_MIN_INTERVAL: Final = 5
_SEED_WAITS: Final = 3.0
"""Seconds in which a receiver should have dialled a seed by itself. A router that drops the seed's dial in silence
would keep the receiver's own connection out for as long as the dial lasts."""

Addresses = Callable[[bool], list[tp.Endpoint]]
"""Where this machine answers, for plain connections or for those with TLS."""
OnEvent = Callable[[str, tp.TrackerEvent], Awaitable[None]]
"""Tracker and event; those that tell of peers stay here."""
OnAuthority = Callable[[bytes, int], None]
"""Share and the generation of its swarms' authority, as announces are answered with."""


class Announcer:
    """Tells trackers of ``joined`` and the engine of peers. Lives on the daemon's loop."""

    def __init__(
        self,
        engine: Engine,
        trackers: Trackers,
        addresses: Addresses,
        joined: Mapping[bytes, Joined],
        on_event: OnEvent,
        on_authority: OnAuthority,
    ) -> None:
        self._engine = engine
        self._trackers = trackers
        self.addresses = addresses
        self._joined = joined
        self._on_event = on_event
        self._on_authority = on_authority
        self._peer_id = secrets.token_hex(20)
        self._passes: dict[bytes, tp.PassReply] = {}
        self._dirty: dict[str, asyncio.Event] = {}
        self.stats: Mapping[bytes, TorrentStats] = {}
        """The newest there are; what was moved goes into announces."""
        self.tracker_state: dict[str, str] = {}
        """``connected``, ``connecting`` or why not, by tracker."""

    def open(self, tracker: str) -> None:
        """Get ready for a tracker; ``announce_for_ever`` and ``listen_for_ever`` are to follow."""
        self._dirty[tracker] = asyncio.Event()
        self.tracker_state[tracker] = "connecting"

    def soon(self, tracker: str) -> None:
        """Something changed that this tracker should hear of."""
        self._dirty[tracker].set()

    def forget_pass(self, share_id: bytes) -> None:
        """The right to announce in a share's swarms was taken away."""
        self._passes.pop(share_id, None)

    async def announce_for_ever(self, tracker: str) -> None:
        """Announce when something changed, and whenever it is due."""
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

    async def listen_for_ever(self, tracker: str) -> None:
        """Follow a tracker's events, over and over."""
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
                    await self._on_event(tracker, event)
            except P2pckptError as exc:
                if self.tracker_state[tracker] != exc.fact:
                    _log.warning("tracker events stopped", reason=exc.fact)
                self.tracker_state[tracker] = exc.fact
                self._forget_announced(tracker)
            except Exception:
                _log.exception("tracker events stopped")
            await asyncio.sleep(pause)
            pause = min(_RETRY, 2 * pause)

    async def stopped(self, joined: Joined) -> None:
        """Say that a torrent was left; a tracker that does not answer forgets by itself."""
        with contextlib.suppress(P2pckptError):
            state = await self._state(joined, tp.SwarmEvent.STOPPED)
            if state is not None:
                request = self._request([state], tls=joined.tls is not None)
                await self._trackers.client(joined.tracker).announce(request)

    async def goodbye(self, tracker: str) -> None:
        """Say that everything is left. Raises ``P2pckptError``."""
        joined = [j for j in self._joined.values() if j.tracker == tracker and j.announced]
        for tls, batch in _batches(joined):
            states = [s for j in batch if (s := await self._state(j, tp.SwarmEvent.STOPPED)) is not None]
            await self._trackers.client(tracker).announce(self._request(states, tls=tls))

    async def seeds(self, share_id: bytes, tracker: str, info_hashes: Sequence[bytes]) -> dict[bytes, int]:
        """Seeds of swarms that this machine is not in, as far as the tracker says, asked for in one request."""
        with contextlib.suppress(P2pckptError):
            announce_pass = await self._pass(share_id, tracker)
            # leaving a swarm that we are not in changes nothing, and is answered with its counts
            states = [tp.SwarmState(each.hex(), announce_pass, 0, tp.SwarmEvent.STOPPED) for each in info_hashes]
            reply = await self._trackers.client(tracker).announce(self._request(states, tls=False))
            return {bytes.fromhex(swarm.info_hash): swarm.seeds for swarm in reply.swarms if not swarm.failure}
        return {}

    async def count(self, tracker: str, joined: Iterable[Joined]) -> None:
        """Announce these out of turn: what is known of their seeds is of now then, if the tracker answers."""
        with contextlib.suppress(P2pckptError):
            for tls, batch in _batches([each for each in joined if each.in_engine]):
                await self._announce_batch(tracker, batch, tls=tls)

    # -- inside

    async def _announce(self, tracker: str) -> float:
        interval: float = 1800
        joined = [j for j in self._joined.values() if j.tracker == tracker and j.in_engine]
        for tls, batch in _batches(joined):
            interval = max(_MIN_INTERVAL, min(interval, await self._announce_batch(tracker, batch, tls=tls)))
        return interval if joined else 0

    async def _announce_batch(self, tracker: str, batch: Sequence[Joined], *, tls: bool) -> float:
        """Seconds until the tracker wants to hear of them again."""
        states = [state for joined in batch if (state := await self._state(joined)) is not None]
        if not states:
            return _RETRY
        reply = await self._trackers.client(tracker).announce(self._request(states, tls=tls))
        interval: float = reply.interval
        for swarm in reply.swarms:
            if (known := self._joined.get(bytes.fromhex(swarm.info_hash))) is not None:
                known.seeds, known.leechers, known.failure = swarm.seeds, swarm.leechers, swarm.failure
                known.announced = not swarm.failure
                self._on_authority(known.share_id, swarm.authority)
                if swarm.failure:
                    self._passes.pop(known.share_id, None)
                    interval = _RETRY
                self._connect(known.torrent.info_hash, swarm.peers)
        return interval

    def _connect(self, info_hash: bytes, peers: list[tp.Endpoint]) -> None:
        """Dial peers that the tracker told of; a seed leaves the first try to them."""
        joined = self._joined.get(info_hash)
        if joined is not None and not any(joined.left.values()):
            asyncio.get_running_loop().call_later(_SEED_WAITS, self._engine.connect, info_hash, peers)
        else:
            self._engine.connect(info_hash, peers)

    def _request(self, states: list[tp.SwarmState], *, tls: bool) -> tp.AnnounceRequest:
        port = self._engine.tls_port if tls else self._engine.port
        return tp.AnnounceRequest(peer_id=self._peer_id, port=port, addresses=self.addresses(tls), swarms=states)

    async def _state(self, joined: Joined, event: tp.SwarmEvent | None = None) -> tp.SwarmState | None:
        left = max(joined.left.values(), default=0)
        if event is None:
            event = tp.SwarmEvent.NONE if joined.announced else tp.SwarmEvent.STARTED
            if joined.announced and left == 0 and joined.was_leech:
                event, joined.was_leech = tp.SwarmEvent.COMPLETED, False
        try:
            announce_pass = await self._pass(joined.share_id, joined.tracker)
        except (NotAllowed, NotFound) as exc:
            joined.failure = why(exc)
            return None
        stats = self.stats.get(joined.torrent.info_hash)
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

    def _forget_announced(self, tracker: str) -> None:
        """A tracker that was away may have forgotten us: the next announce says ``started`` again."""
        for joined in self._joined.values():
            if joined.tracker == tracker:
                joined.announced = False


def _batches(joined: Iterable[Joined]) -> Iterator[tuple[bool, list[Joined]]]:
    """(with TLS, torrents) that may go in one announce: those with TLS are reached at another port."""
    for tls in (False, True):
        some = [each for each in joined if (each.tls is not None) is tls]
        for start in range(0, len(some), tp.MAX_SWARMS_PER_ANNOUNCE):
            yield tls, some[start : start + tp.MAX_SWARMS_PER_ANNOUNCE]
