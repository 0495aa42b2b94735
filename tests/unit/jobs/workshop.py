"""A store to pack into and unpack from, without daemon, tracker or swarm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from p2pckpt.checkpoint.manifest import (
    ChunkTable,
    Manifest,
    ObjectTable,
    TorrentEntry,
    u32,
    u64,
)
from p2pckpt.control.messages import Job, JobKind, JobState
from p2pckpt.jobs.delta_base import DeltaBase
from p2pckpt.jobs.packing import Packed, Packer
from p2pckpt.jobs.progress import Progress
from p2pckpt.jobs.scanning import scan
from p2pckpt.jobs.unpacking import Unpacker
from p2pckpt.store.catalogue import Catalogue
from p2pckpt.store.layout import StoreLayout
from p2pckpt.store.objects import ObjectReader
from p2pckpt.trust.sealing import EpochKeys, FrameSealer
from tests.unit.checkpoint.test_manifest import empty_body

SHARE = b"s" * 32
KEYS = EpochKeys(2, b"v" * 32, b"c" * 32)


def new_progress(changed: Any = lambda job_id: None, **fields: Any) -> Progress:
    """The progress of a job that nobody looks at."""
    plain: dict[str, Any] = {
        "id": "j1", "kind": JobKind.PUBLISH, "state": JobState.RUNNING, "share_id": "", "share": "", "version": 0,
        "version_name": "", "publisher": "", "path": "",
    }  # fmt: skip
    return Progress(Job(**(plain | fields)), changed)


class Workshop:
    """One store. ``close`` it."""

    def __init__(self, root: Path) -> None:
        self.layout = StoreLayout(root)
        self.layout.create()
        self.catalogue = Catalogue(self.layout.catalogue)
        self.objects = ObjectReader(self.layout)
        self.pool = ThreadPoolExecutor(2)

    def close(self) -> None:
        self.pool.shutdown()
        self.objects.close()
        self.catalogue.close()

    def packer(
        self,
        *,
        version: int = 1,
        keys: EpochKeys | None = KEYS,
        share: bytes = SHARE,
        progress: Progress | None = None,
        base: Manifest | None = None,
    ) -> Packer:
        return Packer(
            layout=self.layout,
            catalogue=self.catalogue,
            share_id=share,
            sealer=FrameSealer(keys.content, share, version) if keys is not None else None,
            sealed_version=version,
            sealed_epoch=keys.epoch if keys is not None else 0,
            pool=self.pool,
            workers=2,
            progress=progress or new_progress(),
            base=DeltaBase(base, self.unpacker(base)) if base is not None else None,
        )

    def pack(self, directory: Path, **options: Any) -> Packed:
        return self.packer(**options).run(scan(directory).files)

    def unpacker(self, manifest: Manifest, keys: Mapping[int, EpochKeys] | None = None) -> Unpacker:
        by_epoch = dict(keys if keys is not None else {KEYS.epoch: KEYS})
        return Unpacker(manifest, by_epoch, self.objects, partial(self.catalogue.locate, SHARE))

    def packing_files(self) -> list[str]:
        return [path.name for path in self.layout.packing.iterdir()]


def manifest_of_packed(
    packed: Packed, *, version: int = 1, share: bytes = SHARE, directories: Sequence[str] = (), **fields: Any
) -> Manifest:
    """The manifest that describes what was packed; its own torrent carries everything."""
    numbers = {chunk.id: number for number, chunk in enumerate(packed.chunks, start=1)}
    body = empty_body(
        share_id=share,
        version=version,
        files=tuple(packed.files),
        directories=tuple(directories),
        sequence=u32(packed.sequence),
        tensors=tuple(packed.tensors),
        chunks=ChunkTable(
            ids=b"".join(chunk.id for chunk in packed.chunks),
            raw_lengths=u32([chunk.raw_length for chunk in packed.chunks]),
            objects=u32([chunk.object for chunk in packed.chunks]),
            offsets=u64([chunk.offset for chunk in packed.chunks]),
            lengths=u32([chunk.length for chunk in packed.chunks]),
            bases=u32([numbers[chunk.base] if chunk.base else 0 for chunk in packed.chunks]),
        ),
        objects=ObjectTable(
            roots=b"".join(made.root for made in packed.objects),
            lengths=u64([made.length for made in packed.objects]),
            torrents=u32([0] * len(packed.objects)),
            sealed_versions=u32([made.sealed_version for made in packed.objects]),
            sealed_epochs=u32([made.sealed_epoch for made in packed.objects]),
        ),
        torrents=(TorrentEntry(b"", version),),
        **fields,
    )
    return Manifest(body)


def unpacked(workshop: Workshop, manifest: Manifest, keys: Mapping[int, EpochKeys] | None = None) -> dict[str, bytes]:
    """Every file of a version, from its frames."""
    unpacker = workshop.unpacker(manifest, keys)
    return {
        file.path: b"".join(bytes(unpacker.chunk(chunk)) for chunk in manifest.chunks_of(file).tolist())
        for file in manifest.body.files
    }
