"""A daemon that all trainings hand their saves to."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Sequence

import pytest
import pytest_asyncio

from p2pckpt.control.run_messages import SaveRow
from p2pckpt.errors import NotFound

from ...support.homes import Home, until
from ...support.runs import ended
from ...support.trainings import Training, finish


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def alice(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Home]:
    async with Home(tmp_path_factory.mktemp("homes") / "alice") as home:
        yield home


async def published_one_by_one(home: Home, training: Training, names: Sequence[str]) -> dict[str, SaveRow]:
    """Train to the end, with a pause after each save until it is known what became of it. ``names`` are the saves'."""
    permits = training.log.parent / "permits"
    permits.mkdir()
    training = dataclasses.replace(training, permits=permits)
    work = asyncio.create_task(finish(training))
    saves: dict[str, SaveRow] = {}
    for number, name in enumerate(names, 1):
        await until(lambda name=name: is_known(home, training.hook, name), f"{name} was handed over")  # type: ignore[misc]
        saves |= await ended(home, training.hook, name)
        (permits / str(number * training.save_every)).touch()
    await work
    return saves


async def is_known(home: Home, run: str, name: str) -> bool:
    try:
        return any(save.name == name for save in (await home.client.run_detail(run)).saves)
    except NotFound:
        return False


async def goes_on_alike(training: Training, checkpoint: str, *, after: int) -> None:
    """Resume from ``checkpoint``: every loss from there on is that of the training that went through."""
    base = training.log.parent
    resumed = dataclasses.replace(training, out=base / "on", log=base / "on.log", resume=checkpoint, hook="")
    await finish(resumed)
    assert resumed.losses() == {step: loss for step, loss in training.losses().items() if step > after}
    assert len(resumed.losses()) == training.steps - after
