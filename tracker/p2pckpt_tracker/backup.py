"""Moving house: everything a tracker needs to go on elsewhere, in one file, and back out of it.

The file holds private keys. Shares keep their ids, members their accounts, and links work once they name the new
address.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tarfile
import tempfile
from pathlib import Path, PurePosixPath

from sqlalchemy import update

from .data_dir import DataDir
from .store.database import open_engine_once
from .store.migrate import migrate
from .store.tables import shares

_KEYS = ("tracker.key", "tls.pem", "tls.key")
_LEAP = 1000
"""Added to snapshot and timestamp versions on restore: clients may have seen later ones than the backup has."""


class BackupRefused(Exception):
    """The backup can't be made or restored; nothing was changed."""


def back_up(data: Path, file: Path) -> None:
    """Write a backup of a data directory, which may be in use. Raises BackupRefused, OSError.

    The database is copied first: files that it names are on the disk before it names them, and stay for two days after
    nothing names them any more.
    """
    home = DataDir(data)
    if not home.database.exists():
        raise BackupRefused(f"there is no tracker in {data}")
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as out, tempfile.TemporaryDirectory(dir=file.absolute().parent) as temp:
        copy = Path(temp) / "tracker.db"
        source, target = sqlite3.connect(home.database), sqlite3.connect(copy)
        try:
            source.backup(target)
        finally:
            source.close()
            target.close()
        with tarfile.open(fileobj=out, mode="w") as archive:
            archive.add(copy, "tracker.db")
            for name in _KEYS:
                if (home.root / name).exists():
                    archive.add(home.root / name, name)
            for path in sorted(home.blobs.rglob("*")):
                if path.is_file() and not path.name.startswith("."):
                    _add_if_there(archive, path, path.relative_to(home.root))
        out.flush()
        os.fsync(out.fileno())


def restore(data: Path, file: Path) -> None:
    """Unpack a backup into an empty or new data directory. Raises BackupRefused, OSError, tarfile.TarError."""
    if data.exists() and any(data.iterdir()):
        raise BackupRefused(f"{data} is not empty")
    home = DataDir(data)
    with tarfile.open(file) as archive:
        members = archive.getmembers()
        for member in members:
            path = PurePosixPath(member.name)
            known = member.name in ("tracker.db", *_KEYS) or path.parts[:1] == ("blobs",)
            if not member.isfile() or not known or ".." in path.parts or path.is_absolute():
                raise BackupRefused(f"{file} is no backup of a tracker")
        if "tracker.db" not in {member.name for member in members}:
            raise BackupRefused(f"{file} is no backup of a tracker")
        for member in members:
            _unpack(archive, member, home.root / member.name)
    for directory in (path for path in home.root.rglob("*") if path.is_dir()):
        directory.chmod(0o700)
    engine = open_engine_once(home.database)
    migrate(engine)
    with engine.connect() as connection, connection.begin():
        connection.execute(
            update(shares).values(
                snapshot_version=shares.c.snapshot_version + _LEAP,
                timestamp_version=shares.c.timestamp_version + _LEAP,
                snapshot_expires=0,
                timestamp_expires=0,
            )
        )
    engine.dispose()


def _unpack(archive: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> None:
    """Its bytes alone, private to this user: Python before 3.11.4 has no filter that sees to that."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    source = archive.extractfile(member)
    assert source is not None, "a regular file"
    with source, os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
        shutil.copyfileobj(source, out)


def _add_if_there(archive: tarfile.TarFile, path: Path, name: Path) -> None:
    try:
        archive.add(path, str(name))
    except FileNotFoundError:
        return  # a timestamp that was replaced meanwhile, and restoring signs a new one, or what nothing named for days
