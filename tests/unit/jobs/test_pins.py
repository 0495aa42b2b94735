"""What is whole enough to be pinned."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from p2pckpt.errors import VerificationFailed
from p2pckpt.jobs import pins
from p2pckpt.jobs.services import Services
from p2pckpt.store.catalogue import KnownShare, VersionRow
from tests.support.homes import seeded_bytes, write_files
from tests.unit.jobs.workshop import SHARE, Workshop, manifest_of_packed

RUN = KnownShare(SHARE, "run", "beside", "members", "owner", {})


def lose_a_piece(workshop: Workshop, root: bytes) -> None:
    workshop.catalogue.lose_pieces(root, {0})


def cut(workshop: Workshop, root: bytes) -> None:
    with workshop.layout.object(root).open("r+b") as file:
        file.truncate(10)


def delete(workshop: Workshop, root: bytes) -> None:
    workshop.layout.object(root).unlink()


@pytest.mark.parametrize("lose", [lose_a_piece, cut, delete])
@pytest.mark.parametrize("retired", [False, True])
async def test_a_version_that_lost_something_is_not_pinned_though_it_was_whole_once(
    workshop: Workshop, tmp_path: Path, lose: Callable[[Workshop, bytes], None], retired: bool
) -> None:
    packed = workshop.pack(write_files(tmp_path / "v1", {"a.bin": seeded_bytes(1 << 20, 1)}))
    manifest = manifest_of_packed(packed)
    workshop.catalogue.record_version(VersionRow(SHARE, 1, b"i" * 32, True, ""))

    async def trusted(share: KnownShare) -> Any:
        return SimpleNamespace(is_retired=lambda number: retired)

    async def manifest_of(*arguments: Any) -> Any:
        return manifest, b""

    shares = SimpleNamespace(trusted=trusted, manifest=manifest_of)
    fakes = SimpleNamespace(shares=shares, catalogue=workshop.catalogue, layout=workshop.layout)
    services = cast(Services, fakes)
    with pytest.raises(VerificationFailed):
        await pins.pin(services, RUN, 1, {1})
    since = await pins.pin(services, RUN, 1, {2})
    assert workshop.catalogue.unpin(SHARE, 1, 0) == since

    lose(workshop, manifest.root(0))
    with pytest.raises(VerificationFailed) as refused:
        await pins.pin(services, RUN, 1, ())
    assert refused.value.next_step.startswith("p2pckpt verify run@v1")
    assert ("--repair" in refused.value.next_step) is not retired
    assert workshop.catalogue.pinned(SHARE) == set()
