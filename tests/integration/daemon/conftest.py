"""Homes that tests share. Each test has share names and directories of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from ...support.homes import Home


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def alice(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Home]:
    """Who publishes: her tracker runs beside her daemon."""
    async with Home(tmp_path_factory.mktemp("homes") / "alice") as home:
        yield home


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def bob(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Home]:
    """Who receives."""
    async with Home(tmp_path_factory.mktemp("homes") / "bob") as home:
        yield home


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def carol(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Home]:
    """Somebody else."""
    async with Home(tmp_path_factory.mktemp("homes") / "carol") as home:
        yield home
