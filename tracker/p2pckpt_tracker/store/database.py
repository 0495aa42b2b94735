"""SQLite behind two threads, one that writes and one that reads, so that the event loop never waits for a disk."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DatabaseError
from sqlalchemy.pool import NullPool, QueuePool

T = TypeVar("T")

LOCK_WAIT = 1.0
"""Seconds that a statement waits for another process's lock before it counts as unavailable."""
QUEUE_LIMIT = 256
"""Writes waiting for the one writer; more are turned away at once."""


class StoreUnavailable(Exception):
    """The database or disk can't take this now: locked, full or failing. Nothing was changed."""


def open_engine(path: Path) -> Engine:
    """An engine for the tracker's database in WAL mode, with transactions begun explicitly.

    A connection with the execution option ``writing`` takes the write lock when it begins, so that what it
    reads is still true when it writes.
    """
    engine = create_engine(f"sqlite:///{path}", poolclass=QueuePool, pool_size=4)
    _configure(engine)
    return engine


def open_engine_once(path: Path) -> Engine:
    """The same without a pool, for commands that run and end."""
    engine = create_engine(f"sqlite:///{path}", poolclass=NullPool)
    _configure(engine)
    return engine


def _configure(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def _connected(connection: sqlite3.Connection, _record: Any) -> None:
        connection.isolation_level = None  # the driver's own BEGIN would come too late for BEGIN IMMEDIATE
        connection.execute(f"PRAGMA busy_timeout = {int(LOCK_WAIT * 1000)}")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")

    @event.listens_for(engine, "begin")
    def _begun(connection: Connection) -> None:
        writing = connection.get_execution_options().get("writing", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")


class Database:
    """Runs functions of a connection, each in one transaction, off the event loop."""

    def __init__(self, path: Path) -> None:
        self.engine = open_engine(path)
        self._writer = ThreadPoolExecutor(1, "db-write")
        self._reader = ThreadPoolExecutor(1, "db-read")
        self._queued = 0

    async def read(self, work: Callable[[Connection], T]) -> T:
        """``work``'s result. Raises StoreUnavailable, and whatever ``work`` raises."""
        return await self._run(self._reader, work, writing=False)

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Like ``read``, in a transaction that is committed when ``work`` returns, undone when it raises.

        Writes run one after another in the order of the calls.
        """
        return await self._run(self._writer, work, writing=True)

    def run_now(self, work: Callable[[Connection], T]) -> T:
        """A writing transaction on the calling thread: for start-up and commands, never for requests."""
        return _transaction(self.engine, work, writing=True)

    def close(self) -> None:
        """Finish what is queued, then close."""
        self._writer.shutdown()
        self._reader.shutdown()
        self.engine.dispose()

    async def _run(self, thread: ThreadPoolExecutor, work: Callable[[Connection], T], *, writing: bool) -> T:
        if self._queued >= QUEUE_LIMIT:
            raise StoreUnavailable("too many requests wait for the database")
        self._queued += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(thread, lambda: _transaction(self.engine, work, writing=writing))
        finally:
            self._queued -= 1


def _transaction(engine: Engine, work: Callable[[Connection], T], *, writing: bool) -> T:
    try:
        with engine.connect() as plain:
            connection = plain.execution_options(writing=writing)
            with connection.begin():
                return work(connection)
    except DatabaseError as exc:
        raise StoreUnavailable(type(exc.orig).__name__) from exc
