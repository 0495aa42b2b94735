"""Events to front ends: a snapshot first, then what changed, coalesced for each reader by itself.

A reader has every row waiting at most once, as it is now: what it has yet to be told is bounded by what there is, and
not by what happened. Who reads slowly skips states in between, and delays nobody.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Awaitable
from typing import Final, assert_never

import structlog

from p2pckpt.control import key_messages as km
from p2pckpt.control import messages as m

_log = structlog.get_logger(__name__)
_SHORTEST, _LONGEST, _A_ROW = 0.1, 0.15, 0.001
"""Seconds between two batches: at least, at most, and for each event of the earlier one."""
_WEIGHT: Final = {"warning": logging.WARNING, "error": logging.ERROR}
_KEPT: Final = 20_000
"""Notices and the like that a reader may be behind: they are never coalesced, so who reads nothing must be let go."""


class Feed:
    """Fans events out to any number of readers. Lives on the daemon's loop."""

    def __init__(self) -> None:
        self._readers: set[_Reader] = set()

    def send(self, event: m.Event) -> None:
        if isinstance(event, m.Notice) and not event.job:
            # what somebody should see is worth finding again; what became of a job, its table tells
            _log.log(_WEIGHT.get(event.level, logging.INFO), event.text)
        for reader in self._readers:
            reader.put(event)

    async def follow(self, first: Awaitable[m.Event]) -> AsyncGenerator[list[m.Event], None]:
        """``first``, then batches of what was sent from now on, also while ``first`` was being made; until ``close``.

        A change comes at once after a calm, else with others in the next batch. Never an empty batch.
        """
        reader = _Reader()
        self._readers.add(reader)
        try:
            yield [await first]
            while batch := await reader.take():
                yield batch
        finally:
            self._readers.discard(reader)

    def close(self) -> None:
        """End every reader's stream, after what it has yet to be told."""
        for reader in self._readers:
            reader.close()


def pause_after(events: int) -> float:
    """Seconds between a batch of so many events and the next one."""
    return min(max(_SHORTEST, _A_ROW * events), _LONGEST)


class _Reader:
    """What one reader has yet to be told, in order.

    A row that changes again keeps its place, so that rows come in the order in which they were made. A removal comes
    after the changes before it, which it replaces, and before those of a row that is there again. A change never
    overtakes a notice about its row.
    """

    def __init__(self) -> None:
        self._waiting: dict[int, m.Event] = {}
        self._rows: dict[str, list[int]] = {}
        """By row: places in ``_waiting`` that may still be replaced: of a removal, of a change, or of both."""
        self._place = 0
        self._kept = 0
        self._some = asyncio.Event()
        self._closed = asyncio.Event()
        self._not_before = 0.0

    def put(self, event: m.Event) -> None:
        if self._closed.is_set():
            return
        match event:
            case m.JobChanged(job):
                self._change(f"job {job.id}", event)
            case m.ShareChanged(share):
                self._change(f"share {share.share_id}", event)
            case m.StatusChanged() | m.Snapshot():
                self._change("status", event)
            case m.JobRemoved(job_id):
                self._remove(f"job {job_id}", event)
            case m.ShareRemoved(share_id):
                self._remove(f"share {share_id}", event)
            case m.AccessChanged(share_id):
                self._change(f"access {share_id}", event)
            case km.KeysChanged():
                self._change("keys", event)
            case m.SettingsChanged():
                self._change("settings", event)
            case m.Notice():
                self._keep(f"job {event.job}", event)
            case m.AccessGranted(share_id):
                self._keep(f"share {share_id}", event)
            case _:
                assert_never(event)
        self._some.set()

    async def take(self) -> list[m.Event]:
        """All that waits, once there is some and it is time; nothing at the end."""
        await self._some.wait()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(self._not_before):
                await self._closed.wait()
        batch = list(self._waiting.values())
        self._waiting, self._rows, self._kept = {}, {}, 0
        if not self._closed.is_set():
            self._some.clear()
        self._not_before = asyncio.get_running_loop().time() + pause_after(len(batch))
        return batch

    def close(self) -> None:
        """Take no more; what waits is still given."""
        self._closed.set()
        self._some.set()

    def _change(self, row: str, event: m.Event) -> None:
        places = self._rows.setdefault(row, [])
        last = self._waiting[places[-1]] if places else None
        if last is None or isinstance(last, m.JobRemoved | m.ShareRemoved):
            places.append(self._append(event))
        else:
            self._waiting[places[-1]] = event

    def _remove(self, row: str, event: m.Event) -> None:
        for place in self._rows.pop(row, ()):
            del self._waiting[place]
        self._rows[row] = [self._append(event)]

    def _keep(self, row: str, event: m.Event) -> None:
        self._rows.pop(row, None)
        self._append(event)
        self._kept += 1
        if self._kept > _KEPT:
            self.close()  # it will see the stream end, reconnect, and get a snapshot

    def _append(self, event: m.Event) -> int:
        self._place += 1
        self._waiting[self._place] = event
        return self._place
