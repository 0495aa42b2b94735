"""Packing: files in, chunks and objects out, in one pass over the input.

Workers take chunks from their bytes to their sealed frames (``encoding``). The packer hands them out in file order and
takes results in the same order, hashes the files, and appends frames to objects, which threads of their own write,
hash and make durable. What a crash leaves behind is found again by the look-up: every finished object is committed to
the catalogue as soon as it is durable.
"""

from __future__ import annotations

import hashlib
import os
import queue
import uuid
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from mmap import mmap
from types import TracebackType
from typing import Final

from p2pckpt.checkpoint.chunking import Cut, cuts
from p2pckpt.checkpoint.formats.layout import TensorInfo
from p2pckpt.checkpoint.manifest import FileEntry, TensorEntry
from p2pckpt.checkpoint.pieces import PieceSet
from p2pckpt.checkpoint.plan import OBJECT_TARGET
from p2pckpt.errors import ChangedWhileReading, Conflict, P2pckptError, disk_error
from p2pckpt.jobs.delta_base import DeltaBase
from p2pckpt.jobs.encoding import Encoded, Encoder, Memories, Memory, units
from p2pckpt.jobs.layouts import Layouts
from p2pckpt.jobs.progress import Progress
from p2pckpt.jobs.scanning import ScannedFile
from p2pckpt.store.catalogue import Catalogue, ObjectRow
from p2pckpt.store.layout import StoreLayout
from p2pckpt.store.objects import ObjectWriter
from p2pckpt.trust.sealing import FrameSealer

_IN_FLIGHT: Final = 8 << 20
_IN_FLIGHT_A_WORKER: Final = 8 << 20
"""Raw bytes handed to workers and not taken back: bounds memory whatever the chunk size."""
_COMMITTERS: Final = 2
_MAX_COMMITS: Final = 4
"""Objects being written and fsynced while packing goes on…"""
_OBJECTS_IN_MEMORY: Final = 2
"""…of which so many are in memory, the one being filled included: fsync needs none."""


@dataclass(slots=True)
class PackedChunk:
    """A distinct chunk of this version. ``object`` indexes ``Packed.objects``; -1 until its frame is placed."""

    id: bytes
    raw_length: int
    object: int = -1
    offset: int = 0
    length: int = 0
    base: bytes = b""
    """The chunk that its frame is a delta to; empty for a frame that stands alone."""


@dataclass(slots=True)
class PackedObject:
    """An object this version needs: new (``root`` empty until finished) or reused."""

    root: bytes = b""
    length: int = 0
    sealed_version: int = 0
    sealed_epoch: int = 0
    reused: bool = False


@dataclass(slots=True)
class Packed:
    files: list[FileEntry] = field(default_factory=list)
    sequence: list[int] = field(default_factory=list)
    tensors: list[TensorEntry] = field(default_factory=list)
    chunks: list[PackedChunk] = field(default_factory=list)
    objects: list[PackedObject] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    new_size: int = 0
    """Raw bytes of chunks that were not there before."""


class FileSource:
    """A file as the checkpoint core reads it. Raises ``ChangedWhileReading`` when it is shorter than it was."""

    def __init__(self, file: ScannedFile) -> None:
        self.size = file.size
        self._file = file
        try:
            self._descriptor = os.open(file.location, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as exc:
            raise P2pckptError(f"{file.location} can't be read: {exc.strerror}") from exc

    def __enter__(self) -> FileSource:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        os.close(self._descriptor)

    def read(self, offset: int, length: int) -> bytes:
        try:
            data = os.pread(self._descriptor, length, offset)
        except OSError as exc:
            raise P2pckptError(f"{self._file.location} can't be read: {exc.strerror}") from exc
        if len(data) != length:
            raise changed(self._file)
        return data

    def read_into(self, offset: int, out: memoryview) -> None:
        """As ``read``, into memory that exists."""
        try:
            count = os.preadv(self._descriptor, [out], offset)
        except OSError as exc:
            raise P2pckptError(f"{self._file.location} can't be read: {exc.strerror}") from exc
        if count != len(out):
            raise changed(self._file)


def changed(file: ScannedFile) -> ChangedWhileReading:
    return ChangedWhileReading(
        f"{file.location} changed while it was read",
        kept="nothing was published; what was packed is used again",
        next_step="wait until it is written, then share again",
    )


class Packer:
    """Packs the files of one version. ``run`` blocks; call it once, in a thread of its own."""

    def __init__(
        self,
        *,
        layout: StoreLayout,
        catalogue: Catalogue,
        share_id: bytes,
        sealer: FrameSealer | None,
        sealed_version: int,
        sealed_epoch: int,
        pool: ThreadPoolExecutor,
        workers: int,
        progress: Progress,
        base: DeltaBase | None = None,
    ) -> None:
        """``workers``: threads of ``pool``. With ``base`` tensors become deltas to it where that pays."""
        self._layout = layout
        self._catalogue = catalogue
        self._share_id = share_id
        self._sealed = (sealed_version, sealed_epoch) if sealer is not None else (0, 0)
        self._pool = pool
        self._progress = progress
        self._encoder = Encoder(layout, catalogue, share_id, sealer, base)
        self._memories = Memories(_IN_FLIGHT + workers * _IN_FLIGHT_A_WORKER)
        self._packed = Packed()
        self._index: dict[bytes, int] = {}
        self._reused: dict[bytes, int] = {}
        self._writer: ObjectWriter | None = None
        self._writer_object = 0
        """Where the object being filled stands in ``Packed.objects``: reused ones are appended meanwhile."""
        self._writer_chunks: list[PackedChunk] = []
        self._object_memory: queue.SimpleQueue[mmap | None] = queue.SimpleQueue()
        for _ in range(_OBJECTS_IN_MEMORY):
            self._object_memory.put(None)
        self._committers = ThreadPoolExecutor(_COMMITTERS, thread_name_prefix="objects")
        self._commits: deque[Future[None]] = deque()

    def run(self, files: Sequence[ScannedFile]) -> Packed:
        """Raises ``ChangedWhileReading``, ``NoSpace`` or ``Cancelled``; finished objects stay for the next try."""
        try:
            layouts = Layouts(files)
            for file in files:
                self._pack_file(file, layouts)
            self._close_object()
            self._name_bases()
            while self._commits:
                self._commits.popleft().result()
        except OSError as exc:
            raise disk_error(exc, self._layout.packing) from exc
        finally:
            # finished objects are worth keeping, and nothing may go on behind the caller's back
            self._committers.shutdown()
        return self._packed

    def _pack_file(self, file: ScannedFile, layouts: Layouts) -> None:
        packed = self._packed
        with FileSource(file) as source:
            layout = layouts.of(file.path, source)
            packed.warnings += [f"{file.path}: {text}" for text in layout.warnings]
            first, digest, covered = len(packed.sequence), hashlib.sha256(), 0
            for encoded in self._ordered(units(cuts(layout, source)), layout.tensors, source):
                digest.update(encoded.raw)
                covered += len(encoded.raw)
                packed.sequence.append(self._take(encoded))
                self._progress.checkpoint()
        if covered != file.size or not file.is_unchanged():
            raise changed(file)
        number = len(packed.files)
        packed.tensors += [TensorEntry(t.name, t.dtype, t.shape, number, t.offset, t.length) for t in layout.tensors]
        packed.files.append(
            FileEntry(
                file.path, file.size, file.executable, digest.digest(), layout.kind, first, len(packed.sequence) - first
            )
        )

    def _ordered(
        self, work: Iterable[list[Cut]], tensors: Sequence[TensorInfo], source: FileSource
    ) -> Iterator[Encoded]:
        """Every chunk in order, while workers are kept busy ahead. What is yielded lasts until the next one."""
        pending: deque[tuple[Memory, Future[list[Encoded]]]] = deque()
        try:
            for unit in work:
                length = sum(cut.length for cut in unit)
                while (memory := self._memories.take(length)) is None:
                    yield from self._results(pending)
                pending.append((memory, self._pool.submit(self._encoder.encode, source, tensors, unit, memory)))
            while pending:
                yield from self._results(pending)
        finally:
            # the file must stay open until nobody reads from it any more
            for _, future in pending:
                if not future.cancel():
                    future.exception()

    def _results(self, pending: deque[tuple[Memory, Future[list[Encoded]]]]) -> Iterator[Encoded]:
        memory, future = pending.popleft()
        yield from future.result()
        self._memories.give_back(memory)

    def _take(self, encoded: Encoded) -> int:
        """The chunk's number; its frame is placed, or found where it is."""
        index = self._index.get(encoded.chunk)
        done, reused, stored = len(encoded.raw), 0, 0
        if index is None:
            index = self._add(encoded.chunk, done)
            if encoded.frame is None and self._reuse(self._packed.chunks[index]):
                reused = done
        elif encoded.frame is None:
            reused = done
        if encoded.frame is not None:
            self._packed.chunks[index].base = encoded.base
            self._place(self._packed.chunks[index], encoded.frame)
            stored = len(encoded.frame)
        self._progress.add(done=done, reused=reused, wire_done=stored)
        return index

    def _add(self, chunk: bytes, length: int) -> int:
        index = self._index[chunk] = len(self._packed.chunks)
        self._packed.chunks.append(PackedChunk(chunk, length))
        return index

    def _reuse(self, chunk: PackedChunk) -> bool:
        """Point at the frame in the store. One that a later cut of this run will bring is placed then."""
        found = self._catalogue.locate(self._share_id, chunk.id)
        if found is None or found.delta:
            return False
        if found.root not in self._reused:
            self._reused[found.root] = len(self._packed.objects)
            self._packed.objects.append(
                PackedObject(found.root, found.object_length, found.sealed_version, found.sealed_epoch, reused=True)
            )
        chunk.object, chunk.offset, chunk.length = self._reused[found.root], found.offset, found.length
        return True

    def _name_bases(self) -> None:
        """Chunks that deltas need and no file has are part of the version, too."""
        for chunk in self._packed.chunks.copy():
            if chunk.base and chunk.base not in self._index:
                base = self._packed.chunks[self._add(chunk.base, chunk.raw_length)]
                if not self._reuse(base):
                    raise Conflict(
                        "the version that this one is a difference to is being removed from this machine",
                        kept="everything packed",
                        next_step="share again",
                    )

    def _place(self, chunk: PackedChunk, frame: memoryview) -> None:
        """Append the frame to the object being filled."""
        if self._writer is None:
            self._writer = ObjectWriter(self._layout, uuid.uuid4().hex, self._object_memory.get())
            self._writer_object = len(self._packed.objects)
            self._packed.objects.append(PackedObject(sealed_version=self._sealed[0], sealed_epoch=self._sealed[1]))
        chunk.object, chunk.length = self._writer_object, len(frame)
        chunk.offset = self._writer.append(frame)
        self._writer_chunks.append(chunk)
        self._packed.new_size += chunk.raw_length
        if self._writer.length >= OBJECT_TARGET:
            self._close_object()

    def _close_object(self) -> None:
        if self._writer is None:
            return
        writer, chunks, target = self._writer, self._writer_chunks, self._packed.objects[self._writer_object]
        self._writer, self._writer_chunks = None, []
        while len(self._commits) >= _MAX_COMMITS:
            self._commits.popleft().result()
        self._commits.append(self._committers.submit(self._commit, writer, chunks, target))

    def _commit(self, writer: ObjectWriter, chunks: list[PackedChunk], target: PackedObject) -> None:
        """In a committer: write the object, make it durable, then say so in the catalogue."""
        try:
            written = writer.finish()
        finally:
            self._object_memory.put(writer.release())
        row = ObjectRow(written.root, written.length, *self._sealed, PieceSet.full(written.length), written.piece_layer)
        try:
            written.commit()
            with self._catalogue.transaction():
                self._catalogue.record_object(row)
                self._catalogue.record_chunks(
                    self._share_id,
                    written.root,
                    ((c.id, c.offset, c.length, c.raw_length, bool(c.base)) for c in chunks),
                )
        except BaseException:
            written.temporary.unlink(missing_ok=True)
            if self._catalogue.object(written.root) is None:
                written.path.unlink(missing_ok=True)  # nobody would ever find it
            raise
        target.root, target.length = written.root, written.length
