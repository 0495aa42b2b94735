"""The file system behind ``p2pckpt://``. Blocking, over the one background loop of the process; survives pickling and
forks, because it holds nothing but its options and what it last saw."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from fsspec.spec import AbstractBufferedFile, AbstractFileSystem

from p2pckpt.background import client_of, run
from p2pckpt.bridges.fsspec import PROTOCOL, split_path
from p2pckpt.config import Config, load
from p2pckpt.control.read_messages import Contents, FileInfo
from p2pckpt.errors import NotAllowed, NotFound, P2pckptError

_FRESH: Final = 30.0
"""Seconds for which what a name stands for is not asked again."""
_REMEMBERED: Final = 16
"""Versions whose files are known without asking."""
_AT_ONCE: Final = 8
"""Ranges that are asked for together."""
_AHEAD: Final = 32 << 20
"""Bytes that are fetched ahead of who reads a file from front to back."""


class P2pckptFileSystem(AbstractFileSystem):  # type: ignore[misc]
    """Read-only. The root lists the shares that are known here; below a share is its newest version, or the one after
    ``@``. Options: ``patience``, seconds without a byte after which reading fails; ``allow_unsafe_pickle``, to hand
    over files with dangerous pickles; ``home``, another home than the user's.

    Raises ``FileNotFoundError``, ``PermissionError`` where access is refused, and others of ``p2pckpt.errors``.
    """

    protocol = PROTOCOL
    root_marker = ""

    def __init__(
        self, patience: float = 60.0, allow_unsafe_pickle: bool = False, home: str = "", **options: Any
    ) -> None:
        super().__init__(patience=patience, allow_unsafe_pickle=allow_unsafe_pickle, home=home, **options)
        self.patience = patience
        self.allow_unsafe_pickle = allow_unsafe_pickle
        self.home = home
        self._seen: OrderedDict[str, tuple[float, Contents]] = OrderedDict()
        """The last to be asked for at the end."""
        self._names: tuple[float, frozenset[str]] = (0.0, frozenset())

    # -- looking

    def ls(self, path: str, detail: bool = True, **options: Any) -> list[Any]:
        """One level: shares, directories and files."""
        path = self._strip_protocol(path)
        rows = self._shares() if not path else self._directory(path)
        return rows if detail else [row["name"] for row in rows]

    def info(self, path: str, **options: Any) -> dict[str, Any]:
        path = self._strip_protocol(path)
        if not path:
            return {"name": "", "size": 0, "type": "directory"}
        contents, inside = self._find(path)
        if inside and (file := _file(contents, inside)) is not None:
            return _row(path, contents, file)
        if inside and not any(file.path.startswith(f"{inside}/") for file in contents.files):
            raise FileNotFoundError(path)
        return {"name": path, "size": 0, "type": "directory", "version": contents.version}

    def created(self, path: str) -> datetime:
        """When the version was published."""
        return datetime.fromtimestamp(self._find(self._strip_protocol(path))[0].published_at, UTC)

    modified = created

    def ukey(self, path: str) -> str:
        """The file's SHA-256, as it was signed."""
        return str(self.info(path)["sha256"])

    def invalidate_cache(self, path: str | None = None) -> None:
        """Ask again what names stand for."""
        self._seen.clear()
        self._names = (0.0, frozenset())
        super().invalidate_cache(path)

    # -- reading

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **options: Any) -> bytes:
        version, file = self.file(path)
        return self.read_range(version, file.path, *_clip(start, end, file.size))

    def cat_ranges(
        self,
        paths: Sequence[str],
        starts: Any,
        ends: Any,
        max_gap: int | None = None,
        on_error: str = "return",
        **options: Any,
    ) -> list[Any]:
        """Several ranges, some of them at a time; in place of one that can't be read the error, unless ``on_error`` is
        ``raise``.

        ``max_gap`` changes nothing: what was decoded for one range is at hand for its neighbours.
        """
        starts = starts if isinstance(starts, list | tuple) else [starts] * len(paths)
        ends = ends if isinstance(ends, list | tuple) else [ends] * len(paths)
        if len(starts) != len(paths) or len(ends) != len(paths):
            raise ValueError("paths, starts and ends differ in number")
        found: list[Any] = []
        wanted: list[tuple[int, str, str, int, int]] = []
        for place, (path, start, end) in enumerate(zip(paths, starts, ends, strict=True)):
            found.append(b"")
            try:
                version, file = self.file(path)
                wanted.append((place, version, file.path, *_clip(start, end, file.size)))
            except OSError as exc:
                found[place] = exc
        for (place, *_), result in zip(wanted, run(self._ranges([w[1:] for w in wanted])), strict=True):
            found[place] = _os_error(paths[place], result) if isinstance(result, P2pckptError) else result
        if on_error == "raise":
            for each in found:
                if isinstance(each, BaseException):
                    raise each
        return found

    def read_range(self, version: str, path: str, start: int, end: int, ahead: int = 0) -> bytes:
        """Bytes of a file of a version by its number; ``ahead`` more are going to be read."""
        with _as_os_errors(f"{version}/{path}"):
            return run(self._range(version, path, start, end, ahead))

    def file(self, path: str) -> tuple[str, FileInfo]:
        """The version by its number, which does not move, and the file. Raises ``FileNotFoundError``."""
        contents, inside = self._find(self._strip_protocol(path))
        file = _file(contents, inside)
        if file is None:
            raise FileNotFoundError(path)
        return f"{contents.share_id}@{contents.version}", file

    def _open(
        self,
        path: str,
        mode: str = "rb",
        block_size: int | None = None,
        autocommit: bool = True,
        cache_options: dict[str, Any] | None = None,
        size: int | None = None,
        **options: Any,
    ) -> P2pckptFile:
        """``size`` is what an unpickled file had; it is known anyway."""
        if mode != "rb":
            raise NotImplementedError("versions are signed and never change: they can only be read")
        block_size = block_size or self.blocksize
        return P2pckptFile(self, path, mode, block_size=block_size, cache_options=cache_options, **options)

    # -- inside

    def _config(self) -> Config:
        return load(home=Path(self.home)) if self.home else load()

    def _shares(self) -> list[dict[str, Any]]:
        return [{"name": name, "size": 0, "type": "directory"} for name in sorted(run(self._ask_names()))]

    def _directory(self, path: str) -> list[dict[str, Any]]:
        contents, inside = self._find(path)
        if inside and (file := _file(contents, inside)) is not None:
            return [_row(path, contents, file)]
        below = f"{inside}/" if inside else ""
        rows: dict[str, dict[str, Any]] = {}
        for file in contents.files:
            if file.path.startswith(below):
                first, _, deeper = file.path[len(below) :].partition("/")
                name = f"{path}/{first}"
                directory = {"name": name, "size": 0, "type": "directory", "version": contents.version}
                rows[first] = directory if deeper else _row(name, contents, file)
        if not rows and inside:
            raise FileNotFoundError(path)
        return [rows[name] for name in sorted(rows)]

    def _find(self, path: str) -> tuple[Contents, str]:
        with _as_os_errors(path):
            at, names = self._names
            split = split_path(path, names) if time.monotonic() - at < _FRESH else None
            if split is None:  # or joined since
                names = run(self._ask_names())
                self._names = time.monotonic(), names
                split = split_path(path, names)
            if split is None:
                raise NotFound(f"no share is known here that {path!r} begins with", next_step="p2pckpt ls --shares")
            version, inside = split
            at, contents = self._seen.get(version, (0.0, None))
            if contents is None or time.monotonic() - at > _FRESH:
                contents = run(self._contents(version))
                self._seen[version] = time.monotonic(), contents
                if len(self._seen) > _REMEMBERED:
                    self._seen.popitem(last=False)
            self._seen.move_to_end(version)
            return contents, inside

    async def _ask_names(self) -> frozenset[str]:
        return frozenset(row.name for row in await (await client_of(self._config())).shares())

    async def _contents(self, version: str) -> Contents:
        return await (await client_of(self._config())).contents(version)

    async def _range(self, version: str, path: str, start: int, end: int, ahead: int = 0) -> bytes:
        client = await client_of(self._config())
        return await client.read_all(
            version,
            path,
            start,
            end,
            patience=self.patience,
            ahead=ahead,
            allow_unsafe_pickle=self.allow_unsafe_pickle,
        )

    async def _ranges(self, wanted: Sequence[Any]) -> list[bytes | BaseException]:
        turns = asyncio.Semaphore(_AT_ONCE)

        async def one(version: str, path: str, start: int, end: int) -> bytes:
            async with turns:
                return await self._range(version, path, start, end)

        return await asyncio.gather(*(one(*each) for each in wanted), return_exceptions=True)


class P2pckptFile(AbstractBufferedFile):  # type: ignore[misc]
    """A file of one version, which stays that version however long it is open."""

    def __init__(self, fs: P2pckptFileSystem, path: str, mode: str, **options: Any) -> None:
        self._version, self._file = fs.file(path)
        self._read_until = 0
        super().__init__(fs, path, mode, size=self._file.size, **options)

    def __reduce__(self) -> tuple[Any, ...]:
        """To be opened again as the version that it is, whatever its name stands for by then."""
        reopen, (fs, _, *rest) = super().__reduce__()
        return reopen, (fs, f"{self._version}/{self._file.path}", *rest)

    def _fetch_range(self, start: int, end: int) -> bytes:
        ahead = _AHEAD if start and start == self._read_until else 0
        self._read_until = end
        fs: P2pckptFileSystem = self.fs
        return fs.read_range(self._version, self._file.path, start, end, ahead)


def _file(contents: Contents, path: str) -> FileInfo | None:
    return next((file for file in contents.files if file.path == path), None)


def _row(name: str, contents: Contents, file: FileInfo) -> dict[str, Any]:
    return {
        "name": name,
        "size": file.size,
        "type": "file",
        "sha256": file.sha256,
        "executable": file.executable,
        "version": contents.version,
    }


def _clip(start: int | None, end: int | None, size: int) -> tuple[int, int]:
    """As slices of bytes are clipped."""
    first, last, _ = slice(start, end).indices(size)
    return first, max(first, last)


@contextlib.contextmanager
def _as_os_errors(path: str) -> Iterator[None]:
    """What callers of file systems expect, with our words."""
    try:
        yield
    except (NotFound, NotAllowed) as exc:
        raise _os_error(path, exc) from exc


def _os_error(path: str, exc: P2pckptError) -> Exception:
    """What callers of file systems expect in place of ``exc``; itself where they expect nothing."""
    kinds = {NotFound: FileNotFoundError, NotAllowed: PermissionError}
    kind = next((found for ours, found in kinds.items() if isinstance(exc, ours)), None)
    return exc if kind is None else kind(f"{path}: {exc.fact}")
