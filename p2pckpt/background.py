"""One event loop in a thread of its own, and one client of each daemon: what blocking calls of the Python API run on.

It works where a loop runs already (notebooks), and after a fork, which gets a loop and clients of its own.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Final, TypeVar

from p2pckpt.config import Config
from p2pckpt.control.client import ControlClient, connect
from p2pckpt.errors import DaemonUnavailable, P2pckptError

_T = TypeVar("_T")
_GOODBYE: Final = 2.0
"""Seconds in which clients are closed when the process ends."""


class _Background:
    def __init__(self) -> None:
        self.pid = os.getpid()
        self.loop = asyncio.new_event_loop()
        self.clients: dict[Path, ControlClient] = {}
        self.connecting = asyncio.Lock()
        threading.Thread(target=self.loop.run_forever, name="p2pckpt", daemon=True).start()

    async def close(self) -> None:
        for client in self.clients.values():
            await client.close()
        self.clients.clear()


_lock = threading.Lock()
_current: _Background | None = None
_of_parents: list[_Background] = []
"""Those of the processes this one was forked from: their connections are not ours to close, nor to be collected."""


def run(work: Coroutine[Any, Any, _T]) -> _T:
    """The result of ``work``, for code that is not asynchronous. An interrupt cancels it."""
    future = asyncio.run_coroutine_threadsafe(work, _background().loop)
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise


async def client_of(config: Config) -> ControlClient:
    """This process's client of a home's daemon, which is started if none answers; nobody closes it.

    To be awaited in what is given to ``run``. Raises ``DaemonUnavailable``.
    """
    background = _background()
    async with background.connecting:
        known = background.clients.get(config.socket_path)
        if known is not None:
            try:
                await known.status()
                return known
            except DaemonUnavailable:
                await background.clients.pop(config.socket_path).close()
        background.clients[config.socket_path] = await connect(config)
        return background.clients[config.socket_path]


def _background() -> _Background:
    global _current
    with _lock:
        if _current is not None and _current.pid != os.getpid():
            _of_parents.append(_current)
            _current = None
        if _current is None:
            _current = _Background()
        return _current


@atexit.register
def _end() -> None:
    if _current is not None and _current.pid == os.getpid():
        with contextlib.suppress(TimeoutError, P2pckptError):
            asyncio.run_coroutine_threadsafe(_current.close(), _current.loop).result(_GOODBYE)
