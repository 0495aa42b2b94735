"""Who is known, who is told of, and who is refused, over real signed files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from p2pckpt import tracker_protocol as tp
from p2pckpt.checkpoint.manifest import Manifest
from p2pckpt.errors import BadUsage, BlockedKey, KeyToReview, NotFound, P2pckptError
from p2pckpt.jobs import key_book
from p2pckpt.jobs.key_book import KeyBook, News, called
from p2pckpt.store.catalogue import KnownShare
from p2pckpt.store.known_keys import KnownKeys
from p2pckpt.trust import oms, versions
from p2pckpt.trust.admission import TrustedShare
from p2pckpt.trust.identity import Identity, words
from p2pckpt.trust.known_keys import How, KeyState, Review, likeness
from p2pckpt.trust.versions import RootKeys
from tests.unit.checkpoint.test_manifest import empty_body
from tests.unit.trust.people import OWNER, PUBLISHER, Shelf, person, target, with_publishers

ME, OTHER = person("me"), person("other")


def member(who: Identity, name: str, role: tp.Role = tp.Role.PUBLISHER) -> tp.Member:
    return tp.Member(who.hex, name, role, "", "", 1)


class Desk:
    """One person's memory, and a share at a tracker that anybody signs."""

    def __init__(self, directory: Path, *, waits: bool = False, me: Identity = ME) -> None:
        self.directory = directory
        self.shelf = Shelf()
        self.share = KnownShare(self.shelf.share_id, "cars/sd15", "t", "link", "downloader", {})
        self.clock = 1_000_000
        self.told: list[Sequence[News]] = []
        self.me = me
        self.open(waits=waits)

    def open(self, *, waits: bool = False) -> None:
        self.known = KnownKeys(self.directory / "known.db")
        self.book = KeyBook(self.me.public_bytes, self.known, waits=lambda: waits, now=lambda: self.clock)
        self.book.listen(self.told.append)

    async def look(self) -> TrustedShare:
        """Refresh, as the daemon does, a day later than before."""
        self.clock += 86_400
        trusted = self.shelf.refresh(self.directory / "trusted", self.me)
        await self.book.note(self.share, trusted)
        return trusted

    async def require(self, version: int) -> None:
        await self.book.require(self.share, await self.look(), version)

    async def require_own_word(self, version: int, *, signed: bool = False) -> None:
        body = empty_body(version=version, publisher=OWNER.public_bytes)
        body = oms.signed(body, OWNER) if signed else body
        await self.book.require_own_word(self.share, await self.look(), Manifest(body))

    async def state(self, who: Identity) -> KeyState:
        record = await self.book.record(who.public_bytes)
        assert record is not None
        return record.state(self.share.share_id)

    @property
    def news(self) -> list[tuple[bytes, Review, int]]:
        return [(each.record.identity, each.review, each.version) for news in self.told for each in news]

    def let_publish(self, *who: Identity) -> None:
        self.shelf.put(root=with_publishers(self.shelf.root, *who))

    def publish(self, version: int, signer: Identity, **fields: object) -> None:
        self.shelf.publish(signer, target(version, **({"publisher": signer.hex} | fields)))


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path)
    yield desk
    desk.known.close()


def first_word(who: Identity) -> str:
    return words(who.public_bytes).partition("-")[0]


# -- noting


async def test_first_contact_asks_nothing_whoever_signed(desk: Desk) -> None:
    desk.let_publish(PUBLISHER)
    desk.publish(1, OWNER)
    desk.publish(2, PUBLISHER)
    await desk.look()
    assert desk.news == []
    records = {record.identity: record for record in await desk.book.records()}
    assert records.keys() == {OWNER.public_bytes, PUBLISHER.public_bytes}
    (place,) = records[PUBLISHER.public_bytes].places
    assert (place.role, place.how, place.first_version) == ("publisher", How.LINK, 2)
    assert desk.book.to_review == 0


async def test_a_publisher_who_signs_where_others_signed_is_told_once_over_restarts(desk: Desk) -> None:
    desk.publish(1, OWNER)
    await desk.look()
    desk.let_publish(PUBLISHER)
    await desk.look()
    assert desk.news == []  # who may publish is for the owner to say; it is told when they do
    desk.publish(2, PUBLISHER)
    await desk.look()
    assert desk.news == [(PUBLISHER.public_bytes, Review.PUBLISHER, 2)]
    assert (desk.book.to_review, await desk.state(PUBLISHER)) == (1, KeyState.REVIEW)
    desk.known.close()
    desk.open()
    desk.publish(3, PUBLISHER)
    await desk.look()
    assert len(desk.news) == 1
    assert desk.book.to_review == 1
    await desk.require(3)  # told, and not refused


async def test_the_first_version_of_an_empty_share_is_no_news(desk: Desk) -> None:
    desk.let_publish(PUBLISHER)
    await desk.look()
    desk.publish(1, PUBLISHER)
    await desk.look()
    assert desk.news == []


async def test_a_new_owner_is_told(desk: Desk) -> None:
    desk.publish(1, OWNER)
    await desk.look()
    keys = RootKeys(frozenset({OWNER.public_bytes, OTHER.public_bytes}), frozenset(), 1)
    desk.shelf.put(root=versions.next_root(desk.shelf.root, keys, OWNER))
    desk.shelf.put(targets=versions.redelegate(desk.shelf.targets, desk.shelf.root, OWNER))
    await desk.look()
    assert desk.news == [(OTHER.public_bytes, Review.OWNER, 0)]


async def test_whom_we_let_in_ourselves_is_no_news(tmp_path: Path) -> None:
    desk = Desk(tmp_path, me=OWNER)
    desk.publish(1, OWNER)
    await desk.look()
    desk.let_publish(PUBLISHER)
    desk.publish(2, PUBLISHER)
    await desk.look()
    assert desk.news == []
    assert await desk.state(PUBLISHER) is KeyState.UNVERIFIED
    desk.known.close()


async def test_names_are_claims_and_a_name_that_was_verified_is_told_of_under_another_key(desk: Desk) -> None:
    desk.let_publish(PUBLISHER)
    desk.publish(1, OWNER)
    desk.publish(2, PUBLISHER)
    await desk.look()
    await desk.book.note_members(desk.share, [member(OWNER, "Alice"), member(PUBLISHER, "bob\x1b[2J\u202eevil")])
    record = await desk.book.record(PUBLISHER.public_bytes)
    assert record is not None
    assert record.name == "bob\ufffd[2J\ufffdevil"
    await desk.book.verify(OWNER.public_bytes, b"", first_word(OWNER))
    desk.told.clear()
    impostor = member(PUBLISHER, "\u0410l\u0456ce ")
    await desk.book.note_members(desk.share, [member(OWNER, "Alice"), impostor])
    assert desk.news == [(PUBLISHER.public_bytes, Review.NAME, 0)]
    assert await desk.state(PUBLISHER) is KeyState.REVIEW
    with pytest.raises(BadUsage, match="name of another key"):
        await desk.book.verify(PUBLISHER.public_bytes, b"", first_word(PUBLISHER))
    await desk.book.verify(PUBLISHER.public_bytes, desk.share.share_id, first_word(PUBLISHER))
    assert await desk.state(PUBLISHER) is KeyState.VERIFIED
    desk.told.clear()
    await desk.book.note_members(desk.share, [member(OWNER, "Alice"), impostor])
    assert desk.told == []  # nothing has changed


async def test_members_come_and_go_and_a_list_without_end_is_cut(desk: Desk) -> None:
    await desk.look()
    await desk.book.note_members(desk.share, [member(OTHER, "other", tp.Role.DOWNLOADER)])
    record = await desk.book.record(OTHER.public_bytes)
    assert record is not None
    assert [(place.role, place.how) for place in record.places] == [("member", How.MEMBERS)]
    crowd = [tp.Member(f"{number:064x}", "x", tp.Role.VIEWER, "", "", 1) for number in range(5000)]
    await desk.book.note_members(desk.share, [tp.Member("no hex", "x", tp.Role.VIEWER, "", "", 1), *crowd])
    assert len(await desk.book.records()) < 2100
    await desk.book.note_members(desk.share, [])
    record = await desk.book.record(OTHER.public_bytes)
    assert record is not None
    assert [place.role for place in record.places] == [""]


async def test_members_that_a_tracker_invents_again_and_again_are_not_all_remembered(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_book, "_MOST_MEMBERS", 20)
    desk.let_publish(PUBLISHER)
    desk.publish(1, OWNER)
    await desk.look()
    second = replace(desk.share, share_id=b"2" * 32, name="cars/second")
    for number in range(3):
        await desk.book.note_members(desk.share, [member(person(f"kept {number}"), "x", tp.Role.VIEWER)])
    await desk.book.verify(person("kept 0").public_bytes, b"", first_word(person("kept 0")))
    await desk.book.block(person("kept 1").public_bytes, "no")
    for number in range(10):
        desk.clock += 60
        crowd = [tp.Member(f"{number * 100 + each:064x}", "x", tp.Role.VIEWER, "", "", 1) for each in range(30)]
        for share in (desk.share, second):
            await desk.book.note_members(share, crowd)
    records = {record.identity: record for record in await desk.book.records()}
    assert len(records) <= 3 * 20 + 4
    for known in (OWNER, PUBLISHER, person("kept 0"), person("kept 1")):
        assert known.public_bytes in records
    assert {key for key, record in records.items() if any(place.role == "member" for place in record.places)} == {
        bytes.fromhex(each.identity) for each in crowd[:20]
    }


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ("Alice", "alice ", True),
        ("alice", "A.L.I.C.E", True),
        ("alice", "\u0430lic\u0435", True),
        ("alice", "aIice", True),
        ("alice", "al1ce", True),
        ("Zo\u00eb", "zoe", True),
        ("\uff41lice", "alice", True),
        ("alice", "alina", False),
        ("gpu-17", "gpu-18", False),
    ],
)
def test_names_that_look_alike_are_taken_for_one(one: str, other: str, alike: bool) -> None:
    assert (likeness(one) == likeness(other)) is alike


def test_a_name_of_nothing_readable_is_like_no_other() -> None:
    assert likeness(" .\u200b") == ""


# -- blocking


async def test_what_a_blocked_key_published_is_refused_with_the_reason_until_it_is_taken_back(desk: Desk) -> None:
    desk.let_publish(PUBLISHER)
    desk.publish(1, OWNER)
    desk.publish(2, PUBLISHER)
    await desk.look()
    await desk.book.block(PUBLISHER.public_bytes, "laptop\nlost\x07")
    with pytest.raises(BlockedKey, match=r"v2 is signed by .*you blocked on 1970-01-1.: laptop lost\ufffd") as refusal:
        await desk.require(2)
    assert "trust forget" in refusal.value.next_step
    assert refusal.value.exit_code == 7
    await desk.require(1)
    desk.known.close()
    desk.open()
    with pytest.raises(BlockedKey):
        await desk.require(2)
    await desk.book.forget(PUBLISHER.public_bytes, [desk.share.share_id])
    await desk.require(2)
    assert await desk.state(PUBLISHER) is KeyState.UNVERIFIED
    assert desk.news == []


async def test_a_blocked_key_that_signs_later_is_refused_and_not_told_of(desk: Desk) -> None:
    desk.publish(1, OWNER)
    await desk.look()
    await desk.book.block(PUBLISHER.public_bytes, "")
    desk.let_publish(PUBLISHER)
    desk.publish(2, PUBLISHER)
    with pytest.raises(BlockedKey):
        await desk.require(2)
    assert (desk.news, desk.book.to_review) == ([], 0)
    await desk.require(1)


async def test_a_version_that_a_blocked_key_lists_under_another_s_name_is_refused_until_somebody_else_lists_it(
    desk: Desk,
) -> None:
    desk.let_publish(PUBLISHER)
    desk.publish(1, OWNER)
    await desk.look()
    await desk.book.block(PUBLISHER.public_bytes, "")
    desk.publish(2, PUBLISHER, publisher=OWNER.hex)
    with pytest.raises(BlockedKey, match="no list but"):
        await desk.require_own_word(2)
    await desk.require_own_word(2, signed=True)  # by its publisher, which nobody else can
    await desk.require_own_word(1)  # was there before
    desk.publish(3, OWNER)
    await desk.require_own_word(2)


async def test_an_owner_who_is_blocked_and_signs_alone_takes_the_whole_share_along(desk: Desk) -> None:
    desk.let_publish(PUBLISHER)
    desk.publish(1, PUBLISHER)
    await desk.look()
    await desk.book.block(OWNER.public_bytes, "")
    with pytest.raises(BlockedKey, match="keys are signed by"):
        await desk.require(1)


async def test_a_blocked_owner_among_others_takes_only_their_own_versions_along(desk: Desk) -> None:
    keys = RootKeys(frozenset({OWNER.public_bytes, OTHER.public_bytes}), frozenset(), 1)
    desk.shelf.put(root=versions.next_root(desk.shelf.root, keys, OWNER))
    desk.shelf.put(targets=versions.redelegate(desk.shelf.targets, desk.shelf.root, OWNER))
    desk.publish(1, OWNER)
    desk.publish(2, OTHER)
    await desk.look()
    await desk.book.block(OTHER.public_bytes, "")
    await desk.require(1)
    with pytest.raises(BlockedKey):
        await desk.require(2)
    # and now they sign the keys, alone
    keys = replace(keys, publishers=frozenset({PUBLISHER.public_bytes}))
    desk.shelf.put(root=versions.next_root(desk.shelf.root, keys, OTHER))
    with pytest.raises(BlockedKey, match="keys are signed by"):
        await desk.require(1)


# -- deciding


async def test_only_the_first_word_verifies(desk: Desk) -> None:
    desk.publish(1, OWNER)
    await desk.look()
    for wrong in ("", "babab", words(OWNER.public_bytes)):
        with pytest.raises(BadUsage, match="first word"):
            await desk.book.verify(OWNER.public_bytes, b"", wrong)
    assert await desk.state(OWNER) is KeyState.UNVERIFIED
    record = await desk.book.verify(OWNER.public_bytes, desk.share.share_id, first_word(OWNER).upper())
    assert (record.state(desk.share.share_id), record.state(b"z" * 32)) == (KeyState.VERIFIED, KeyState.UNVERIFIED)
    record = await desk.book.verify(OWNER.public_bytes, b"", first_word(OWNER))
    assert record.state(b"z" * 32) is KeyState.VERIFIED
    assert len(record.verified) == 1


async def test_verifying_a_blocked_key_takes_no_block_back(desk: Desk) -> None:
    await desk.book.block(OTHER.public_bytes, "")
    with pytest.raises(BadUsage, match="is blocked"):
        await desk.book.verify(OTHER.public_bytes, b"", first_word(OTHER))
    assert await desk.state(OTHER) is KeyState.BLOCKED


async def test_nobody_decides_about_their_own_key(desk: Desk) -> None:
    with pytest.raises(BadUsage, match="your own"):
        await desk.book.block(ME.public_bytes, "")


async def test_a_key_of_no_share_is_forgotten_altogether(desk: Desk) -> None:
    await desk.book.block(OTHER.public_bytes, "")
    await desk.book.forget(OTHER.public_bytes, [desk.share.share_id])
    assert await desk.book.record(OTHER.public_bytes) is None
    with pytest.raises(NotFound):
        await desk.book.forget(OTHER.public_bytes, [])


async def test_where_new_keys_wait_only_a_decision_lets_them_through(tmp_path: Path) -> None:
    desk = Desk(tmp_path, waits=True)
    desk.publish(1, OWNER)
    await desk.require(1)  # first contact is what the link says
    desk.let_publish(PUBLISHER, OTHER)
    desk.publish(2, PUBLISHER)
    desk.publish(3, OTHER)
    for version in (2, 3):
        with pytest.raises(KeyToReview, match="not looked at"):
            await desk.require(version)
    await desk.book.dismiss(PUBLISHER.public_bytes)
    await desk.require(2)
    await desk.book.verify(OTHER.public_bytes, b"", first_word(OTHER))
    await desk.require(3)
    desk.known.close()


def test_a_damaged_list_of_keys_is_an_error_and_not_an_empty_one(tmp_path: Path) -> None:
    path = tmp_path / "known.db"
    path.write_bytes(b"this is no database" * 100)
    with pytest.raises(P2pckptError, match="known keys") as caught:
        KnownKeys(path)
    assert path.read_bytes().startswith(b"this is no")
    assert caught.value.next_step


def test_the_list_of_keys_is_private_and_waits_for_the_disk(tmp_path: Path) -> None:
    known = KnownKeys(tmp_path / "known.db")
    assert known._db.execute("PRAGMA synchronous").fetchone() == (2,)
    assert (tmp_path / "known.db").stat().st_mode & 0o777 == 0o600
    known.close()


async def test_somebody_without_a_name_is_called_by_their_words(desk: Desk) -> None:
    record = await desk.book.block(OTHER.public_bytes, "")
    assert called(record) == words(OTHER.public_bytes)
