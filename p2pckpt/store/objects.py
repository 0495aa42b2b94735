"""Objects on disk: writing new ones frame by frame, reading one frame back."""

from __future__ import annotations

import errno
import mmap
import os
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from p2pckpt import atomic
from p2pckpt.checkpoint.merkle import FileTree
from p2pckpt.checkpoint.plan import OBJECT_TARGET, PIECE_LENGTH
from p2pckpt.errors import P2pckptError, VerificationFailed
from p2pckpt.store.layout import StoreLayout

_OPEN_FILES: Final = 64
_MEMORY: Final = OBJECT_TARGET + (8 << 20)
"""Bytes of an object in memory: what is full and one frame of the usual size. Untouched pages cost nothing."""
_BLOCK: Final = 4096
"""Bytes that writes around the page cache are multiples of."""
_WRITE: Final = 4 << 20


@dataclass(frozen=True, slots=True)
class WrittenObject:
    """A finished object, not yet durable: ``commit`` makes it so."""

    root: bytes
    length: int
    piece_layer: bytes
    temporary: Path
    path: Path

    def commit(self) -> None:
        """fsync, then the final name. An object of that root that is there already is as good."""
        descriptor = os.open(self.temporary, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        self.path.parent.mkdir(exist_ok=True, mode=0o700)
        self.temporary.replace(self.path)
        atomic.sync_directory(self.path.parent)


class ObjectWriter:
    """One object being filled in memory. ``finish`` puts it on disk, hashing what it writes: nothing is read again.

    ``append`` and ``finish`` may run in different threads, not at once.
    """

    def __init__(self, layout: StoreLayout, name: str, memory: mmap.mmap | None = None) -> None:
        """``memory`` is what an earlier writer gave back (``release``): fresh pages cost more than the copy."""
        self._layout = layout
        self._temporary = layout.packing / name
        self._memory = mmap.mmap(-1, _MEMORY) if memory is None else memory
        self.length = 0

    def append(self, frame: bytes | memoryview) -> int:
        """Take one frame; returns its offset."""
        offset = self.length
        end = self.length = offset + len(frame)
        if end > len(self._memory):
            larger = mmap.mmap(-1, _up_to_blocks(end))
            larger[:offset] = self._memory[:offset]
            self._memory.close()
            self._memory = larger
        with memoryview(self._memory) as view:
            view[offset:end] = frame
        return offset

    def finish(self) -> WrittenObject:
        """Write the object. Raises ``OSError``, and ``ValueError`` if nothing was appended."""
        tree = FileTree(PIECE_LENGTH)
        try:
            with memoryview(self._memory) as view, view[: self.length] as data:
                if not _write_around_the_cache(self._temporary, view, self.length):
                    _write(self._temporary, data)
                tree.update(data)
            root, layer = tree.finish()
        except BaseException:
            self._temporary.unlink(missing_ok=True)
            raise
        return WrittenObject(root, self.length, layer, self._temporary, self._layout.object(root))

    def release(self) -> mmap.mmap:
        """The memory, for another writer; this one is at its end."""
        return self._memory


def _up_to_blocks(length: int) -> int:
    return -(-length // _BLOCK) * _BLOCK


def _write(path: Path, data: memoryview) -> None:
    with path.open("wb", buffering=0) as sink:
        written = 0
        while written < len(data):
            written += sink.write(data[written : written + _WRITE])


def _write_around_the_cache(path: Path, memory: memoryview, length: int) -> bool:
    """Write the first ``length`` bytes of page-aligned memory straight to the disk; False where that can't be done.

    An object is read again by whoever fetches it, seldom soon and never by us. Through the page cache it would push out
    what other programs read, and cost several times the processor time (docs/adr/0020). Whole blocks are written, and
    the file is cut to its length.
    """
    if not hasattr(os, "O_DIRECT"):
        return False
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_DIRECT, 0o600)
    except OSError as exc:
        if exc.errno == errno.EINVAL:  # a file system without it
            return False
        raise
    try:
        written, end = 0, _up_to_blocks(length)
        while written < end:
            written += os.write(descriptor, memory[written : min(end, written + _WRITE)])
            if written % _BLOCK:
                return False  # nearly full disks write less than was asked for; the usual way says what is wrong
        os.ftruncate(descriptor, length)
    except OSError as exc:
        if exc.errno == errno.EINVAL:  # blocks of another size
            return False
        raise
    finally:
        os.close(descriptor)
    return True


class ObjectReader:
    """Reads frames, keeping some files open. Thread-safe."""

    def __init__(self, layout: StoreLayout) -> None:
        self._layout = layout
        self._lock = threading.Lock()
        self._open: OrderedDict[bytes, BinaryIO] = OrderedDict()

    def read(self, root: bytes, offset: int, length: int) -> bytes:
        """``length`` bytes of an object. Raises ``VerificationFailed`` when they are not all there."""
        data = bytearray(length)
        self.read_into(root, offset, memoryview(data))
        return bytes(data)

    def read_into(self, root: bytes, offset: int, out: memoryview) -> None:
        """As ``read``, into memory that exists."""
        try:
            descriptor = self._descriptor(root)
        except FileNotFoundError as exc:
            raise VerificationFailed(f"object {root.hex()[:12]} is missing from the store") from exc
        except OSError as exc:
            raise P2pckptError(f"object {root.hex()[:12]} can't be opened: {exc.strerror}") from exc
        try:
            count = os.preadv(descriptor, [out], offset)
        except OSError as exc:  # a sector that can't be read is as bad as one that changed
            raise VerificationFailed(f"object {root.hex()[:12]} can't be read: {exc.strerror}") from exc
        finally:
            os.close(descriptor)
        if count != len(out):
            raise VerificationFailed(f"object {root.hex()[:12]} is cut off")

    def sync(self, root: bytes) -> None:
        """fsync one object's file."""
        descriptor = os.open(self._layout.object(root), os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def forget(self, root: bytes) -> None:
        """Close the file, because it is about to be replaced or deleted."""
        with self._lock:
            if (file := self._open.pop(root, None)) is not None:
                file.close()

    def close(self) -> None:
        with self._lock:
            for file in self._open.values():
                file.close()
            self._open.clear()

    def _descriptor(self, root: bytes) -> int:
        """A duplicate, which stays open should another thread evict the file meanwhile."""
        with self._lock:
            if root in self._open:
                self._open.move_to_end(root)
            else:
                self._open[root] = self._layout.object(root).open("rb", buffering=0)
                if len(self._open) > _OPEN_FILES:
                    self._open.popitem(last=False)[1].close()
            return os.dup(self._open[root].fileno())
