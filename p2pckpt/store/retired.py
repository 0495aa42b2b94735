"""The part of the catalogue about versions that were retired from this machine and can be taken back for a while."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final

from p2pckpt.store.database import Database

RETIRED_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS retired (
  share BLOB NOT NULL,
  version INTEGER NOT NULL,
  listed INTEGER NOT NULL,         -- number of signed targets that named it
  entry BLOB NOT NULL,             -- what they said of it, as JSON
  due INTEGER NOT NULL,            -- Unix seconds from which what it has here is deleted
  PRIMARY KEY (share, version)
) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class RetiredRow:
    """A version that is retired, or is about to be: the signed targets decide which."""

    share: bytes
    version: int
    listed: int
    """Number of signed targets that named it."""
    entry: bytes
    """What they said of it (``trust.versions.entries``)."""
    due: int
    """Unix seconds from which it can't be taken back, and what it has here is deleted."""


class RetiredRows(Database):
    """Rows are written before the version is taken out of the targets, so that none is out without one."""

    def note_retired(self, rows: Iterable[RetiredRow]) -> None:
        with self.transaction():
            self._db.executemany(
                "INSERT OR REPLACE INTO retired(share, version, listed, entry, due) VALUES (?,?,?,?,?)",
                ((row.share, row.version, row.listed, row.entry, row.due) for row in rows),
            )

    def retired(self, share: bytes | None = None) -> list[RetiredRow]:
        """What is due first comes first."""
        sql, order = "SELECT share, version, listed, entry, due FROM retired", " ORDER BY due, version"
        rows = self._rows(sql + order) if share is None else self._rows(sql + " WHERE share = ?" + order, (share,))
        return [RetiredRow(*row) for row in rows]

    def forget_retired(self, share: bytes, versions: Collection[int]) -> None:
        with self.transaction():
            self._db.executemany(
                "DELETE FROM retired WHERE share = ? AND version = ?", ((share, version) for version in versions)
            )
