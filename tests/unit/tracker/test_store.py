"""The database's schema, the audit chain, and files that appear whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from p2pckpt.tracker_protocol import BlobKind
from p2pckpt.tracker_protocol.audit_log import AUDIT_START, AuditAction, AuditHead, audit_chain
from p2pckpt_tracker.store import audit
from p2pckpt_tracker.store import migrate as migrations
from p2pckpt_tracker.store.blobs import Blobs, upload_of
from p2pckpt_tracker.store.database import Database, StoreUnavailable
from p2pckpt_tracker.store.migrate import NEWEST, migrate
from p2pckpt_tracker.store.tables import audit as audit_table
from p2pckpt_tracker.store.tables import metadata


@pytest.fixture
def database(tmp_path: Path) -> Database:
    made = Database(tmp_path / "tracker.db")
    migrate(made.engine)
    return made


def test_migrations_lead_to_the_tables_that_queries_use_as_a_new_database_has_them(
    database: Database, tmp_path: Path
) -> None:
    older = Database(tmp_path / "older.db")
    migrate(older.engine, "0001")
    migrate(older.engine)
    migrate(older.engine)
    for one in (database, older):
        with one.engine.connect() as connection:
            context = MigrationContext.configure(connection)
            assert compare_metadata(context, metadata) == []
            assert context.get_current_revision() == NEWEST
    assert len(metadata.tables) >= 10


def test_a_new_database_is_at_the_last_migration() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).with_name("migrations")))
    assert ScriptDirectory.from_config(config).get_current_head() == NEWEST


def test_each_share_has_a_log_of_its_own(database: Database) -> None:
    def fill(connection: Connection) -> None:
        for number in range(3):
            for share_id in ("s1", "s2"):
                audit.record(connection, share_id, "somebody", AuditAction.PUBLISH, f"v{number}")
            audit.record_once(connection, "s1", "somebody", AuditAction.FETCHED, "aa")

    database.run_now(fill)
    for share_id, length in (("s1", 4), ("s2", 3)):
        rows = database.run_now(lambda connection, share_id=share_id: audit.page(connection, share_id, 0, 100))  # type: ignore[misc]
        assert [row.seq for row in rows] == list(range(1, length + 1))
        chain = AUDIT_START.chain
        for row in rows:
            chain = audit_chain(chain, share_id, row.seq, row.at, row.actor, row.action, row.subject)
            assert row.chain == chain
        assert database.run_now(lambda connection, s=share_id: audit.head(connection, s)) == AuditHead(length, chain)  # type: ignore[misc]


def test_the_one_log_of_before_is_carried_over_share_by_share(tmp_path: Path) -> None:
    database = Database(tmp_path / "tracker.db")
    migrate(database.engine, "0001")
    rows = [(1, "s1", "create"), (2, "s2", "create"), (3, "s1", "publish"), (4, "s1", "join"), (5, "s2", "publish")]

    def fill(connection: Connection) -> None:
        for seq, share_id, action in rows:
            values = {"seq": seq, "share_id": share_id, "action": action}
            connection.execute(text("INSERT INTO audit VALUES (:seq, 7, :share_id, 'a', :action, 'x', 'old')"), values)

    database.run_now(fill)
    migrate(database.engine)
    for share_id, actions in (
        ("s1", ["create", "publish", "join", "rechained"]),
        ("s2", ["create", "publish", "rechained"]),
    ):
        log = database.run_now(lambda connection, s=share_id: audit.page(connection, s, 0, 100))  # type: ignore[misc]
        assert [row.action for row in log] == actions
        assert [(row.at, row.actor, row.subject) for row in log[:-1]] == [(7, "a", "x")] * (len(actions) - 1)
        assert log[-1].subject == f"{len(actions) - 1} rows of one log for all shares"
        chain = AUDIT_START.chain
        for row in log:
            chain = audit_chain(chain, share_id, row.seq, row.at, row.actor, row.action, row.subject)
            assert row.chain == chain


async def test_a_failed_write_leaves_nothing(database: Database) -> None:
    def fail(connection: object) -> None:
        audit.record(connection, "s", "a", AuditAction.CREATE)  # type: ignore[arg-type]
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
    path = blobs.upload_path("aa", upload_of(BlobKind.CARD, "bb"))
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
