"""A SQLite file that must not lose what was committed: durable transactions, and readers that wait for nobody."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, ClassVar

from p2pckpt.errors import NoSpace, P2pckptError


class Database:
    """What the databases of this machine have in common; used from any thread.

    Raises ``NoSpace`` when the disk is full and ``P2pckptError`` for other I/O errors.
    """

    WHAT: ClassVar[str]
    """What it is, in an error message."""
    KEPT: ClassVar[str]
    """What a full disk leaves as it was."""
    UNREADABLE: ClassVar[str] = ""
    """What to do about a file that can't be opened."""
    SCHEMA: ClassVar[str]
    READS_ITS_WRITES: ClassVar[bool] = False
    """Whether reading inside a transaction sees what it wrote; reading waits for other threads' commits then."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.RLock()
        self._reader_lock: AbstractContextManager[Any] = self._lock if self.READS_ITS_WRITES else threading.Lock()
        try:
            self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.execute("PRAGMA foreign_keys=ON")
            self._db.executescript(self.SCHEMA)
            self._reader = self._db
            if not self.READS_ITS_WRITES:
                # readers have a connection of their own: a commit waits for the disk, and nobody should wait for it
                self._reader = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
                self._reader.execute("PRAGMA query_only=ON")
        except sqlite3.Error as exc:
            error = self._error(exc, f"{self.WHAT} {path} can't be opened")
            error.next_step = error.next_step or self.UNREADABLE
            raise error from exc

    def close(self) -> None:
        with self._lock, self._reader_lock:
            self._reader.close()
            self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything inside is committed together, durably, or not at all."""
        with self._lock:
            outer = self._db.in_transaction
            try:
                if not outer:
                    self._db.execute("BEGIN IMMEDIATE")
                yield
                if not outer:
                    self._db.execute("COMMIT")
            except sqlite3.Error as exc:
                self._roll_back(outer)
                raise self._error(exc, f"{self.WHAT} can't be written") from exc
            except BaseException:
                self._roll_back(outer)
                raise

    def _roll_back(self, outer: bool) -> None:
        if not outer and self._db.in_transaction:
            self._db.execute("ROLLBACK")

    def _rows(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """What is committed, as of now."""
        with self._reader_lock:
            try:
                return self._reader.execute(sql, values).fetchall()
            except sqlite3.Error as exc:
                raise self._error(exc, f"{self.WHAT} can't be read") from exc

    def _error(self, exc: sqlite3.Error, fact: str) -> P2pckptError:
        if "full" in str(exc):
            return NoSpace("the disk is full", kept=self.KEPT, next_step="free some space, then try again")
        return P2pckptError(f"{fact}: {exc}")
