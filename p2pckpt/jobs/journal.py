"""What arrived, written down: pieces of a version's objects that are durable here, and the chunks that they give.

Whatever the catalogue says is true after a power cut: objects are synced before it hears of their pieces.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from functools import partial

from p2pckpt.checkpoint.manifest import Manifest
from p2pckpt.checkpoint.pieces import PieceSet
from p2pckpt.jobs.services import Services
from p2pckpt.store.catalogue import ObjectRow
from p2pckpt.store.scrub import damaged_pieces
from p2pckpt.swarm.torrent import Torrent
from p2pckpt.trust.versions import VersionTarget


class Journal:
    """The catalogue as one version's receiver writes it. Every method blocks on the disk."""

    def __init__(self, services: Services, manifest: Manifest, torrents: Mapping[int, Torrent]) -> None:
        """``torrents`` are those of the version, by their number in the manifest."""
        self._layout = services.layout
        self._objects = services.objects
        self._catalogue = services.catalogue
        self._manifest = manifest
        self._layers = {file.root: file.piece_layer for torrent in torrents.values() for file in torrent.objects}

    def record_carriers(self, target: VersionTarget) -> None:
        """Before the first piece comes: who publishes on top of what arrived must know where the rest of it is."""
        manifest, own = self._manifest, bytes.fromhex(target.infohash)
        torrents = [(torrent.info_hash or own, torrent.version) for torrent in manifest.body.torrents]
        carried = enumerate(manifest.object_torrents.tolist())
        self._catalogue.record_carriers(
            manifest.body.share_id, [(manifest.root(index), *torrents[number]) for index, number in carried]
        )

    def recheck(self, index: int, pieces: Collection[int]) -> set[int]:
        """Note those of ``pieces`` that an earlier run received and did not live to note; returns them.

        Their hashes tell, and then they are made durable: a daemon that was killed loses what the engine had queued,
        not what arrived since the last batch.
        """
        row = self._empty(index)
        row.pieces.add(pieces)
        here = set(pieces) - damaged_pieces(self._layout.object(row.root), row, pieces)
        if here:
            self.sync([index])
            self.record({index: here}, [])
        return here

    def sync(self, objects: Iterable[int]) -> None:
        """Make what is in these objects' files durable."""
        for index in objects:
            self._objects.sync(self._manifest.root(index))

    def record(self, arrived: Mapping[int, Collection[int]], chunks: Iterable[int]) -> None:
        """Pieces (by object) that were synced, and chunks that were decoded and are made of durable pieces."""
        manifest, catalogue = self._manifest, self._catalogue
        by_object: dict[int, list[int]] = {}
        for chunk in chunks:
            by_object.setdefault(int(manifest.chunk_objects[chunk]), []).append(chunk)
        with catalogue.transaction():
            for index, pieces in arrived.items():
                row = catalogue.object(manifest.root(index)) or self._empty(index)
                row.pieces.add(pieces)
                catalogue.record_object(row)
            for index, members in by_object.items():
                catalogue.record_chunks(
                    manifest.body.share_id, manifest.root(index), map(partial(_chunk_row, manifest), members)
                )

    def _empty(self, index: int) -> ObjectRow:
        """An object of which nothing is here yet."""
        manifest, root = self._manifest, self._manifest.root(index)
        return ObjectRow(
            root,
            int(manifest.object_lengths[index]),
            int(manifest.sealed_versions[index]),
            int(manifest.sealed_epochs[index]),
            PieceSet(),
            self._layers[root],
        )


def _chunk_row(manifest: Manifest, chunk: int) -> tuple[bytes, int, int, int, bool]:
    return (
        manifest.chunk_id(chunk),
        int(manifest.frame_offsets[chunk]),
        int(manifest.frame_lengths[chunk]),
        int(manifest.raw_lengths[chunk]),
        bool(manifest.bases[chunk]),
    )
