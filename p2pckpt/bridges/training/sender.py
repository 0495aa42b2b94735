"""Saves handed over behind the trainer's back: at most one behind, and whatever goes wrong, training goes on."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from multiprocessing import current_process, util
from pathlib import Path
from typing import Any, Final, Unpack

from p2pckpt import background
from p2pckpt.bridges.training.plain import hand_over
from p2pckpt.bridges.training.run import Run, RunOptions, is_rank_zero, numbers
from p2pckpt.errors import DaemonUnavailable, P2pckptError

PATIENCE: Final = 60.0
"""Seconds that the end of a training waits for its last save to be taken."""
_WRITTEN_DEADLINE: Final = 120.0
"""Seconds after which a save is handed over though its trainer does not say that all of it is written."""
_POLL: Final = 0.1
_log = logging.getLogger("p2pckpt.training")


@dataclass(frozen=True)
class _Save:
    path: Path
    step: int | None
    metrics: dict[str, float]
    written: Callable[[], bool] | None


class SaveSender:
    """Hands saves over in a thread, the newest first; one that waits when a newer one comes is left out.

    Nothing is raised: a save that could not be handed over is logged as a warning, once for each reason. With
    ``strict``, ``send`` waits for the daemon and raises instead. The end of the process waits until the last save was
    taken, ``PATIENCE`` at most. A daemonic child of ``multiprocessing``, such as the one that writes asynchronous
    saves, is ended with its parent and has no end of its own: there ``send`` waits. Copies of a sender, as spawned
    processes get them, have the run and nothing else of it.
    """

    def __init__(self, name: str, *, strict: bool = False, **options: Unpack[RunOptions]) -> None:
        self._run = Run(name=name, **options)
        self._strict = strict
        self._set_up()

    def _set_up(self) -> None:
        self._changed = threading.Condition()
        self._waiting: _Save | None = None
        self._works = False
        self._told = ""
        """The reason that was last warned of; empty once a save was taken."""
        self._at_exit: util.Finalize | None = None

    def __getstate__(self) -> tuple[Run, bool]:
        return self._run, self._strict

    def __setstate__(self, state: tuple[Run, bool]) -> None:
        self._run, self._strict = state
        self._set_up()

    def send(
        self,
        path: str | Path,
        *,
        step: int | None = None,
        metrics: Mapping[str, Any] | None = None,
        written: Callable[[], bool] | None = None,
    ) -> None:
        """Hand over the save at ``path`` as soon as ``written`` says that all of it is there; on rank 0 only.

        It must stay until then; what the trainer deletes before its turn has come is left out.
        """
        if not is_rank_zero():
            return
        save = _Save(Path(path).absolute(), step, numbers(metrics or {}), written)
        if self._strict:
            self._wait_until_written(save)
            background.run(hand_over(self._run, save.path, save.step, save.metrics))
            return
        with self._changed:
            replaced, self._waiting = self._waiting, save
            self._changed.notify_all()
            if self._at_exit is None:  # unlike atexit's, these run at the end of multiprocessing's children, too
                self._at_exit = util.Finalize(None, self.close, exitpriority=0)
            if not self._works:
                try:
                    threading.Thread(target=self._work, name="p2pckpt saves", daemon=True).start()
                    self._works = True
                except RuntimeError as exc:  # no thread is left, or the process ends
                    self._failed(save.path, exc)
        if replaced is not None:
            self._left_out(replaced, save)
        if current_process().daemon:
            self.close()

    @contextlib.contextmanager
    def guard(self, path: Path) -> Iterator[None]:
        """What fails within, on the way to sending ``path``, is told as ``send`` tells it."""
        try:
            yield
        except Exception as exc:  # whatever it is, the training is worth more
            if self._strict:
                raise
            self._failed(path, exc)

    def close(self, patience: float = PATIENCE) -> bool:
        """Wait until every save that was sent was taken or given up; False when that took over ``patience`` seconds.

        The sender can be used again.
        """
        with self._changed:
            done = self._changed.wait_for(lambda: not self._works, patience)
        if not done:
            _log.warning("the daemon has not taken the last save after %.0f s; not waiting any longer", patience)
        return done

    def _work(self) -> None:
        while True:
            with self._changed:
                save, self._waiting = self._waiting, None
                if save is None:
                    self._works = False
                    self._changed.notify_all()
                    return
            with self.guard(save.path):
                if self._wait_until_written(save):
                    self._take(save)

    def _take(self, save: _Save) -> None:
        work = self._run, save.path, save.step, save.metrics
        try:
            asyncio.run(hand_over(*work))
        except DaemonUnavailable:  # it ended meanwhile; this starts it again
            asyncio.run(hand_over(*work))
        if self._told:
            _log.warning("%s was handed over: saves are published again", save.path.name)
        self._told = ""

    def _wait_until_written(self, save: _Save) -> bool:
        """False when a newer save came meanwhile."""
        deadline = time.monotonic() + _WRITTEN_DEADLINE
        while save.written is not None and not save.written() and time.monotonic() < deadline:
            with self._changed:
                newer = self._changed.wait_for(lambda: self._waiting, _POLL)
            if newer:
                self._left_out(save, newer)
                return False
        return True

    def _left_out(self, save: _Save, newer: _Save) -> None:
        _log.info("%s is left out: %s was finished before its turn came", save.path.name, newer.path.name)

    def _failed(self, path: Path, exc: Exception) -> None:
        if isinstance(exc, P2pckptError):
            reason = exc.fact + (f"; try: {exc.next_step}" if exc.next_step else "")
        else:
            reason = f"{type(exc).__name__}: {exc}"
        level = logging.INFO if reason == self._told else logging.WARNING
        _log.log(level, "%s was not handed over, training goes on: %s", path.name, reason)
        self._told = reason
