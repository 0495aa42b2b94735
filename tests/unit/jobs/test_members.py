"""Members, owners and links at a tracker that lies, breaks off, or lets two owners race.

It checks signed files as the real one does.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest
from msgspec.structs import replace

from p2pckpt import tracker_protocol as tp
from p2pckpt.errors import Conflict, NotAllowed, NotFound, Stale, TrackerUnreachable
from p2pckpt.jobs.link_book import LinkBook
from p2pckpt.jobs.members import Members
from p2pckpt.jobs.owners import Owners
from p2pckpt.jobs.shares import Shares
from p2pckpt.store.catalogue import Catalogue, KnownShare
from p2pckpt.store.layout import StoreLayout
from p2pckpt.tracker_protocol import Role
from p2pckpt.tracker_protocol.signed import KeyringContent
from p2pckpt.trust import keyrings, links, sealing, versions
from p2pckpt.trust.identity import Identity
from p2pckpt.trust.sealing import EpochKeys
from p2pckpt_tracker import metadata, refusals
from tests.support.homes import until
from tests.unit.trust.people import OWNER, Shelf, person

X, Y, Z, W = (person(name) for name in "xyzw")


class Tracker:
    """Its shelf of signed files, its members and links. ``hooks`` run instead of what they are named after."""

    def __init__(self) -> None:
        self.shelf = Shelf()
        self.listed: dict[str, tp.Member] = {}
        self.made: dict[str, tp.LinkRecord] = {}
        self.wrapped: dict[str, bytes] = {}
        self.hooks: dict[str, Callable[..., Any]] = {}
        self.let_in(OWNER, Role.OWNER)

    def let_in(self, who: Identity, role: Role, link: links.Link | None = None, **fields: Any) -> None:
        """As if ``who`` had been added, or had redeemed a link."""
        public, joined = who.public, {}
        if link is not None and link.secret is not None:
            key = bytes.fromhex(fields.get("receive_key", public.receive_key.hex()))
            proof = sealing.bind(link.secret.secret, tp.LINK_BIND_CONTEXT, who.public_bytes, key)
            joined = {"link_id": link.secret.link_id, "binding": proof.hex()}
        plain: dict[str, Any] = {
            "identity": who.hex, "name": who.name, "role": role, "receive_key": public.receive_key.hex(),
            "receive_key_signature": public.signature.hex(), "added_at": 1,
        }  # fmt: skip
        self.listed[who.hex] = tp.Member(**(plain | joined | fields))

    async def metadata(self, share_id: str, file: str) -> bytes:
        return self.shelf.fetch(file)

    async def members(self, share_id: str) -> list[tp.Member]:
        return list(self.hooks["members"]()) if "members" in self.hooks else list(self.listed.values())

    async def links(self, share_id: str) -> list[tp.LinkRecord]:
        return list(self.hooks["links"]()) if "links" in self.hooks else list(self.made.values())

    async def set_member(self, share_id: str, identity: str, role: Role | None) -> None:
        if "set_member" in self.hooks:
            self.hooks["set_member"]()
        if role is None:
            if self.listed.pop(identity, None) is None:
                raise NotFound("not found")
        else:
            new = tp.Member(identity, "", role, "", "", 1)
            self.listed[identity] = replace(self.listed.get(identity, new), role=role)

    async def create_link(self, share_id: str, link: tp.CreateLink) -> None:
        self.made[link.link_id] = tp.LinkRecord(link.link_id, link.role, 0, 0, 0, 1, False)
        self.wrapped[link.link_id] = link.wrapped_keys

    async def rewrap_link(self, share_id: str, link_id: str, wrapped_keys: bytes) -> None:
        self.wrapped[link_id] = wrapped_keys

    async def revoke_link(self, share_id: str, link_id: str) -> None:
        if "revoke_link" in self.hooks:
            self.hooks["revoke_link"]()
        self.made[link_id] = replace(self.made[link_id], revoked=True)

    async def publish_keyring(self, share_id: str, keyring: bytes) -> None:
        if "publish_keyring" in self.hooks:
            await self.hooks["publish_keyring"]()
        try:
            metadata.check_keyring(
                self.shelf.root, self.shelf.targets, self.shelf.keyring, keyring, now=metadata.utc_now()
            )
        except refusals.VersionConflict as exc:
            raise Conflict(str(exc)) from exc
        self.shelf.put(keyring=keyring)

    async def publish_targets(self, share_id: str, targets: bytes, earlier: int = 0) -> None:
        self.shelf.put(targets=targets)

    async def publish_root(self, share_id: str, request: tp.PublishRoot) -> None:
        self.shelf.put(root=request.root, targets=request.targets, keyring=request.keyring or None)


class Side:
    """One owner's machine."""

    def __init__(self, tracker: Tracker, directory: Path, who: Identity = OWNER, role: str = "owner") -> None:
        self.catalogue = Catalogue(directory / f"{who.name}.db")
        layout = StoreLayout(directory / who.name)
        layout.create()
        address = links.TrackerAddress(("h:1",))
        trackers = SimpleNamespace(client=lambda text: tracker, public_address=lambda text: address)
        self.shares = Shares(who, self.catalogue, layout, cast(Any, trackers))
        self.owners, self.book = Owners(who, self.shares), LinkBook(who, self.shares)
        self.members = Members(who, self.catalogue, self.shares, self.owners, self.book)
        self.share = KnownShare(tracker.shelf.share_id, "cars/sd15", "t", "link", role, {})
        self.catalogue.record_share(self.share)

    async def set(self, who: Identity, role: Role | None, *, named: bool = False) -> list[str]:
        return await self.members.set(self.share, who.public.text if named else who.hex, role)


@pytest.fixture
def tracker() -> Tracker:
    return Tracker()


@pytest.fixture
def side(tracker: Tracker, tmp_path: Path) -> Side:
    return Side(tracker, tmp_path)


def content(tracker: Tracker) -> KeyringContent:
    return versions.parse_keyring(tracker.shelf.keyring)


def opens(tracker: Tracker, who: Identity) -> list[int]:
    return sorted(keyrings.open_epochs(content(tracker), who, tracker.shelf.share_id))


def given_by(tracker: Tracker, link: links.Link) -> EpochKeys:
    """What the link's secret opens at the tracker."""
    assert link.secret is not None
    wrapped = tracker.wrapped[link.secret.link_id]
    key = link.secret.keys("", b"").wrap
    plain = sealing.unwrap(key, wrapped, tp.LINK_WRAP_CONTEXT + tracker.shelf.share_id)
    return msgspec.msgpack.decode(plain, type=EpochKeys)


async def test_somebody_removed_gets_no_keys_though_the_tracker_goes_on_listing_them(
    tracker: Tracker, side: Side
) -> None:
    await side.set(X, Role.DOWNLOADER, named=True)
    tracker.let_in(X, Role.DOWNLOADER)
    before = list(tracker.listed.values())
    tracker.hooks["members"] = lambda: before
    await side.set(X, None)
    assert (content(tracker).newest, opens(tracker, X)) == (2, [])


async def test_somebody_whom_the_tracker_hides_keeps_their_keys(tracker: Tracker, side: Side) -> None:
    for who in (X, Y):
        await side.set(who, Role.DOWNLOADER, named=True)
    tracker.hooks["members"] = lambda: [each for each in tracker.listed.values() if each.identity != Y.hex]
    await side.set(X, None)
    assert opens(tracker, Y) == [1, 2]


async def test_a_link_that_the_tracker_calls_open_again_gets_no_newer_keys(tracker: Tracker, side: Side) -> None:
    link, other = await side.book.create(side.share), await side.book.create(side.share)
    tracker.let_in(X, Role.DOWNLOADER, link)
    stale = list(tracker.made.values())
    tracker.hooks["links"] = lambda: stale
    await side.set(X, None)
    assert (given_by(tracker, link).epoch, given_by(tracker, other).epoch) == (1, 2)


async def test_a_link_that_was_revoked_is_dead_for_later_epochs_too(tracker: Tracker, side: Side) -> None:
    link = await side.book.create(side.share)
    assert link.secret is not None
    await side.book.revoke(side.share, link.secret.link_id)
    tracker.hooks["links"] = lambda: [replace(each, revoked=False) for each in tracker.made.values()]
    tracker.let_in(X, Role.DOWNLOADER)
    await side.set(X, Role.DOWNLOADER, named=True)
    await side.set(X, None)
    assert (content(tracker).newest, given_by(tracker, link).epoch) == (2, 1)


async def test_an_owner_is_one_by_the_signed_root_whatever_the_tracker_says(tracker: Tracker, tmp_path: Path) -> None:
    side = Side(tracker, tmp_path, role="publisher")
    tracker.let_in(X, Role.DOWNLOADER)
    await side.set(X, None)
    assert content(tracker).newest == 2


async def test_a_demotion_is_one_though_the_tracker_calls_them_a_viewer_already(tracker: Tracker, side: Side) -> None:
    await side.set(X, Role.DOWNLOADER, named=True)
    tracker.hooks["members"] = lambda: [tp.Member(X.hex, "x", Role.VIEWER, "", "", 1)]
    await side.set(X, Role.VIEWER)
    keys = keyrings.open_epochs(content(tracker), X, tracker.shelf.share_id)
    assert (content(tracker).newest, keys[2].content) == (2, b"")


async def test_somebody_with_a_key_that_nothing_can_be_sealed_to_stops_nobody_s_removal(
    tracker: Tracker, side: Side
) -> None:
    link = await side.book.create(side.share)
    zero = bytes(32)
    signature = Y.sign(tp.RECEIVE_KEY_CONTEXT + zero).hex()
    tracker.let_in(Y, Role.DOWNLOADER, link, receive_key=zero.hex(), receive_key_signature=signature, name="mallory")
    tracker.let_in(X, Role.DOWNLOADER)
    notes = await side.set(X, None)
    assert content(tracker).newest == 2
    assert any("mallory got none" in note for note in notes)


@pytest.mark.parametrize("broken", ["set_member", "revoke_link", "publish_keyring"])
async def test_a_removal_that_broke_off_is_finished_by_trying_again_or_by_itself(
    tracker: Tracker, side: Side, broken: str
) -> None:
    link = await side.book.create(side.share)
    tracker.let_in(X, Role.DOWNLOADER, link)
    await side.set(X, Role.PUBLISHER)

    def out() -> None:
        raise TrackerUnreachable("out of reach")

    async def out_later() -> None:
        out()

    tracker.hooks[broken] = out_later if broken == "publish_keyring" else out
    with pytest.raises(TrackerUnreachable):
        await side.set(X, None)
    assert len(side.catalogue.removals_due(side.share.share_id)) == 1
    del tracker.hooks[broken]
    await side.members.finish_removals(side.share)
    assert side.catalogue.removals_due(side.share.share_id) == []
    assert X.hex not in tracker.listed
    assert X.public_bytes not in versions.root_keys(tracker.shelf.root).publishers
    assert (content(tracker).newest, opens(tracker, X), given_by(tracker, link).epoch) == (2, [], 1)
    assert all(record.revoked for record in tracker.made.values())


async def test_two_owners_who_remove_at_once_bring_nobody_back(tracker: Tracker, side: Side, tmp_path: Path) -> None:
    await side.set(Y, Role.OWNER, named=True)
    other = Side(tracker, tmp_path, Y)
    link = await side.book.create(side.share)
    for who in (Z, W):
        tracker.let_in(who, Role.DOWNLOADER, link)
    await side.set(X, Role.DOWNLOADER, named=True)
    raced: list[int] = []

    async def other_first() -> None:
        if not raced:
            raced.append(1)
            await other.set(Z, None)

    tracker.hooks["publish_keyring"] = other_first
    await side.set(X, None)
    assert content(tracker).newest == 3
    assert (opens(tracker, X), opens(tracker, Z), opens(tracker, W)) == ([], [], [1, 2, 3])


async def test_a_name_that_only_the_tracker_vouches_for_is_signed_into_nothing(tracker: Tracker, side: Side) -> None:
    tracker.let_in(X, Role.DOWNLOADER, name="alice")
    for role in (Role.OWNER, Role.PUBLISHER, Role.DOWNLOADER):
        with pytest.raises(NotAllowed, match="nothing vouches"):
            await side.set(X, role)
    keys = versions.root_keys(tracker.shelf.root)
    assert (keys.owners, keys.publishers) == ({OWNER.public_bytes}, set())
    assert content(tracker).readers.keys() == {OWNER.hex}


async def test_an_owner_who_goes_takes_all_open_links_along(tracker: Tracker, side: Side) -> None:
    await side.set(Y, Role.OWNER, named=True)
    made = [await side.book.create(side.share) for _ in range(2)]
    await side.set(Y, None)
    assert Y.public_bytes not in versions.root_keys(tracker.shelf.root).owners
    assert all(record.revoked for record in tracker.made.values())
    assert {given_by(tracker, link).epoch for link in made} == {1}


async def test_an_owner_renews_what_has_run_out_already(
    tracker: Tracker, side: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    await side.shares.refresh(side.share)
    lifetime = versions.TARGETS_LIFETIME
    monkeypatch.setattr(versions, "TARGETS_LIFETIME", timedelta(seconds=2))
    tracker.shelf.put(
        targets=versions.sign_again(tracker.shelf.targets, OWNER),
        keyring=versions.update_keyring(tracker.shelf.keyring, OWNER, content(tracker)),
    )
    monkeypatch.setattr(versions, "TARGETS_LIFETIME", lifetime)
    over = datetime.now(UTC) + timedelta(seconds=2)
    await side.shares.refresh(side.share)

    async def has_run_out() -> bool:
        return datetime.now(UTC) > over

    await until(has_run_out, "the signed files have run out")
    with pytest.raises(Stale):
        await side.shares.refresh(side.share)
    assert await side.owners.renew(side.share)
    trusted = await side.shares.refresh(side.share)
    assert min(map(versions.expiry, (trusted.targets_bytes, trusted.keyring_bytes))) > over.timestamp() + 300 * 86400
