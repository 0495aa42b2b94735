"""What this machine believes about a share, against trackers, publishers and strangers who lie about it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
from tuf.api.metadata import DelegatedRole, Delegations, Key, Metadata, Root, Targets
from tuf.api.serialization.json import JSONSerializer

from p2pckpt.errors import NotFound, P2pckptError, TrackerUnreachable, UntrustedKey, VerificationFailed
from p2pckpt.tracker_protocol import MAX_METADATA, Role
from p2pckpt.tracker_protocol.signed import KeyringContent
from p2pckpt.trust import admission, keyrings, versions
from p2pckpt.trust.identity import Identity
from p2pckpt.trust.sealing import EpochKeys
from tests.unit.trust.people import OWNER, PUBLISHER, STRANGER, Shelf, number, target, with_publishers

LONG_AGO = datetime.now(UTC).replace(microsecond=0) - timedelta(days=400)


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "trust" / "share"


# -- what is as it should be


def test_the_first_refresh_trusts_what_the_link_names(shelf: Shelf, directory: Path) -> None:
    share = shelf.refresh(directory)
    assert (share.terms.name, share.terms.owner, share.terms.sealed) == ("cars/sd15", OWNER.hex, True)
    assert share.terms.torrent_name.startswith("p2pckpt-")
    assert share.targets.versions == {}
    assert share.targets.trackers == ("tracker.example:443",)
    assert set(share.keys) == {1}
    assert (share.root_bytes, share.targets_bytes, share.keyring_bytes) == (shelf.root, shelf.targets, shelf.keyring)
    assert directory.stat().st_mode & 0o777 == 0o700


def test_what_the_tracker_signs_later_is_seen(shelf: Shelf, directory: Path) -> None:
    shelf.refresh(directory)
    for version in (1, 2):
        shelf.publish(OWNER, target(version))
        share = shelf.refresh(directory)
        assert share.targets.versions[version] == target(version)
        assert share.targets.latest == version
    assert share.target(1) == target(1)
    with pytest.raises(NotFound, match="no version 3"):
        share.target(3)


def test_a_refresh_without_news_asks_for_little(shelf: Shelf, directory: Path) -> None:
    shelf.refresh(directory)
    shelf.asked.clear()
    shelf.refresh(directory)
    assert shelf.asked == ["2.root.json", "timestamp.json"]


def test_what_was_trusted_can_be_read_without_the_tracker(shelf: Shelf, directory: Path) -> None:
    shelf.publish(OWNER, target(1))
    fresh = shelf.refresh(directory)
    assert admission.load(shelf.share_id, directory, OWNER) == fresh


def test_a_share_that_was_never_looked_at_is_not_found(shelf: Shelf, directory: Path) -> None:
    with pytest.raises(NotFound, match="never looked at"):
        admission.load(shelf.share_id, directory, OWNER)


def test_a_public_share_has_no_keys(directory: Path) -> None:
    share = Shelf(sealed=False).refresh(directory)
    assert not share.terms.sealed
    assert share.keys == {}
    assert share.keyring.epochs == ()


def test_keys_are_opened_for_members_alone(shelf: Shelf, directory: Path, tmp_path: Path) -> None:
    keys = shelf.refresh(directory).keys[1]
    viewer = EpochKeys(1, keys.view, b"")
    content = versions.parse_keyring(shelf.keyring)
    both = keyrings.with_reader(content, keys, PUBLISHER.public, Role.VIEWER, shelf.share_id)
    shelf.put(keyring=versions.update_keyring(shelf.keyring, OWNER, both))
    assert shelf.refresh(directory).keys == {1: keys}
    assert shelf.refresh(tmp_path / "theirs", PUBLISHER).keys == {1: viewer}
    assert shelf.refresh(tmp_path / "nobody's", STRANGER).keys == {}


SELECTORS = {
    "": 3, "3": 3, "v3": 3, "1": 1, "v1": 1, "step-2000": 2, "stable": 1, "latest": 3, "twice": 3, "v9": 2,
}  # fmt: skip


@pytest.mark.parametrize("selector", SELECTORS)
def test_a_version_is_found_by_number_name_or_tag(shelf: Shelf, directory: Path, selector: str) -> None:
    shelf.publish(OWNER, target(1, name="twice"), ["stable"])
    shelf.publish(OWNER, target(2))
    shelf.publish(OWNER, target(3, name="twice"))
    shelf.put(targets=versions.move_tag(shelf.targets, OWNER, "v9", 2))
    assert shelf.refresh(directory).resolve(selector) == SELECTORS[selector]


@pytest.mark.parametrize(
    "selector", ["4", "v4", "v", "0", "-1", "step", "stable", "\N{SUPERSCRIPT TWO}", "1.0", "vv1", "9" * 5000]
)
def test_what_selects_no_version_is_not_found(shelf: Shelf, directory: Path, selector: str) -> None:
    shelf.publish(OWNER, target(1), ["stable"])
    shelf.put(targets=versions.move_tag(shelf.targets, OWNER, "stable", None))
    with pytest.raises(NotFound, match="has no version"):
        shelf.refresh(directory).resolve(selector)


def test_a_share_without_versions_resolves_nothing(shelf: Shelf, directory: Path) -> None:
    with pytest.raises(NotFound, match="no version yet"):
        shelf.refresh(directory).resolve("")


# -- the root of trust


def test_a_root_that_is_not_the_links_is_refused_and_not_kept(shelf: Shelf, directory: Path) -> None:
    other = Shelf(STRANGER)
    with pytest.raises(UntrustedKey, match="not the link's"):
        admission.refresh(shelf.share_id, directory, other.fetch, OWNER)
    assert list(directory.iterdir()) == []
    assert shelf.refresh(directory).terms.owner == OWNER.hex


def test_a_root_that_was_changed_on_this_disk_is_noticed(shelf: Shelf, directory: Path) -> None:
    shelf.refresh(directory)
    (directory / "1.root.json").write_bytes(Shelf(STRANGER).root)
    with pytest.raises(VerificationFailed, match="changed on this machine"):
        shelf.refresh(directory)


def test_a_root_that_the_old_keys_did_not_sign_is_refused(shelf: Shelf, directory: Path) -> None:
    shelf.refresh(directory)
    mine = _key(STRANGER)
    forged = Metadata[Root].from_bytes(shelf.root)
    forged.signed.version = 2
    forged.signed.keys[mine.keyid] = mine
    forged.signed.roles["root"].keyids = [mine.keyid]
    shelf.files["2.root.json"] = _resigned(forged, STRANGER)
    with pytest.raises(UntrustedKey):
        shelf.refresh(directory)
    del shelf.files["2.root.json"]
    assert shelf.refresh(directory).root_bytes == shelf.root


def test_a_root_that_skips_a_version_or_repeats_one_is_refused(shelf: Shelf, directory: Path) -> None:
    shelf.refresh(directory)
    second = with_publishers(shelf.root, PUBLISHER)
    third = with_publishers(second)
    for wrong in (third, shelf.root):
        shelf.files["2.root.json"] = wrong
        with pytest.raises(VerificationFailed):
            shelf.refresh(directory)
    shelf.files |= {"2.root.json": second, "3.root.json": third}
    assert number(shelf.refresh(directory).root_bytes, Root) == 3


def test_a_root_that_was_trusted_is_not_taken_back(shelf: Shelf, directory: Path) -> None:
    shelf.put(root=with_publishers(shelf.root, PUBLISHER))
    shelf.refresh(directory)
    del shelf.files["2.root.json"]
    assert number(shelf.refresh(directory).root_bytes, Root) == 2


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"torrent_name": "p2pckpt-other"}, "contradicts the first"),
        ({"sealed": False}, "contradicts the first"),
        ({"owner": STRANGER.hex}, "none of those who sign"),
    ],
    ids=str,
)
def test_a_root_that_changes_the_terms_of_the_share_is_refused(
    shelf: Shelf, directory: Path, change: dict[str, Any], says: str
) -> None:
    shelf.refresh(directory)
    metadata = Metadata[Root].from_bytes(with_publishers(shelf.root))
    metadata.signed.unrecognized_fields["p2pckpt"] |= change
    shelf.put(root=_resigned(metadata, OWNER))
    for _ in range(2):
        with pytest.raises(VerificationFailed, match=says):
            shelf.refresh(directory)


# -- who may sign


def test_a_publisher_is_trusted_from_the_root_that_names_them_to_the_one_that_does_not(
    shelf: Shelf, directory: Path
) -> None:
    assert versions.root_keys(shelf.root).publishers == frozenset()
    early = versions.publish_version(shelf.targets, PUBLISHER, target(1), [])
    before = shelf.targets
    shelf.put(targets=early)
    with pytest.raises(UntrustedKey):
        shelf.refresh(directory)

    shelf.targets = before
    shelf.put(root=with_publishers(shelf.root, PUBLISHER))
    assert versions.root_keys(shelf.root).publishers == {PUBLISHER.public_bytes}
    shelf.publish(PUBLISHER, target(1))
    assert shelf.refresh(directory).targets.latest == 1

    shelf.put(targets=versions.sign_again(shelf.targets, OWNER))
    shelf.put(root=with_publishers(shelf.root))
    assert shelf.refresh(directory).targets.latest == 1
    shelf.publish(PUBLISHER, target(2))
    with pytest.raises(UntrustedKey):
        shelf.refresh(directory)


@pytest.mark.parametrize("signer", [STRANGER, PUBLISHER], ids=["a stranger", "a member"])
def test_targets_signed_by_others_are_refused(shelf: Shelf, directory: Path, signer: Identity) -> None:
    shelf.publish(OWNER, target(1))
    shelf.refresh(directory)
    shelf.publish(signer, target(2))
    with pytest.raises(UntrustedKey):
        shelf.refresh(directory)


def test_targets_signed_by_the_tracker_are_refused(shelf: Shelf, directory: Path) -> None:
    forged = Metadata[Targets].from_bytes(versions.publish_version(shelf.targets, STRANGER, target(1), []))
    forged.signatures.clear()
    forged.sign(shelf.signer._signer(shelf.root, "snapshot"))
    shelf.put(targets=forged.to_bytes())
    with pytest.raises(UntrustedKey):
        shelf.refresh(directory)


def test_a_tracker_with_another_online_key_is_refused(shelf: Shelf, directory: Path) -> None:
    shelf.refresh(directory)
    shelf.signer = Shelf().signer
    shelf.put()
    with pytest.raises(UntrustedKey):
        shelf.refresh(directory)


def test_a_keyring_that_a_publisher_signed_is_refused(shelf: Shelf, directory: Path) -> None:
    shelf.put(root=with_publishers(shelf.root, PUBLISHER))
    shelf.refresh(directory)
    content = keyrings.first(OWNER.public, shelf.share_id)
    shelf.put(keyring=versions.update_keyring(shelf.keyring, PUBLISHER, content))
    with pytest.raises(UntrustedKey):
        shelf.refresh(directory)


def _delegate_to_publisher(role: DelegatedRole, delegations: Delegations) -> None:
    key = _key(PUBLISHER)
    delegations.keys[key.keyid] = key
    role.keyids = [key.keyid]


def _delegate_to_both(role: DelegatedRole, delegations: Delegations) -> None:
    key = _key(PUBLISHER)
    delegations.keys[key.keyid] = key
    role.keyids = [*role.keyids, key.keyid]


def _keep_the_name_and_change_the_key(role: DelegatedRole, delegations: Delegations) -> None:
    delegations.keys[role.keyids[0]] = Key.from_dict(role.keyids[0], _key(PUBLISHER).to_dict())


def _take_the_paths_away(role: DelegatedRole, delegations: Delegations) -> None:
    role.paths = ["elsewhere/*"]


def _put_another_role_in_front(role: DelegatedRole, delegations: Delegations) -> None:
    key = _key(PUBLISHER)
    delegations.keys[key.keyid] = key
    first = DelegatedRole("first", [key.keyid], 1, True, paths=["keyring/*"])
    delegations.roles = {"first": first, role.name: role}


def _drop_it(role: DelegatedRole, delegations: Delegations) -> None:
    delegations.roles = {}


TAKEOVERS: list[Callable[[DelegatedRole, Delegations], None]] = [
    _delegate_to_publisher,
    _delegate_to_both,
    _keep_the_name_and_change_the_key,
    _take_the_paths_away,
    _put_another_role_in_front,
    _drop_it,
]


@pytest.mark.parametrize("seen", [False, True], ids=["at first sight", "later"])
@pytest.mark.parametrize("takeover", TAKEOVERS, ids=lambda takeover: takeover.__name__)
def test_a_publisher_cannot_take_the_keyring_over(
    shelf: Shelf, directory: Path, takeover: Callable[[DelegatedRole, Delegations], None], seen: bool
) -> None:
    shelf.put(root=with_publishers(shelf.root, PUBLISHER))
    if seen:
        shelf.refresh(directory)
    shelf_keyring = shelf.keyring
    taken = versions.update_keyring(shelf.keyring, PUBLISHER, keyrings.first(OWNER.public, shelf.share_id))
    metadata = Metadata[Targets].from_bytes(shelf.targets)
    delegations = metadata.signed.delegations
    assert delegations is not None
    assert delegations.roles is not None
    takeover(delegations.roles["keyring"], delegations)
    metadata.signed.version += 1
    for keyring in (taken, shelf.keyring):
        shelf.put(targets=_resigned(metadata, PUBLISHER), keyring=keyring)
        shelf.files["1.first.json"] = keyring
        with pytest.raises((UntrustedKey, VerificationFailed)):
            shelf.refresh(directory)
        if seen:  # what was known before still is
            assert admission.load(shelf.share_id, directory, OWNER).keyring_bytes == shelf_keyring
        else:
            with pytest.raises(NotFound):
                admission.load(shelf.share_id, directory, OWNER)


# -- going back, standing still


def test_no_file_goes_back_once_it_was_seen(shelf: Shelf, directory: Path) -> None:
    shelf.publish(OWNER, target(1))
    old = dict(shelf.files)
    shelf.publish(OWNER, target(2))
    assert shelf.refresh(directory).targets.latest == 2
    shelf.files = old
    with pytest.raises(VerificationFailed, match="refused"):
        shelf.refresh(directory)
    assert admission.load(shelf.share_id, directory, OWNER).targets.latest == 2


def test_a_new_snapshot_of_old_targets_is_refused(shelf: Shelf, directory: Path) -> None:
    old = shelf.targets
    shelf.publish(OWNER, target(1))
    shelf.refresh(directory)
    shelf.put(targets=old)
    with pytest.raises(VerificationFailed):
        shelf.refresh(directory)


def test_a_new_snapshot_of_an_old_keyring_is_refused(shelf: Shelf, directory: Path) -> None:
    old = shelf.keyring
    shelf.put(keyring=versions.update_keyring(shelf.keyring, OWNER, KeyringContent(())))
    shelf.refresh(directory)
    shelf.put(keyring=old)
    with pytest.raises(VerificationFailed):
        shelf.refresh(directory)


def test_an_expired_timestamp_or_snapshot_is_said_to_be_out_of_date(shelf: Shelf, directory: Path) -> None:
    shelf.refresh(directory)
    for timestamp_made, snapshot_made in ((LONG_AGO, None), (None, LONG_AGO)):
        shelf.put(timestamp_made=timestamp_made, snapshot_made=snapshot_made)
        with pytest.raises(VerificationFailed, match="vouches") as refused:
            shelf.refresh(directory)
        assert "clock" in refused.value.next_step
    shelf.put()
    shelf.refresh(directory)


@pytest.mark.parametrize("lifetime", ["ROOT_LIFETIME", "TARGETS_LIFETIME"])
def test_an_expired_root_or_expired_targets_are_refused(
    directory: Path, lifetime: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(versions, lifetime, timedelta(days=-1))
    with pytest.raises(VerificationFailed, match="vouches"):
        Shelf().refresh(directory)


def test_freshness_is_not_judged_offline(shelf: Shelf, directory: Path) -> None:
    shelf.refresh(directory)
    shelf.put(timestamp_made=LONG_AGO)
    with pytest.raises(VerificationFailed):
        shelf.refresh(directory)
    assert admission.load(shelf.share_id, directory, OWNER).terms.name == "cars/sd15"


# -- versions do not change


@pytest.mark.parametrize("field", ["manifest_sha256", "infohash"])
def test_a_version_that_was_signed_twice_differently_stays_refused(
    shelf: Shelf, directory: Path, field: str, tmp_path: Path
) -> None:
    shelf.publish(OWNER, target(1))
    shelf.publish(OWNER, target(2))
    shelf.refresh(directory)
    shelf.publish(OWNER, target(1, **{field: "ab" * 32}))
    for _ in range(3):
        with pytest.raises(VerificationFailed, match="version 1 was signed twice"):
            shelf.refresh(directory)
    # nor is anything of it kept: what was known before still is
    assert admission.load(shelf.share_id, directory, OWNER).target(1) == target(1)
    shelf.publish(OWNER, target(1))
    assert set(shelf.refresh(directory).targets.versions) == {1, 2}


def test_a_version_that_was_retired_cannot_come_back_as_another(shelf: Shelf, directory: Path) -> None:
    shelf.publish(OWNER, target(1))
    shelf.publish(OWNER, target(2))
    shelf.refresh(directory)
    metadata = Metadata[Targets].from_bytes(shelf.targets)
    del metadata.signed.targets["v/1"]
    metadata.signed.version += 1
    shelf.put(targets=_resigned(metadata, OWNER))
    assert set(shelf.refresh(directory).targets.versions) == {2}
    shelf.publish(OWNER, target(1, infohash="ab" * 32))
    with pytest.raises(VerificationFailed, match="signed twice"):
        shelf.refresh(directory)


def test_a_retired_version_is_told_from_one_that_never_was(shelf: Shelf, directory: Path) -> None:
    for each in (1, 2):
        shelf.publish(OWNER, target(each))
    shelf.refresh(directory)
    before = shelf.targets
    shelf.put(targets=versions.retire(before, OWNER, [1]))
    share = shelf.refresh(directory)
    assert share.is_retired(1) and not share.is_retired(2) and not share.is_retired(3)
    for look in (lambda: share.target(1), lambda: share.resolve("1"), lambda: share.resolve("v1")):
        with pytest.raises(NotFound, match="version 1 of cars/sd15 was retired") as caught:
            look()
        assert caught.value.next_step
    for look in (lambda: share.target(3), lambda: share.resolve("3"), lambda: share.resolve("3", retired=True)):
        with pytest.raises(NotFound, match="has no version"):
            look()
    assert share.resolve("v1", retired=True) == 1
    assert (share.content(1), share.content(2)) == (target(1).content, target(2).content)
    with pytest.raises(NotFound):
        share.content(3)
    # somebody new is told so as well
    with pytest.raises(NotFound, match="was retired"):
        shelf.refresh(directory.parent / "new").resolve("v1", retired=True)
    # what it was is known after a restart, and it may come back as the same
    assert admission.load(shelf.share_id, directory, OWNER).content(1) == target(1).content
    shelf.put(targets=versions.restore(shelf.targets, OWNER, versions.entries(before, [1])))
    assert shelf.refresh(directory).targets.versions == {1: target(1), 2: target(2)}


def test_what_is_said_about_a_version_besides_its_content_may_change(shelf: Shelf, directory: Path) -> None:
    shelf.publish(OWNER, target(1))
    shelf.refresh(directory)
    shelf.publish(OWNER, target(1, name="renamed"))
    assert shelf.refresh(directory).targets.versions[1].name == "renamed"


# -- damage


def test_tampered_targets_are_refused(shelf: Shelf, directory: Path) -> None:
    shelf.publish(OWNER, target(1))
    honest = shelf.files["2.targets.json"]
    tampered = honest.replace(target(1).infohash.encode(), target(9).infohash.encode())
    assert tampered != honest
    shelf.files["2.targets.json"] = tampered
    with pytest.raises(VerificationFailed):
        shelf.refresh(directory)
    shelf.put(targets=tampered)  # and with a tracker that vouches for them
    with pytest.raises(UntrustedKey):
        shelf.refresh(directory)
    shelf.targets = honest
    shelf.put(targets=versions.sign_again(honest, OWNER))
    assert shelf.refresh(directory).targets.versions[1] == target(1)


NAMES = ["1.root.json", "timestamp.json", "2.snapshot.json", "2.targets.json", "1.keyring.json"]


@pytest.mark.parametrize("name", NAMES)
def test_a_kilobyte_of_garbage_for_any_file_is_refused(tmp_path: Path, name: str) -> None:
    shelf = Shelf()
    shelf.publish(OWNER, target(1))
    assert set(NAMES) <= shelf.files.keys()
    honest = shelf.files[name]
    for turn, garbage in enumerate(_garbage(honest)):
        shelf.files[name] = garbage
        with pytest.raises((VerificationFailed, UntrustedKey)):
            shelf.refresh(tmp_path / "new" / str(turn))
    shelf.files[name] = honest
    shelf.refresh(tmp_path / "new" / "0")


@pytest.mark.parametrize("name", ["2.root.json", "timestamp.json", "3.snapshot.json", "3.targets.json"])
def test_garbage_in_place_of_news_leaves_what_was_trusted(tmp_path: Path, name: str) -> None:
    shelf = Shelf()
    shelf.publish(OWNER, target(1))
    trusted = shelf.refresh(tmp_path)
    shelf.publish(OWNER, target(2))
    honest = shelf.files.get(name)
    for garbage in _garbage(shelf.files["timestamp.json"]):
        shelf.files[name] = garbage
        with pytest.raises((VerificationFailed, UntrustedKey)):
            shelf.refresh(tmp_path)
        assert admission.load(shelf.share_id, tmp_path, OWNER) == trusted
    if honest is None:
        del shelf.files[name]
    else:
        shelf.files[name] = honest
    assert shelf.refresh(tmp_path).targets.latest == 2


def _garbage(honest: bytes) -> Iterator[bytes]:
    random = Random(2)
    yield b""
    yield b"{}"
    yield b"null"
    yield b'{"signed": {}, "signatures": []}'
    yield b"[" * 1024
    yield b'{"a":' * 200
    yield b"\xff" * 1024
    yield b'{"signed": {"_type": "root", "version": 1e999, "spec_version": "1.0"}, "signatures": [{}]}'
    for _ in range(6):
        yield random.randbytes(1024)
    for _ in range(6):
        damaged = bytearray(honest[: random.randrange(1, len(honest))])
        damaged[random.randrange(len(damaged))] = random.randrange(256)
        yield bytes(damaged)


@pytest.mark.parametrize("name", NAMES)
def test_a_file_that_is_far_too_large_is_refused(tmp_path: Path, name: str) -> None:
    shelf = Shelf()
    shelf.publish(OWNER, target(1))
    shelf.files[name] += b" " * (2 * MAX_METADATA)
    with pytest.raises((VerificationFailed, UntrustedKey)):
        shelf.refresh(tmp_path)


@pytest.mark.parametrize("name", NAMES)
def test_a_tracker_that_fails_half_way_is_reported_as_it_failed(tmp_path: Path, name: str) -> None:
    shelf = Shelf()
    shelf.publish(OWNER, target(1))
    lost = TrackerUnreachable("the tracker does not answer (gone)")

    def fetch(asked: str) -> bytes:
        if asked == name:
            raise lost
        return shelf.fetch(asked)

    with pytest.raises(TrackerUnreachable) as failed:
        admission.refresh(shelf.share_id, tmp_path, fetch, OWNER)
    assert failed.value is lost
    assert shelf.refresh(tmp_path).targets.latest == 1


@pytest.mark.parametrize("name", NAMES)
def test_a_file_that_the_tracker_has_not_is_an_error_of_ours(tmp_path: Path, name: str) -> None:
    shelf = Shelf()
    shelf.publish(OWNER, target(1))
    kept = shelf.files.pop(name)
    with pytest.raises(P2pckptError) as missing:
        shelf.refresh(tmp_path)
    assert isinstance(missing.value, (NotFound, VerificationFailed))
    shelf.files[name] = kept
    assert shelf.refresh(tmp_path).targets.latest == 1


def test_what_was_remembered_is_plain_json(shelf: Shelf, directory: Path) -> None:
    shelf.publish(OWNER, target(1))
    shelf.refresh(directory)
    seen = json.loads((directory / "seen.json").read_bytes())
    assert seen == {"1": [target(1).manifest_sha256, target(1).infohash]}


def _key(identity: Identity) -> Key:
    return versions._key(identity.public_bytes)


def _resigned(metadata: Metadata[Any], signer: Identity) -> bytes:
    metadata.signatures.clear()
    metadata.sign(versions._signer(signer))
    return metadata.to_bytes(JSONSerializer(compact=True))


# -- all or nothing


def test_half_a_change_is_never_believed(shelf: Shelf, directory: Path) -> None:
    """A new owner means a new root and new targets: whoever gets the root and not the targets keeps the old ones."""
    shelf.refresh(directory)
    before = {name: (directory / name).read_bytes() for name in ("root.json", "targets.json", "keyring.json")}
    keys = replace(versions.root_keys(shelf.root), owners=frozenset({OWNER.public_bytes, PUBLISHER.public_bytes}))
    root = versions.next_root(shelf.root, keys, OWNER)
    targets = versions.redelegate(shelf.targets, root, OWNER)
    shelf.put(root=root, targets=targets)
    whole = dict(shelf.files)
    for missing in (f"{number(targets, Targets)}.targets.json", "timestamp.json"):
        shelf.files = {name: data for name, data in whole.items() if name != missing}
        with pytest.raises(P2pckptError):
            shelf.refresh(directory)
        assert {name: (directory / name).read_bytes() for name in before} == before
        assert admission.load(shelf.share_id, directory, OWNER).root_bytes == before["root.json"]
    shelf.files = whole
    assert shelf.refresh(directory).root_bytes == root


@pytest.mark.parametrize("moved", range(8))
def test_a_move_into_place_that_was_cut_off_is_finished_by_the_next_reader(
    shelf: Shelf, directory: Path, moved: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.publish(OWNER, target(1))
    shelf.refresh(directory)
    shelf.publish(OWNER, target(2))
    shelf.put(root=with_publishers(shelf.root, PUBLISHER))

    class Died(Exception):
        pass

    left = moved

    def replace_until_it_dies(self: Path, to: Path) -> Path:
        nonlocal left
        if to.parent in (directory, directory / "root_history"):
            if not left:
                raise Died
            left -= 1
        return original(self, to)

    original = Path.replace
    monkeypatch.setattr(Path, "replace", replace_until_it_dies)
    with contextlib.suppress(Died):
        shelf.refresh(directory)
    monkeypatch.setattr(Path, "replace", original)
    share = admission.load(shelf.share_id, directory, OWNER)
    assert (share.targets.latest, share.root_bytes) == (2, shelf.root)


# -- what one owner or publisher could do to all


def test_a_share_lives_through_hundreds_of_roots(shelf: Shelf, directory: Path) -> None:
    shelf.refresh(directory)
    for _ in range(130):
        shelf.put(root=with_publishers(shelf.root, PUBLISHER))
        shelf.put(root=with_publishers(shelf.root))
    assert number(shelf.refresh(directory).root_bytes, Root) == 261


def test_an_owner_can_take_no_keys_away(shelf: Shelf, directory: Path) -> None:
    keys = shelf.refresh(directory).keys[1]
    content = versions.parse_keyring(shelf.keyring)
    longer, newest = keyrings.new_epoch(content, keys, content.readers, shelf.share_id)
    shelf.put(keyring=versions.update_keyring(shelf.keyring, OWNER, longer))
    assert set(shelf.refresh(directory).keys) == {1, 2}
    other, _ = keyrings.new_epoch(content, keys, content.readers, shelf.share_id)
    before = shelf.keyring
    for rewritten in (KeyringContent(()), content, other):
        shelf.put(keyring=versions.update_keyring(shelf.keyring, OWNER, rewritten))
        with pytest.raises(VerificationFailed):
            shelf.refresh(directory)
        assert set(admission.load(shelf.share_id, directory, OWNER).keys) == {1, 2}
    assert admission.load(shelf.share_id, directory, OWNER).keyring_bytes == before
    assert newest.epoch == 2


def test_new_versions_with_an_old_keyring_are_refused(shelf: Shelf, directory: Path, tmp_path: Path) -> None:
    """The tracker signs which files belong together: it could let a publisher go on with keys of somebody removed."""
    keys = shelf.refresh(directory).keys[1]
    content, old = versions.parse_keyring(shelf.keyring), shelf.keyring
    longer, _ = keyrings.new_epoch(content, keys, content.readers, shelf.share_id)
    shelf.put(keyring=versions.update_keyring(shelf.keyring, OWNER, longer))
    shelf.publish(OWNER, target(1, epoch=2))
    assert shelf.refresh(tmp_path / "honest").keyring.newest == 2
    shelf.put(keyring=old)
    with pytest.raises(VerificationFailed, match="holds back"):
        shelf.refresh(directory)


def test_a_damaged_memory_of_versions_is_an_error_and_not_an_empty_one(shelf: Shelf, directory: Path) -> None:
    shelf.publish(OWNER, target(1))
    shelf.refresh(directory)
    (directory / "seen.json").write_bytes(b"")
    with pytest.raises(VerificationFailed, match="damaged"):
        admission.load(shelf.share_id, directory, OWNER)
