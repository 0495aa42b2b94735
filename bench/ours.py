"""``python -m bench.ours pack|restore STORE DIRECTORY [--loose]``: publishing and fetching without daemon and swarm.

Packs a directory into a new store with the parts that the daemon uses, sealed, and leaves the manifest beside it; or
decodes every chunk of that manifest, each checked against its BLAKE3, into a checkout. Two threads. ``--loose`` leaves
out every fsync of our own, for comparing with programs that have none.
"""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from p2pckpt.checkpoint import manifest as mf
from p2pckpt.control.messages import Job, JobKind, JobState
from p2pckpt.jobs.packing import Packed, Packer
from p2pckpt.jobs.progress import Progress
from p2pckpt.jobs.scanning import scan
from p2pckpt.jobs.unpacking import Unpacker
from p2pckpt.store.catalogue import Catalogue
from p2pckpt.store.checkout import PartialCheckout
from p2pckpt.store.layout import StoreLayout
from p2pckpt.store.objects import ObjectReader
from p2pckpt.trust.sealing import EpochKeys, FrameSealer

_THREADS = 2
_BATCH = 64 << 20
"""Raw bytes that are made durable together."""
_SHARE = b"s" * 32
_KEYS = EpochKeys(1, b"v" * 32, b"c" * 32)


def main() -> None:
    work, store, directory = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    if "--loose" in sys.argv:
        os.fsync = os.fdatasync = _left_out
    {"pack": _pack, "restore": _restore}[work](store, directory)


def _left_out(fd: Any) -> None:
    """In place of an fsync."""


def _pack(store: Path, directory: Path) -> None:
    layout = StoreLayout(store)
    layout.create()
    catalogue = Catalogue(layout.catalogue)
    job = Job("bench", JobKind.PUBLISH, JobState.RUNNING, "", "", 0, "", "", "")
    with ThreadPoolExecutor(_THREADS) as pool:
        packer = Packer(
            layout=layout,
            catalogue=catalogue,
            share_id=_SHARE,
            sealer=FrameSealer(_KEYS.content, _SHARE, 1),
            sealed_version=1,
            sealed_epoch=_KEYS.epoch,
            pool=pool,
            workers=_THREADS,
            progress=Progress(job, lambda _id: None),
        )
        packed = packer.run(scan(directory).files)
    catalogue.close()
    _manifest(store).write_bytes(mf.pack(_body(packed)))


def _restore(store: Path, directory: Path) -> None:
    manifest = mf.unpack(_manifest(store).read_bytes())
    objects = ObjectReader(StoreLayout(store))
    unpacker = Unpacker(manifest, {_KEYS.epoch: _KEYS}, objects)
    checkout = PartialCheckout(directory, manifest, "bench", range(len(manifest.body.files)), ())
    checkout.open()
    places = list(manifest.places())

    def place(number: int) -> int:
        file, offset, chunk = places[number]
        raw = unpacker.chunk(chunk)
        checkout.write(file, offset, raw)
        return len(raw)

    with ThreadPoolExecutor(_THREADS) as pool, ThreadPoolExecutor(1) as disk:
        # as fetching does: a batch is made durable while the next one is decoded
        begun, size, syncing = 0, 0, disk.submit(lambda: None)
        for number, length in enumerate(pool.map(place, range(len(places)))):
            size += length
            if size >= _BATCH:
                syncing.result()
                syncing, begun, size = disk.submit(checkout.sync, range(begun, number + 1)), number + 1, 0
        syncing.result()
        checkout.sync(range(begun, len(places)))
    checkout.finish(set())
    objects.close()


def _body(packed: Packed) -> mf.Body:
    """The manifest of a version that its own torrent carries whole."""
    chunks, objects = packed.chunks, packed.objects
    return mf.Body(
        format=mf.FORMAT,
        share_id=_SHARE,
        version=1,
        name="",
        created_at=0,
        publisher=bytes(32),
        encoder="bench",
        parent=0,
        files=tuple(packed.files),
        directories=(),
        sequence=mf.u32(packed.sequence),
        tensors=tuple(packed.tensors),
        chunks=mf.ChunkTable(
            ids=b"".join(chunk.id for chunk in chunks),
            raw_lengths=mf.u32([chunk.raw_length for chunk in chunks]),
            objects=mf.u32([chunk.object for chunk in chunks]),
            offsets=mf.u64([chunk.offset for chunk in chunks]),
            lengths=mf.u32([chunk.length for chunk in chunks]),
            bases=mf.u32([0] * len(chunks)),
        ),
        objects=mf.ObjectTable(
            roots=b"".join(each.root for each in objects),
            lengths=mf.u64([each.length for each in objects]),
            torrents=mf.u32([0] * len(objects)),
            sealed_versions=mf.u32([each.sealed_version for each in objects]),
            sealed_epochs=mf.u32([each.sealed_epoch for each in objects]),
        ),
        torrents=(mf.TorrentEntry(b"", 1),),
        metrics={},
        step=None,
        tags=(),
        card=b"",
        licence="",
        base_model=(),
        findings=(),
    )


def _manifest(store: Path) -> Path:
    return store.with_name(f"{store.name}.manifest")


if __name__ == "__main__":
    main()
