from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tuf.api.metadata import Metadata, Root, TargetFile, Targets
from tuf.api.serialization.json import JSONSerializer

from p2pckpt.errors import VerificationFailed
from p2pckpt.trust import versions
from p2pckpt.trust.identity import Identity
from p2pckpt.trust.sealing import EpochKeys
from p2pckpt.trust.versions import SealedEpoch, parse_keyring, parse_targets, parse_terms
from tests.unit.trust.people import OWNER, PUBLISHER, STRANGER, Shelf, number, target


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
    assert [epoch.epoch for epoch in parse_keyring(shelf.keyring)] == [1]
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
    root = Metadata[Root].from_bytes(versions.set_publishers(shelf.root, OWNER, [PUBLISHER.public_bytes]))
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
    with_both = versions.set_publishers(shelf.root, OWNER, [PUBLISHER.public_bytes, STRANGER.public_bytes])
    assert versions.publishers(with_both) == {i.public_bytes for i in (OWNER, PUBLISHER, STRANGER)}
    with_one = versions.set_publishers(with_both, OWNER, [STRANGER.public_bytes])
    assert versions.publishers(with_one) == {OWNER.public_bytes, STRANGER.public_bytes}
    keys = Metadata[Root].from_bytes(with_one).signed.keys.values()
    assert PUBLISHER.hex not in {key.keyval["public"] for key in keys}
    assert number(with_one, Root) == 3
    assert parse_terms(with_one) == parse_terms(shelf.root)


def test_the_keyring_keeps_what_it_was_given(shelf: Shelf) -> None:
    epochs = [
        versions.seal_epoch(EpochKeys.generate(n), [OWNER.public, PUBLISHER.public], shelf.share_id) for n in (1, 2)
    ]
    keyring = versions.update_keyring(shelf.keyring, OWNER, epochs)
    assert parse_keyring(keyring) == epochs
    for member in (OWNER, PUBLISHER):
        assert set(versions.open_epochs(epochs, member, shelf.share_id)) == {1, 2}


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
    ],
    ids=str,
)
def test_a_version_that_says_nonsense_is_refused(shelf: Shelf, fields: dict[str, Any]) -> None:
    with pytest.raises(VerificationFailed):
        parse_targets(changed(shelf.targets, "v/1", **fields))


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
def test_targets_without_our_field_are_refused(shelf: Shelf, extension: Any) -> None:
    metadata = Metadata[Targets].from_bytes(shelf.targets)
    metadata.signed.unrecognized_fields["p2pckpt"] = extension
    with pytest.raises(VerificationFailed):
        parse_targets(metadata.to_bytes(JSONSerializer()))


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


@pytest.mark.parametrize("member", [OWNER, PUBLISHER, STRANGER], ids=lambda member: member.name)
def test_an_epoch_is_sealed_to_its_members(shelf: Shelf, member: Identity) -> None:
    epoch: SealedEpoch = versions.seal_epoch(EpochKeys.generate(4), [OWNER.public, PUBLISHER.public], shelf.share_id)
    assert (member.hex in epoch.sealed) == (member is not STRANGER)
    assert epoch.epoch == 4
