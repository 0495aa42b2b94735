"""The pickle gate of who reads ranges: a file's pickles are looked at before its first byte is handed over.

What a publisher's scan found counts, and so does a look of our own, since a publisher may lie. It reads what a loader
would unpickle and no tensors: of a ``torch.save`` archive its directory and its pickle. Of a distributed checkpoint its
metadata is read, too, because that says what a loader takes for a pickle.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from typing import Final

from p2pckpt.checkpoint import distributed_pickles
from p2pckpt.checkpoint.formats.dcp import is_metadata
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
_AT_ONCE: Final = 64
"""Files that are looked at at once, each in a thread that mostly waits for the swarm; more wait for their turn."""
_CHECK_SECONDS: Final = 0.5
"""Between looks at whether anybody's patience is at its end."""


class Gate:
    """Lives on the daemon's loop; ``close`` it.

    It has threads of its own: they wait for ranges that the loop reads with the help of the usual ones.
    """

    def __init__(self, at_once: int = _AT_ONCE) -> None:
        self._threads = ThreadPoolExecutor(at_once, thread_name_prefix="gate")
        self._looks: dict[tuple[VersionReader, str], _Look] = {}

    async def require_readable(self, reader: VersionReader, path: str, patience: float) -> None:
        """Raise ``UnsafeContent`` for a file with a pickle that is dangerous or can't be followed, and whatever reading
        the file raises. A file that passed once is not looked at again while its version is open."""
        file = reader.file(path)
        if path in reader.passed:
            return
        for recorded in reader.source.manifest.body.findings:
            if recorded.startswith(tuple(f"{verdict}: {path}: " for verdict in _REFUSED)):
                raise _refused(recorded)
        if file.size:
            found = await self._looked(reader, path, patience)
            if found is not None and found.verdict in _REFUSED:
                raise _refused(str(found))
        reader.passed.add(path)

    async def close(self) -> None:
        """Nothing is looked at any more; what waits for a look is cancelled."""
        for shared in self._looks.values():
            shared.stop()
        await asyncio.to_thread(self._threads.shutdown)

    async def _looked(self, reader: VersionReader, path: str, patience: float) -> Finding | None:
        """What there is to say about a file: one look for all who ask meanwhile, until none of them does any more."""
        key = reader, path
        shared = self._looks.get(key)
        if shared is None:
            shared = self._looks[key] = _Look(reader, path, self._threads)
        shared.users += 1
        try:
            while not (await asyncio.wait({shared.found}, timeout=_CHECK_SECONDS))[0]:
                if shared.waits_since is not None:
                    reader.require_patience(shared.waits_since, patience)
            return shared.found.result()
        finally:
            shared.users -= 1
            if not shared.users:
                shared.stop()
                del self._looks[key]


class _Look:
    """One look at a file, in a thread."""

    def __init__(self, reader: VersionReader, path: str, threads: ThreadPoolExecutor) -> None:
        self.users = 0
        """Who waits for what it finds."""
        self.waits_since: float | None = time.monotonic()
        """When it began to wait for a thread, or for bytes."""
        self._reader = reader
        self._loop = asyncio.get_running_loop()
        self._stopped = False
        self._coming: Future[bytes] | None = None
        beside = {name: _Ranges(self, name, reader.file(name).size) for name in _metadata_beside(reader, path)}
        source = _Ranges(self, path, reader.file(path).size)
        self.found = asyncio.wrap_future(threads.submit(look, path, source, beside, self._check))

    def stop(self) -> None:
        """Nobody waits any more; called on the loop."""
        self._stopped = True
        self.found.cancel()
        if self._coming is not None:
            self._coming.cancel()

    def _check(self) -> None:
        """In the thread."""
        if self._stopped:
            raise CancelledError

    def read(self, path: str, start: int, end: int) -> bytes:
        """In the thread."""
        self.waits_since = time.monotonic()
        self._coming = asyncio.run_coroutine_threadsafe(self._read(path, start, end), self._loop)
        if self._stopped:
            self._coming.cancel()
        found = self._coming.result()
        self.waits_since = None
        return found

    async def _read(self, path: str, start: int, end: int) -> bytes:
        """Without patience of its own: everybody who asked has some."""
        async with contextlib.aclosing(self._reader.read(path, start, end)) as blocks:
            return b"".join([bytes(block) async for block in blocks])


class _Ranges:
    """A file that is being read, as the checkpoint core reads it; for a thread."""

    def __init__(self, reading: _Look, path: str, size: int) -> None:
        self.size = size
        self._reading = reading
        self._path = path

    def read(self, offset: int, length: int) -> bytes:
        if offset < 0 or length < 0 or offset + length > self.size:
            raise EOFError(f"{length} bytes at {offset} are not within {self.size}")
        return self._reading.read(self._path, offset, offset + length)


def look(
    path: str,
    source: ByteSource,
    beside: Mapping[str, ByteSource] | None = None,
    check: Callable[[], None] = lambda: None,
) -> Finding | None:
    """What the scan says about a file, without the numbers of a ``torch.save`` archive; ``check`` is called often.

    ``beside`` is the metadata, by path, of the distributed checkpoints that the file may be of, itself included.
    """
    storages = _storages(source)
    found = judge(path, search(source, check, storages.__contains__))
    if found is None or found.verdict not in _REFUSED:
        for name, metadata in (beside or {}).items():
            if (finding := distributed_pickles.judge_beside(name, metadata, path, source)) is not None:
                return finding
    return found


def _metadata_beside(reader: VersionReader, path: str) -> list[str]:
    directory = path.rpartition("/")[0]
    files = (file.path for file in reader.source.manifest.body.files if file.size)
    return [name for name in files if name.rpartition("/")[0] == directory and is_metadata(name)]


def _storages(source: ByteSource) -> frozenset[str]:
    """Members that hold a tensor's numbers, which no loader unpickles: torch counts them."""
    if not looks_like(source.read(0, min(16, source.size))):
        return frozenset()
    try:
        names = [entry.name for entry in read_directory(source) if entry.stored]
    except Malformed:
        return frozenset()  # and the scan will say so
    places = {f"{name[: -len(_PICKLE)]}data" for name in names if name.rpartition("/")[2] == _PICKLE}
    split = ((name, *name.rpartition("/")) for name in names)
    return frozenset(name for name, place, _, key in split if place in places and key.isascii() and key.isdecimal())


def _refused(finding: str) -> UnsafeContent:
    return UnsafeContent(
        finding,
        kept="nothing was handed over",
        next_step="tell the publisher; to read it all the same, say so: allow_unsafe_pickle",
    )
