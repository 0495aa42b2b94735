"""Every engine there is, and started ones."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from p2pckpt.swarm.engine import Engine
from p2pckpt.swarm.libtorrent_engine import LibtorrentEngine
from tests.contract.nodes import TORRENT_NAME, Node
from tests.support.fake_engine import FakeEngine, FakeNetwork
from tests.support.swarm_certificates import SwarmAuthority

NewEngine = Callable[..., Engine]
NewNode = Callable[[str], Awaitable[Node]]

WITH_TLS = "libtorrent with TLS"
over_tls_too = pytest.mark.parametrize("new_engine", ["libtorrent", WITH_TLS, "fake"], indirect=True)
"""Marks tests of which connections of members are worth a run of their own."""


@pytest.fixture(params=["libtorrent", "fake"])
def new_engine(request: pytest.FixtureRequest, tmp_path: Path) -> NewEngine:
    """Makes an engine that listens on a plain and a TLS port of 127.0.0.1, 0 for any."""
    network = FakeNetwork()

    def make(port: int = 0, tls_port: int = 0) -> Engine:
        if request.param == "fake":
            return FakeEngine(network, port, tls_port)
        return LibtorrentEngine(["127.0.0.1"], port, tls_port, scratch=tmp_path / "scratch")

    return make


@pytest.fixture(scope="session")
def authority() -> SwarmAuthority:
    return SwarmAuthority()


@pytest_asyncio.fixture
async def new_node(
    request: pytest.FixtureRequest, new_engine: NewEngine, authority: SwarmAuthority, tmp_path: Path
) -> AsyncIterator[NewNode]:
    """Starts engines, each with a directory named after it, and stops them at the end."""
    nodes: list[Node] = []
    with_tls = request.node.callspec.params["new_engine"] == WITH_TLS

    async def start(name: str) -> Node:
        node = Node(new_engine(), tmp_path / name, authority.member(TORRENT_NAME) if with_tls else None)
        await node.engine.start(node.heard)
        nodes.append(node)
        return node

    yield start
    await asyncio.gather(*(node.engine.stop() for node in nodes))
