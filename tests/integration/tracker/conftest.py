"""A tracker for each test, in this process and event loop, with real sockets and a real database."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest

from p2pckpt_tracker.app import Tracker
from p2pckpt_tracker.peer_address import trusted
from p2pckpt_tracker.settings import Listen, Settings

from .people import Person, ShareFiles

LOCAL = Listen("127.0.0.1", 0)


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.TCPConnector(limit=250, keepalive_timeout=5)
    async with aiohttp.ClientSession(connector=connector) as session:
        yield session


@pytest.fixture
async def tracker(tmp_path: Path) -> AsyncIterator[Tracker]:
    """Believes X-Forwarded-For from this machine, so that tests can come from anywhere."""
    tracker = Tracker(
        Settings(
            data=tmp_path / "tracker",
            listen=LOCAL,
            announce_listen=LOCAL,
            ops_listen=LOCAL,
            plain_http=True,
            only_listed=False,
            trusted_proxies=trusted(["127.0.0.0/8"]),
        )
    )
    await tracker.start()
    yield tracker
    await tracker.stop()


@pytest.fixture
def url(tracker: Tracker) -> str:
    return f"http://127.0.0.1:{tracker.api_port}"


Login = Callable[..., Awaitable[Person]]


@pytest.fixture
def person(session: aiohttp.ClientSession, url: str) -> Login:
    """Make somebody who is logged in: ``await person()`` or ``await person("203.0.113.9")``."""

    async def make(address: str = "") -> Person:
        return await Person(session, url, address).login()

    return make


@pytest.fixture
async def share(person: Login) -> ShareFiles:
    """A members-only share without a version."""
    owner = await person()
    online_key = (await owner.good("GET", "/tracker"))["online_key"]
    files = ShareFiles(owner, online_key)
    await files.create()
    return files
