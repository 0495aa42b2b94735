"""What a verify finds, collected while it looks: checks, rows of damage, and where a repair took bytes from."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Collection
from typing import Final

from msgspec.structs import replace

from p2pckpt.control.health_messages import CheckRow, DamageRow, Outcome, VerifyReport
from p2pckpt.control.messages import VerifyRequest
from p2pckpt.jobs.progress import Progress

_MOST_ROWS: Final = 1000
_SHOWN: Final = 10
_CHECKOUT, _STORE = "checkout", "store"


class Findings:
    """Filled from worker threads; ``report`` may be called at any time."""

    def __init__(self, request: VerifyRequest) -> None:
        self._request = request
        self._started_at = int(time.time())
        self._lock = threading.Lock()
        self._checks: list[CheckRow] = []
        self._rows: list[DamageRow] = []
        self._count = 0
        self._chunks_of: dict[str, Collection[int]] = {}
        """Chunks of each damaged file."""
        self._sources: dict[int, set[str]] = {}
        """Where a repair took chunks from."""
        self._fixed = False
        self.chunks = 0
        self.bad_chunks = 0
        self.files: list[str] = []
        """Damaged paths in the checkout, with what is wrong."""
        self.objects: set[bytes] = set()
        """Objects of the store with at least one bad frame."""

    def __bool__(self) -> bool:
        return bool(self.files or self.objects)

    @property
    def text(self) -> str:
        parts = []
        if self.files:
            more = f" and {len(self.files) - _SHOWN} more" if len(self.files) > _SHOWN else ""
            parts.append(f"{len(self.files)} damaged files: {', '.join(self.files[:_SHOWN])}{more}")
        if self.objects:
            parts.append(f"{len(self.objects)} damaged objects in the store")
        return "; ".join(parts)

    # -- while looking

    def check(self, name: str, outcome: Outcome, text: str) -> None:
        """One check has ended."""
        self._checks.append(CheckRow(name, outcome, text))

    def looked_at(self, chunks: int, bad: int) -> None:
        """Chunks of one file in the checkout."""
        with self._lock:
            self.chunks += chunks
            self.bad_chunks += bad

    def bad_file(self, path: str, problem: str, chunks: Collection[int], *, row: bool = True) -> None:
        """A file of the checkout; without ``row`` its chunks have rows of their own."""
        with self._lock:
            self.files.append(f"{path} ({problem})")
            self._chunks_of[path] = chunks
        if row:
            self._add(DamageRow(_CHECKOUT, path, problem))

    def bad_length(self, path: str, problem: str) -> None:
        """Where a file that is named already ends too early."""
        self._add(DamageRow(_CHECKOUT, path, problem))

    def bad_chunk(self, path: str, chunk: int, offset: int, expected: bytes, got: bytes) -> None:
        """A chunk that is there and has other bytes."""
        self._add(DamageRow(_CHECKOUT, path, "other bytes", chunk, offset, expected.hex(), got.hex()))

    def bad_object(self, root: bytes, problem: str, chunk: int, offset: int, expected: bytes) -> None:
        """The first frame of an object that is missing or wrong."""
        with self._lock:
            self.objects.add(root)
        self._add(DamageRow(_STORE, root.hex(), problem, chunk, offset, expected.hex()))

    def _add(self, row: DamageRow) -> None:
        with self._lock:
            self._count += 1
            if len(self._rows) < _MOST_ROWS:
                self._rows.append(row)

    # -- while repairing

    def placed(self, chunk: int, source: str) -> None:
        """A repair wrote a chunk, which it took from ``source``."""
        with self._lock:
            self._sources.setdefault(chunk, set()).add(source)

    def repaired(self) -> None:
        """All of it is right now."""
        self._fixed = True

    # -- at the end

    def report(self, progress: Progress) -> VerifyReport:
        """As of now."""
        job = progress.job
        rows = [self._with_source(row) for row in self._rows] if self._fixed else self._rows
        return VerifyReport(
            job=job.id,
            share_id=job.share_id,
            share=job.share,
            version=job.version,
            path=job.path,
            full=self._request.full,
            repair=self._request.repair,
            started_at=self._started_at,
            ended_at=int(time.time()),
            checks=tuple(self._checks),
            damage=tuple(rows),
            damaged=self._count,
            repaired=self._count if self._fixed else 0,
            chunks=self.chunks,
            bad_chunks=self.bad_chunks,
            damaged_files=len(self.files),
            damaged_objects=len(self.objects),
        )

    def _with_source(self, row: DamageRow) -> DamageRow:
        if row.place == _STORE:
            return replace(row, fixed_from="swarm")
        chunks = self._chunks_of.get(row.path, ()) if row.chunk < 0 else (row.chunk,)
        if not chunks:
            return replace(row, fixed_from="manifest")
        found = Counter(source for chunk in chunks for source in self._sources.get(chunk, ()))
        # what an earlier run of the repair had written already was taken from where that one took it
        return replace(row, fixed_from=", ".join(sorted(found)) or "an earlier repair")


Keep = Callable[[VerifyReport], None]
"""Puts a report where it can be found; blocks."""
