"""Uploads that nothing names: time that no clock can move, bounded rounds, crashes, and what targets need."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from p2pckpt.tracker_protocol import BlobKind, Visibility
from p2pckpt_tracker import uploads as module
from p2pckpt_tracker.held_shares import HeldShares
from p2pckpt_tracker.refusals import MetadataRefused
from p2pckpt_tracker.signed_content import needs
from p2pckpt_tracker.store import share_rows, upload_rows
from p2pckpt_tracker.store.blobs import Blobs, upload_of
from p2pckpt_tracker.store.database import Database
from p2pckpt_tracker.store.migrate import migrate
from p2pckpt_tracker.store.share_rows import Share
from p2pckpt_tracker.uploads import KEPT, Uploads

TEN_YEARS = 10 * 365 * 24 * 3600


def name(number: int) -> str:
    return f"{number:064x}"


def targets(*versions: dict[str, Any]) -> bytes:
    """Targets with these versions: their manifests' numbers with what else is said of each."""
    listed = {}
    for number, version in enumerate(versions, start=1):
        said = {"infohash": name(version["torrent"]), "card": "", "leans_on": [], "more": {"x": [1]}} | version
        listed[f"v/{number}"] = {"length": 1, "hashes": {"sha256": name(version["manifest"])}, "custom": said}
    return json.dumps({"signatures": [], "signed": {"_type": "targets", "version": 1, "targets": listed}}).encode()


class Place:
    """A tracker's data directory, and what looks after its uploads."""

    def __init__(self, root: Path) -> None:
        self.database = Database(root / "tracker.db")
        migrate(self.database.engine)
        self.blobs = Blobs(root / "blobs")
        self.uploads = Uploads(self.database, self.blobs, HeldShares(self.database))

    def add_share(self, share_id: str, file: bytes) -> None:
        share = Share(share_id, share_id, "t", name(1), Visibility.LINK, 1, 1, 1, 1, 1, 1, 1, 0, 0, 1, 1, 0, "")
        self.blobs.write_metadata(share_id, "1.targets.json", file)
        self.database.run_now(lambda connection: share_rows.add_share(connection, share))

    async def put(self, share_id: str, kind: BlobKind, numbers: Iterable[int]) -> None:
        for number in numbers:
            await self.uploads.place(share_id, upload_of(kind, name(number)), self.blobs.open_temp(share_id))

    async def rounds(self, *passed: int) -> None:
        for seconds in passed:
            await self.uploads.round(seconds)

    def here(self, share_id: str = "s") -> set[tuple[str, int]]:
        return {(kind, int(name, 16)) for kind, _, name in (up.partition("/") for up in self.blobs.uploads(share_id))}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


MANIFEST, TORRENT, CARD = BlobKind.MANIFEST, BlobKind.TORRENT, BlobKind.CARD


async def test_only_what_no_version_needs_ends(place: Place) -> None:
    place.add_share(
        "s",
        targets(
            {"manifest": 1, "torrent": 11, "card": name(21)}, {"manifest": 2, "torrent": 12, "leans_on": [name(13)]}
        ),
    )
    await place.put("s", MANIFEST, range(1, 5))
    await place.put("s", TORRENT, range(11, 16))
    await place.put("s", CARD, range(21, 24))
    await place.rounds(0, KEPT, KEPT)
    assert place.here() == {
        ("manifest", 1), ("manifest", 2), ("torrent", 11), ("torrent", 12), ("torrent", 13), ("card", 21)
    }  # fmt: skip
    assert place.uploads.deleted == 6


async def test_a_name_keeps_what_is_of_its_kind_and_share(place: Place) -> None:
    place.add_share("s", targets({"manifest": 1, "torrent": 2}))
    place.add_share("other", targets())
    for share_id in ("s", "other"):
        await place.put(share_id, MANIFEST, (1, 2))
        await place.put(share_id, TORRENT, (1, 2))
    await place.rounds(0, KEPT)
    assert (place.here(), place.here("other")) == ({("manifest", 1), ("torrent", 2)}, set())


async def test_no_clock_ends_anything_early(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.add_share("s", targets())
    await place.put("s", CARD, [1])
    await place.rounds(0)
    real = time.time
    for jump in (TEN_YEARS, -TEN_YEARS, TEN_YEARS):
        monkeypatch.setattr(time, "time", lambda jump=jump: real() + jump)
        monkeypatch.setattr(time, "monotonic", lambda jump=jump: jump)
        await place.rounds(1)
        assert place.here() == {("card", 1)}
    await place.rounds(KEPT - 4)
    assert place.here() == {("card", 1)}
    await place.rounds(1)
    assert place.here() == set()


async def test_time_is_counted_over_restarts_and_only_while_the_tracker_runs(place: Place, tmp_path: Path) -> None:
    place.add_share("s", targets())
    await place.put("s", CARD, [1])
    await place.rounds(0)
    for seconds in (KEPT // 2, KEPT // 2 - 1):
        await place.rounds(seconds)
        place.database.close()
        place = Place(tmp_path)
        await place.rounds(0)
        assert place.here() == {("card", 1)}
    await place.rounds(1)
    assert place.here() == set()


async def test_the_first_round_of_a_start_counts_no_time(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    passed: list[int] = []

    class Over(Exception):
        pass

    async def look(seconds: int) -> None:
        passed.append(seconds)
        if len(passed) == 3:
            raise Over

    monkeypatch.setattr(place.uploads, "round", look)
    with pytest.raises(Over):
        await place.uploads.keep(0)
    assert passed[0] == 0
    with pytest.raises(Over):
        passed.clear()
        await place.uploads.keep(1)
    assert passed == [0, 1, 1]


async def test_what_a_crash_left_has_its_two_days_anew(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.add_share("s", targets())
    await place.put("s", CARD, [1])
    await place.rounds(0)

    def crash(*_: object) -> None:
        raise OSError

    with monkeypatch.context() as patched:
        patched.setattr(Blobs, "delete_uploads", crash)
        await place.rounds(KEPT)
    assert (place.here(), place.uploads.deleted) == ({("card", 1)}, 0)
    await place.rounds(1, KEPT - 1)
    assert place.here() == {("card", 1)}
    await place.rounds(1)
    assert place.here() == set()


async def test_a_round_is_bounded_and_the_next_one_goes_on(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SHARES_AT_ONCE", 2)
    monkeypatch.setattr(module, "UPLOADS_AT_ONCE", 3)
    for share_id in "abc":
        place.add_share(share_id, targets())
        await place.put(share_id, CARD, range(7))
    await place.rounds(0, 0, 0, 0, 0, 0, KEPT)  # three notes of two rounds each, then a and b
    assert [len(place.here(share_id)) for share_id in "abc"] == [4, 4, 7]
    await place.rounds(0)
    assert [len(place.here(share_id)) for share_id in "abc"] == [4, 4, 4]
    await place.rounds(0, 0, 0, 0)
    assert [len(place.here(share_id)) for share_id in "abc"] == [0, 0, 0]


async def test_a_damaged_share_keeps_its_uploads_and_holds_nobody_up(place: Place) -> None:
    for share_id, file in (("a", b"{}"), ("b", b"\xff"), ("d", targets())):
        place.add_share(share_id, file)
        await place.put(share_id, CARD, [1])
    place.add_share("c", targets())
    await place.put("c", CARD, [1])
    place.blobs.metadata_path("c", "1.targets.json").unlink()
    await place.rounds(0, KEPT, KEPT)
    assert [len(place.here(share_id)) for share_id in "abcd"] == [1, 1, 1, 0]


async def test_nothing_goes_by_a_list_that_another_one_has_followed(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request that was cancelled gives its turn away; its transaction may end after that."""
    place.add_share("s", targets())
    await place.put("s", CARD, [1])
    await place.rounds(0)
    place.blobs.write_metadata("s", "2.targets.json", targets({"manifest": 1, "torrent": 2, "card": name(1)}))
    find = place.uploads._find

    def late(*looked_at: Any) -> Any:
        found = find(*looked_at)
        column = "targets_version"
        place.database.run_now(lambda connection: share_rows.swap_version(connection, "s", column, 1, {column: 2}))
        return found

    monkeypatch.setattr(place.uploads, "_find", late)
    await place.rounds(KEPT)
    assert place.here() == {("card", 1)}
    await place.rounds(KEPT)
    assert place.here() == {("card", 1)}


@pytest.mark.parametrize("noticed", [True, False])
async def test_a_note_of_what_is_gone_does_not_end_what_comes_after(place: Place, noticed: bool) -> None:
    place.add_share("s", targets())
    await place.put("s", CARD, [1])
    await place.rounds(0, KEPT - 2)
    place.uploads.path("s", upload_of(CARD, name(1))).unlink()
    if noticed:
        await place.rounds(1)
        assert await place.database.read(lambda connection: upload_rows.unnamed(connection, "s")) == {}
    await place.put("s", CARD, [1])
    await place.rounds(2, KEPT - 1)
    assert place.here() == {("card", 1)}


async def test_files_that_are_no_uploads_are_left_alone(place: Place) -> None:
    place.add_share("s", targets())
    await place.put("s", CARD, [1])
    odd = place.uploads.path("s", upload_of(CARD, name(1))).with_name("notes of the operator")
    odd.write_text("mine")
    await place.rounds(0, KEPT)
    assert odd.read_text() == "mine"
    assert place.here() == set()


def test_targets_that_do_not_say_what_they_lean_on_need_every_torrent() -> None:
    said, unsaid = {"manifest": 1, "torrent": 2}, {"manifest": 3, "torrent": 4, "leans_on": None}
    assert not needs(targets(said)).all_torrents
    assert needs(targets(said, unsaid)).all_torrents


@pytest.mark.parametrize("file", [b"", b"[]", b"{}", b'{"signed": {"targets": {"v/1": {"hashes": {}, "custom": {}}}}}'])
def test_targets_that_can_not_be_read_need_no_guess(file: bytes) -> None:
    with pytest.raises(MetadataRefused):
        needs(file)
