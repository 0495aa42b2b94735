"""Who publishes and who reads through the gateway, for all tests of a module."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import pytest_asyncio

from p2pckpt.bridges.hub_gateway.server import HubGateway
from p2pckpt.control import messages as m
from p2pckpt.control.gateway_messages import GatewayRequest

from ...support.homes import Home
from ...support.hub_clients import CLIENTS, HubClient


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def alice(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Home]:
    """Who publishes."""
    async with Home(tmp_path_factory.mktemp("homes") / "alice") as home:
        yield home


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def bob(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Home]:
    """Who reads through his gateway, and has no checkout of anything."""
    async with Home(tmp_path_factory.mktemp("homes") / "bob") as home:
        await home.client.set_gateway(GatewayRequest(on=True))
        yield home


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def endpoint(bob: Home) -> str:
    """Bob's gateway, a process of his daemon, as ``HF_ENDPOINT``."""
    return (await bob.client.gateway()).endpoint


@dataclass(frozen=True)
class Quick:
    """A gateway in this process that has little patience, over Bob's daemon."""

    endpoint: str


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def quick(bob: Home) -> AsyncIterator[Quick]:
    gateway = HubGateway(bob.client, "a-secret-of-tests", patience=0.5, retry_after=1)
    port = await gateway.start()
    try:
        yield Quick(f"http://127.0.0.1:{port}/a-secret-of-tests")
    finally:
        await gateway.stop()


@pytest.fixture(params=CLIENTS, ids=lambda client: client.version)
def client(request: pytest.FixtureRequest) -> HubClient:
    """Each version of the hub's client."""
    found: HubClient = request.param
    return found


async def join(home: Home, link: str) -> None:
    """Know a share without having any of it."""
    await home.client.fetch_plan(m.FetchRequest(source=link))
