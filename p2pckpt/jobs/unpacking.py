"""Unpacking: from a frame in the store to verified raw bytes. Runs in worker threads, into reused buffers."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from blake3 import blake3

from p2pckpt.checkpoint.codec import frame as codec
from p2pckpt.checkpoint.manifest import Manifest
from p2pckpt.errors import NotAllowed, VerificationFailed
from p2pckpt.store.catalogue import ChunkLocation
from p2pckpt.store.objects import ObjectReader
from p2pckpt.trust.sealing import EpochKeys, FrameSealer

_FRAME_SLACK: Final = 4096
"""Bytes by which a sealed frame can be longer than its chunk, and more: what claims more is not even read."""


@dataclass(frozen=True, slots=True)
class FramePlace:
    """A frame, wherever it lies."""

    root: bytes
    offset: int
    length: int
    raw_length: int
    sealed_version: int
    sealed_epoch: int
    chunk: bytes
    share: bytes
    """Whose keys it is sealed with."""


class Unpacker:
    """Opens, decodes and checks the chunks of one version."""

    def __init__(
        self,
        manifest: Manifest,
        keys: dict[int, EpochKeys],
        objects: ObjectReader,
        locate: Callable[[bytes], ChunkLocation | None] = lambda chunk: None,
    ) -> None:
        """``locate`` says where the store has a chunk: the base of a delta may lie elsewhere than the manifest says."""
        self._manifest = manifest
        self._locate = locate
        self._share = manifest.body.share_id
        self._keys = {self._share: keys}
        self._objects = objects
        self._sealers: dict[tuple[bytes, int, int], FrameSealer] = {}
        self._buffers = threading.local()

    def know(self, share: bytes, keys: dict[int, EpochKeys]) -> None:
        """Keys of another share, whose frames may stand in for this version's."""
        self._keys[share] = keys

    def chunk(self, index: int, stored: ChunkLocation | None = None, share: bytes = b"") -> memoryview:
        """Raw bytes of chunk ``index``, equal to its BLAKE3; valid until this thread's next call.

        ``stored`` says where the store has it, if that is elsewhere than the manifest says; ``share`` of which share
        that frame is, if of another. Raises ``VerificationFailed``, naming file and chunk, for anything that is not
        what was signed.
        """
        place = self._place(index, stored, share)
        base = int(self._manifest.bases[index]) if stored is None or stored.delta else 0
        try:
            return self._chunk(place, base)
        except VerificationFailed as exc:
            raise VerificationFailed(
                f"chunk {place.chunk.hex()[:12]}{self._file_of(index)} in object {place.root.hex()[:12]}: {exc.fact}",
                next_step=exc.next_step or "p2pckpt verify --repair",
            ) from exc

    def _chunk(self, place: FramePlace, base: int) -> memoryview:
        if not base:
            return self._unpack(place, self._buffer("chunk", place.raw_length), None)
        known = self._locate(self._manifest.chunk_id(base - 1))
        base_place = self._place(base - 1, None if known is None or known.delta else known)
        base_raw = self._unpack(base_place, self._buffer("base", base_place.raw_length), None)
        return self._unpack(place, self._buffer("chunk", place.raw_length), base_raw)

    def _place(self, index: int, stored: ChunkLocation | None, share: bytes = b"") -> FramePlace:
        manifest = self._manifest
        if stored is not None:
            return _stored_place(stored, manifest.chunk_id(index), share or self._share)
        number = int(manifest.chunk_objects[index])
        return FramePlace(
            manifest.root(number),
            int(manifest.frame_offsets[index]),
            int(manifest.frame_lengths[index]),
            int(manifest.raw_lengths[index]),
            int(manifest.sealed_versions[number]),
            int(manifest.sealed_epochs[number]),
            manifest.chunk_id(index),
            self._share,
        )

    def _unpack(self, place: FramePlace, raw: memoryview, base: memoryview | None) -> memoryview:
        if place.length > place.raw_length + _FRAME_SLACK:
            raise VerificationFailed("its frame is longer than that of such a chunk can be")
        frame = self._buffer("frame", place.length)
        self._objects.read_into(place.root, place.offset, frame)
        codec.decode_into(self._sealer(place).open_in_place(frame) if place.sealed_epoch else frame, raw, base)
        if blake3(raw).digest() != place.chunk:
            raise VerificationFailed("it decodes to other bytes")
        return raw

    def _file_of(self, index: int) -> str:
        """The first file that the chunk belongs to, in words."""
        for use in np.flatnonzero(self._manifest.sequence == index)[:1]:
            for file in self._manifest.body.files:
                if file.first <= use < file.first + file.count:
                    return f" of {file.path}"
        return ""

    def _sealer(self, place: FramePlace) -> FrameSealer:
        which = (place.share, place.sealed_version, place.sealed_epoch)
        if which not in self._sealers:
            keys = self._keys[place.share].get(place.sealed_epoch)
            if keys is None or not keys.content:
                raise NotAllowed(
                    "the content key was not given to this machine: you may view this share, not download it",
                    next_step="ask an owner for the downloader role",
                )
            self._sealers[which] = FrameSealer(keys.content, place.share, place.sealed_version)
        return self._sealers[which]

    def _buffer(self, purpose: str, length: int) -> memoryview:
        """This thread's buffer, grown when needed: fresh pages for every chunk would cost more than decoding."""
        buffer: bytearray | None = getattr(self._buffers, purpose, None)
        if buffer is None or len(buffer) < length:
            buffer = bytearray(max(length, 4 << 20))
            setattr(self._buffers, purpose, buffer)
        return memoryview(buffer)[:length]


def _stored_place(stored: ChunkLocation, chunk: bytes, share: bytes) -> FramePlace:
    return FramePlace(
        stored.root,
        stored.offset,
        stored.length,
        stored.raw_length,
        stored.sealed_version,
        stored.sealed_epoch,
        chunk,
        share,
    )
