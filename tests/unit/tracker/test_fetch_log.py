"""Fetches on their way into the audit logs: once each, in batches, and not lost while the database is away."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from p2pckpt_tracker import fetch_log
from p2pckpt_tracker.fetch_log import FetchLog
from p2pckpt_tracker.store import audit
from p2pckpt_tracker.store.database import Database, StoreUnavailable
from p2pckpt_tracker.store.migrate import migrate


class Counted(Database):
    """Counts transactions, and fails those that the test names."""

    fails_at: tuple[int, ...] = ()
    writes = 0

    async def write(self, work: Callable[[Any], Any]) -> Any:
        self.writes += 1
        if self.writes in self.fails_at:
            raise StoreUnavailable("away")
        return await super().write(work)


async def rows(database: Database) -> list[tuple[str, str]]:
    page = await database.read(lambda connection: audit.page(connection, "s", 0, 10_000))
    return [(row.actor, row.subject) for row in page]


async def test_many_fetches_are_few_transactions_and_one_row_each(tmp_path: Path) -> None:
    database = Counted(tmp_path / "tracker.db")
    migrate(database.engine)
    log = FetchLog(database)
    for _ in range(3):
        for number in range(1200):
            log.add("s", f"member {number % 100}", f"version {number // 100}")
        await log.flush()
    assert database.writes == 3 * 3
    assert len(await rows(database)) == len(set(await rows(database))) == 1200
    await log.flush()
    assert database.writes == 9, "nothing waits, nothing is written"
    database.close()


async def test_what_could_not_be_written_waits_and_there_is_a_bound(tmp_path: Path, monkeypatch: Any) -> None:
    database = Counted(tmp_path / "tracker.db")
    migrate(database.engine)
    monkeypatch.setattr(fetch_log, "_BATCH", 2)
    monkeypatch.setattr(fetch_log, "_MOST", 5)
    log = FetchLog(database)
    database.fails_at = (2,)
    for number in range(7):
        log.add("s", "member", f"version {number}")
    await log.flush()
    assert [subject for _, subject in await rows(database)] == ["version 0", "version 1"]
    await log.flush()
    assert [subject for _, subject in await rows(database)] == [f"version {number}" for number in range(5)]
    database.close()
