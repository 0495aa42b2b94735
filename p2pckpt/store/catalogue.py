"""The catalogue: what is durable in this store, in SQLite.

A row here is a promise: the bytes it speaks of were flushed, fsynced and verified before it was committed
(WAL, synchronous=FULL). So after any crash the catalogue is right about what it names, and what it does not name
counts as missing. Thread-safe; one writer at a time.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final

import msgspec

from p2pckpt.checkpoint.pieces import PieceSet
from p2pckpt.checkpoint.pieces import count as piece_count
from p2pckpt.checkpoint.plan import pieces_under
from p2pckpt.store.pins import PINS_SCHEMA, PinRows
from p2pckpt.store.retired import RETIRED_SCHEMA, RetiredRows
from p2pckpt.trust.sealing import EpochKeys

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS objects (
  id INTEGER PRIMARY KEY,
  root BLOB NOT NULL UNIQUE,
  length INTEGER NOT NULL,
  sealed_version INTEGER NOT NULL,
  sealed_epoch INTEGER NOT NULL,
  pieces BLOB NOT NULL,            -- bitmap of durable, verified pieces
  layer BLOB NOT NULL              -- hashes of all its pieces, empty for one piece (BEP 52)
);
CREATE TABLE IF NOT EXISTS chunks (
  share BLOB NOT NULL,
  chunk BLOB NOT NULL,
  object INTEGER NOT NULL REFERENCES objects(id) ON DELETE CASCADE,
  offset INTEGER NOT NULL,
  length INTEGER NOT NULL,
  raw_length INTEGER NOT NULL,
  delta INTEGER NOT NULL,
  PRIMARY KEY (share, chunk)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS chunks_by_object ON chunks(object);
CREATE INDEX IF NOT EXISTS chunks_by_id ON chunks(chunk);
CREATE TABLE IF NOT EXISTS carriers (
  share BLOB NOT NULL,
  object BLOB NOT NULL,
  info_hash BLOB NOT NULL,
  version INTEGER NOT NULL,
  PRIMARY KEY (share, object)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS versions (
  share BLOB NOT NULL,
  version INTEGER NOT NULL,
  info_hash BLOB NOT NULL,
  held INTEGER NOT NULL,           -- all its objects are durable here
  path TEXT NOT NULL,              -- last checkout or published directory; empty for none
  chosen TEXT NOT NULL DEFAULT '',   -- which of its files that has, one pattern a line; empty for all
  PRIMARY KEY (share, version)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS measurements (
  share BLOB NOT NULL,
  version INTEGER NOT NULL,
  manifest TEXT NOT NULL,          -- sha256 of the one that said so
  step INTEGER,
  metrics BLOB NOT NULL,
  PRIMARY KEY (share, version)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS shares (
  share BLOB PRIMARY KEY,
  name TEXT NOT NULL,
  tracker TEXT NOT NULL,
  visibility TEXT NOT NULL,
  role TEXT NOT NULL,
  keys BLOB NOT NULL               -- epoch keys that came with a link
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS leaving (
  share BLOB PRIMARY KEY           -- left; what it had here is still being deleted
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS removals_due (
  share BLOB NOT NULL,
  identity TEXT NOT NULL,
  role TEXT NOT NULL,              -- what is left to them; empty for nothing
  link TEXT NOT NULL,              -- by which they joined
  PRIMARY KEY (share, identity)
) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class ChunkLocation:
    """Where a chunk's frame lies in this store; all of its pieces are durable."""

    root: bytes
    object_length: int
    offset: int
    length: int
    raw_length: int
    delta: int
    """1 for a frame that needs its base."""
    sealed_version: int
    sealed_epoch: int


@dataclass(frozen=True, slots=True)
class ObjectRow:
    root: bytes
    length: int
    sealed_version: int
    sealed_epoch: int
    pieces: PieceSet
    layer: bytes

    @property
    def complete(self) -> bool:
        return len(self.pieces) == piece_count(self.length)


@dataclass(frozen=True, slots=True)
class VersionRow:
    share: bytes
    version: int
    info_hash: bytes
    held: bool
    path: str
    only: tuple[str, ...] = ()
    """Patterns that chose the files at ``path``; empty for all."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What a version's manifest says of the training run it comes from."""

    manifest: str
    """SHA-256 of the manifest that said so."""
    step: int | None
    metrics: dict[str, float]


@dataclass(frozen=True, slots=True)
class KnownShare:
    """A share this machine owns or joined."""

    share_id: bytes
    name: str
    tracker: str
    visibility: str
    role: str
    keys: dict[int, EpochKeys]


@dataclass(frozen=True, slots=True)
class RemovalRow:
    """Somebody whose right to read an owner on this machine is taking away."""

    share: bytes
    identity: str
    role: str
    """What is left to them; empty for nothing."""
    link: str
    """By which they joined; empty for none."""


class Catalogue(RetiredRows, PinRows):
    """One store's catalogue."""

    WHAT = "the catalogue"
    KEPT = "everything finished"
    SCHEMA = _SCHEMA + RETIRED_SCHEMA + PINS_SCHEMA

    # -- objects and chunks

    def record_object(self, row: ObjectRow) -> None:
        """An object with more durable pieces than before."""
        with self.transaction():
            self._db.execute(
                "INSERT INTO objects(root, length, sealed_version, sealed_epoch, pieces, layer) VALUES (?,?,?,?,?,?)"
                " ON CONFLICT(root) DO UPDATE SET pieces = excluded.pieces",
                (row.root, row.length, row.sealed_version, row.sealed_epoch, bytes(row.pieces), row.layer),
            )

    def record_chunks(self, share: bytes, root: bytes, chunks: Iterable[tuple[bytes, int, int, int, bool]]) -> None:
        """Chunks (id, offset, length, raw length, delta) of a recorded object, whose pieces are durable.

        A chunk that is here already stays where it is, unless it was a delta and now comes whole.
        """
        with self.transaction():
            (number,) = self._db.execute("SELECT id FROM objects WHERE root = ?", (root,)).fetchone()
            self._db.executemany(
                "INSERT INTO chunks(share, chunk, object, offset, length, raw_length, delta) VALUES (?,?,?,?,?,?,?)"
                " ON CONFLICT DO UPDATE SET (object, offset, length, delta) ="
                " (excluded.object, excluded.offset, excluded.length, 0) WHERE delta AND NOT excluded.delta",
                ((share, chunk, number, offset, length, raw, delta) for chunk, offset, length, raw, delta in chunks),
            )

    def locate(self, share: bytes, chunk: bytes) -> ChunkLocation | None:
        """Where ``chunk`` lies, if this store has it for ``share``."""
        rows = self._rows(
            "SELECT root, objects.length, offset, chunks.length, raw_length, delta, sealed_version, sealed_epoch"
            " FROM chunks JOIN objects ON objects.id = chunks.object WHERE share = ? AND chunk = ?",
            (share, chunk),
        )
        return ChunkLocation(*rows[0]) if rows else None

    def locate_elsewhere(self, share: bytes, chunk: bytes) -> tuple[bytes, ChunkLocation] | None:
        """Where another share than ``share`` has ``chunk`` whole in this store, and which one that is."""
        rows = self._rows(
            "SELECT share, root, objects.length, offset, chunks.length, raw_length, delta, sealed_version, sealed_epoch"
            " FROM chunks JOIN objects ON objects.id = chunks.object WHERE chunk = ? AND share != ? AND NOT delta"
            " AND share IN (SELECT share FROM shares) LIMIT 1",
            (chunk, share),
        )
        return (rows[0][0], ChunkLocation(*rows[0][1:])) if rows else None

    def object(self, root: bytes) -> ObjectRow | None:
        rows = self._rows(
            "SELECT root, length, sealed_version, sealed_epoch, pieces, layer FROM objects WHERE root = ?", (root,)
        )
        for found, length, version, epoch, pieces, layer in rows:
            return ObjectRow(found, length, version, epoch, PieceSet(pieces), layer)
        return None

    def object_roots(self) -> list[tuple[bytes, int]]:
        """(root, length) of every object that has at least one durable piece."""
        return [(root, length) for root, length in self._rows("SELECT root, length FROM objects")]

    def forget_objects(self, roots: Iterable[bytes]) -> None:
        """Objects and their chunks are no longer here. Call before deleting the files."""
        with self.transaction():
            self._db.executemany("DELETE FROM objects WHERE root = ?", ((root,) for root in roots))

    def uncarried(self) -> list[bytes]:
        """Objects that no torrent carries, as far as was noted: packed for versions that were never signed."""
        return [
            root for (root,) in self._rows("SELECT root FROM objects WHERE root NOT IN (SELECT object FROM carriers)")
        ]

    def info_hashes(self) -> set[bytes]:
        """Torrents of versions that are here, and those that carry objects."""
        sql = "SELECT info_hash FROM versions UNION SELECT info_hash FROM carriers"
        return {info_hash for (info_hash,) in self._rows(sql)}

    def unpublished(self, share: bytes, epoch: int) -> list[bytes]:
        """Objects with chunks of a share that were sealed before ``epoch`` and that no torrent carries."""
        rows = self._rows(
            "SELECT root FROM objects WHERE sealed_epoch < ? AND id IN (SELECT object FROM chunks WHERE share = ?)"
            " AND root NOT IN (SELECT object FROM carriers WHERE share = ?)",
            (epoch, share, share),
        )
        return [root for (root,) in rows]

    def lose_pieces(self, root: bytes, pieces: Collection[int]) -> None:
        """Pieces of an object turned out damaged: they and the chunks on them are no longer here."""
        with self.transaction():
            found = self._db.execute("SELECT id, pieces FROM objects WHERE root = ?", (root,)).fetchone()
            if found is None:
                return
            number, kept = found[0], PieceSet()
            kept.add(piece for piece in PieceSet(found[1]) if piece not in pieces)
            chunks = self._db.execute(
                "SELECT share, chunk, offset, length FROM chunks WHERE object = ?", (number,)
            ).fetchall()
            self._db.executemany(
                "DELETE FROM chunks WHERE share = ? AND chunk = ?",
                [(share, chunk) for share, chunk, at, size in chunks if not kept.covers(pieces_under(at, size))],
            )
            if kept:
                self._db.execute("UPDATE objects SET pieces = ? WHERE id = ?", (bytes(kept), number))
            else:
                self._db.execute("DELETE FROM objects WHERE id = ?", (number,))

    def stored_bytes(self) -> int:
        return int(self._rows("SELECT coalesce(sum(length), 0) FROM objects")[0][0])

    def share_bytes(self, share: bytes) -> int:
        """Bytes of the objects that hold chunks of one share."""
        sql = "SELECT coalesce(sum(length), 0) FROM objects WHERE id IN (SELECT object FROM chunks WHERE share = ?)"
        return int(self._rows(sql, (share,))[0][0])

    # -- carriers: which torrent carries an object now

    def record_carriers(self, share: bytes, rows: Iterable[tuple[bytes, bytes, int]]) -> None:
        """(object root, infohash, version) as the newest manifest says."""
        with self.transaction():
            self._db.executemany(
                "INSERT OR REPLACE INTO carriers(share, object, info_hash, version) VALUES (?,?,?,?)",
                ((share, root, info_hash, version) for root, info_hash, version in rows),
            )

    def carrier(self, share: bytes, root: bytes) -> tuple[bytes, int] | None:
        rows = self._rows("SELECT info_hash, version FROM carriers WHERE share = ? AND object = ?", (share, root))
        return (rows[0][0], rows[0][1]) if rows else None

    # -- versions

    def record_version(self, row: VersionRow) -> None:
        with self.transaction():
            self._db.execute(
                "INSERT OR REPLACE INTO versions(share, version, info_hash, held, path, chosen) VALUES (?,?,?,?,?,?)",
                (row.share, row.version, row.info_hash, row.held, row.path, "\n".join(row.only)),
            )

    def versions(self, share: bytes | None = None) -> list[VersionRow]:
        sql = "SELECT share, version, info_hash, held, path, chosen FROM versions"
        rows = self._rows(sql) if share is None else self._rows(sql + " WHERE share = ?", (share,))
        return [VersionRow(r[0], r[1], r[2], bool(r[3]), r[4], tuple(r[5].split("\n")) if r[5] else ()) for r in rows]

    def version(self, share: bytes, version: int) -> VersionRow | None:
        return next((row for row in self.versions(share) if row.version == version), None)

    def forget_versions(self, share: bytes, versions: Collection[int], objects: Collection[bytes]) -> None:
        """Versions, and objects that nothing else needs, are no longer here: all of it or nothing. Call before
        deleting the files: those that a crash leaves are named by nothing, and are swept away."""
        with self.transaction():
            self._db.executemany(
                "DELETE FROM versions WHERE share = ? AND version = ?", ((share, version) for version in versions)
            )
            self.forget_retired(share, versions)
            self.forget_objects(objects)
            self._db.executemany(
                "DELETE FROM carriers WHERE share = ? AND object = ?", ((share, root) for root in objects)
            )

    def record_measured(self, share: bytes, version: int, row: Measured) -> None:
        with self.transaction():
            self._db.execute(
                "INSERT OR REPLACE INTO measurements(share, version, manifest, step, metrics) VALUES (?,?,?,?,?)",
                (share, version, row.manifest, row.step, msgspec.msgpack.encode(row.metrics)),
            )

    def measured(self, share: bytes) -> dict[int, Measured]:
        """By version; those without step and metrics among them."""
        rows = self._rows("SELECT version, manifest, step, metrics FROM measurements WHERE share = ?", (share,))
        return {row[0]: Measured(row[1], row[2], msgspec.msgpack.decode(row[3])) for row in rows}

    def count_measured(self, share: bytes) -> int:
        """Versions that are known to have a step or metrics."""
        empty = msgspec.msgpack.encode({})
        sql = "SELECT count(*) FROM measurements WHERE share = ? AND (step IS NOT NULL OR metrics != ?)"
        return int(self._rows(sql, (share, empty))[0][0])

    # -- shares

    def record_share(self, share: KnownShare) -> None:
        keys = msgspec.msgpack.encode(list(share.keys.values()))
        with self.transaction():
            self._db.execute(
                "INSERT OR REPLACE INTO shares(share, name, tracker, visibility, role, keys) VALUES (?,?,?,?,?,?)",
                (share.share_id, share.name, share.tracker, share.visibility, share.role, keys),
            )

    def shares(self) -> list[KnownShare]:
        return [
            KnownShare(
                share,
                name,
                tracker,
                visibility,
                role,
                {k.epoch: k for k in msgspec.msgpack.decode(keys, type=list[EpochKeys])},
            )
            for share, name, tracker, visibility, role, keys in self._rows(
                "SELECT share, name, tracker, visibility, role, keys FROM shares ORDER BY name"
            )
        ]

    def share(self, share_id: bytes) -> KnownShare | None:
        return next((share for share in self.shares() if share.share_id == share_id), None)

    def note_removal(self, row: RemovalRow) -> None:
        """Somebody is about to lose the right to read; kept until all of it is done."""
        with self.transaction():
            self._db.execute(
                "INSERT OR REPLACE INTO removals_due(share, identity, role, link) VALUES (?,?,?,?)",
                (row.share, row.identity, row.role, row.link),
            )

    def removals_due(self, share: bytes) -> list[RemovalRow]:
        rows = self._rows("SELECT share, identity, role, link FROM removals_due WHERE share = ?", (share,))
        return [RemovalRow(*row) for row in rows]

    def forget_removals(self, share: bytes, identities: Collection[str]) -> None:
        """They are done, or were refused."""
        with self.transaction():
            self._db.executemany(
                "DELETE FROM removals_due WHERE share = ? AND identity = ?", ((share, each) for each in identities)
            )

    # -- leaving a share

    def begin_leaving(self, share_id: bytes) -> None:
        """From now on the share is not known here; its objects and carriers are, until ``forget_share``."""
        with self.transaction():
            self._db.execute("INSERT OR IGNORE INTO leaving(share) VALUES (?)", (share_id,))
            for table in ("shares", "versions", "measurements", "retired", "pins", "removals_due"):
                self._db.execute(f"DELETE FROM {table} WHERE share = ?", (share_id,))  # noqa: S608 - one of these six

    def leaving(self) -> list[bytes]:
        """Shares that were left and whose data is not all deleted yet."""
        return [share for (share,) in self._rows("SELECT share FROM leaving")]

    def carrying(self, share_id: bytes) -> list[bytes]:
        """Infohashes of the torrents that carry objects of a share, as far as was noted."""
        return [each for (each,) in self._rows("SELECT DISTINCT info_hash FROM carriers WHERE share = ?", (share_id,))]

    def only_of(self, share_id: bytes, also: Iterable[bytes]) -> set[bytes]:
        """Roots of all objects that a share has here, and of ``also``, without those that other shares need."""
        sql = "SELECT root FROM objects WHERE id IN (SELECT object FROM chunks WHERE share = ?)"
        found = {root for (root,) in self._rows(sql, (share_id,))} | set(also)
        found -= {root for (root,) in self._rows("SELECT object FROM carriers WHERE share != ?", (share_id,))}
        other = "SELECT 1 FROM objects JOIN chunks ON chunks.object = objects.id WHERE root = ? AND share != ? LIMIT 1"
        return {root for root in found if not self._rows(other, (root, share_id))}

    def forget_share(self, share_id: bytes) -> None:
        """Nothing of a share is here any more. Call after its files were deleted."""
        with self.transaction():
            for table in (
                "shares",
                "versions",
                "measurements",
                "retired",
                "pins",
                "removals_due",
                "chunks",
                "carriers",
                "leaving",
            ):
                self._db.execute(f"DELETE FROM {table} WHERE share = ?", (share_id,))  # noqa: S608 - one of these
