"""Who is in a swarm, in memory: packed pools by family, reachability and what a peer still wants.

No I/O and no clock here: callers pass whole seconds on a clock that never goes back. Two processes must never
serve one swarm from this; the lock on the data directory sees to that.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum

from p2pckpt.tracker_protocol import Endpoint

from .packed_pool import PackedPool
from .peer_address import Address, Reach, Realm

_SLOTS = 12
"""Endpoints one peer can have in the pools: 3 realms x 2 families x 2."""
_KEY_MASK = (1 << 60) - 1
"""Keys stay in two 30-bit digits of an int: 32 bytes an object instead of 64 for a bytes key."""
_SALTS = tuple(secrets.randbits(60) for _ in range(_SLOTS))
_KEY_SECRET = secrets.token_bytes(16)
_STRIDE = 128
"""Entries that one step of ``expire`` looks at."""


class Kind(IntEnum):
    """What a peer wants, which decides who is worth telling it about."""

    LEECHER = 0
    SEED = 1
    PARTIAL_SEED = 2
    """BEP 21: wants nothing more, though it lacks parts. Counted with the leechers, as BEP 48 asks."""

    @property
    def partners(self) -> tuple[Kind, ...]:
        """Kinds this one can exchange data with: those who want nothing need only those who do."""
        return tuple(Kind) if self is Kind.LEECHER else (Kind.LEECHER,)


def peer_key(member: int, peer_id: bytes) -> int:
    """The entry key of (member, peer id): a keyed 60-bit hash, so that nobody can aim for a collision."""
    return hash(_KEY_SECRET + member.to_bytes(4, "big") + peer_id) & _KEY_MASK


@dataclass(frozen=True, slots=True)
class Asker:
    """Whoever a hand-out is for."""

    member: int
    kind: Kind
    seen: Address


@dataclass(frozen=True, slots=True)
class DaemonPeer:
    """A peer that announced through the API: it may have more addresses and can be told of new peers."""

    member: int
    peer_id: bytes
    kind: Kind
    seen: Address
    port: int
    stated: tuple[Endpoint, ...]


@dataclass(frozen=True, slots=True)
class _Neighbour:
    member: int
    kind: Kind
    endpoints: tuple[bytes, ...]


class Swarm:
    """The peers of one torrent of one share."""

    __slots__ = ("_near", "_near_of", "_pools", "_where", "completed", "daemons", "leechers", "seeds")

    def __init__(self) -> None:
        self._pools: dict[int, PackedPool] = {}
        self._where: dict[int, int] = {}
        self._near: dict[bytes, dict[int, _Neighbour]] = {}
        self._near_of: dict[int, tuple[bytes, ...]] = {}
        self.daemons: dict[int, DaemonPeer] = {}
        self.seeds = 0
        self.leechers = 0
        """Partial seeds included."""
        self.completed = 0
        """Transitions from leecher to seed seen since this swarm was made."""

    def __len__(self) -> int:
        return self.seeds + self.leechers

    def announce_plain(
        self, key: int, member: int, kind: Kind, seen: Address, port: int, now: int, *, completed: bool
    ) -> bool:
        """A BEP 3 announce over one family; the peer's other family stays as it is. True for a new peer."""
        endpoint = seen.compact(port)
        slot = _slot(seen.realm, endpoint, 0)
        code = self._where.get(key ^ _SALTS[slot])
        if code is not None and code >> 32 == kind * _SLOTS + slot:
            self._pools[code >> 32].refresh(code & 0xFFFFFFFF, endpoint, now)
            return False
        return self._place(key, member, kind, {slot: endpoint}, now, completed=completed, replace=False)

    def announce_daemon(self, peer: DaemonPeer, how: Reach, now: int, *, completed: bool) -> bool:
        """An API announce: ``how`` replaces all that was known of this peer. True for a new peer."""
        key = peer_key(peer.member, peer.peer_id)
        wanted: dict[int, bytes] = {}
        for realm, endpoint in how.outward:
            first = _slot(realm, endpoint, 0)
            second = first + 1
            # A third endpoint of one realm and family replaces the second: the seen one comes last in Reach.
            wanted[first if first not in wanted else second] = endpoint
        new = self._place(key, peer.member, peer.kind, wanted, now, completed=completed, replace=True)
        self._forget_near(key)
        by_place: dict[bytes, list[bytes]] = {}
        for place, endpoint in how.near:
            by_place.setdefault(place, []).append(endpoint)
        for place, endpoints in by_place.items():
            entry = _Neighbour(peer.member, peer.kind, tuple(endpoints))
            self._near.setdefault(place, {})[key] = entry
        if by_place:
            self._near_of[key] = tuple(by_place)
        self.daemons[key] = peer
        return new

    def remove(self, key: int) -> bool:
        """Forget a peer in all its pools; False when it was not there, which is no error."""
        codes = self._codes(key)
        if codes:
            self._count(Kind((next(iter(codes.values())) >> 32) // _SLOTS), -1)
        for slot in codes:
            self._drop_entry(key ^ _SALTS[slot])
        self._forget_near(key)
        self.daemons.pop(key, None)
        return bool(codes)

    def evict(self, member: int) -> int:
        """Remove every peer of a member; returns how many there were."""
        keys = set()
        for pool_id, pool in self._pools.items():
            salt = _SALTS[pool_id % _SLOTS]
            keys |= {pool.keys[position] ^ salt for position in pool.positions_of(member)}
        return sum(self.remove(key) for key in keys)

    def hand_out(self, asker: Asker, want: int) -> tuple[bytes, bytes]:
        """Compact peers worth dialling for ``asker``: (IPv4, IPv6). Neighbours first, never its member's own."""
        kinds = asker.kind.partners
        near = self._neighbours(asker, kinds, want) if self._near else []
        want -= len(near)
        pools = [
            pool
            for pool_id, pool in self._pools.items()
            if pool_id // _SLOTS in kinds and pool_id % _SLOTS // 4 <= asker.seen.realm and len(pool)
        ]
        total = sum(map(len, pools))
        found = [b"", b""]
        for pool in pools:
            share = want if want >= total else -(-want * len(pool) // total)
            found[pool.width == 18] += pool.sample(share, asker.member)
        if near:
            return _merged(near, found[0], 6), _merged(near, found[1], 18)
        return found[0], found[1]

    def expire(self, before: int) -> Iterator[None]:
        """Remove entries last seen before ``before``; yields often, the swarm may change between steps."""
        for pool_id, pool in list(self._pools.items()):
            salt = _SALTS[pool_id % _SLOTS]
            end = len(pool)
            while end > 0:
                start = max(0, end - _STRIDE)
                if min(pool.seen[start:end], default=before) < before:
                    for position in range(end - 1, start - 1, -1):
                        if pool.seen[position] < before:
                            self._expire_entry(pool.keys[position] ^ salt, pool.keys[position])
                yield
                end = min(start, len(pool))

    def _expire_entry(self, key: int, entry: int) -> None:
        if len(self._codes(key)) == 1:
            self.remove(key)
        else:
            self._drop_entry(entry)

    def _place(
        self,
        key: int,
        member: int,
        kind: Kind,
        wanted: dict[int, bytes],
        now: int,
        *,
        completed: bool,
        replace: bool,
    ) -> bool:
        codes = self._codes(key)
        old = Kind((next(iter(codes.values())) >> 32) // _SLOTS) if codes else None
        if old is not kind:
            if old is not None:
                self._count(old, -1)
            self._count(kind, 1)
            if completed and old is Kind.LEECHER and kind is Kind.SEED:
                self.completed += 1
        for slot, code in codes.items():
            pool = self._pools[code >> 32]
            position = code & 0xFFFFFFFF
            if slot in wanted and old is kind:
                pool.refresh(position, wanted[slot], now)
                continue
            kept = None if replace or slot in wanted else (pool.endpoint(position), pool.seen[position])
            self._drop_entry(key ^ _SALTS[slot])
            if kept is not None:
                self._add_entry(key, slot, member, kind, *kept)
        for slot, endpoint in wanted.items():
            if key ^ _SALTS[slot] not in self._where:
                self._add_entry(key, slot, member, kind, endpoint, now)
        return old is None

    def _add_entry(self, key: int, slot: int, member: int, kind: Kind, endpoint: bytes, now: int) -> None:
        pool_id = kind * _SLOTS + slot
        pool = self._pools.get(pool_id)
        if pool is None:
            pool = self._pools[pool_id] = PackedPool(len(endpoint))
        entry = key ^ _SALTS[slot]
        self._where[entry] = pool_id << 32 | pool.append(entry, member, endpoint, now)

    def _drop_entry(self, entry: int) -> None:
        code = self._where.pop(entry)
        moved = self._pools[code >> 32].remove(code & 0xFFFFFFFF)
        if moved is not None:
            self._where[moved] = code

    def _codes(self, key: int) -> dict[int, int]:
        where = self._where
        return {slot: where[key ^ salt] for slot, salt in enumerate(_SALTS) if key ^ salt in where}

    def _count(self, kind: Kind, by: int) -> None:
        if kind is Kind.SEED:
            self.seeds += by
        else:
            self.leechers += by

    def _neighbours(self, asker: Asker, kinds: Sequence[Kind], want: int) -> list[bytes]:
        found: dict[bytes, None] = {}
        for each in self._near.get(asker.seen.near, {}).values():
            if len(found) >= want:
                break
            if each.member != asker.member and each.kind in kinds:
                found.update(dict.fromkeys(each.endpoints))
        return list(found)

    def _forget_near(self, key: int) -> None:
        for place in self._near_of.pop(key, ()):
            entries = self._near[place]
            del entries[key]
            if not entries:
                del self._near[place]


def _slot(realm: Realm, endpoint: bytes, ordinal: int) -> int:
    return realm * 4 + (2 if len(endpoint) == 18 else 0) + ordinal


def _merged(near: Sequence[bytes], found: bytes, width: int) -> bytes:
    chunks = dict.fromkeys(each for each in near if len(each) == width)
    chunks.update(dict.fromkeys(found[at : at + width] for at in range(0, len(found), width)))
    return b"".join(chunks)
