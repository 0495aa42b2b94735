"""Homes that rounds share, seeds, and the log of a soak."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from bench.generate import make_checkpoint
from p2pckpt.control import messages as m

from ..support.homes import Home, seeded_bytes, write_files
from .rounds import Rounds

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


@pytest_asyncio.fixture(loop_scope="package")
async def rounds(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Rounds:
    """The rounds of this test, of which several run at once."""
    function = request.node.originalname
    stored = request.config.stash.setdefault(_ROUNDS, {})
    if function not in stored:
        selected = [item for item in request.session.items if isinstance(item, pytest.Function)]
        stored[function] = Rounds(
            [int(item.callspec.params["seed"]) for item in selected if item.originalname == function],  # type: ignore[call-overload]
            lambda seed: tmp_path_factory.mktemp(f"{function[5:30]}-{seed}-"),
        )
    return stored[function]


_ROUNDS = pytest.StashKey[dict[str, Rounds]]()


@pytest_asyncio.fixture(scope="package", loop_scope="package", autouse=True)
async def no_round_outlives_the_tests(request: pytest.FixtureRequest) -> AsyncIterator[None]:
    yield
    for rounds in request.config.stash.get(_ROUNDS, {}).values():
        await rounds.cancel()
