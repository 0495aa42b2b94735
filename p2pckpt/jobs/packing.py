"""Packing: files in, chunks and objects out, in one pass over the input.

Worker threads take one chunk each from its bytes to its sealed frame (BLAKE3, look-up, transform, compress, seal);
this thread hands chunks out in file order and takes results in the same order, hashes the files, and appends frames
to objects, whose Merkle trees grow as they are written. What a crash leaves behind is found again by the look-up:
every finished object is committed to the catalogue as soon as it is durable.
"""

from __future__ import annotations

import hashlib
import os
import threading
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final

from blake3 import blake3

from p2pckpt.checkpoint.chunking import Cut, cuts
from p2pckpt.checkpoint.codec import frame as codec
from p2pckpt.checkpoint.formats import inspect
from p2pckpt.checkpoint.manifest import FileEntry, TensorEntry
from p2pckpt.checkpoint.pieces import PieceSet
from p2pckpt.checkpoint.plan import OBJECT_TARGET
from p2pckpt.errors import ChangedWhileReading, P2pckptError, disk_error
from p2pckpt.jobs.progress import Progress
from p2pckpt.jobs.scanning import ScannedFile
from p2pckpt.store.catalogue import Catalogue, ObjectRow
from p2pckpt.store.layout import StoreLayout
from p2pckpt.store.objects import ObjectWriter, WrittenObject
from p2pckpt.trust.sealing import FrameSealer

_MAX_IN_FLIGHT: Final = 48 << 20
"""Raw bytes handed to workers and not taken back: bounds memory whatever the chunk size."""
_MAX_COMMITS: Final = 4
"""Objects being fsynced while packing goes on."""

Encode = Callable[[memoryview | bytes, str], bytes]


@dataclass(slots=True)
class PackedChunk:
    """A distinct chunk of this version. ``object`` indexes ``Packed.objects``; -1 until its frame is placed."""

    id: bytes
    raw_length: int
    object: int = -1
    offset: int = 0
    length: int = 0


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


def changed(file: ScannedFile) -> ChangedWhileReading:
    return ChangedWhileReading(
        f"{file.location} changed while it was read",
        kept="nothing was published; what was packed is used again",
        next_step="wait until it is written, then share again",
    )


class Packer:
    """Packs the files of one version. ``run`` blocks; call it in a thread of its own."""

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
        progress: Progress,
    ) -> None:
        self._layout = layout
        self._catalogue = catalogue
        self._share_id = share_id
        self._sealer = sealer
        self._sealed = (sealed_version, sealed_epoch) if sealer is not None else (0, 0)
        self._pool = pool
        self._progress = progress
        self._packed = Packed()
        self._index: dict[bytes, int] = {}
        self._reused: dict[bytes, int] = {}
        self._claimed: set[bytes] = set()
        self._claim_lock = threading.Lock()
        self._writer: ObjectWriter | None = None
        self._writer_object = 0
        """Where the object being written stands in ``Packed.objects``: reused ones are appended meanwhile."""
        self._writer_chunks: list[PackedChunk] = []
        self._commits: deque[Future[None]] = deque()

    def run(self, files: Sequence[ScannedFile]) -> Packed:
        """Raises ``ChangedWhileReading``, ``NoSpace`` or ``Cancelled``; finished objects stay for the next try."""
        try:
            for file in files:
                self._pack_file(file)
            self._close_object()
            while self._commits:
                self._commits.popleft().result()
        except OSError as exc:
            raise disk_error(exc, self._layout.packing) from exc
        finally:
            # finished objects are worth keeping, and nothing may go on behind the caller's back
            for commit in self._commits:
                commit.exception()
            if self._writer is not None:
                self._writer.discard()
        return self._packed

    def _pack_file(self, file: ScannedFile) -> None:
        packed = self._packed
        with FileSource(file) as source:
            layout = inspect(source)
            packed.warnings += [f"{file.path}: {text}" for text in layout.warnings]
            first, digest, covered = len(packed.sequence), hashlib.sha256(), 0
            for raw, chunk in self._ordered(cuts(layout, source), source):
                digest.update(raw)
                covered += len(raw)
                packed.sequence.append(chunk)
                self._progress.checkpoint()
                self._progress.add(done=len(raw))
        if covered != file.size or not file.is_unchanged():
            raise changed(file)
        number = len(packed.files)
        packed.tensors += [TensorEntry(t.name, t.dtype, t.shape, number, t.offset, t.length) for t in layout.tensors]
        packed.files.append(
            FileEntry(
                file.path, file.size, file.executable, digest.digest(), layout.kind, first, len(packed.sequence) - first
            )
        )

    def _ordered(self, cut_list: Iterator[Cut], source: FileSource) -> Iterator[tuple[bytes | memoryview, int]]:
        """(raw bytes, chunk index) of every cut in order, while workers are kept busy ahead."""
        pending: deque[tuple[Cut, Future[_Worked]]] = deque()
        in_flight = 0
        try:
            for cut in cut_list:
                while pending and in_flight + cut.length > _MAX_IN_FLIGHT:
                    taken, future = pending.popleft()
                    in_flight -= taken.length
                    yield self._take(future.result())
                pending.append((cut, self._pool.submit(self._work, source, cut)))
                in_flight += cut.length
            while pending:
                yield self._take(pending.popleft()[1].result())
        finally:
            # the file must stay open until nobody reads from it any more
            for _, future in pending:
                if not future.cancel():
                    future.exception()

    def _work(self, source: FileSource, cut: Cut) -> _Worked:
        """In a worker: one chunk from its bytes to its sealed frame, unless it is known already."""
        raw = cut.data if cut.data is not None else source.read(cut.offset, cut.length)
        chunk = blake3(raw).digest()
        with self._claim_lock:
            if chunk in self._claimed:
                return _Worked(chunk, raw, None)
            self._claimed.add(chunk)
        if self._is_stored(chunk):
            return _Worked(chunk, raw, None)
        body = codec.encode(raw, cut.dtype)
        return _Worked(chunk, raw, body if self._sealer is None else self._sealer.seal(body))

    def _is_stored(self, chunk: bytes) -> bool:
        found = self._catalogue.locate(self._share_id, chunk)
        if found is not None and not self._layout.object(found.root).exists():
            self._catalogue.forget_objects([found.root])  # deleted behind our back: pack it again
            return False
        return found is not None and not found.delta  # who receives this version may not have the base

    def _take(self, worked: _Worked) -> tuple[bytes | memoryview, int]:
        packed = self._packed
        index = self._index.get(worked.chunk)
        if index is None:
            index = self._index[worked.chunk] = len(packed.chunks)
            packed.chunks.append(PackedChunk(worked.chunk, len(worked.raw)))
            if worked.frame is None:
                self._reuse(packed.chunks[index])
        elif worked.frame is None:
            self._progress.add(reused=len(worked.raw))
        if worked.frame is not None:
            self._place(packed.chunks[index], worked.frame)
        return worked.raw, index

    def _reuse(self, chunk: PackedChunk) -> None:
        """Point at the frame in the store. One that a later cut of this run will bring is placed then."""
        found = self._catalogue.locate(self._share_id, chunk.id)
        if found is None or found.delta:
            return
        if found.root not in self._reused:
            self._reused[found.root] = len(self._packed.objects)
            self._packed.objects.append(
                PackedObject(found.root, found.object_length, found.sealed_version, found.sealed_epoch, reused=True)
            )
        chunk.object, chunk.offset, chunk.length = self._reused[found.root], found.offset, found.length
        self._progress.add(reused=chunk.raw_length)

    def _place(self, chunk: PackedChunk, frame: bytes) -> None:
        """Append the frame to the object being filled."""
        if self._writer is None:
            self._writer = ObjectWriter(self._layout, uuid.uuid4().hex)
            self._writer_object = len(self._packed.objects)
            self._packed.objects.append(PackedObject(sealed_version=self._sealed[0], sealed_epoch=self._sealed[1]))
        chunk.object, chunk.length = self._writer_object, len(frame)
        chunk.offset = self._writer.append(frame)
        self._writer_chunks.append(chunk)
        self._packed.new_size += chunk.raw_length
        self._progress.add(wire_done=len(frame))
        if self._writer.length >= OBJECT_TARGET:
            self._close_object()

    def _close_object(self) -> None:
        if self._writer is None:
            return
        written, chunks = self._writer.finish(), self._writer_chunks
        target = self._packed.objects[self._writer_object]
        target.root, target.length = written.root, written.length
        self._writer, self._writer_chunks = None, []
        while len(self._commits) >= _MAX_COMMITS:
            self._commits.popleft().result()
        self._commits.append(self._pool.submit(self._commit, written, chunks))

    def _commit(self, written: WrittenObject, chunks: list[PackedChunk]) -> None:
        """In a worker: make the object durable, then say so in the catalogue."""
        row = ObjectRow(written.root, written.length, *self._sealed, PieceSet.full(written.length), written.piece_layer)
        try:
            written.commit()
            with self._catalogue.transaction():
                self._catalogue.record_object(row)
                self._catalogue.record_chunks(
                    self._share_id, written.root, ((c.id, c.offset, c.length, c.raw_length, False) for c in chunks)
                )
        except BaseException:
            written.temporary.unlink(missing_ok=True)
            if self._catalogue.object(written.root) is None:
                written.path.unlink(missing_ok=True)  # nobody would ever find it
            raise


@dataclass(frozen=True, slots=True)
class _Worked:
    chunk: bytes
    raw: bytes | memoryview
    frame: bytes | None
    """None when the chunk is in the store, or another worker has it."""
