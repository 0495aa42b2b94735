"""Whatever happens to daemon, tracker or disk: the training goes to its end, and computes what it would without us."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from p2pckpt.control.run_messages import SaveState

from ...support.homes import Home, small_disk, until
from ...support.trainings import KINDS, Training, finish
from .conftest import is_known

pytestmark = pytest.mark.asyncio(loop_scope="package")


@pytest_asyncio.fixture(scope="module", loop_scope="package")
async def alone(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[dict[str, dict[int, float]]]:
    """The losses of trainings that hand nothing over."""
    base = tmp_path_factory.mktemp("alone")
    losses = {}
    for kind in KINDS:
        training = Training(kind, base / kind, base / f"{kind}.log", steps=12)
        await finish(training)
        losses[kind] = training.losses()
    yield losses


def told(training: Training) -> list[str]:
    """What the training printed about saves that were not handed over."""
    lines = training.log.with_suffix(".out").read_text().splitlines()
    return [line for line in lines if "was not handed over" in line]


@pytest.mark.parametrize("kind", KINDS)
async def test_without_a_daemon(tmp_path: Path, kind: str, alone: dict[str, dict[int, float]]) -> None:
    training = Training(kind, tmp_path / "out", tmp_path / "log", steps=12, hook="no/daemon", home=tmp_path / "home")
    await finish(training)
    assert training.losses() == alone[kind]
    (line,) = told(training)
    assert "the daemon does not answer" in line


async def test_with_a_daemon_that_is_killed_meanwhile(tmp_path: Path, alone: dict[str, dict[int, float]]) -> None:
    async with Home(tmp_path / "home") as home:
        permits = tmp_path / "permits"
        permits.mkdir()
        training = Training(
            "transformers", tmp_path / "out", tmp_path / "log", 12, hook="killed", home=home.path, permits=permits
        )
        work = asyncio.create_task(finish(training))
        await until(lambda: is_known(home, "killed", "checkpoint-4"), "the first save was handed over")
        await home.kill()
        (permits / "4").touch()
        (permits / "8").touch()
        await work
        await home.start()
        assert training.losses() == alone["transformers"]
        assert len(told(training)) == 1
        await until(lambda: is_published(home, "killed"), "what was handed over before is published")


@pytest.mark.parametrize("kind", KINDS)
async def test_with_a_tracker_that_is_away(tmp_path: Path, kind: str, alone: dict[str, dict[int, float]]) -> None:
    async with Home(tmp_path / "home", tracker="127.0.0.1:1") as home:
        training = Training(kind, tmp_path / "out", tmp_path / "log", 12, keep=1, hook="away", home=home.path)
        await finish(training)
        assert training.losses() == alone[kind]
        assert told(training) == []  # the daemon has the save, and goes on trying
        await until(lambda: has_problem(home, "away", "tracker"), "the run says what is wrong")


async def test_with_a_full_disk(tmp_path: Path, alone: dict[str, dict[int, float]]) -> None:
    with small_disk(tmp_path / "disk", 8 << 20) as disk:
        async with Home(tmp_path / "home", store=disk / "store") as home:
            fill(disk / "ballast")
            training = Training(
                "lightning", tmp_path / "out", tmp_path / "log", 12, keep=1, hook="full", home=home.path
            )
            await finish(training)
            assert training.losses() == alone["lightning"]
            await until(lambda: has_problem(home, "full", "full"), "the run says what is wrong")
            (disk / "ballast").unlink()


def fill(path: Path) -> None:
    """A file that takes all there is left."""
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))


async def has_problem(home: Home, run: str, word: str) -> bool:
    return word in (await home.client.run_detail(run)).run.problem


async def is_published(home: Home, run: str) -> bool:
    return any(save.state is SaveState.PUBLISHED for save in (await home.client.run_detail(run)).saves)
