"""All swarms of this process: finding, emptying and ageing them, and telling daemons of new peers."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from p2pckpt.tracker_protocol import PeersFound

from .events import EventHub, encode
from .peer_address import Reach, endpoint
from .swarm import Asker, DaemonPeer, Kind, Swarm, peer_key

NOTIFIED_AT_ONCE = 50
"""Daemons told of one new peer, chosen at random in a larger swarm; the others learn of it by announcing."""
_SLICE = 0.002
"""Seconds that ageing may hold the event loop at a time."""


class SwarmKey(NamedTuple):
    """A torrent is shared per share: two shares with one torrent do not see each other's peers."""

    share_id: str
    info_hash: bytes
    """First 20 bytes of the v2 infohash."""


class Swarms:
    """The registry; single-threaded, on the event loop."""

    def __init__(
        self,
        hub: EventHub,
        identity_of: Callable[[int], str],
        lifetime: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._hub = hub
        self._identity_of = identity_of
        self._lifetime = lifetime
        self._clock = clock
        self._started = clock()
        self._swarms: dict[SwarmKey, Swarm] = {}

    def now(self) -> int:
        """Whole seconds since the start, plus one life: so that ages never go below zero."""
        return int(self._clock() - self._started) + self._lifetime

    def open(self, key: SwarmKey) -> Swarm:
        """The swarm, made if it is new. The caller has checked that the torrent is one of the share's."""
        swarm = self._swarms.get(key)
        if swarm is None:
            swarm = self._swarms[key] = Swarm()
        return swarm

    def get(self, key: SwarmKey) -> Swarm | None:
        return self._swarms.get(key)

    def evict(self, share_id: str, member: int) -> int:
        """Remove a member's peers from all swarms of a share; returns how many there were."""
        return sum(swarm.evict(member) for key, swarm in self._swarms.items() if key.share_id == share_id)

    def tell_daemons(self, info_hash: bytes, swarm: Swarm, newcomer: Asker, how: Reach) -> None:
        """Push a new peer to daemons in the swarm that have an event stream open and could use it.

        ``info_hash`` is the whole one. Each reader gets the addresses that it could dial, and no others.
        """
        readers = [
            peer
            for peer in swarm.daemons.values()
            if peer.member != newcomer.member
            and newcomer.kind in peer.kind.partners
            and self._hub.streams_of(self._identity_of(peer.member))
        ]
        if len(readers) > NOTIFIED_AT_ONCE:
            readers = random.sample(readers, NOTIFIED_AT_ONCE)
        for member in {peer.member for peer in readers}:
            for stream in self._hub.streams_of(self._identity_of(member)):
                found = [endpoint(each) for each in how.for_asker(stream.seen)]
                if found:
                    stream.push(encode(PeersFound(info_hash.hex(), found)))

    def daemons_of(self, share_id: str) -> Iterator[tuple[str, DaemonPeer]]:
        """Daemons in the swarms of a share and whose they are; once for each swarm they are in."""
        for key, swarm in self._swarms.items():
            if key.share_id == share_id:
                for peer in swarm.daemons.values():
                    yield self._identity_of(peer.member), peer

    def still_there(self, key: SwarmKey, peer: DaemonPeer) -> bool:
        """Whether this very announce is still what is known of the peer."""
        swarm = self._swarms.get(key)
        return swarm is not None and swarm.daemons.get(peer_key(peer.member, peer.peer_id)) is peer

    def counts(self) -> tuple[int, int, int]:
        """(swarms, seeds, leechers) in all."""
        swarms = self._swarms.values()
        return len(swarms), sum(s.seeds for s in swarms), sum(s.leechers for s in swarms)

    async def age(self, every: float) -> None:
        """Drop peers not heard of for a lifetime, for ever, a few milliseconds at a time."""
        while True:
            await asyncio.sleep(every)
            resume = time.perf_counter() + _SLICE
            for _ in self.expire_steps():
                if time.perf_counter() > resume:
                    await asyncio.sleep(0)
                    resume = time.perf_counter() + _SLICE

    def expire_steps(self) -> Iterator[None]:
        """One pass over all swarms in small steps."""
        for key, swarm in list(self._swarms.items()):
            yield from swarm.expire(self.now() - self._lifetime)
            if not len(swarm) and not swarm.completed and self._swarms.get(key) is swarm:
                del self._swarms[key]


def seed_kind(left: int, partial_seed: bool) -> Kind:
    """What a peer's announce says it still wants."""
    if left == 0:
        return Kind.SEED
    return Kind.PARTIAL_SEED if partial_seed else Kind.LEECHER
