"""Deleting what nothing needs any more."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest

from p2pckpt.errors import NotAllowed, NotFound
from p2pckpt.jobs import removal
from p2pckpt.jobs.removal import delete_files, drop_objects, needed_besides, remove_version
from p2pckpt.jobs.services import Services
from p2pckpt.store.catalogue import KnownShare, VersionRow
from tests.unit.jobs.workshop import SHARE, Workshop


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


async def test_what_is_pinned_while_its_objects_are_to_be_dropped_keeps_them(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    share = KnownShare(SHARE, "cars/sd15", "beside", "members", "owner", {})
    row = VersionRow(SHARE, 1, b"i" * 32, True, "/checkout")
    workshop.catalogue.record_version(row)

    async def needed_besides(*arguments: object) -> set[bytes]:
        workshop.catalogue.pin(SHARE, 1, 10)
        return set()

    monkeypatch.setattr(removal, "needed_besides", needed_besides)
    services = cast(Services, SimpleNamespace(catalogue=workshop.catalogue))
    assert await drop_objects(services, share, 1) == 0
    assert workshop.catalogue.version(SHARE, 1) == row


async def test_a_version_that_is_pinned_while_its_removal_is_prepared_stays(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    share = KnownShare(SHARE, "cars/sd15", "beside", "members", "owner", {})
    workshop.catalogue.record_version(VersionRow(SHARE, 1, b"i" * 32, True, ""))

    async def needed_besides(*arguments: object) -> set[bytes]:
        workshop.catalogue.pin(SHARE, 1, 10)
        return set()

    monkeypatch.setattr(removal, "needed_besides", needed_besides)
    services = cast(Services, SimpleNamespace(catalogue=workshop.catalogue))
    with pytest.raises(NotAllowed) as refused:
        await remove_version(services, share, 1)
    assert refused.value.fact == "cars/sd15@v1 is pinned on this machine"
    assert (refused.value.kept, refused.value.next_step) == (
        "all that is here of it",
        "p2pckpt pin --remove cars/sd15@v1",
    )
    assert workshop.catalogue.version(SHARE, 1) is not None


@pytest.mark.parametrize("held", [False, True])
async def test_a_version_that_is_nowhere_any_more_needs_nothing_unless_it_is_held(held: bool) -> None:
    """Its data was dropped here, an owner retired it, and two days later the tracker let go of its manifest."""

    async def trusted(share: object) -> object:
        return SimpleNamespace()

    async def manifest(*_: object) -> object:
        raise NotFound("there is no such manifest")

    catalogue = SimpleNamespace(
        versions=lambda: [SimpleNamespace(share=b"s", version=1, held=held)], share=lambda share_id: SimpleNamespace()
    )
    shares = SimpleNamespace(trusted=trusted, manifest=manifest)
    services = cast(Services, SimpleNamespace(catalogue=catalogue, shares=shares))
    if held:
        with pytest.raises(NotFound):
            await needed_besides(services, set(), ())
    else:
        assert await needed_besides(services, set(), ()) == set()
