"""Where things lie in the store: the only code that names its paths."""

from __future__ import annotations

from pathlib import Path
from typing import Final

CATALOGUE: Final = "catalogue.db"


class StoreLayout:
    """Paths below one store directory.

    ``objects/ab/ab12…`` an object, named by its BEP 52 root (partial ones too: the catalogue knows which pieces
    count) · ``torrents/INFOHASH/{manifest,torrent}`` what a torrent needs besides its objects · ``trust/SHARE/``
    signed files · ``packing/`` objects being written.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def create(self) -> None:
        """Make the directories; nobody else may look into them."""
        for directory in (self.root, self.objects, self.torrents, self.trust, self.packing):
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)

    @property
    def objects(self) -> Path:
        return self.root / "objects"

    @property
    def torrents(self) -> Path:
        return self.root / "torrents"

    @property
    def trust(self) -> Path:
        return self.root / "trust"

    @property
    def packing(self) -> Path:
        return self.root / "packing"

    @property
    def catalogue(self) -> Path:
        return self.root / CATALOGUE

    def object(self, root: bytes) -> Path:
        name = root.hex()
        return self.objects / name[:2] / name

    def manifest(self, info_hash: bytes) -> Path:
        return self.torrents / info_hash.hex() / "manifest"

    def torrent(self, info_hash: bytes) -> Path:
        return self.torrents / info_hash.hex() / "torrent"

    def trusted_files(self, share_id: bytes) -> Path:
        return self.trust / share_id.hex()
