"""The version that others are deltas to: which it is, and which chunk of it a piece of a tensor is compared with."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from p2pckpt.checkpoint.formats.layout import TensorInfo
from p2pckpt.checkpoint.manifest import Manifest, TensorEntry
from p2pckpt.jobs.services import Services
from p2pckpt.jobs.unpacking import Unpacker
from p2pckpt.store.catalogue import KnownShare
from p2pckpt.trust.admission import TrustedShare

KEYFRAME_EVERY: Final = 8
"""Versions from one whole one to the next, at most: a new receiver fetches a whole one and a delta, never more."""


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


async def newest_whole(services: Services, share: KnownShare, trusted: TrustedShare) -> DeltaBase | None:
    """The newest version without deltas, if it is whole in this store and the next one may be a delta to it."""
    numbers = sorted(trusted.targets.versions, reverse=True)
    for number in numbers[: KEYFRAME_EVERY - 1]:
        manifest, _ = await services.shares.manifest(share, trusted, number)
        if manifest.bases.any():
            continue
        row = services.catalogue.version(share.share_id, number)
        if row is None or not row.held:
            return None
        locate = partial(services.catalogue.locate, share.share_id)
        unpacker = Unpacker(manifest, services.shares.keys(share, trusted), services.objects, locate)
        return await asyncio.to_thread(DeltaBase, manifest, unpacker)
    return None
