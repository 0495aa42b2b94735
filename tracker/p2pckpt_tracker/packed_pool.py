"""Peers of one kind in flat arrays: a million of them cost few objects, and a reply is one slice."""

from __future__ import annotations

import random
from array import array


class PackedPool:
    """Endpoints of equal width with their owner, entry key and last-seen time at the same position.

    Positions are unstable: removing swaps the last entry into the gap.
    """

    __slots__ = ("endpoints", "keys", "members", "seen", "width")

    def __init__(self, width: int) -> None:
        self.width = width
        """Bytes of a compact endpoint: 6 for IPv4, 18 for IPv6."""
        self.endpoints = bytearray()
        self.keys = array("Q")
        self.members = array("I")
        self.seen = array("I")
        """Seconds on the swarm's own clock."""

    def __len__(self) -> int:
        return len(self.keys)

    def append(self, key: int, member: int, endpoint: bytes, now: int) -> int:
        """Add an entry; returns its position."""
        self.endpoints += endpoint
        self.keys.append(key)
        self.members.append(member)
        self.seen.append(now)
        return len(self.keys) - 1

    def refresh(self, position: int, endpoint: bytes, now: int) -> None:
        """Note that an entry is alive, and where."""
        self.seen[position] = now
        start = position * self.width
        self.endpoints[start : start + self.width] = endpoint

    def endpoint(self, position: int) -> bytes:
        """The compact endpoint at a position."""
        return bytes(self.endpoints[position * self.width : (position + 1) * self.width])

    def remove(self, position: int) -> int | None:
        """Drop an entry; returns the key of the one that now stands at ``position``, if any."""
        width = self.width
        last = len(self.keys) - 1
        tail = self.endpoints[last * width :]
        key, member, seen = self.keys.pop(), self.members.pop(), self.seen.pop()
        del self.endpoints[last * width :]
        if position == last:
            return None
        self.keys[position], self.members[position], self.seen[position] = key, member, seen
        self.endpoints[position * width : (position + 1) * width] = tail
        return key

    def positions_of(self, member: int) -> list[int]:
        """Where a member's entries stand. A search in raw bytes: a loop over a million would stall the tracker."""
        needle, data = array("I", [member]).tobytes(), self.members.tobytes()
        found = []
        at = data.find(needle)
        while at >= 0:
            if at % len(needle) == 0:
                found.append(at // len(needle))
            at = data.find(needle, at + 1)
        return found

    def sample(self, count: int, without: int) -> bytes:
        """Up to ``count`` endpoints from a random place, wrapping around, none of member ``without``."""
        size = len(self.keys)
        if count >= size:
            return self._span(0, size, without)
        start = random.randrange(size)
        end = start + count
        if end <= size:
            return self._span(start, end, without)
        return self._span(start, size, without) + self._span(0, end - size, without)

    def _span(self, start: int, end: int, without: int) -> bytes:
        width = self.width
        owners = self.members[start:end]
        if without not in owners:
            return bytes(self.endpoints[start * width : end * width])
        return b"".join(
            bytes(self.endpoints[position * width : (position + 1) * width])
            for position, owner in enumerate(owners, start)
            if owner != without
        )
