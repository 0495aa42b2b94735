"""The Python API, and what only many versions show."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

import p2pckpt
from p2pckpt.control.messages import Job
from p2pckpt.errors import BadUsage, NotFound

from ...support.homes import Home

pytestmark = pytest.mark.asyncio(loop_scope="package")


async def test_share_and_get_from_python(alice: Home, bob: Home, tmp_path: Path) -> None:
    source = tmp_path / "model"
    source.mkdir()
    (source / "weights.bin").write_bytes(os.urandom(3 << 20))
    seen: list[Job] = []
    shared = await asyncio.to_thread(
        lambda: p2pckpt.share(source, name="api/model", step=7, metrics={"loss": 0.5}, config=alice.config)
    )
    assert (shared.share, shared.version, shared.size) == ("api/model", 1, 3 << 20)
    received = await asyncio.to_thread(
        lambda: p2pckpt.get(shared.link, to=tmp_path / "out", on_progress=seen.append, config=bob.config)
    )
    assert (received.path / "weights.bin").read_bytes() == (source / "weights.bin").read_bytes()
    assert received.fetched >= 3 << 20
    assert seen[-1].done == 3 << 20
    manifest = await bob.client.manifest("api/model@v1")
    assert (manifest["step"], manifest["metrics"]) == (7, {"loss": 0.5})


async def test_python_callers_get_the_exceptions_of_the_cli(alice: Home, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        await asyncio.to_thread(lambda: p2pckpt.share(tmp_path / "nothing", config=alice.config))
    with pytest.raises(BadUsage):
        await asyncio.to_thread(lambda: p2pckpt.get("p2pckpt:garbage", config=alice.config))


async def test_a_version_that_would_need_many_torrents_carries_its_objects_itself(
    alice: Home, bob: Home, tmp_path: Path
) -> None:
    source = tmp_path / "growing"
    source.mkdir()
    for version in range(1, 11):
        (source / f"part-{version}.bin").write_bytes(os.urandom(200_000))
        job = await alice.share(source, name="api/growing")
        assert job.version == version
        manifest = await alice.client.manifest("api/growing")
        assert len(manifest["torrents"]) <= 8
    received = await bob.get(job.link, tmp_path / "out")
    assert received.version == 10
    names = sorted(path.name for path in source.iterdir())
    assert {*names, "model.sig"} == {path.name for path in (tmp_path / "out").iterdir()}
    assert all((source / name).read_bytes() == (tmp_path / "out" / name).read_bytes() for name in names)


async def test_get_without_seeding_leaves_a_checkout_and_no_objects(alice: Home, tmp_path: Path) -> None:
    source = tmp_path / "model"
    source.mkdir()
    (source / "weights.bin").write_bytes(os.urandom(1 << 20))
    link = (await alice.share(source, name="api/no-seed")).link
    async with Home(tmp_path / "dora") as dora:
        await dora.get(link, tmp_path / "out", seed=False)
        assert (tmp_path / "out" / "weights.bin").read_bytes() == (source / "weights.bin").read_bytes()
        assert not [path for path in (dora.store / "objects").rglob("*") if path.is_file()]
        await dora.verify("api/no-seed")
