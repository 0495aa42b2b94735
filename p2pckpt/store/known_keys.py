"""What is remembered of other people's keys, in SQLite. Apart from the store: a store can be emptied, decisions stay.

Durable before it is answered (WAL, synchronous=FULL): who was blocked stays blocked over a power cut. Thread-safe.
The rules are in ``trust.known_keys``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from p2pckpt.store.database import Database
from p2pckpt.trust.known_keys import How, KeyRecord, Place, Review, Verified

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS keys (
  identity BLOB PRIMARY KEY,
  name TEXT NOT NULL,
  first_seen INTEGER NOT NULL,
  how TEXT NOT NULL,
  blocked_at INTEGER NOT NULL DEFAULT 0,
  reason TEXT NOT NULL DEFAULT ''
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS verified (
  identity BLOB NOT NULL REFERENCES keys(identity) ON DELETE CASCADE,
  share BLOB NOT NULL,             -- empty for everywhere
  at INTEGER NOT NULL,
  name TEXT NOT NULL,
  PRIMARY KEY (identity, share)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS places (
  identity BLOB NOT NULL REFERENCES keys(identity) ON DELETE CASCADE,
  share BLOB NOT NULL,
  role TEXT NOT NULL,
  since INTEGER NOT NULL,
  how TEXT NOT NULL,
  first_version INTEGER NOT NULL,
  review TEXT NOT NULL,
  PRIMARY KEY (identity, share)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS places_by_share ON places(share);
CREATE TABLE IF NOT EXISTS listed (
  share BLOB NOT NULL,
  version INTEGER NOT NULL,
  signer BLOB NOT NULL,            -- whose list the version was first seen in
  PRIMARY KEY (share, version)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS met (
  share BLOB PRIMARY KEY,
  at INTEGER NOT NULL
) WITHOUT ROWID;
"""

_FORGET_MEMBERS: Final = """
DELETE FROM keys WHERE identity IN (
  SELECT identity FROM places WHERE share = ? AND role = '' AND how = 'members' AND first_version = 0 AND review = ''
  AND identity NOT IN (SELECT identity FROM keys WHERE blocked_at > 0)
  AND identity NOT IN (SELECT identity FROM verified)
  AND identity NOT IN (
    SELECT identity FROM places WHERE role != '' OR how != 'members' OR first_version != 0 OR review != ''
  )
  ORDER BY since DESC LIMIT -1 OFFSET ?
)
"""


class KnownKeys(Database):
    """Everybody whose key this machine has seen."""

    WHAT = "the list of known keys"
    KEPT = "what was decided before"
    # without it nobody would be blocked any more: better no daemon than one that has forgotten
    UNREADABLE = "restore it, or move it away: then nobody is blocked or verified any more"
    SCHEMA = _SCHEMA
    READS_ITS_WRITES = True

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.touch(mode=0o600)
        super().__init__(path)

    # -- reading

    def all(self) -> list[KeyRecord]:
        """Everybody, by the time they were first seen."""
        return self._records("")

    def one(self, identity: bytes) -> KeyRecord | None:
        found = self._records(" WHERE identity = ?", identity)
        return found[0] if found else None

    def _records(self, where: str, *values: Any) -> list[KeyRecord]:
        verified: dict[bytes, list[Verified]] = defaultdict(list)
        places: dict[bytes, list[Place]] = defaultdict(list)
        with self._lock:
            sql = "SELECT identity, share, at, name FROM verified"
            for key, share, at, name in self._rows(sql + where, values):
                verified[key].append(Verified(share, at, name))
            sql = "SELECT identity, share, role, since, how, first_version, review FROM places"
            for key, share, role, since, how, first, review in self._rows(sql + where, values):
                places[key].append(Place(share, role, since, How(how), first, Review(review)))
            sql = "SELECT identity, name, first_seen, how, blocked_at, reason FROM keys"
            keys = self._rows(sql + where + " ORDER BY first_seen", values)
        return [
            KeyRecord(key, name, seen, How(how), tuple(verified[key]), blocked_at, reason, tuple(places[key]))
            for key, name, seen, how, blocked_at, reason in keys
        ]

    def blocked(self) -> set[bytes]:
        return {key for (key,) in self._rows("SELECT identity FROM keys WHERE blocked_at > 0")}

    def to_review(self) -> int:
        """How many keys somebody should look at."""
        sql = "SELECT count(DISTINCT identity) FROM places WHERE review != ''"
        return int(self._rows(sql)[0][0])

    def places_in(self, share: bytes) -> dict[bytes, Place]:
        """Whoever is or was something in a share."""
        sql = "SELECT identity, share, role, since, how, first_version, review FROM places WHERE share = ?"
        return {key: Place(at, role, since, How(how), first, Review(review))
                for key, at, role, since, how, first, review in self._rows(sql, (share,))}  # fmt: skip

    def names_in(self, share: bytes) -> dict[bytes, str]:
        sql = "SELECT identity, name FROM keys WHERE identity IN (SELECT identity FROM places WHERE share = ?)"
        return dict(self._rows(sql, (share,)))

    def has_met(self, share: bytes) -> bool:
        """Whether the share was looked at before."""
        return bool(self._rows("SELECT 1 FROM met WHERE share = ?", (share,)))

    def listed(self, share: bytes) -> dict[int, bytes]:
        """Version → whose list it was first seen in."""
        return dict(self._rows("SELECT version, signer FROM listed WHERE share = ?", (share,)))

    # -- writing

    def meet(self, share: bytes, at: int) -> None:
        with self.transaction():
            self._db.execute("INSERT OR IGNORE INTO met(share, at) VALUES (?,?)", (share, at))

    def list_versions(self, share: bytes, signers: Mapping[int, bytes]) -> None:
        """Versions that are new here, and whose list they came in."""
        with self.transaction():
            self._db.executemany(
                "INSERT OR IGNORE INTO listed(share, version, signer) VALUES (?,?,?)",
                ((share, version, signer) for version, signer in signers.items()),
            )

    def know(self, identity: bytes, at: int, how: How) -> None:
        """A key is known from now on, if it was not."""
        with self.transaction():
            self._db.execute(
                "INSERT OR IGNORE INTO keys(identity, name, first_seen, how) VALUES (?,'',?,?)", (identity, at, how)
            )

    def name(self, identity: bytes, name: str) -> None:
        with self.transaction():
            self._db.execute("UPDATE keys SET name = ? WHERE identity = ?", (name, identity))

    def place(self, identity: bytes, place: Place) -> None:
        """Where a known key is now."""
        with self.transaction():
            self._db.execute(
                "INSERT OR REPLACE INTO places(identity, share, role, since, how, first_version, review)"
                " VALUES (?,?,?,?,?,?,?)",
                (identity, place.share, place.role, place.since, place.how, place.first_version, place.review),
            )

    def verify(self, identity: bytes, verified: Verified) -> None:
        """The words were compared: for this share, or for everywhere, which takes the place of single shares."""
        with self.transaction():
            if not verified.share:
                self._db.execute("DELETE FROM verified WHERE identity = ?", (identity,))
            self._db.execute(
                "INSERT OR REPLACE INTO verified(identity, share, at, name) VALUES (?,?,?,?)",
                (identity, verified.share, verified.at, verified.name),
            )
            if verified.share:
                self._db.execute(
                    "INSERT OR IGNORE INTO places(identity, share, role, since, how, first_version, review)"
                    " VALUES (?,?,'',?,?,0,'')",
                    (identity, verified.share, verified.at, How.HAND),
                )
            self.settle(identity, verified.share or None)

    def settle(self, identity: bytes, share: bytes | None = None) -> None:
        """Nothing is to be reviewed of a key any more, in one share or in all."""
        with self.transaction():
            sql = "UPDATE places SET review = '' WHERE identity = ?"
            self._db.execute(sql + " AND share = ?" * bool(share), (identity, share) if share else (identity,))

    def block(self, identity: bytes, at: int, reason: str) -> None:
        """Nothing that this key signs is taken any more; that it was verified is forgotten."""
        with self.transaction():
            self._db.execute("UPDATE keys SET blocked_at = ?, reason = ? WHERE identity = ?", (at, reason, identity))
            self._db.execute("DELETE FROM verified WHERE identity = ?", (identity,))
            self.settle(identity)

    def forget(self, identity: bytes, keep_in: Iterable[bytes]) -> None:
        """Take every decision back; the key itself is forgotten unless it is something in one of these shares."""
        with self.transaction():
            self._db.execute("UPDATE keys SET blocked_at = 0, reason = '' WHERE identity = ?", (identity,))
            self._db.execute("DELETE FROM verified WHERE identity = ?", (identity,))
            self.settle(identity)
            held = set(keep_in)
            shares = {share for (share,) in self._rows("SELECT share FROM places WHERE identity = ?", (identity,))}
            if not shares & held:
                self._db.execute("DELETE FROM keys WHERE identity = ?", (identity,))

    def forget_members(self, share: bytes, most: int) -> None:
        """Forget keys that were listed as members of a share and are nothing else anywhere, but for the last ``most``.

        What somebody decided about stays.
        """
        with self.transaction():
            self._db.execute(_FORGET_MEMBERS, (share, most))
