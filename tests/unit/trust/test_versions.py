from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from securesystemslib.signer import SSlibKey
from tuf.api.metadata import Metadata, Root, TargetFile, Targets
from tuf.api.serialization.json import JSONSerializer

from p2pckpt.errors import BadUsage, Conflict, VerificationFailed
from p2pckpt.tracker_protocol import SIGNED_EXTENSION
from p2pckpt.trust import versions
from p2pckpt.trust.identity import Identity
from p2pckpt.trust.versions import RootKeys, parse_keyring, parse_targets, parse_terms, root_keys
from tests.unit.trust.people import OWNER, PUBLISHER, STRANGER, Shelf, number, target, with_publishers


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


def changed(targets: bytes, path: str, **fields: Any) -> bytes:
    """Targets whose file at ``path`` (v/1 renamed) has other fields; the signature is no matter here."""
    metadata = Metadata[Targets].from_bytes(versions.publish_version(targets, OWNER, target(1), ["stable"]))
    file = metadata.signed.targets.pop("v/1")
    custom = {**(file.custom or {}), **{k: v for k, v in fields.items() if k != "sha256"}}
    hashes = {"sha256": fields.get("sha256", file.hashes["sha256"])}
    metadata.signed.targets[path] = TargetFile(file.length, hashes, path, {"custom": custom})
    return metadata.to_bytes(JSONSerializer())


def test_a_new_share_starts_with_version_one_of_everything(shelf: Shelf) -> None:
    assert [number(shelf.root, Root), number(shelf.targets, Targets), number(shelf.keyring, Targets)] == [1, 1, 1]
    assert parse_terms(shelf.root).owner == OWNER.hex
    assert [epoch.epoch for epoch in parse_keyring(shelf.keyring).epochs] == [1]
    assert versions.keyring_delegation_is_sound(shelf.root, shelf.targets)


def test_two_shares_of_one_name_are_two_shares() -> None:
    one, other = Shelf(), Shelf()
    assert one.share_id != other.share_id
    assert parse_terms(one.root).torrent_name != parse_terms(other.root).torrent_name


def test_what_is_published_is_what_is_read(shelf: Shelf) -> None:
    targets = versions.publish_version(shelf.targets, OWNER, target(1, card="cd" * 32), ["stable", "best"])
    read = parse_targets(targets)
    assert read.versions == {1: target(1, card="cd" * 32)}
    assert read.tags == {"latest": 1, "stable": 1, "best": 1}
    assert (read.metadata_version, read.latest) == (2, 1)


def test_every_change_is_one_version_on_and_signed_by_whoever_made_it(shelf: Shelf) -> None:
    root = Metadata[Root].from_bytes(with_publishers(shelf.root, PUBLISHER))
    targets = shelf.targets
    changes: list[Callable[[bytes], bytes]] = [
        lambda t: versions.publish_version(t, PUBLISHER, target(1), []),
        lambda t: versions.move_tag(t, PUBLISHER, "stable", 1),
        lambda t: versions.move_tag(t, PUBLISHER, "stable", None),
        lambda t: versions.move_tag(t, PUBLISHER, "never there", None),
        lambda t: versions.sign_again(t, PUBLISHER),
    ]
    for step, change in enumerate(changes, start=2):
        targets = change(targets)
        metadata = Metadata[Targets].from_bytes(targets)
        assert metadata.signed.version == step
        result = root.signed.get_verification_result("targets", metadata.signed_bytes, metadata.signatures)
        assert [key.keyval["public"] for key in result.signed.values()] == [PUBLISHER.hex]


def test_tags_move_and_go(shelf: Shelf) -> None:
    targets = versions.publish_version(shelf.targets, OWNER, target(1), ["stable"])
    targets = versions.publish_version(targets, OWNER, target(2), [])
    assert parse_targets(targets).tags == {"latest": 2, "stable": 1}
    targets = versions.move_tag(targets, OWNER, "stable", 2)
    assert parse_targets(targets).tags["stable"] == 2
    targets = versions.move_tag(targets, OWNER, "stable", None)
    assert parse_targets(targets).tags == {"latest": 2}


def test_a_tag_on_a_version_that_is_not_there_is_left_out(shelf: Shelf) -> None:
    assert parse_targets(versions.move_tag(shelf.targets, OWNER, "stable", 7)).tags == {}


def test_publishers_come_and_go_and_the_owner_stays(shelf: Shelf) -> None:
    owners = frozenset({OWNER.public_bytes})
    with_both = with_publishers(shelf.root, PUBLISHER, STRANGER)
    both = frozenset({PUBLISHER.public_bytes, STRANGER.public_bytes})
    assert root_keys(with_both) == RootKeys(owners, both, 1)
    with_one = with_publishers(with_both, STRANGER)
    assert root_keys(with_one) == RootKeys(owners, frozenset({STRANGER.public_bytes}), 1)
    keys = Metadata[Root].from_bytes(with_one).signed.keys.values()
    assert PUBLISHER.hex not in {key.keyval["public"] for key in keys}
    assert number(with_one, Root) == 3
    assert parse_terms(with_one) == parse_terms(shelf.root)


# -- several owners


def owned_by(shelf: Shelf, threshold: int, *owners: Identity) -> bytes:
    """A next root that these people own, signed by the first."""
    keys = RootKeys(frozenset(owner.public_bytes for owner in owners), frozenset(), threshold)
    return versions.next_root(shelf.root, keys, owners[0])


def test_a_second_owner_signs_roots_alone(shelf: Shelf) -> None:
    root = owned_by(shelf, 1, OWNER, PUBLISHER)
    assert versions.missing_signatures(shelf.root, root) == 0
    heirs = versions.next_root(root, RootKeys(frozenset({PUBLISHER.public_bytes}), frozenset(), 1), PUBLISHER)
    assert versions.missing_signatures(root, heirs) == 0
    assert parse_terms(heirs).owner == PUBLISHER.hex
    assert parse_terms(heirs).fixed == parse_terms(shelf.root).fixed


def test_a_root_of_two_signatures_waits_for_the_second(shelf: Shelf) -> None:
    shelf.root = owned_by(shelf, 1, OWNER, PUBLISHER)
    both = versions.next_root(shelf.root, replace(root_keys(shelf.root), threshold=2), OWNER)
    assert versions.missing_signatures(shelf.root, both) == 1  # enough for the old root, too few for the new one
    both = versions.sign_root(both, PUBLISHER)
    assert versions.missing_signatures(shelf.root, both) == 0
    proposed = versions.next_root(both, replace(root_keys(both), publishers=frozenset({STRANGER.public_bytes})), OWNER)
    assert versions.missing_signatures(both, proposed) == 1
    assert versions.missing_signatures(both, versions.sign_root(proposed, OWNER)) == 1
    assert versions.missing_signatures(both, versions.sign_root(proposed, STRANGER)) == 1
    assert versions.missing_signatures(both, versions.sign_root(proposed, PUBLISHER)) == 0
    assert versions.is_signed_by(proposed, OWNER.public_bytes)
    assert not versions.is_signed_by(proposed, PUBLISHER.public_bytes)


@pytest.mark.parametrize("threshold", [0, 3])
def test_owners_can_not_be_fewer_than_the_signatures_asked_for(shelf: Shelf, threshold: int) -> None:
    with pytest.raises(BadUsage):
        owned_by(shelf, threshold, OWNER, PUBLISHER)


def test_the_keyring_is_delegated_to_all_owners_and_any_of_them_signs_it(shelf: Shelf) -> None:
    root = owned_by(shelf, 2, OWNER, PUBLISHER)
    assert not versions.keyring_delegation_is_sound(root, shelf.targets)
    targets = versions.redelegate(shelf.targets, root, OWNER)
    assert versions.keyring_delegation_is_sound(root, targets)
    content = parse_keyring(shelf.keyring)
    for owner in (OWNER, PUBLISHER):
        assert versions.may_sign_keyring(targets, versions.update_keyring(shelf.keyring, owner, content))
    assert not versions.may_sign_keyring(targets, versions.update_keyring(shelf.keyring, STRANGER, content))


def _other_name(root: Root) -> None:
    root.unrecognized_fields["p2pckpt"]["name"] = "something/else"


def _other_online_key(root: Root) -> None:
    root.roles["timestamp"].keyids = [*root.roles["root"].keyids]


def _skipped_version(root: Root) -> None:
    root.version += 1


def _easier_targets(root: Root) -> None:
    root.roles["targets"].threshold = 2


def _hidden_key(root: Root) -> None:
    key = SSlibKey("ab" * 32, "ed25519", "ed25519", {"public": STRANGER.hex})
    root.keys[key.keyid] = key


def _another_field(root: Root) -> None:
    root.unrecognized_fields["x"] = 1


@pytest.mark.parametrize(
    "spoil",
    [_other_name, _other_online_key, _skipped_version, _easier_targets, _hidden_key, _another_field],
    ids=lambda spoil: spoil.__name__.strip("_"),
)
def test_a_proposal_that_changes_more_than_keys_is_refused(shelf: Shelf, spoil: Callable[[Root], None]) -> None:
    proposed = owned_by(shelf, 1, OWNER, PUBLISHER)
    assert versions.judge_proposal(shelf.root, proposed).owners == {OWNER.public_bytes, PUBLISHER.public_bytes}
    metadata = Metadata[Root].from_bytes(proposed)
    spoil(metadata.signed)
    with pytest.raises(VerificationFailed):
        versions.judge_proposal(shelf.root, metadata.to_bytes(JSONSerializer()))


# -- what no publisher of ours writes


@pytest.mark.parametrize(
    "path",
    ["v/0", "v/-1", "v/01", "v/1 ", "v/\N{SUPERSCRIPT TWO}", "v/\N{ARABIC-INDIC DIGIT ONE}", "v/" + "9" * 5000, "v/",
     "v/2147483648", "w/1", "1", "v/1/2"],
    ids=lambda path: ascii(path[:20]),
)  # fmt: skip
def test_targets_of_another_kind_are_left_out(shelf: Shelf, path: str) -> None:
    read = parse_targets(changed(shelf.targets, path))
    assert (read.versions, read.tags) == ({}, {})


@pytest.mark.parametrize(
    "fields",
    [
        {"infohash": "zz" * 32},
        {"infohash": "ab"},
        {"infohash": "AB" * 32},
        {"infohash": "../../../../etc/passwd"},
        {"infohash": None},
        {"sha256": "zz" * 32},
        {"sha256": "ab"},
        {"card": "../card"},
        {"size": "large"},
        {"size": -1},
        {"files": -1},
        {"torrent_length": -5},
        {"epoch": -1},
        {"publisher": 7},
        {"leans_on": ["ab"]},
        {"leans_on": None},
    ],
    ids=str,
)
def test_a_version_that_says_nonsense_is_left_out_and_the_others_stay(shelf: Shelf, fields: dict[str, Any]) -> None:
    shelf.targets = versions.publish_version(shelf.targets, OWNER, target(2), [])
    spoilt = changed(shelf.targets, "v/1", **fields)
    assert set(parse_targets(spoilt).versions) == {2}
    assert set(parse_targets(versions.publish_version(spoilt, OWNER, target(3), [])).versions) == {2, 3}


def test_what_versions_lean_on_is_named_with_them_and_older_ones_say_nothing(shelf: Shelf) -> None:
    first, other = target(1), "ab" * 32
    targets = versions.publish_version(shelf.targets, OWNER, first, [])
    assert b"leans_on" not in targets
    targets = versions.publish_version(targets, OWNER, target(2, leans_on=(first.infohash, other)), [])
    targets = versions.publish_version(targets, OWNER, target(3, leans_on=()), [])
    read = parse_targets(targets)
    assert [read.versions[number].leans_on for number in (1, 2, 3)] == [msgspec.UNSET, (first.infohash, other), ()]
    assert read.torrents == {other, *(each.infohash for each in read.versions.values())}


def test_fields_that_are_not_known_here_are_ignored(shelf: Shelf) -> None:
    assert parse_targets(changed(shelf.targets, "v/1", later="more")).versions == {1: target(1)}


EXTENSIONS: dict[str, Any] = {
    "none": None,
    "a list": [],
    "tags in a list": {"tags": ["stable"], "trackers": []},
    "tags without numbers": {"tags": {"stable": "1"}, "trackers": []},
    "trackers that are no list": {"tags": {}, "trackers": "h:1"},
}


@pytest.mark.parametrize("extension", EXTENSIONS.values(), ids=EXTENSIONS)
def test_targets_without_our_field_have_no_tags_and_the_next_publisher_writes_it_anew(
    shelf: Shelf, extension: Any
) -> None:
    metadata = Metadata[Targets].from_bytes(versions.publish_version(shelf.targets, OWNER, target(1), ["stable"]))
    metadata.signed.unrecognized_fields["p2pckpt"] = extension
    spoilt = metadata.to_bytes(JSONSerializer())
    read = parse_targets(spoilt)
    assert (set(read.versions), read.tags) == ({1}, {})
    again = parse_targets(versions.publish_version(spoilt, OWNER, target(2), ["best"]))
    assert again.tags == {"latest": 2, "best": 2}


def test_targets_that_hide_the_keyring_are_refused(shelf: Shelf) -> None:
    """A target of that name would keep clients from ever looking into the keyring."""
    with pytest.raises(VerificationFailed):
        parse_targets(changed(shelf.targets, "keyring/epochs"))


def test_a_root_or_keyring_without_our_field_is_refused(shelf: Shelf) -> None:
    root = Metadata[Root].from_bytes(shelf.root)
    keyring = Metadata[Targets].from_bytes(shelf.keyring)
    for value in ({}, None, {"name": 7, "epochs": 7}, {"epochs": [{"epoch": 1}]}):
        root.signed.unrecognized_fields["p2pckpt"] = value
        keyring.signed.unrecognized_fields["p2pckpt"] = value
        with pytest.raises(VerificationFailed):
            parse_terms(root.to_bytes(JSONSerializer()))
        with pytest.raises(VerificationFailed):
            parse_keyring(keyring.to_bytes(JSONSerializer()))


@pytest.mark.parametrize("data", [b"", b"{}", b"garbage", b"\xff", b"[" * 100_000])
def test_bytes_that_are_no_signed_file_are_refused(data: bytes, shelf: Shelf) -> None:
    for read in (parse_targets, parse_terms, parse_keyring):
        with pytest.raises(VerificationFailed):
            read(data)
    with pytest.raises(VerificationFailed):
        versions.keyring_delegation_is_sound(shelf.root, data)


def test_one_kind_of_file_is_not_taken_for_another(shelf: Shelf) -> None:
    with pytest.raises(VerificationFailed):
        parse_targets(shelf.root)
    with pytest.raises(VerificationFailed):
        parse_terms(shelf.targets)


def test_versions_are_retired_and_come_back_as_they_were(shelf: Shelf) -> None:
    targets = shelf.targets
    for each in range(1, 5):
        targets = versions.publish_version(targets, PUBLISHER, target(each), ["stable"] if each == 2 else [])
    retired = versions.retire(targets, OWNER, [1, 3])
    assert set(parse_targets(retired).versions) == {2, 4}
    assert parse_targets(retired).tags == {"latest": 4, "stable": 2}
    entries = versions.entries(targets, [1, 3, 7])
    assert entries.keys() == {1, 3}
    back = versions.restore(versions.publish_version(retired, OWNER, target(5), []), OWNER, entries)
    assert parse_targets(back).versions == {each: target(each) for each in range(1, 6)}
    before, after = (Metadata[Targets].from_bytes(each).signed.targets for each in (targets, back))
    assert {path: after[path] for path in before} == before
    assert versions.retire(retired, OWNER, [1]) is not None, "what is gone already is no matter"


@pytest.mark.parametrize("precious", [2, 4])
def test_neither_the_newest_version_nor_one_with_a_tag_is_retired(shelf: Shelf, precious: int) -> None:
    targets = shelf.targets
    for each in range(1, 5):
        targets = versions.publish_version(targets, OWNER, target(each), ["stable"] if each == 2 else [])
    with pytest.raises(Conflict, match=f"version {precious}"):
        versions.retire(targets, OWNER, [1, precious])


@pytest.mark.parametrize("name", ["/etc/cron.d/x", "../../up", "a/../b", ".ssh", "a//b", "", "a\nb", "x" * 101])
def test_a_root_whose_share_is_called_like_a_path_is_refused(shelf: Shelf, name: str) -> None:
    metadata = Metadata[Root].from_bytes(shelf.root)
    metadata.signed.unrecognized_fields[SIGNED_EXTENSION]["name"] = name
    with pytest.raises(VerificationFailed, match="no name for one"):
        parse_terms(metadata.to_bytes(JSONSerializer()))
