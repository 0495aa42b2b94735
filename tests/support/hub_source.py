"""A daemon as the hub gateway asks it, made of directories: what it uses of ``ControlClient``, without a process."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator
from pathlib import Path

from p2pckpt.control import messages as m
from p2pckpt.control.read_messages import Contents, FileInfo
from p2pckpt.errors import NotFound, P2pckptError
from p2pckpt.tracker_protocol import Role, Visibility
from p2pckpt.trust.admission import is_number

_PIECE = 64 << 10


class HubSource:
    """Shares by name, each with its versions in order: version 1 is the first directory."""

    def __init__(self) -> None:
        self._shares: dict[str, list[tuple[Contents, Path]]] = {}
        self._tags: dict[str, dict[str, int]] = {}
        self.failures: dict[str, P2pckptError] = {}
        """What is raised instead of the bytes of a file, or of the contents of a share."""
        self.breaks: dict[str, int] = {}
        """After how many bytes reading a file breaks off, once."""
        self.asked: list[str] = []
        """Shares whose contents were asked for."""
        self.read_ranges: list[tuple[str, int, int]] = []

    def add(self, name: str, directory: Path, *, version_name: str = "", tags: tuple[str, ...] = ()) -> Contents:
        files = tuple(
            FileInfo(
                path=str(path.relative_to(directory)),
                size=path.stat().st_size,
                sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
                kind="opaque",
                executable=False,
            )
            for path in sorted(directory.rglob("*"))
            if path.is_file()
        )
        return self.add_files(name, directory, files, version_name=version_name, tags=tags)

    def add_files(
        self,
        name: str,
        directory: Path,
        files: tuple[FileInfo, ...],
        *,
        version_name: str = "",
        tags: tuple[str, ...] = (),
    ) -> Contents:
        """A version whose files need not be there."""
        versions = self._shares.setdefault(name, [])
        number = len(versions) + 1
        contents = Contents(
            share_id=hashlib.sha256(name.encode()).hexdigest(),
            share=name,
            version=number,
            version_name=version_name,
            manifest=hashlib.sha256(f"{name} {number} {files}".encode()).hexdigest(),
            published_at=1_790_000_000 + number,
            publisher="11" * 32,
            licence="apache-2.0",
            base_model=(),
            step=None,
            metrics={},
            files=files,
            tensors=(),
            path="",
        )
        versions.append((contents, directory))
        self._tags.setdefault(name, {}).update(dict.fromkeys(tags, number))
        return contents

    # -- what the gateway asks

    async def status(self) -> m.DaemonStatus:
        return m.DaemonStatus(
            version="0", pid=1, started_at=0, home="", identity="11" * 32, name="alice", listen_ports=(), tracker="",
            tracker_state="none", embedded_tracker=False, rate_down=0, rate_up=0, free_bytes=0, stored_bytes=0,
            max_loop_stall_ms=0, rss_bytes=0, peak_rss_bytes=0, jobs=0,
        )  # fmt: skip

    async def share_detail(self, name: str) -> m.ShareDetail:
        versions, tags = self._versions(name), self._tags[name]
        row = m.ShareRow(
            share_id=versions[0][0].share_id, name=name, role=Role.OWNER, visibility=Visibility.MEMBERS, owner="",
            tracker="", versions=len(versions), latest=len(versions), size=0, stored=0, tags=tags, seeds=0, members=1,
            updated_at=0,
        )  # fmt: skip
        rows = tuple(
            m.VersionRow(
                version=contents.version,
                name=contents.version_name,
                tags=tuple(tag for tag, version in tags.items() if version == contents.version),
                published_at=contents.published_at,
                publisher=contents.publisher,
                size=0,
                wire_size=0,
                files=len(contents.files),
                held=True,
                info_hash="",
                manifest=contents.manifest,
            )
            for contents, _ in reversed(versions)
        )
        return m.ShareDetail(row, rows)

    async def contents(self, name: str) -> Contents:
        self.asked.append(name)
        await asyncio.sleep(0)
        return self._find(name)[0]

    async def read(self, name: str, path: str, start: int, end: int, *, patience: float) -> AsyncGenerator[bytes, None]:
        contents, directory = self._find(name)
        if path not in [file.path for file in contents.files]:
            raise NotFound(f"{name} has no file {path!r}")
        if path in self.failures:
            raise self.failures[path]
        self.read_ranges.append((path, start, end))
        rest = self.breaks.pop(path, end - start)
        with (directory / path).open("rb") as file:
            file.seek(start)
            while start < end:
                if rest <= 0:
                    raise P2pckptError("the daemon broke off")
                piece = file.read(min(_PIECE, end - start, rest))
                start += len(piece)
                rest -= len(piece)
                yield piece

    def _versions(self, name: str) -> list[tuple[Contents, Path]]:
        for each, versions in self._shares.items():
            if name in (each, versions[0][0].share_id):
                return versions
        raise NotFound(f"no share {name!r} is known here", next_step="p2pckpt ls --shares")

    def _find(self, name: str) -> tuple[Contents, Path]:
        share, _, selector = name.partition("@")
        if share in self.failures:
            raise self.failures[share]
        versions, number = self._versions(share), 0
        if not selector:
            number = len(versions)
        elif is_number(selector):
            number = int(selector.removeprefix("v"))
        elif selector in self._tags.get(share, {}):
            number = self._tags[share][selector]
        else:
            number = next((c.version for c, _ in versions if c.version_name == selector), 0)
        if not 0 < number <= len(versions):
            raise NotFound(f"{share} has no version {selector!r}", next_step=f"p2pckpt show {share}")
        return versions[number - 1]
