"""The version that others are deltas to: which chunk of it a piece of a tensor is compared with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from p2pckpt.checkpoint.formats.layout import TensorInfo
from p2pckpt.checkpoint.manifest import Manifest, TensorEntry
from p2pckpt.jobs.unpacking import Unpacker


@dataclass(frozen=True, slots=True)
class BaseChunk:
    """A chunk that a delta may be made to."""

    chunk: bytes
    """Its id."""
    frame_length: int
    """Bytes of its own frame: about what a whole frame of its successor would have."""
    raw: Callable[[], memoryview]
    """Its bytes, valid until the calling thread's next call. Raises what ``Unpacker.chunk`` does."""


class DeltaBase:
    """One version's tensors by name. Thread-safe."""

    def __init__(self, manifest: Manifest, unpacker: Unpacker) -> None:
        self._manifest = manifest
        self._unpacker = unpacker
        self._tensors: dict[str, TensorEntry | None] = {}
        for tensor in manifest.body.tensors:
            # a name in two files says too little to choose by
            self._tensors[tensor.name] = None if tensor.name in self._tensors else tensor
        self._chunks = {(number, offset): chunk for number, offset, chunk in manifest.places()}

    def find(self, tensor: TensorInfo, position: int, length: int) -> BaseChunk | None:
        """What to compare ``length`` bytes at ``position`` of a tensor of that name, shape and type with."""
        before = self._tensors.get(tensor.name)
        if before is None or (before.dtype, before.shape) != (tensor.dtype, tensor.shape):
            return None
        chunk = self._chunks.get((before.file, before.offset + position))
        if chunk is None or self._manifest.bases[chunk] or int(self._manifest.raw_lengths[chunk]) != length:
            return None
        return BaseChunk(
            self._manifest.chunk_id(chunk),
            int(self._manifest.frame_lengths[chunk]),
            lambda: self._unpacker.chunk(chunk),
        )
