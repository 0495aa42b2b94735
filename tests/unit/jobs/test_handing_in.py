"""What a tracker is given again of a version comes from the store."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from p2pckpt.jobs.folder import MAX_CARD
from p2pckpt.jobs.handing_in import stored_card
from p2pckpt.jobs.services import Services
from tests.support.homes import flip_bit, seeded_bytes, write_files
from tests.unit.jobs.workshop import KEYS, Workshop, manifest_of_packed


@pytest.mark.parametrize("size", [10, MAX_CARD, MAX_CARD + 1, 9 << 20])
def test_a_card_is_as_much_of_the_published_readme_as_counts(workshop: Workshop, tmp_path: Path, size: int) -> None:
    readme = seeded_bytes(size, 1)
    packed = workshop.pack(write_files(tmp_path / "v1", {"README.md": readme, "a.bin": b"a", "b/README.md": b"b"}))
    manifest = manifest_of_packed(packed)
    services = cast(Services, SimpleNamespace(catalogue=workshop.catalogue, objects=workshop.objects))
    write_files(tmp_path / "v1", {"README.md": b"# Another"})
    assert stored_card(services, manifest, {KEYS.epoch: KEYS}) == readme[:MAX_CARD]

    for root in {manifest.root(number) for number in range(manifest.object_count)}:
        flip_bit(workshop.layout.object(root), 5)
    assert stored_card(services, manifest, {KEYS.epoch: KEYS}) == b""
