"""Which version the next one may be a delta to."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from p2pckpt.checkpoint.manifest import Manifest
from p2pckpt.errors import NotFound, TrackerUnreachable, VerificationFailed
from p2pckpt.jobs.keyframes import KEYFRAME_EVERY, base_for
from p2pckpt.jobs.services import Services
from tests.support.homes import write_files
from tests.support.training import safetensors, weights
from tests.unit.jobs.workshop import KEYS, SHARE, Workshop, manifest_of_packed

Found = Manifest | Exception


def services_of(workshop: Workshop, found: dict[int, Found], held: bool = True) -> Services:
    """Shares whose versions' manifests are these, or fail like this."""

    async def manifest(share: Any, trusted: Any, number: int) -> tuple[Manifest, bytes]:
        answer = found[number]
        if isinstance(answer, Exception):
            raise answer
        return answer, b""

    shares = SimpleNamespace(manifest=manifest, keys=lambda share, trusted: {KEYS.epoch: KEYS})
    rows = [SimpleNamespace(version=number, held=held) for number in found]
    catalogue = SimpleNamespace(versions=lambda share: rows, locate=workshop.catalogue.locate)
    return cast(Services, SimpleNamespace(shares=shares, catalogue=catalogue, objects=workshop.objects))


async def has_base(services: Services, found: dict[int, Found], *tags: str) -> bool:
    share = cast(Any, SimpleNamespace(share_id=SHARE))
    trusted = cast(Any, SimpleNamespace(targets=SimpleNamespace(versions=found)))
    return await base_for(services, share, trusted, tags) is not None


@pytest.fixture
def whole(workshop: Workshop, tmp_path: Path) -> Manifest:
    directory = write_files(tmp_path / "in", {"m.safetensors": safetensors(weights(layers=1))})
    return manifest_of_packed(workshop.pack(directory))


async def test_the_newest_whole_version_is_taken_unless_a_tag_is_given(workshop: Workshop, whole: Manifest) -> None:
    found: dict[int, Found] = {1: whole}
    assert await has_base(services_of(workshop, found), found)
    assert not await has_base(services_of(workshop, found), found, "stable")
    assert not await has_base(services_of(workshop, found, held=False), found)


async def test_what_somebody_signed_that_can_not_be_read_stops_nobody(workshop: Workshop, whole: Manifest) -> None:
    found: dict[int, Found] = {1: whole, 2: VerificationFailed("rubbish")}
    assert await has_base(services_of(workshop, found), found)
    found = {1: whole, 2: NotFound("retired, and at its end at the tracker")}
    assert await has_base(services_of(workshop, found), found)
    found = {number: VerificationFailed("rubbish") for number in range(2, KEYFRAME_EVERY + 1)} | {1: whole}
    assert not await has_base(services_of(workshop, found), found)


async def test_with_the_tracker_away_the_next_version_is_whole(workshop: Workshop, whole: Manifest) -> None:
    found: dict[int, Found] = {1: whole, 2: TrackerUnreachable("it is away")}
    assert not await has_base(services_of(workshop, found), found)


async def test_a_retired_version_is_a_base_while_it_is_whole_here(workshop: Workshop, whole: Manifest) -> None:
    found: dict[int, Found] = {1: whole, 3: VerificationFailed("rubbish")}
    offered: dict[int, Found] = {3: found[3]}
    assert await has_base(services_of(workshop, found), offered)
    assert not await has_base(services_of(workshop, found, held=False), offered)


async def test_what_was_published_long_ago_is_no_base_though_little_was_kept_since(
    workshop: Workshop, whole: Manifest
) -> None:
    found: dict[int, Found] = {1: whole, KEYFRAME_EVERY: VerificationFailed("rubbish")}
    assert not await has_base(services_of(workshop, found), found)
    found = {2: whole, KEYFRAME_EVERY: VerificationFailed("rubbish")}
    assert await has_base(services_of(workshop, found), found)
