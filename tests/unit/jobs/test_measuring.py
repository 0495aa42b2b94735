"""What is remembered of the measurements in a manifest, whatever its publisher wrote there."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from p2pckpt.checkpoint.manifest import Manifest
from p2pckpt.jobs.measuring import learn
from p2pckpt.store.catalogue import Catalogue, KnownShare, Measured
from tests.unit.checkpoint.test_manifest import empty_body
from tests.unit.trust.people import OWNER, Shelf, person, target


@pytest.mark.parametrize(
    ("step", "kept"), [(None, None), (0, 0), (1 << 53, 1 << 53), ((1 << 64) - 1, None), (-1, None)]
)
async def test_measurements_of_any_size_are_remembered_within_bounds(
    tmp_path: Path, step: int | None, kept: int | None
) -> None:
    shelf = Shelf()
    shelf.publish(OWNER, target(1, publisher=OWNER.hex))
    trusted = shelf.refresh(tmp_path / "trusted", person("me"))
    metrics = {f"m{number:05}": float(number) for number in range(5_000)} | {"a" * 101: 1.0}
    manifest = Manifest(empty_body(step=step, metrics=metrics))
    catalogue = Catalogue(tmp_path / "catalogue.db")

    async def opened(*_: Any) -> tuple[Manifest, bytes]:
        return manifest, b""

    services: Any = SimpleNamespace(catalogue=catalogue, shares=SimpleNamespace(manifest=opened))
    share = KnownShare(shelf.share_id, "cars/sd15", "t", "link", "downloader", {})
    assert await learn(services, share, trusted, 20) == 1
    digest = trusted.target(1).manifest_sha256
    expected = Measured(digest, kept, {f"m{number:05}": float(number) for number in range(256)})
    assert catalogue.measured(shelf.share_id) == {1: expected}
    assert await learn(services, share, trusted, 20) == 0
    catalogue.close()
