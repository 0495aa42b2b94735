"""A version as the daemon tells it, of files that a test wrote."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path

from p2pckpt.bridges.sources import Found, look
from p2pckpt.checkpoint.formats import BytesSource, inspect
from p2pckpt.control.read_messages import Contents, FileInfo, TensorInfo


def contents(directory: Path, *, share: str = "cars/sd15", version: int = 3, name: str = "", seed: int = 1) -> Contents:
    """What a manifest of ``directory`` would say."""
    files: list[FileInfo] = []
    tensors: list[TensorInfo] = []
    for path in sorted(path for path in directory.rglob("*") if path.is_file()):
        data = path.read_bytes()
        layout = inspect(BytesSource(data))
        tensors += [TensorInfo(t.name, t.dtype, t.shape, len(files), t.offset, t.length) for t in layout.tensors]
        digest = hashlib.sha256(data).hexdigest()
        files.append(FileInfo(str(path.relative_to(directory)), len(data), digest, layout.kind, False))
    manifest = hashlib.sha256(f"{share} {version} {seed}".encode()).hexdigest()
    return Contents(
        "ab" * 32, share, version, name, manifest, 1_700_000_000, "cd" * 32, "MIT", (), None, {},
        tuple(files), tuple(tensors), str(directory),
    )  # fmt: skip


def found(version: Contents, directory: Path) -> Found:
    """All files of ``version``, which are right."""
    result = look(version, directory, {}, 2, lambda count: None)
    assert not result.problem
    return result


class Counter:
    """Bytes that were read, from any thread."""

    def __init__(self) -> None:
        self.total = 0
        self._lock = threading.Lock()

    def __call__(self, count: int) -> None:
        with self._lock:
            self.total += count
