"""Event streams: who listens, and what waits for them. One bounded queue a stream; readers too slow are cut off."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import msgspec

from p2pckpt.tracker_protocol import TrackerEvent

from .peer_address import Address

QUEUE_LIMIT = 256
"""Events waiting for one stream."""
STREAMS_PER_MEMBER = 16

_encoder = msgspec.json.Encoder()


class TooManyStreams(Exception):
    """This account has as many event streams open as it may."""


class Subscription:
    """One open stream. Iterate with ``next_line``; the owner unsubscribes it."""

    def __init__(self, identity: str, seen: Address) -> None:
        self.identity = identity
        self.seen = seen
        """Decides which of a new peer's addresses this reader is told."""
        self._lines: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._ended = False

    def push(self, line: bytes) -> None:
        """Queue a line, or end the stream when the reader is that far behind: it can ask for all of it anew."""
        if self._ended:
            return
        if self._lines.qsize() >= QUEUE_LIMIT:
            self.end()
        else:
            self._lines.put_nowait(line)

    def end(self) -> None:
        """Let the reader see the end after what is queued."""
        if not self._ended:
            self._ended = True
            self._lines.put_nowait(None)

    async def next_line(self, within: float) -> bytes | None:
        """The next line; None at the end. Raises TimeoutError after ``within`` seconds of silence."""
        async with asyncio.timeout(within):
            return await self._lines.get()


class EventHub:
    """Hands events to the streams of members."""

    def __init__(self) -> None:
        self._streams: dict[str, list[Subscription]] = {}

    def subscribe(self, identity: str, seen: Address) -> Subscription:
        """Open a stream. Raises TooManyStreams."""
        streams = self._streams.setdefault(identity, [])
        if len(streams) >= STREAMS_PER_MEMBER:
            raise TooManyStreams
        subscription = Subscription(identity, seen)
        streams.append(subscription)
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        streams = self._streams[subscription.identity]
        streams.remove(subscription)
        if not streams:
            del self._streams[subscription.identity]

    def streams_of(self, identity: str) -> list[Subscription]:
        """The open streams of one member, for events that differ from reader to reader."""
        return self._streams.get(identity, [])

    def send(self, identities: Iterable[str], event: TrackerEvent) -> None:
        """Queue one event for every open stream of these members. Never waits."""
        line = encode(event)
        for identity in identities:
            for subscription in self._streams.get(identity, ()):
                subscription.push(line)

    def close(self) -> None:
        """End every stream."""
        for streams in self._streams.values():
            for subscription in streams:
                subscription.end()

    def __len__(self) -> int:
        return sum(map(len, self._streams.values()))


def encode(event: TrackerEvent) -> bytes:
    """One line of the stream."""
    return _encoder.encode(event) + b"\n"
