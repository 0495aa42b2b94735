"""What a crash left in the store: deleted if nothing names it, and never what somebody may need."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from p2pckpt.checkpoint.pieces import PieceSet
from p2pckpt.errors import NotFound, VerificationFailed
from p2pckpt.jobs import sweep as sweeping
from p2pckpt.jobs.removal import Place
from p2pckpt.jobs.services import Services
from p2pckpt.jobs.sweep import sweep
from p2pckpt.store.catalogue import ObjectRow, VersionRow
from p2pckpt.store.retired import RetiredRow
from tests.unit.jobs.workshop import SHARE, Workshop


def name(number: int) -> bytes:
    return bytes([number]) * 32


class Attic:
    """A store with things in it, and what its versions need."""

    def __init__(self, workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
        self.layout, self.catalogue = workshop.layout, workshop.catalogue
        self.offered: dict[int, bytes] = {}
        self.seen: dict[int, bytes] = {}
        self.needs: dict[int, set[bytes] | Exception] = {}

        def content(version: int) -> tuple[str, str]:
            if version not in self.seen:
                raise NotFound("never signed")
            return "", self.seen[version].hex()

        async def look(share: Any) -> Any:
            versions = {n: SimpleNamespace(infohash=info_hash.hex()) for n, info_hash in self.offered.items()}
            return SimpleNamespace(content=content, targets=SimpleNamespace(versions=versions))

        async def needs_of(services: Services, place: Place) -> set[bytes]:
            needed = self.needs[place[1]]
            if isinstance(needed, Exception):
                raise needed
            return needed

        monkeypatch.setattr(sweeping, "needs_of", needs_of)
        shares = SimpleNamespace(known=lambda: [SimpleNamespace(share_id=SHARE)], look=look)
        parts = SimpleNamespace(
            layout=workshop.layout, catalogue=workshop.catalogue, objects=workshop.objects, shares=shares
        )
        self.services = cast(Services, parts)

    def object(self, number: int, *, row: bool = False, carried: bool = False) -> None:
        path = self.layout.object(name(number))
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"frames")
        if row:
            self.catalogue.record_object(ObjectRow(name(number), 6, 1, 1, PieceSet.full(6), b""))
        if carried:
            self.catalogue.record_carriers(SHARE, [(name(number), name(99), 1)])

    def torrent(self, number: int) -> None:
        self.layout.manifest(name(number)).parent.mkdir()
        self.layout.manifest(name(number)).write_bytes(b"manifest")

    @property
    def here(self) -> set[bytes]:
        paths = [*self.layout.objects.glob("*/*"), *self.layout.torrents.iterdir()]
        return {bytes.fromhex(path.name) for path in paths}


@pytest.fixture
def attic(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> Attic:
    return Attic(workshop, monkeypatch)


async def test_objects_and_torrents_that_nothing_names_are_deleted(attic: Attic) -> None:
    attic.object(1)
    attic.object(2, row=True, carried=True)
    attic.torrent(3)
    attic.torrent(99)
    (attic.layout.objects / "notes.txt").mkdir()
    assert await sweep(attic.services, set(), publishing=False) > 0
    assert attic.here == {name(2), name(99)}
    assert await sweep(attic.services, set(), publishing=False) == 0


async def test_what_a_job_began_and_what_versions_need_stays(attic: Attic) -> None:
    attic.object(1)  # by a fetch of version 4 that goes on
    attic.torrent(14)
    attic.torrent(20)  # named by version 5, which is here
    attic.torrent(21)  # named by version 6, which was retired and can be taken back
    attic.torrent(15)
    attic.torrent(16)
    attic.torrent(30)  # of a version that is offered: its manifest was looked at
    attic.object(2)
    attic.seen = {4: name(14), 5: name(15), 6: name(16)}
    attic.offered = {30: name(30)}
    attic.needs = {4: {name(1), name(14)}, 5: {name(20), name(15)}, 6: {name(21), name(16)}}
    attic.catalogue.record_version(VersionRow(SHARE, 5, name(15), True, ""))
    attic.catalogue.note_retired([RetiredRow(SHARE, 6, 3, b"{}", 1)])
    await sweep(attic.services, {(SHARE, 4), (SHARE, 77), (b"?" * 32, 1)}, publishing=True)
    assert attic.here == {name(each) for each in (1, 14, 20, 21, 15, 16, 30)}


async def test_what_was_packed_for_no_version_goes_once_no_publish_is_to_go_on(attic: Attic) -> None:
    attic.object(1, row=True)
    attic.object(2, row=True, carried=True)
    await sweep(attic.services, set(), publishing=True)
    assert attic.here == {name(1), name(2)}
    await sweep(attic.services, set(), publishing=False)
    assert attic.here == {name(2)}
    assert attic.catalogue.object(name(1)) is None


async def test_where_a_manifest_can_not_be_read_nothing_is_deleted(attic: Attic) -> None:
    attic.torrent(15)
    attic.torrent(20)
    attic.seen, attic.needs = {5: name(15)}, {5: VerificationFailed("damaged")}
    attic.catalogue.record_version(VersionRow(SHARE, 5, name(15), True, ""))
    with pytest.raises(VerificationFailed):
        await sweep(attic.services, set(), publishing=False)
    assert attic.here == {name(15), name(20)}
