"""Answers to who looks into versions without a checkout: what is in one, and ranges of its files."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

from p2pckpt.control.read_messages import Contents, FileInfo, ReadRequest, TensorInfo
from p2pckpt.errors import BadUsage
from p2pckpt.jobs.fetch_plan import Source
from p2pckpt.jobs.readers import Readers
from p2pckpt.jobs.reading_gate import Gate
from p2pckpt.jobs.services import Services

_PATIENCE: Final = 3600.0
"""Seconds that anybody may wait for a first byte."""


class Reading:
    """One method a request of ``control.client``. Raises ``P2pckptError``s."""

    def __init__(self, services: Services, need_tracker: Callable[[str], Awaitable[None]]) -> None:
        """``need_tracker`` sees to it that the tracker of a share runs, if it is ours."""
        self._services = services
        self._need_tracker = need_tracker
        self.readers = Readers(services)
        self._gate = Gate()

    async def close(self) -> None:
        """Nothing is read any more."""
        await self.readers.close()
        await self._gate.close()

    async def contents(self, name: str) -> Contents:
        await self._need_tracker(name)
        async with self.readers.look(name) as source:
            return await asyncio.to_thread(_contents, self._services, source)

    @contextlib.asynccontextmanager
    async def read(self, request: ReadRequest) -> AsyncIterator[tuple[int, AsyncIterator[memoryview]]]:
        """How many bytes there will be, and the bytes.

        Raises ``NotFound``, ``BadUsage``, ``UnsafeContent``, ``NoSeeds`` and others; the iterator does, too.
        """
        if not 0 <= request.patience <= _PATIENCE:
            raise BadUsage(f"nobody waits {request.patience} s for a byte")
        await self._need_tracker(request.name)
        async with self.readers.reader(request.name) as reader:
            size = reader.file(request.path).size
            end = size if request.end is None else request.end
            if not request.allow_unsafe_pickle:
                await self._gate.require_readable(reader, request.path, request.patience)
            blocks = reader.read(request.path, request.start, end, patience=request.patience, ahead=request.ahead)
            async with contextlib.aclosing(blocks):
                yield max(0, end - request.start), blocks


def _contents(services: Services, source: Source) -> Contents:
    """In a thread."""
    body, target = source.manifest.body, source.target
    row = services.catalogue.version(source.share.share_id, target.version)
    return Contents(
        share_id=source.share.share_id.hex(),
        share=source.trusted.terms.name,
        version=target.version,
        version_name=target.name,
        manifest=target.manifest_sha256,
        published_at=body.created_at,
        publisher=body.publisher.hex(),
        licence=body.licence,
        base_model=body.base_model,
        step=body.step,
        metrics=body.metrics,
        files=tuple(FileInfo(f.path, f.size, f.sha256.hex(), f.kind, f.executable) for f in body.files),
        tensors=tuple(TensorInfo(t.name, t.dtype, t.shape, t.file, t.offset, t.length) for t in body.tensors),
        path=row.path if row is not None else "",
    )
