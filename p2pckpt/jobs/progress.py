"""How a running job tells how far it is, and how it is told to stop."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Final

import msgspec

from p2pckpt.control.messages import Job, Phase
from p2pckpt.errors import Cancelled
from p2pckpt.jobs.pace import Pace

_LOG_LINES: Final = 200


class Progress:
    """A job's record as it changes. ``update`` may be called from any thread; readers get frozen ``Job``s."""

    def __init__(self, job: Job, changed: Callable[[str], None]) -> None:
        self._lock = threading.Lock()
        self._job = job
        self._changed = changed
        self._stop = threading.Event()
        self.log: list[str] = []
        self.pace = Pace()

    @property
    def job(self) -> Job:
        return self._job

    def update(self, **fields: Any) -> None:
        """Set fields of the job."""
        with self._lock:
            self._job = msgspec.structs.replace(self._job, **fields)
        self._changed(self._job.id)

    def add(self, *, done: int = 0, wire_done: int = 0, reused: int = 0) -> None:
        """Count bytes."""
        with self._lock:
            job = self._job
            self._job = msgspec.structs.replace(
                job, done=job.done + done, wire_done=job.wire_done + wire_done, reused=job.reused + reused
            )
        self._changed(self._job.id)

    def enter(self, phase: Phase) -> None:
        """Say what is being done now."""
        if phase is not self._job.phase:
            self.note(str(phase))
        self.update(phase=phase)

    def note(self, text: str) -> None:
        """A line for the job's log."""
        with self._lock:
            self.log.append(f"{time.strftime('%H:%M:%S')} {text}")
            del self.log[:-_LOG_LINES]

    def warn(self, text: str) -> None:
        """Something the user should know, once."""
        with self._lock:
            if text in self._job.warnings:
                return
            self._job = msgspec.structs.replace(self._job, warnings=(*self._job.warnings, text))
        self.note(text)
        self._changed(self._job.id)

    def stop(self) -> None:
        """Ask worker threads to stop at the next chunk."""
        self._stop.set()

    def checkpoint(self) -> None:
        """Called by worker threads between chunks. Raises ``Cancelled`` once ``stop`` was called."""
        if self._stop.is_set():
            raise Cancelled("stopped", kept="everything that was finished")
