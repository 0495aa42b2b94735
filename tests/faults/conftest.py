"""Homes that rounds share, seeds, and the log of a soak."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from bench.generate import make_checkpoint
from p2pckpt.control import messages as m

from ..support.homes import Home, seeded_bytes, write_files

MIB = 1 << 20


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def publisher(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Home]:
    """Who shares; nothing happens to it."""
    async with Home(tmp_path_factory.mktemp("homes") / "publisher") as home:
        yield home


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def reader(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Home]:
    """Who checks that what was shared can be had."""
    async with Home(tmp_path_factory.mktemp("homes") / "reader") as home:
        yield home


@pytest.fixture(scope="package")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 MB in several files of every kind of compressibility."""
    directory = tmp_path_factory.mktemp("checkpoint") / "source"
    make_checkpoint(directory, 12 * MIB, shards=2)
    write_files(directory, {"optimizer.bin": seeded_bytes(8 * MIB, 1), "zeros.bin": bytes(4 * MIB), "empty": b""})
    (directory / "nothing/here").mkdir(parents=True)
    return directory


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def published(publisher: Home, checkpoint: Path) -> m.Job:
    return await publisher.share(checkpoint, name="faults")


@pytest.fixture
def record(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Append a line about this round to the file that ``P2PCKPT_SOAK_LOG`` names."""

    def write(text: str) -> None:
        log = os.environ.get("P2PCKPT_SOAK_LOG")
        if log:
            with Path(log).open("a") as sink:
                sink.write(f"{request.node.nodeid.rpartition('::')[2]} {text}\n")

    return write
