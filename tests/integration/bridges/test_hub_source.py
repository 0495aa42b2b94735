"""What the gateway asks a daemon has the same answers from a real one and from the one that its tests are made of."""

from __future__ import annotations

import contextlib

import pytest
import pytest_asyncio

from p2pckpt.bridges.hub_gateway.repos import Source
from p2pckpt.errors import NotFound

from ...support.homes import Home, failure, seeded_bytes, write_files
from ...support.hub_source import HubSource
from .conftest import join

pytestmark = pytest.mark.asyncio(loop_scope="package")
WEIGHTS = seeded_bytes(2_500_000, 9)
NAME = "contract/model"


@pytest_asyncio.fixture(scope="module", loop_scope="package")
async def sources(alice: Home, bob: Home, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Source]:
    stand_in = HubSource()
    for number, text in enumerate((b"one", b"two")):
        directory = write_files(tmp_path_factory.mktemp("source"), {"weights.bin": WEIGHTS, "dir/config.json": text})
        name, tags = ("", "second")[number], (("stable",), ())[number]
        stand_in.add(NAME, directory, version_name=name, tags=tags)
        job = await alice.share(directory, name=NAME, version_name=name, tags=tags)
    await join(bob, job.link)
    return {"stand-in": stand_in, "daemon": bob.client}


@pytest.fixture(params=["stand-in", "daemon"])
def source(request: pytest.FixtureRequest, sources: dict[str, Source]) -> Source:
    return sources[request.param]


async def test_a_version_is_found_by_every_name_it_has(source: Source) -> None:
    first, second = await source.contents(f"{NAME}@v1"), await source.contents(NAME)
    assert (first.version, second.version, second.version_name) == (1, 2, "second")
    for name in (f"{NAME}@1", f"{NAME}@stable", f"{first.share_id}@1"):
        assert await source.contents(name) == first
    assert await source.contents(f"{NAME}@second") == second
    assert [(file.path, file.size) for file in first.files] == [("dir/config.json", 3), ("weights.bin", len(WEIGHTS))]
    assert first.files[1] == second.files[1] and first.files[0].sha256 != second.files[0].sha256


async def test_a_share_lists_the_manifests_of_its_versions_newest_first(source: Source) -> None:
    detail = await source.share_detail(NAME)
    contents = [await source.contents(f"{NAME}@v{row.version}") for row in detail.versions]
    assert [row.manifest for row in detail.versions] == [each.manifest for each in contents]
    assert [(row.version, row.name) for row in detail.versions] == [(2, "second"), (1, "")]
    assert detail.share.latest == 2 and "stable" in detail.versions[1].tags


async def test_ranges_are_what_the_file_has_there(source: Source) -> None:
    for start, end in ((0, len(WEIGHTS)), (0, 1), (1_048_570, 1_048_590), (len(WEIGHTS) - 1, len(WEIGHTS))):
        async with contextlib.aclosing(source.read(f"{NAME}@v1", "weights.bin", start, end, patience=60)) as pieces:
            assert b"".join([piece async for piece in pieces]) == WEIGHTS[start:end]


async def test_what_is_missing_is_not_found(source: Source) -> None:
    for question in (
        source.contents("contract/nothing"),
        source.share_detail("contract/nothing"),
        source.contents(f"{NAME}@v9"),
        source.contents(f"{NAME}@nothing"),
        anext(source.read(f"{NAME}@v1", "nothing", 0, 1, patience=60)),
    ):
        assert isinstance(await failure(question), NotFound)
