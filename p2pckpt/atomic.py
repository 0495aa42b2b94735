"""Writing files so that a crash or power cut leaves the old content or the new, never something between."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Final

from p2pckpt.errors import NotAllowed

PARTIAL: Final = ".p2pckpt-partial"
"""How names of what is not finished end: none of it is published, should a crash leave it behind."""


def write(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Replace ``path`` by ``data``: temporary file beside it, fsync, rename, fsync of the directory."""
    temporary = _temporary(path, data, mode)
    try:
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def write_new(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """As ``write``, but raises ``FileExistsError`` when ``path`` is taken, whoever was first."""
    temporary = _temporary(path, data, mode)
    try:
        os.link(temporary, path)
    finally:
        temporary.unlink()
    sync_directory(path.parent)


def write_whole(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """``write`` that makes the directory too; ``NotAllowed`` when the system refuses."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path, data, mode=mode)
    except OSError as exc:
        raise NotAllowed(f"{path} cannot be written: {exc.strerror}", kept="what was there before") from exc


def sync_file(path: Path) -> None:
    """Make the content of a file that somebody else wrote durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_directory(directory: Path) -> None:
    """Make renames and new names in ``directory`` durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _temporary(path: Path, data: bytes, mode: int) -> Path:
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name[:64]}.", suffix=PARTIAL, dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as sink:
            os.fchmod(sink.fileno(), mode)
            sink.write(data)
            sink.flush()
            os.fsync(sink.fileno())
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return temporary
