"""Signed files and uploads as files below one directory; nothing else names paths in there.

A file appears whole or not at all, and is on the disk before the database refers to it.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import IO

from p2pckpt.tracker_protocol import BlobKind

_TEMP_PREFIX = ".new-"
_NAME = re.compile("[0-9a-f]{64}")


def upload_of(kind: BlobKind, name: str) -> str:
    """How a manifest, torrent or card of a share is named: by text, of which many thousands cost no pause."""
    return f"{kind.value}/{name}"


class Blobs:
    """Callers pass checked names only: share ids and blob names in hex, TUF file names made by the tracker."""

    def __init__(self, root: Path) -> None:
        self._root = root
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        for leftover in root.rglob(_TEMP_PREFIX + "*"):  # of a process that died while writing
            leftover.unlink(missing_ok=True)

    def upload_path(self, share_id: str, upload: str) -> Path:
        """Where it lies or would lie."""
        return self._root / share_id / upload

    def uploads(self, share_id: str) -> set[str]:
        """All that is here of a share. Raises OSError."""
        found = set[str]()
        for kind in BlobKind:
            with contextlib.suppress(FileNotFoundError), os.scandir(self._root / share_id / kind.value) as entries:
                found.update(upload_of(kind, entry.name) for entry in entries if _NAME.fullmatch(entry.name))
        return found

    def delete_uploads(self, share_id: str, uploads: Iterable[str]) -> None:
        """One that is gone already is fine. Raises OSError."""
        for upload in uploads:
            self.upload_path(share_id, upload).unlink(missing_ok=True)

    def metadata_path(self, share_id: str, file: str) -> Path:
        """Where a TUF file lies; ``timestamp.json`` is stored numbered like the others."""
        return self._root / share_id / "metadata" / file

    def write_metadata(self, share_id: str, file: str, data: bytes) -> None:
        """Write or replace one TUF file. Raises OSError."""
        path = self.metadata_path(share_id, file)
        temp = self.open_temp(share_id)
        try:
            temp.write(data)
        except BaseException:
            self.discard(temp)
            raise
        self.place(temp, path)

    def remove_metadata(self, share_id: str, file: str) -> None:
        """Delete a snapshot or timestamp that newer ones replaced; one that is gone already is fine."""
        self.metadata_path(share_id, file).unlink(missing_ok=True)

    def metadata_files(self, share_id: str, prefix: str) -> list[Path]:
        """The files beside a share's TUF files whose names begin like this, sorted."""
        return sorted((self._root / share_id / "metadata").glob(prefix + "*"))

    def open_temp(self, share_id: str) -> IO[bytes]:
        """A new file beside its later place; ends in ``place`` or ``discard``. Raises OSError."""
        directory = self._root / share_id
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = directory / (_TEMP_PREFIX + secrets.token_hex(8))
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        # Named by path, not by descriptor: discard and place need the name.
        file = path.open("r+b")
        os.close(descriptor)
        return file

    def place(self, temp: IO[bytes], path: Path) -> None:
        """Make a written temporary file durable under its final name. Raises OSError, then it is discarded."""
        try:
            temp.flush()
            os.fsync(temp.fileno())
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            Path(temp.name).replace(path)
            temp.close()
            for directory in (path.parent, path.parent.parent, self._root):
                _sync(directory)
        except BaseException:
            self.discard(temp)
            raise

    def discard(self, temp: IO[bytes]) -> None:
        """Drop a temporary file."""
        with contextlib.suppress(OSError):
            temp.close()
        with contextlib.suppress(OSError):
            Path(temp.name).unlink(missing_ok=True)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
