"""The pickle gate of who reads ranges: a file's pickles are looked at before its first byte is handed over.

What a publisher's scan found counts, and so does a look of our own, since a publisher may lie. It reads what a loader
would unpickle and no tensors: of a ``torch.save`` archive its directory and its pickle.
"""

from __future__ import annotations

import asyncio
import contextlib
from concurrent.futures import Future
from typing import Final

from p2pckpt.checkpoint.formats.layout import Malformed
from p2pckpt.checkpoint.formats.pickle_search import search
from p2pckpt.checkpoint.formats.source import ByteSource
from p2pckpt.checkpoint.formats.torch_zip import looks_like
from p2pckpt.checkpoint.formats.zip_directory import read_directory
from p2pckpt.checkpoint.pickles import Finding, Verdict, judge
from p2pckpt.errors import UnsafeContent
from p2pckpt.jobs.reading import VersionReader

_PICKLE: Final = "data.pkl"
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
    if file.size:
        source = _Ranges(reader, path, file.size, patience)
        try:
            found = await asyncio.to_thread(look, path, source)
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


def look(path: str, source: ByteSource) -> Finding | None:
    """What the scan says about a file, without the numbers of a ``torch.save`` archive."""
    storages = _storages(source)
    return judge(path, search(source, skip=storages.__contains__))


def _storages(source: ByteSource) -> frozenset[str]:
    """Members that hold a tensor's numbers, which no loader unpickles."""
    if not looks_like(source.read(0, min(16, source.size))):
        return frozenset()
    try:
        names = [entry.name for entry in read_directory(source) if entry.stored]
    except Malformed:
        return frozenset()  # and the scan will say so
    roots = {name[: -len(_PICKLE)] for name in names if name.rpartition("/")[2] == _PICKLE}
    return frozenset(name for name in names if name.rpartition("/")[0] in {f"{root}data" for root in roots})


def _refused(finding: str) -> UnsafeContent:
    return UnsafeContent(
        finding,
        kept="nothing was handed over",
        next_step="tell the publisher; to read it all the same, say so: allow_unsafe_pickle",
    )
