"""Repositories as a hub's clients name them: which version of which share a repository and a revision stand for."""

from __future__ import annotations

import asyncio
import re
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator
from typing import Final, Protocol

from p2pckpt.bridges.hub_gateway.etags import commit_of, is_commit
from p2pckpt.bridges.hub_gateway.routes import DEFAULT_REVISION, RepoNotFound
from p2pckpt.control.messages import DaemonStatus, ShareDetail
from p2pckpt.control.read_messages import Contents
from p2pckpt.errors import NotFound

_FRESH: Final = 3.0
"""Seconds that an answer of the daemon is used for: clients ask for each file of a version at once."""
_FRESH_BY_NUMBER: Final = 60.0
"""The same where a version was named by its number, of which nothing changes."""
_KEPT: Final = 16
"""Answers that are kept; one of a large version is megabytes."""
_COMMITS: Final = 4096
_NUMBERED: Final = re.compile("[^@]+@v[0-9]+")


class RevisionNotFound(NotFound):
    """The share is there, and has no such version, tag or commit."""


class Source(Protocol):
    """What the gateway asks a daemon: methods of ``ControlClient``."""

    async def status(self) -> DaemonStatus: ...

    async def share_detail(self, name: str) -> ShareDetail: ...

    async def contents(self, name: str) -> Contents: ...

    def read(self, name: str, path: str, start: int, end: int, *, patience: float) -> AsyncGenerator[bytes, None]: ...


class Repos:
    """Finds versions; asks ``source`` once for what many requests want at the same time."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._recent: OrderedDict[str, tuple[float, asyncio.Task[Contents]]] = OrderedDict()
        self._commits: OrderedDict[tuple[str, str], int] = OrderedDict()
        """Version numbers of commits, which never change."""

    async def find(self, repo: str, revision: str) -> Contents:
        """The version that ``revision`` (a branch, tag, version's name, number or commit) means now.

        Raises ``RepoNotFound`` and ``RevisionNotFound``, and whatever else the daemon does.
        """
        try:
            contents = await self._contents(await self._name(repo, revision))
            self._require_commit(repo, revision, contents)
        except NotFound as exc:
            await self.detail(repo)  # if it isn't the share that is missing, it is the revision
            raise RevisionNotFound(f"{repo} has no revision {revision!r}", next_step=exc.next_step) from exc
        self._remember(repo, commit_of(contents.manifest), contents.version)
        return contents

    async def detail(self, repo: str) -> ShareDetail:
        """The share and its versions. Raises ``RepoNotFound``."""
        try:
            return await self._source.share_detail(repo)
        except NotFound as exc:
            raise RepoNotFound(exc.fact, next_step=exc.next_step) from exc

    async def _name(self, repo: str, revision: str) -> str:
        if revision in (DEFAULT_REVISION, "HEAD", f"refs/heads/{DEFAULT_REVISION}"):
            return repo
        if is_commit(revision):
            if (repo, revision) not in self._commits:
                for row in (await self.detail(repo)).versions:
                    self._remember(repo, commit_of(row.manifest), row.version)
            if (repo, revision) in self._commits:
                return f"{repo}@v{self._commits[repo, revision]}"
        return f"{repo}@{revision.removeprefix('refs/tags/')}"

    async def _contents(self, name: str) -> Contents:
        kept = self._recent.pop(name, None)
        if kept is None or kept[0] < time.monotonic() or (kept[1].done() and kept[1].exception() is not None):
            fresh = _FRESH_BY_NUMBER if _NUMBERED.fullmatch(name) else _FRESH
            kept = time.monotonic() + fresh, asyncio.ensure_future(self._source.contents(name))
            kept[1].add_done_callback(lambda task: task.cancelled() or task.exception())
        self._recent[name] = kept
        while len(self._recent) > _KEPT:
            self._recent.popitem(last=False)
        return await asyncio.shield(kept[1])  # one reader who leaves takes the answer from nobody else

    def _require_commit(self, repo: str, revision: str, contents: Contents) -> None:
        """Raises ``NotFound`` where a commit leads to other content: another share is called so now."""
        if (repo, revision) in self._commits and commit_of(contents.manifest) != revision:
            del self._commits[repo, revision]
            raise NotFound(f"{repo} has no commit {revision} any more")

    def _remember(self, repo: str, commit: str, version: int) -> None:
        self._commits[repo, commit] = version
        while len(self._commits) > _COMMITS:
            self._commits.popitem(last=False)
