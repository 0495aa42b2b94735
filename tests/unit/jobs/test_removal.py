"""Deleting what nothing needs any more."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest

from p2pckpt.jobs.removal import delete_files
from p2pckpt.jobs.services import Services
from tests.unit.jobs.workshop import Workshop


@pytest.mark.parametrize("order", [1, -1])
def test_no_torrent_goes_before_the_last_object_so_that_an_interrupted_deletion_finds_the_rest(
    workshop: Workshop, order: int
) -> None:
    names = [bytes([n]) * 32 for n in range(6)][::order]
    roots, info_hashes = names[::2], names[1::2]
    for root in roots:
        workshop.layout.object(root).parent.mkdir(exist_ok=True)
        workshop.layout.object(root).write_bytes(b"frames")
    for info_hash in info_hashes:
        workshop.layout.torrent(info_hash).parent.mkdir()
        workshop.layout.torrent(info_hash).write_bytes(b"torrent")
    stuck = workshop.layout.object(roots[-1])
    stuck.unlink()
    stuck.mkdir()  # its deletion fails, as if the daemon had been killed there
    services = cast(Services, SimpleNamespace(layout=workshop.layout, objects=workshop.objects))

    with pytest.raises(OSError):
        delete_files(services, names)
    assert all(workshop.layout.torrent(each).exists() for each in info_hashes)
    stuck.rmdir()
    delete_files(services, names)
    assert not [path for path in workshop.layout.objects.rglob("*") if path.is_file()]
    assert not list(workshop.layout.torrents.iterdir())
