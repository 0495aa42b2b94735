"""Rows of shares are told in the order in which they were looked up."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from p2pckpt.daemon import operations
from p2pckpt.daemon.operations import Operations


async def test_a_row_that_takes_long_is_not_told_after_one_that_knows_more(monkeypatch: pytest.MonkeyPatch) -> None:
    counted, told, begun, slow = 0, list[int](), asyncio.Event(), asyncio.Event()

    async def share_row(services: Any, share: Any, tally: int) -> int:
        if not tally:
            begun.set()
            await slow.wait()
        return tally

    monkeypatch.setattr(operations, "share_row", share_row)
    daemon = cast(Operations, SimpleNamespace(services=None, _row_lock=asyncio.Lock()))
    daemon._watch = cast(Any, SimpleNamespace(of=lambda share_id: counted))
    share = cast(Any, SimpleNamespace(share_id=b""))

    async def tell() -> None:
        told.append(cast(int, await Operations._share_row(daemon, share)))

    async with asyncio.TaskGroup() as group:
        group.create_task(tell())
        await begun.wait()
        counted = 1
        late = group.create_task(tell())
        await asyncio.wait([late], timeout=0)
        slow.set()
    assert told == [0, 1]
