"""Objects on disk: writing new ones frame by frame, reading one frame back."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from p2pckpt import atomic
from p2pckpt.checkpoint.merkle import FileTree
from p2pckpt.checkpoint.plan import PIECE_LENGTH
from p2pckpt.errors import P2pckptError, VerificationFailed
from p2pckpt.store.layout import StoreLayout

_OPEN_FILES: Final = 64


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
    """One object being filled. The Merkle tree grows with it, so nothing is read again."""

    def __init__(self, layout: StoreLayout, name: str) -> None:
        self._layout = layout
        self._temporary = layout.packing / name
        self._sink: BinaryIO = self._temporary.open("wb", buffering=0)
        self._tree = FileTree(PIECE_LENGTH)
        self.length = 0

    def append(self, frame: bytes | memoryview) -> int:
        """Write one frame; returns its offset."""
        offset = self.length
        view = memoryview(frame)
        while view:
            view = view[self._sink.write(view) :]
        self._tree.update(frame)
        self.length += len(frame)
        return offset

    def finish(self) -> WrittenObject:
        """Close the object; raises if nothing was appended."""
        self._sink.close()
        root, layer = self._tree.finish()
        return WrittenObject(root, self.length, layer, self._temporary, self._layout.object(root))

    def discard(self) -> None:
        self._sink.close()
        self._temporary.unlink(missing_ok=True)


class ObjectReader:
    """Reads frames, keeping some files open. Thread-safe."""

    def __init__(self, layout: StoreLayout) -> None:
        self._layout = layout
        self._lock = threading.Lock()
        self._open: OrderedDict[bytes, BinaryIO] = OrderedDict()

    def read(self, root: bytes, offset: int, length: int) -> bytes:
        """``length`` bytes of an object. Raises ``VerificationFailed`` when they are not all there."""
        try:
            descriptor = self._descriptor(root)
        except FileNotFoundError as exc:
            raise VerificationFailed(f"object {root.hex()[:12]} is missing from the store") from exc
        except OSError as exc:
            raise P2pckptError(f"object {root.hex()[:12]} can't be opened: {exc.strerror}") from exc
        try:
            data = os.pread(descriptor, length, offset)
        except OSError as exc:  # a sector that can't be read is as bad as one that changed
            raise VerificationFailed(f"object {root.hex()[:12]} can't be read: {exc.strerror}") from exc
        finally:
            os.close(descriptor)
        if len(data) != length:
            raise VerificationFailed(f"object {root.hex()[:12]} is cut off")
        return data

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
