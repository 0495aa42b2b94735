"""Files the command line writes itself: settings, a unit, a backup."""

from __future__ import annotations

from pathlib import Path

from p2pckpt import atomic
from p2pckpt.errors import NotAllowed


def write_whole(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """``atomic.write`` that makes the directory too; ``NotAllowed`` when the system refuses."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic.write(path, data, mode=mode)
    except OSError as exc:
        raise NotAllowed(f"{path} cannot be written: {exc.strerror}", kept="what was there before") from exc
