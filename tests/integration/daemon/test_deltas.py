"""Versions of a run that are differences to an earlier one: what moves, who can read them, and what mends them."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from msgspec.structs import replace

from p2pckpt.control import messages as m
from p2pckpt.control import publish_messages as pm

from ...support.homes import Home, tree, write_files
from ...support.training import Tensors, later, safetensors, weights

pytestmark = pytest.mark.asyncio(loop_scope="package")


class Run:
    """A run's directory, saved over and over again as the next version of its share."""

    def __init__(self, home: Home, directory: Path, name: str) -> None:
        self._home = home
        self.directory = directory
        self._name = name
        self._tensors: Tensors = weights()
        self._step = 0

    def write_next(self) -> None:
        """The directory as it is a few training steps later."""
        self._step += 1
        self._tensors = later(self._tensors, self._step)
        write_files(self.directory, {"model.safetensors": safetensors(self._tensors), "card.txt": b"%d" % self._step})

    async def save(self, **fields: object) -> m.Job:
        self.write_next()
        return await self._home.share(self.directory, name=self._name, step=self._step, **fields)

    async def bases(self, version: int) -> int:
        """How many frames of a version are differences."""
        manifest = await self._home.client.manifest(f"{self._name}@{version}")
        return sum(chunk["base"] is not None for chunk in manifest["chunks"])


async def test_who_follows_a_run_fetches_differences_and_who_comes_new_a_whole_version_too(
    alice: Home, bob: Home, carol: Home, tmp_path: Path
) -> None:
    run = Run(alice, tmp_path / "run", "run/followed")
    first = await run.save(delta=True)
    assert await run.bases(1) == 0  # there was nothing to compare with
    whole = (await bob.get(first.link, tmp_path / "bob1")).wire_done
    for version in (2, 3):
        await run.save(delta=True)
        assert await run.bases(version) >= 3
        job = await bob.get(f"run/followed@{version}", tmp_path / f"bob{version}")
        # to the piece: what is fetched is counted in pieces of 1 MiB, and each torrent here is about one
        assert job.wire_done < whole
        assert tree(tmp_path / f"bob{version}") == tree(run.directory)
    await carol.get(first.link.partition("@")[0], tmp_path / "carol")
    assert tree(tmp_path / "carol") == tree(run.directory)
    # what is here as a difference is enough for another checkout, without anybody
    job = await carol.get("run/followed@3", tmp_path / "again")
    assert job.wire_done == 0
    assert tree(tmp_path / "again") == tree(run.directory)
    diff = await bob.client.diff("run/followed@2", "run/followed@3")
    assert set(diff.tensors_changed) >= {f"layer.{n}.weight" for n in range(3)}
    assert diff.new_bytes > diff.delta_bytes > 0.9 * diff.new_bytes
    shown = await bob.cli("diff", "run/followed@2", "run/followed@3")
    assert "of it as differences" in shown.stdout
    assert "changed: layer.0.weight, layer.1.weight, layer.2.weight" in shown.stdout


async def test_every_eighth_version_and_every_tagged_one_is_whole(alice: Home, tmp_path: Path) -> None:
    run = Run(alice, tmp_path / "run", "run/keyframes")
    for _ in range(10):
        await run.save(delta=True)
    assert [await run.bases(version) > 0 for version in range(1, 11)] == [False, *7 * [True], False, True]
    await run.save(delta=True, tags=("stable",))
    assert await run.bases(11) == 0
    await run.save()
    assert await run.bases(12) == 0


async def test_a_plan_says_what_differences_would_save(alice: Home, tmp_path: Path) -> None:
    run = Run(alice, tmp_path / "run", "run/planned")
    request = pm.PublishRequest(path=str(run.directory), name="run/planned")
    await run.save()
    run.write_next()
    whole = await alice.client.publish_plan(request)
    assert 0 < whole.delta_size < 0.7 * whole.stored_size
    delta = await alice.client.publish_plan(replace(request, delta=True))
    assert delta.stored_size == delta.delta_size == whole.delta_size
    assert (await alice.client.publish_plan(replace(request, tags=("stable",)))).delta_size == -1
    assert (await alice.client.publish_plan(replace(request, name="run/unknown"))).delta_size == -1


async def test_a_damaged_base_is_found_and_fetched_again(alice: Home, bob: Home, tmp_path: Path) -> None:
    run = Run(alice, tmp_path / "run", "run/damaged")
    first = await run.save(delta=True)
    await bob.get(first.link, tmp_path / "first")
    await run.save(delta=True)
    await bob.get("run/damaged@2", tmp_path / "second")
    await bob.verify("run/damaged@2", full=True)
    manifest = await bob.client.manifest("run/damaged@2")
    base = next(chunk["base"] for chunk in manifest["chunks"] if chunk["base"] is not None)
    place = manifest["chunks"][base]
    root = manifest["objects"][place["object"]]["root"]
    path = bob.store / "objects" / root[:2] / root
    with path.open("r+b") as file:
        file.seek(place["offset"] + place["stored"] // 2)
        file.write(random.Random(1).randbytes(64))
    with pytest.raises(Exception, match="damaged"):
        await bob.verify("run/damaged@2")
    await bob.verify("run/damaged@2", repair=True)
    await bob.verify("run/damaged@2", full=True)
    assert tree(tmp_path / "second") == tree(run.directory)


async def test_the_whole_version_s_data_stays_while_a_difference_to_it_is_here(
    alice: Home, bob: Home, tmp_path: Path
) -> None:
    run = Run(alice, tmp_path / "run", "run/kept")
    first = await run.save(delta=True)
    await bob.get(first.link, tmp_path / "first")
    await run.save(delta=True)
    await bob.get("run/kept@2", tmp_path / "second")
    (job,) = [job for job in await bob.client.jobs() if job.share == "run/kept" and job.version == 1]
    await bob.client.remove(job.id, data=True)
    await bob.verify("run/kept@2", full=True)
    again = await bob.get("run/kept@2", tmp_path / "again")
    assert again.wire_done == 0
    assert tree(tmp_path / "again") == tree(run.directory)
