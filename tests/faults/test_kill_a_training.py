"""A training is killed at any moment: what is restored loads, goes on, and computes what it would have computed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from p2pckpt.control.run_messages import SaveRow, SaveState
from p2pckpt.errors import NotFound
from p2pckpt.tracker_protocol import Visibility

from ..support.homes import DEADLINE, Home, until
from ..support.runs import ENDED, watch
from ..support.trainings import KINDS, Training, finish
from .rounds import Rounds, seeds

MOMENTS = ("any", "in a save", "in a publish")
DOORS = ("watched", "hook")
FEW = (0, 1, 2, 3, 4)
"""Seeds of rounds that together have every moment, both trainers, both ways in, and a daemon that is killed as well."""
_WORKING = (SaveState.CHECKING, SaveState.PUBLISHING)
_POLL = 0.002
_STEPS, _STEP, _SAVE = 240, 0.03, 0.3
"""Of a training, and seconds of each of them and of a save: it is killed long before it ends."""
_FURTHER = 60
"""Steps that are compared after a restart."""


@dataclass(frozen=True)
class Plan:
    """What a round does, from its seed."""

    kind: str
    door: str
    moment: str
    save_every: int
    """Steps: from saves that overtake each other to idle minutes, in small."""
    save: int
    """Around which of the saves it is killed."""
    delay: float
    """Seconds more."""
    with_daemon: bool
    patient: bool
    """Whether all that was noticed is published before the run is restored."""
    elsewhere: bool
    """Whether another machine restores it, by a link."""

    @classmethod
    def of(cls, seed: int) -> Plan:
        chance = random.Random(seed)
        moment = MOMENTS[seed % 3]
        door = DOORS[seed // 2 % 2]
        longest = {"any": 1.0, "in a save": 0.8 * _SAVE, "in a publish": 0.3}[moment]
        return cls(
            kind=KINDS[seed % 2],
            door=door,
            moment=moment,
            save_every=chance.choice((4, 10, 30)),
            save=chance.randint(2, 4),
            delay=chance.uniform(0, longest),
            with_daemon=chance.random() < 0.4,
            patient=chance.random() < 0.5,
            elsewhere=door == "watched" and chance.random() < 0.4,
        )


def test_the_few_rounds_have_everything() -> None:
    plans = [Plan.of(seed) for seed in FEW]
    assert {plan.moment for plan in plans} == set(MOMENTS)
    assert {(plan.kind, plan.door) for plan in plans} == {(kind, door) for kind in KINDS for door in DOORS}
    for choice in ("with_daemon", "patient", "elsewhere"):
        assert {getattr(plan, choice) for plan in plans} == {True, False}


@pytest_asyncio.fixture(scope="module", loop_scope="package")
async def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[dict[str, dict[int, float]]]:
    """The loss of every step of a training that is left alone, by trainer."""
    base = tmp_path_factory.mktemp("uninterrupted")
    losses = {}
    for kind in KINDS:
        training = Training(kind, base / kind, base / f"{kind}.log", _STEPS + _FURTHER, 2 * _STEPS)
        await finish(training)
        losses[kind] = training.losses()
        assert len(losses[kind]) == training.steps
    yield losses


@pytest.mark.timeout(600)  # the first imports all trainers, and waits for the slowest of the rounds
@seeds(*FEW)
@pytest.mark.asyncio(loop_scope="package")
async def test_a_killed_training_goes_on_from_what_is_restored_as_if_nothing_had_happened(
    uninterrupted: dict[str, dict[int, float]], reader: Home, rounds: Rounds, seed: int
) -> None:
    async def killed_training(seed: int, directory: Path) -> str:
        plan, run = Plan.of(seed), f"killed-{seed}"
        async with Home(directory / "home", workers=1) as home:
            training = Training(
                plan.kind,
                directory / "out",
                directory / "log",
                steps=_STEPS,
                save_every=plan.save_every,
                hook=run if plan.door == "hook" else "",
                home=home.path,
                step_takes=_STEP,
                save_takes=_SAVE,
            )
            if plan.door == "watched":
                to = Visibility.LINK if plan.elsewhere else Visibility.MEMBERS
                await watch(home, training.out, run, quiet=1.0, to=to)
            saving, working = await killed(training, home, run, plan)
            if plan.with_daemon:
                await home.kill()
                await home.start()
            if plan.patient:
                await until(lambda: is_idle(home, run), "every save has been published")
            published = [save.step for save in await saves_of(home, run) if save.state is SaveState.PUBLISHED]

            restoring = home, run, ["--to", directory / "back"] if seed % 2 else []
            if plan.elsewhere:
                link = next(job.link for job in await home.client.jobs() if job.share == run and job.link)
                restoring = reader, link, ["--to", directory / "back"]
            who, source, to = restoring
            done = await who.cli("run", "restore", source, *to, "--json")
            assert done.returncode == 0, done.stderr
            restored = json.loads(done.stdout)
            on, log, step = directory / "on", directory / "on.log", restored["step"]
            resumed = Training(plan.kind, on, log, step + _FURTHER, _STEPS, resume=restored["path"])
            await finish(resumed)
        whole = uninterrupted[plan.kind]
        assert step >= max(each or 0 for each in published), done.stderr
        assert step % training.save_every == 0
        assert resumed.losses() == {later: whole[later] for later in range(step + 1, step + _FURTHER + 1)}
        before = training.losses()
        assert before == {step: whole[step] for step in before}
        assert len(before) < training.steps, "it was killed too late"
        hit = " and ".join([*(["a save"] if saving else []), *(["a publish"] if working else [])]) or "neither"
        said = [plan.kind, plan.door, f"hit {hit} after step {max(before)}"]
        said += ["its daemon too"] if plan.with_daemon else []
        said += ["elsewhere"] if plan.elsewhere else []
        return ", ".join([*said, f"restored step {step}", f"{_FURTHER} losses equal"])

    await rounds.result(seed, killed_training)


async def killed(training: Training, home: Home, run: str, plan: Plan) -> tuple[bool, bool]:
    """Train until the plan's moment and kill it. Whether it wrote a save then, and whether one was being published.

    Something was published before, or nothing could be restored.
    """
    process = training.start()
    try:
        async with asyncio.timeout(DEADLINE):
            while not await is_reached(training, home, run, plan) and process.is_alive():
                await asyncio.sleep(_POLL)
            await asyncio.sleep(plan.delay)
            working = any(save.state in _WORKING for save in await saves_of(home, run))
    finally:
        process.kill()
        await asyncio.to_thread(process.join, DEADLINE)
    return training.is_saving(), working


async def is_reached(training: Training, home: Home, run: str, plan: Plan) -> bool:
    saves = await saves_of(home, run)
    if not any(save.state is SaveState.PUBLISHED for save in saves):
        return False
    if plan.moment == "in a publish":
        return any(save.state in _WORKING for save in saves)
    begun = sum(event.get("what") == "saving" for event in training.events())
    return begun >= plan.save and (plan.moment == "any" or training.is_saving())


async def saves_of(home: Home, run: str) -> tuple[SaveRow, ...]:
    with contextlib.suppress(NotFound):
        return (await home.client.run_detail(run)).saves
    return ()


async def is_idle(home: Home, run: str) -> bool:
    return all(save.state in ENDED for save in await saves_of(home, run))
