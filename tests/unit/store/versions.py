"""Manifests of versions with given content, whose frames are the chunks themselves."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from blake3 import blake3

from p2pckpt.checkpoint.manifest import (
    ChunkTable,
    FileEntry,
    Manifest,
    ObjectTable,
    TensorEntry,
    TorrentEntry,
    u32,
    u64,
)
from tests.unit.checkpoint.test_manifest import empty_body


def manifest_of(
    files: Mapping[str, Sequence[bytes]],
    *,
    directories: Sequence[str] = (),
    executable: Sequence[str] = (),
    tensors: Sequence[TensorEntry] = (),
    kinds: Mapping[str, str] | None = None,
) -> Manifest:
    """A manifest of these files, each given as its chunks; equal chunks are one chunk. All lie in one object."""
    numbers: dict[bytes, int] = {}
    entries: list[FileEntry] = []
    sequence: list[int] = []
    for path, chunks in files.items():
        first = len(sequence)
        sequence += [numbers.setdefault(chunk, len(numbers)) for chunk in chunks]
        whole = b"".join(chunks)
        kind = (kinds or {}).get(path, "opaque")
        digest = hashlib.sha256(whole).digest()
        entries.append(FileEntry(path, len(whole), path in executable, digest, kind, first, len(chunks)))
    lengths = [len(chunk) for chunk in numbers]
    offsets = [sum(lengths[:number]) for number in range(len(lengths))]
    body = empty_body(
        files=tuple(entries),
        directories=tuple(directories),
        sequence=u32(sequence),
        tensors=tuple(tensors),
        chunks=ChunkTable(
            ids=b"".join(blake3(chunk).digest() for chunk in numbers),
            raw_lengths=u32(lengths),
            objects=u32([0] * len(lengths)),
            offsets=u64(offsets),
            lengths=u32(lengths),
            bases=u32([0] * len(lengths)),
        ),
        objects=ObjectTable(bytes(32), u64([sum(lengths)]), u32([0]), u32([0]), u32([0])),
        torrents=(TorrentEntry(b"", 1),),
    )
    return Manifest(body)
