"""What tensors the files of a directory hold, also where only another file of it tells.

The shards of a distributed checkpoint are rows of archives without names; the ``.metadata`` beside them has those.
"""

from __future__ import annotations

from collections.abc import Sequence

from p2pckpt.checkpoint.formats import ByteSource, FileLayout, inspect
from p2pckpt.checkpoint.formats.dcp import (
    METADATA,
    SHARD,
    DcpItem,
    DcpMetadata,
    is_metadata,
    read_layout,
    read_metadata,
)
from p2pckpt.checkpoint.formats.layout import Malformed
from p2pckpt.checkpoint.formats.pickle_walk import MAX_BYTES, PickleUnreadable
from p2pckpt.jobs.safety import open_source
from p2pckpt.jobs.scanning import ScannedFile


class Layouts:
    """Layouts of the files of one scan. ``of`` may be called from one thread at a time."""

    def __init__(self, files: Sequence[ScannedFile]) -> None:
        self._metadata = {file.path: file for file in files if is_metadata(file.path)}
        self._read: dict[str, tuple[DcpMetadata, dict[str, list[DcpItem]]] | None] = {}

    def of(self, path: str, source: ByteSource) -> FileLayout:
        """The layout of the file at ``path`` in the scan, as ``inspect`` says it where no other file says more."""
        if path.endswith(SHARD):
            parent, slash, name = path.rpartition("/")
            rank = name.removeprefix("__").partition("_")[0]
            for metadata in (METADATA, f"__{rank}{METADATA}"):  # the latter where ranks saved without each other
                if (found := self._shard(parent + slash + metadata, name, source)) is not None:
                    return found
        return inspect(source)

    def _shard(self, metadata: str, name: str, source: ByteSource) -> FileLayout | None:
        if metadata not in self._read:
            self._read[metadata] = self._read_metadata(metadata)
        read = self._read[metadata]
        if read is None or name not in read[1]:
            return None
        try:
            return read_layout(read[0], read[1][name], source)
        except Malformed:
            return None

    def _read_metadata(self, path: str) -> tuple[DcpMetadata, dict[str, list[DcpItem]]] | None:
        if path not in self._metadata:
            return None
        with open_source(self._metadata[path].location) as source:
            if source.size > MAX_BYTES:
                return None
            try:
                metadata = read_metadata(source.read(0, source.size))
            except (Malformed, PickleUnreadable):
                return None
        return metadata, metadata.by_file()
