"""Snapshots of saves beside the saves: where they lie, taking them, and letting go of them. Blocks on the disk."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path
from typing import Final

from p2pckpt.daemon.run_book import SaveRecord
from p2pckpt.jobs import saves

_PLACE: Final = ".p2pckpt"
"""Directory beside the saves, on their filesystem. Trainers look for names of their own."""
_GONE: Final = ".gone"


class Snapshots:
    """Those of one daemon: ``token`` keeps them apart from those of another that publishes from the same directory."""

    def __init__(self, token: str) -> None:
        self._token = token

    def take(self, record: SaveRecord, save: saves.Save) -> Path:
        """Link a save aside; the directory to publish. Raises what ``saves.take`` does, and leaves nothing then."""
        place = self._place(record)
        try:
            return saves.take(save, place if record.single else place / save.name)
        except BaseException:
            self.let_go(record)
            raise

    def let_go(self, record: SaveRecord) -> None:
        """Delete a save's snapshot: nothing but links to what the trainer wrote, mostly. None is fine."""
        place = self._place(record)
        gone = place.with_name(place.name + _GONE)
        with suppress(OSError):  # by another name first: nobody may take half of it for a save
            place.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)
        with suppress(OSError):
            place.parent.rmdir()

    def _place(self, record: SaveRecord) -> Path:
        return Path(record.row.path).parent / _PLACE / f"save-{self._token}-{record.id}"
