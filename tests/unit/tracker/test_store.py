"""The database's schema, the audit chain, and files that appear whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import delete, update

from p2pckpt.tracker_protocol import BlobKind
from p2pckpt_tracker.store import audit
from p2pckpt_tracker.store.blobs import Blobs
from p2pckpt_tracker.store.database import Database, StoreUnavailable
from p2pckpt_tracker.store.migrate import migrate
from p2pckpt_tracker.store.tables import audit as audit_table
from p2pckpt_tracker.store.tables import metadata


@pytest.fixture
def database(tmp_path: Path) -> Database:
    made = Database(tmp_path / "tracker.db")
    migrate(made.engine)
    return made


def test_migrations_lead_to_the_tables_that_queries_use(database: Database) -> None:
    migrate(database.engine)
    with database.engine.connect() as connection:
        found = compare_metadata(MigrationContext.configure(connection), metadata)
    assert found == []
    assert len(metadata.tables) >= 10


def test_a_changed_or_missing_audit_row_shows(database: Database) -> None:
    for number in range(5):
        database.run_now(lambda connection, number=number: audit.record(connection, "s", "a", "act", str(number)))  # type: ignore[misc]
    assert database.run_now(audit.first_break) is None
    rows = audit_table
    change = update(rows).where(rows.c.seq == 3).values(subject="other")
    database.run_now(lambda connection: connection.execute(change))
    assert database.run_now(audit.first_break) == 3
    database.run_now(lambda connection: connection.execute(delete(rows).where(rows.c.seq == 2)))
    assert database.run_now(audit.first_break) == 2


async def test_a_failed_write_leaves_nothing(database: Database) -> None:
    def fail(connection: object) -> None:
        audit.record(connection, "s", "a", "act")  # type: ignore[arg-type]
        raise RuntimeError

    with pytest.raises(RuntimeError):
        await database.write(fail)
    assert await database.read(lambda connection: connection.execute(audit_table.select()).all()) == []


async def test_a_database_that_can_not_be_read_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "tracker.db").write_bytes(b"this is no database" * 1000)
    with pytest.raises(StoreUnavailable):
        await Database(tmp_path / "tracker.db").read(lambda connection: connection.execute(audit_table.select()))


def test_blobs_appear_whole_and_leftovers_go(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path / "blobs")
    path = blobs.blob_path("aa", BlobKind.CARD, "bb")
    temp = blobs.open_temp("aa")
    temp.write(b"half")
    temp.flush()
    assert not path.exists()
    del temp
    blobs = Blobs(tmp_path / "blobs")
    assert [each for each in (tmp_path / "blobs").rglob("*") if each.is_file()] == []
    temp = blobs.open_temp("aa")
    temp.write(b"whole")
    blobs.place(temp, path)
    assert path.read_bytes() == b"whole"
    assert path.stat().st_mode & 0o777 == 0o600
    temp = blobs.open_temp("aa")
    blobs.discard(temp)
    assert [each for each in (tmp_path / "blobs").rglob("*") if each.is_file()] == [path]
