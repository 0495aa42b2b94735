"""What this daemon knows of training runs: which are watched and how, and what became of every save. In SQLite."""

from __future__ import annotations

import secrets
import sqlite3
from pathlib import Path
from typing import Final

import msgspec
import structlog

from p2pckpt.control.run_messages import Retention, SaveRow, SaveState
from p2pckpt.jobs.saves import Shape
from p2pckpt.tracker_protocol import Visibility

_log = structlog.get_logger(__name__)
_OPEN: Final = (SaveState.WAITING, SaveState.CHECKING, SaveState.PUBLISHING)
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS book (token TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS runs (name TEXT PRIMARY KEY, run BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS saves (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  run TEXT NOT NULL,
  path TEXT NOT NULL,
  print TEXT NOT NULL,     -- changes with any of its files
  state TEXT NOT NULL,
  record BLOB NOT NULL,
  UNIQUE (run, path, print)
);
CREATE INDEX IF NOT EXISTS saves_of_run ON saves(run, state, id);
"""


class RunRecord(msgspec.Struct, frozen=True, kw_only=True):
    """How one run is published; named after its share."""

    name: str
    share_id: str = ""
    """Hex; empty until the first save is published. Others may join another share of the same name."""
    path: str = ""
    """The directory that is watched; empty when only hooks tell of saves."""
    watching: bool = False
    to: Visibility = Visibility.MEMBERS
    delta: bool = True
    quiet: float = 3.0
    retention: Retention = Retention()
    allow_nonfinite: tuple[str, ...] = ()
    shape: Shape | None = None
    """Of the last save that passed: the next one should have what that had."""
    kind: str = ""
    """What writes it, as far as known."""


class SaveRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One finished save, wherever it stands between the trainer and the swarm."""

    row: SaveRow
    print: str
    """Changes with any of its files."""
    single: bool
    """Whether it is one file."""
    id: int = 0
    snapshot: str = ""
    """Directory that holds it until it is published; empty for none."""
    job: str = ""
    """That publishes it."""


class RunBook:
    """Lives on the daemon's loop; what a power cut takes back of it is found again in the watched directories."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.executescript(_SCHEMA)
        self._db.execute("INSERT INTO book SELECT ? WHERE NOT EXISTS (SELECT 1 FROM book)", (secrets.token_hex(4),))
        self.token = str(self._db.execute("SELECT token FROM book").fetchone()[0])
        """Tells this daemon's snapshots from those of another one that publishes from the same directory."""

    def close(self) -> None:
        self._db.close()

    def runs(self) -> list[RunRecord]:
        found = []
        for name, data in self._db.execute("SELECT name, run FROM runs ORDER BY name").fetchall():
            try:
                found.append(msgspec.msgpack.decode(data, type=RunRecord))
            except msgspec.MsgspecError:
                _log.exception("a run can't be read and is left alone", run=name)
        return found

    def run(self, name: str) -> RunRecord | None:
        return next((run for run in self.runs() if run.name == name), None)

    def keep(self, run: RunRecord) -> None:
        row = run.name, msgspec.msgpack.encode(run)
        self._db.execute("INSERT OR REPLACE INTO runs(name, run) VALUES (?, ?)", row)

    def forget(self, name: str) -> None:
        """The run is published from here no more."""
        self._db.execute("DELETE FROM saves WHERE run = ?", (name,))
        self._db.execute("DELETE FROM runs WHERE name = ?", (name,))

    # -- saves

    def add(self, run: str, save: SaveRecord) -> SaveRecord:
        """A save seen for the first time, with its number."""
        row = run, save.row.path, save.print, save.row.state, msgspec.msgpack.encode(save)
        cursor = self._db.execute("INSERT INTO saves(run, path, print, state, record) VALUES (?, ?, ?, ?, ?)", row)
        return msgspec.structs.replace(save, id=cursor.lastrowid or 0)

    def drop(self, save: SaveRecord) -> None:
        """It turned out not to be finished."""
        self._db.execute("DELETE FROM saves WHERE id = ?", (save.id,))

    def look_again(self, run: str) -> None:
        """Forget what was rejected since the last save that was published: an older one must not come after that."""
        self._db.execute(
            "DELETE FROM saves WHERE run = ? AND state IN (?, ?) AND id >"
            " (SELECT coalesce(max(id), 0) FROM saves WHERE run = ? AND state = ?)",
            (run, SaveState.REJECTED, SaveState.FAILED, run, SaveState.PUBLISHED),
        )

    def note(self, save: SaveRecord) -> None:
        """What became of a save since."""
        self._db.execute(
            "UPDATE saves SET state = ?, record = ? WHERE id = ?",
            (save.row.state, msgspec.msgpack.encode(save), save.id),
        )

    def prints(self, run: str) -> set[tuple[str, str]]:
        """Path and fingerprint of every save that is known."""
        return set(self._db.execute("SELECT path, print FROM saves WHERE run = ?", (run,)).fetchall())

    def find(self, run: str, path: str, fingerprint: str) -> SaveRecord | None:
        """The save that was at ``path`` with this fingerprint."""
        return next(iter(self._saves("run = ? AND path = ? AND print = ?", run, path, fingerprint)), None)

    def save(self, number: int) -> SaveRecord | None:
        return next(iter(self._saves("id = ?", number)), None)

    def saves(self, run: str, limit: int) -> list[SaveRecord]:
        """The newest, newest first."""
        return self._saves("run = ? ORDER BY id DESC LIMIT ?", run, limit)

    def newest(self, run: str, *states: SaveState) -> SaveRecord | None:
        """The newest that is in one of ``states``."""
        marks = ", ".join("?" * len(states))
        return next(iter(self._saves(f"run = ? AND state IN ({marks}) ORDER BY id DESC LIMIT 1", run, *states)), None)

    def next(self, run: str, after: int = 0) -> SaveRecord | None:
        """Of those that still have to be published the one that was noticed first, after number ``after``."""
        marks = ", ".join("?" * len(_OPEN))
        condition = f"run = ? AND state IN ({marks}) AND id > ? ORDER BY id LIMIT 1"
        return next(iter(self._saves(condition, run, *_OPEN, after)), None)

    def count(self, run: str, state: SaveState) -> int:
        sql = "SELECT count(*) FROM saves WHERE run = ? AND state = ?"
        return int(self._db.execute(sql, (run, state)).fetchone()[0])

    def _saves(self, condition: str, *values: object) -> list[SaveRecord]:
        sql = f"SELECT id, record FROM saves WHERE {condition}"  # noqa: S608 - conditions are written above
        found = []
        for number, record in self._db.execute(sql, values).fetchall():
            try:
                save = msgspec.msgpack.decode(record, type=SaveRecord)
            except msgspec.MsgspecError:
                _log.exception("what is known of a save can't be read", number=number)
                self._db.execute("DELETE FROM saves WHERE id = ?", (number,))
                continue
            found.append(msgspec.structs.replace(save, id=number))
        return found
