"""The daemon is killed while it prunes: afterwards every version that is offered is whole, and nothing lies about."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from p2pckpt.control.run_messages import PruneRequest, Retention
from p2pckpt.store.catalogue import Catalogue

from ..support.homes import Home, tree, until, write_files
from ..support.training import later, safetensors, weights
from .rounds import Rounds, check_objects, seeds

pytestmark = pytest.mark.asyncio(loop_scope="package")
_SAVES = 5


@seeds(0, 1, 2)
async def test_a_killed_prune_loses_nothing_that_is_offered_and_leaves_nothing_behind(
    reader: Home, rounds: Rounds, seed: int
) -> None:
    async def killed_prune(seed: int, directory: Path) -> str:
        chance, name, source = random.Random(seed), f"faults/pruned-{seed}", directory / "run"
        tensors, saves = weights(seed, width=256, layers=1), []
        async with Home(directory / "publisher") as publisher:
            for step in range(1, _SAVES + 1):
                tensors = later(tensors, step)
                write_files(source, {"model.safetensors": safetensors(tensors)})
                saves.append(tree(source))
                job = await publisher.share(source, name=name, step=step, delta=True)
            request = PruneRequest(name=name, retention=Retention(last=2), at_once=True)
            pruning = asyncio.ensure_future(publisher.client.prune(request))
            stage = (_begun, _noted, _signed)[seed % 3]

            async def reached(stage: Callable[[Home], Awaitable[bool]] = stage) -> bool:
                return pruning.done() or await stage(publisher)

            await until(reached, "it has come so far")
            await asyncio.wait({pruning}, timeout=chance.uniform(0, 0.1))
            await publisher.kill()
            await asyncio.gather(pruning, return_exceptions=True)
            await publisher.start()
            check_objects(publisher.store)
            offered = await _offered(publisher, name)
            assert offered in ([4, 5], [1, 2, 3, 4, 5])
            if len(offered) > 2:
                await publisher.client.prune(request)

            await until(lambda: _settled(publisher), "what was retired is deleted")
            await publisher.restart()  # what a killed deletion left is swept away before anybody works with the store
            assert await _offered(publisher, name) == [4, 5]
            assert _names(publisher) == await _needed(publisher, name, (4, 5))
            for version, source_name in ((5, job.link), (4, f"{name}@4")):
                target = directory / f"got{version}"
                await reader.get(source_name, target)
                assert tree(target) == saves[version - 1]
        return f"{len(offered)} offered after the kill"

    await rounds.result(seed, killed_prune)


async def _offered(home: Home, name: str) -> list[int]:
    return sorted(row.version for row in (await home.client.share_detail(name)).versions)


async def _needed(home: Home, name: str, versions: tuple[int, ...]) -> set[str]:
    found: set[str] = set()
    for version in versions:
        manifest = await home.client.manifest(f"{name}@{version}")
        found |= {each["root"] for each in manifest["objects"]}
        found |= set((await home.client.version_detail(f"{name}@{version}")).info_hashes)
    return found


def _names(home: Home) -> set[str]:
    """Objects and torrents on the disk."""
    return {path.name for path in (home.store / "objects").glob("*/*")} | {
        path.name for path in (home.store / "torrents").iterdir()
    }


async def _begun(home: Home) -> bool:
    return True


async def _noted(home: Home) -> bool:
    """What is to be retired is in the catalogue."""
    catalogue = Catalogue(home.store / "catalogue.db")
    try:
        return bool(catalogue.retired())
    finally:
        catalogue.close()


async def _signed(home: Home) -> bool:
    """The signed list is another one, and deleting begins."""
    return "event='retired v3, v2, v1" in home.log


async def _settled(home: Home) -> bool:
    return not await _noted(home)
