"""The daemon's log: lines for its file, and the newest of them as records for front ends.

What is secret never gets here: nobody logs links, passwords, passes or keys, and what goes into the ring is what goes
into the file, cut to a length.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import sys
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, MutableMapping
from typing import Any, Final, TextIO

import structlog

from p2pckpt.control.health_messages import LOG_LEVELS, LogRecord

_KEPT: Final = 10_000
"""Records; of the usual length they take 10 MB."""
_LONGEST: Final = 400
"""Characters of an event or a field…"""
_LONGEST_TRACE: Final = 4000
"""…and of a traceback."""
_QUIET: Final = 20.0
"""Seconds after which a follower is told that there is still a daemon."""
_BATCH: Final = 500


class LogRing:
    """The newest records. Written from any thread, read on the daemon's loop."""

    def __init__(self, size: int = _KEPT) -> None:
        self._records: deque[LogRecord] = deque(maxlen=size)
        self._lock = threading.Lock()
        self._last = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._more = asyncio.Event()
        self._told = False
        """Whether the loop was asked already to look."""
        self._closed = False

    def __call__(self, logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """A processor of structlog: notes what passes by and changes nothing."""
        fields = {key: value for key, value in event.items() if key not in ("timestamp", "level", "source", "event")}
        self.add(
            str(event.get("level", method)),
            str(event.get("source", "")),
            str(event.get("event", "")),
            {name: _short(name, value) for name, value in fields.items()},
        )
        return event

    def add(self, level: str, source: str, event: str, fields: dict[str, str]) -> None:
        """Note one record. From any thread."""
        with self._lock:
            self._last += 1
            self._records.append(LogRecord(self._last, time.time(), level, source, event[:_LONGEST], fields))
            wake, self._told = self._loop is not None and not self._told, True
        if wake and self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake)

    def read(self, since: int = 0, level: str = "", limit: int = _KEPT) -> list[LogRecord]:
        """Records after number ``since`` that weigh at least ``level``: the newest ``limit`` of them, oldest first."""
        with self._lock:
            if since > self._last:
                since = 0  # a number of an earlier daemon
            first = self._records[0].seq if self._records else 0
            found = list(itertools.islice(self._records, max(0, since + 1 - first), None))
        least = LOG_LEVELS.index(level) if level in LOG_LEVELS else 0
        if least:
            found = [record for record in found if record.level in LOG_LEVELS[least:]]
        return found[-limit:] if limit else []

    async def follow(self, since: int = 0, level: str = "") -> AsyncGenerator[list[LogRecord], None]:
        """Records after ``since``, then new ones as they come, in batches; an empty batch where nothing came for long.

        Who reads slowly misses what the ring has lost meanwhile: the numbers of the records tell.
        """
        with self._lock:
            self._loop = asyncio.get_running_loop()
            self._told = False
        while not self._closed:
            more = self._more
            batch = self.read(since, level)
            since = batch[-1].seq if batch else since
            for start in range(0, len(batch), _BATCH):
                yield batch[start : start + _BATCH]
            try:
                async with asyncio.timeout(_QUIET):
                    await more.wait()
            except TimeoutError:
                yield []

    def close(self) -> None:
        """End every follower's stream. On the loop."""
        self._closed = True
        self._wake()

    def _wake(self) -> None:
        with self._lock:
            self._told = False
        waiting, self._more = self._more, asyncio.Event()
        waiting.set()


def configure(level: str, ring: LogRing, stream: TextIO | None = None) -> None:
    """From now on everything at ``level`` or above goes to ``stream`` (default: stderr) and into ``ring``."""
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.format_exc_info,
            _name_source,
            ring,
            structlog.processors.KeyValueRenderer(key_order=["timestamp", "level", "source", "event"]),
        ],
        logger_factory=lambda *names: _Named(stream or sys.stderr, *names),
    )


class _Named(structlog.PrintLogger):
    """Writes lines, and knows which module they come from."""

    def __init__(self, stream: TextIO, name: str = "") -> None:
        super().__init__(stream)
        self.name = name


def _name_source(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """The module that speaks, without the package: ``jobs.fetch``."""
    event["source"] = getattr(logger, "name", "").removeprefix("p2pckpt.")
    return event


def _short(name: str, value: object) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text[: _LONGEST_TRACE if name == "exception" else _LONGEST]
