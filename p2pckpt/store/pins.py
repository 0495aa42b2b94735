"""The part of the catalogue about versions that are to stay here: this machine's own word, told to nobody."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from p2pckpt.store.database import Database

PINS_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS pins (
  share BLOB NOT NULL,
  version INTEGER NOT NULL,
  since INTEGER NOT NULL,          -- Unix seconds
  PRIMARY KEY (share, version)
) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class PinRow:
    """A version whose objects stay."""

    share: bytes
    version: int
    since: int
    """Unix seconds."""


class PinRows(Database):
    """What is pinned was whole when it was: a version and its pin are looked at in one transaction."""

    def pin(self, share: bytes, version: int, since: int) -> int | None:
        """Since when the version is pinned now; None for one that is not whole here and can't be."""
        with self.transaction():
            self._db.execute(
                "INSERT OR IGNORE INTO pins(share, version, since)"
                " SELECT share, version, ? FROM versions WHERE share = ? AND version = ? AND held",
                (since, share, version),
            )
            return self._since(share, version)

    def unpin(self, share: bytes, version: int, due: int) -> int | None:
        """Since when it was pinned; None for one that was not. Before ``due``, Unix seconds, one that was retired
        meanwhile is not deleted."""
        with self.transaction():
            since = self._since(share, version)
            if since is not None:
                self._db.execute("DELETE FROM pins WHERE share = ? AND version = ?", (share, version))
                self._db.execute(
                    "UPDATE retired SET due = max(due, ?) WHERE share = ? AND version = ?", (due, share, version)
                )
            return since

    def pins(self) -> list[PinRow]:
        """What was pinned last comes first."""
        rows = self._rows("SELECT share, version, since FROM pins ORDER BY since DESC, share, version DESC")
        return [PinRow(*row) for row in rows]

    def pinned(self, share: bytes) -> set[int]:
        """Numbers of a share's versions that are pinned."""
        return {version for (version,) in self._rows("SELECT version FROM pins WHERE share = ?", (share,))}

    def _since(self, share: bytes, version: int) -> int | None:
        """In a transaction."""
        found = self._db.execute("SELECT since FROM pins WHERE share = ? AND version = ?", (share, version)).fetchone()
        return None if found is None else int(found[0])
