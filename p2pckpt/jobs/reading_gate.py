"""The pickle gate of who reads ranges: a file's pickles are looked at before its first byte is handed over.

What a publisher's scan found counts, and so does a look of our own, since a publisher may lie. It reads what a loader
would unpickle and no tensors: of a ``torch.save`` archive its directory and its pickle.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from concurrent.futures import Future
from typing import Final

from p2pckpt.checkpoint.formats.pickle_search import search
from p2pckpt.checkpoint.pickles import Finding, Verdict, judge
from p2pckpt.errors import UnsafeContent
from p2pckpt.jobs.reading import VersionReader

_WITHOUT: Final = (".safetensors", ".gguf")
"""Names of files that no loader unpickles."""
_STORAGE: Final = re.compile(r"(.*/)?data/[0-9]+")
"""Members of a ``torch.save`` archive that hold numbers, and that no loader unpickles."""
_REFUSED: Final = (Verdict.DANGEROUS, Verdict.UNREADABLE)


async def require_readable(reader: VersionReader, path: str, patience: float) -> None:
    """Raise ``UnsafeContent`` for a file with a pickle that is dangerous or can't be followed, and whatever reading
    the file raises. A file that passed once is not looked at again while its version is open."""
    file = reader.file(path)
    if path in reader.passed:
        return
    for recorded in reader.source.manifest.body.findings:
        if recorded.startswith(tuple(f"{verdict}: {path}: " for verdict in _REFUSED)):
            raise _refused(recorded)
    if not path.lower().endswith(_WITHOUT) and file.size:
        source = _Ranges(reader, path, file.size, patience)
        try:
            found = await asyncio.to_thread(_look, path, source)
        except asyncio.CancelledError:
            source.stop()
            raise
        if found is not None and found.verdict in _REFUSED:
            raise _refused(str(found))
    reader.passed.add(path)


class _Ranges:
    """A file that is being read, as the checkpoint core reads it; for a thread."""

    def __init__(self, reader: VersionReader, path: str, size: int, patience: float) -> None:
        self.size = size
        self._reader = reader
        self._path = path
        self._patience = patience
        self._loop = asyncio.get_running_loop()
        self._stopped = False
        self._coming: Future[bytes] | None = None

    def stop(self) -> None:
        """Nobody waits any more; called on the loop."""
        self._stopped = True
        if self._coming is not None:
            self._coming.cancel()

    def read(self, offset: int, length: int) -> bytes:
        if offset < 0 or length < 0 or offset + length > self.size:
            raise EOFError(f"{length} bytes at {offset} are not within {self.size}")
        self._coming = asyncio.run_coroutine_threadsafe(self._read(offset, offset + length), self._loop)
        if self._stopped:
            self._coming.cancel()
        return self._coming.result()

    async def _read(self, start: int, end: int) -> bytes:
        async with contextlib.aclosing(self._reader.read(self._path, start, end, patience=self._patience)) as blocks:
            return b"".join([bytes(block) async for block in blocks])


def _look(path: str, source: _Ranges) -> Finding | None:
    return judge(path, search(source, skip=lambda name: _STORAGE.fullmatch(name) is not None))


def _refused(finding: str) -> UnsafeContent:
    return UnsafeContent(
        finding,
        kept="nothing was handed over",
        next_step="tell the publisher; to read it all the same, say so: allow_unsafe_pickle",
    )
