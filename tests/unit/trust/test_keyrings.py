"""Epochs of content keys: who reaches which, after members come and go."""

from __future__ import annotations

import base64

import pytest
from msgspec.structs import replace

from p2pckpt.tracker_protocol import Role
from p2pckpt.tracker_protocol.signed import KeyringContent, Reader, SealedEpoch
from p2pckpt.trust import keyrings
from p2pckpt.trust.keyrings import open_epochs
from p2pckpt.trust.sealing import EpochKeys

from .people import OWNER, PUBLISHER, STRANGER

SHARE = b"s" * 32


def started() -> tuple[KeyringContent, EpochKeys]:
    content = keyrings.first(OWNER.public, SHARE)
    return content, open_epochs(content, OWNER, SHARE)[1]


def rotated(content: KeyringContent, readers: dict[str, Reader], times: int = 1) -> tuple[KeyringContent, EpochKeys]:
    keys = open_epochs(content, OWNER, SHARE)[content.newest]
    for _ in range(times):
        content, keys = keyrings.new_epoch(content, keys, readers, SHARE)
    return content, keys


def test_a_reader_opens_the_newest_epoch_and_a_stranger_none() -> None:
    content, keys = started()
    content = keyrings.with_reader(content, keys, PUBLISHER.public, Role.PUBLISHER, SHARE)
    assert open_epochs(content, PUBLISHER, SHARE) == {1: keys}
    assert open_epochs(content, STRANGER, SHARE) == {}
    assert content.readers[PUBLISHER.hex] == Reader(Role.PUBLISHER, PUBLISHER.public.receive_key.hex())


def test_who_remains_reaches_every_epoch_and_who_left_only_the_old_ones() -> None:
    content, first = started()
    content = keyrings.with_reader(content, first, PUBLISHER.public, Role.DOWNLOADER, SHARE)
    theirs = open_epochs(content, PUBLISHER, SHARE)
    content, _ = rotated(content, {OWNER.hex: content.readers[OWNER.hex]}, times=3)
    ours = open_epochs(content, OWNER, SHARE)
    assert (sorted(ours), ours[1]) == ([1, 2, 3, 4], first)
    assert open_epochs(content, PUBLISHER, SHARE) == {}
    assert open_epochs(content, PUBLISHER, SHARE, theirs) == {1: first}  # what they knew leads nowhere
    assert len({key for epoch in ours.values() for key in (epoch.view, epoch.content)}) == 8


def test_who_comes_later_reads_what_was_there_before() -> None:
    content, keys = started()
    content, keys = rotated(content, content.readers, times=2)
    content = keyrings.with_reader(content, keys, PUBLISHER.public, Role.DOWNLOADER, SHARE)
    assert open_epochs(content, PUBLISHER, SHARE) == open_epochs(content, OWNER, SHARE)


def test_a_viewer_is_a_viewer_in_every_epoch() -> None:
    content, keys = started()
    content, keys = rotated(content, content.readers, times=2)
    content = keyrings.with_reader(content, keys, PUBLISHER.public, Role.VIEWER, SHARE)
    seen, all_keys = open_epochs(content, PUBLISHER, SHARE), open_epochs(content, OWNER, SHARE)
    assert {epoch: keys.view for epoch, keys in seen.items()} == {epoch: keys.view for epoch, keys in all_keys.items()}
    assert {keys.content for keys in seen.values()} == {b""}


def test_a_reader_who_becomes_a_viewer_gets_no_content_key_of_the_next_epoch() -> None:
    content, keys = started()
    content = keyrings.with_reader(content, keys, PUBLISHER.public, Role.DOWNLOADER, SHARE)
    readers = content.readers | {PUBLISHER.hex: replace(content.readers[PUBLISHER.hex], role=Role.VIEWER)}
    content, newer = rotated(content, readers)
    assert open_epochs(content, PUBLISHER, SHARE)[2] == EpochKeys(2, newer.view, b"")


def test_keys_from_a_link_lead_back_as_well() -> None:
    content, _ = started()
    content, newest = rotated(content, content.readers, times=2)
    found = open_epochs(content, STRANGER, SHARE, {3: newest})
    assert found == open_epochs(content, OWNER, SHARE)


def test_only_the_newest_epoch_is_sealed_to_anybody() -> None:
    content, _ = started()
    content, _ = rotated(content, content.readers, times=3)
    assert [bool(epoch.sealed) for epoch in content.epochs] == [False, False, False, True]


@pytest.mark.parametrize("entry", ["", "no base64!", base64.b64encode(b"something else").decode(), "é"])
def test_an_entry_of_ours_that_does_not_open_gives_no_keys_and_takes_none(entry: str) -> None:
    content, keys = started()
    spoilt = replace(content, epochs=(SealedEpoch(1, {OWNER.hex: entry}),))
    assert open_epochs(spoilt, OWNER, SHARE) == {}
    assert open_epochs(spoilt, OWNER, SHARE, {1: keys}) == {1: keys}


@pytest.mark.parametrize("field", ["earlier_view", "earlier_content"])
def test_an_epoch_that_leads_back_to_other_keys_leads_nowhere(field: str) -> None:
    content, _ = started()
    content, newest = rotated(content, content.readers)
    other, _ = started()
    other, _ = rotated(other, other.readers)
    spoilt = replace(content.epochs[1], **{field: getattr(other.epochs[1], field)})
    assert open_epochs(replace(content, epochs=(content.epochs[0], spoilt)), OWNER, SHARE) == {2: newest}


def test_keys_from_a_link_that_do_not_fit_are_of_no_use() -> None:
    content, _ = started()
    content, _ = rotated(content, content.readers)
    made_up = EpochKeys.generate(2)
    assert open_epochs(content, STRANGER, SHARE, {2: made_up}) == {2: made_up}


def test_keys_sealed_for_another_epoch_are_not_taken() -> None:
    content, _ = started()
    assert open_epochs(KeyringContent((SealedEpoch(2, content.epochs[0].sealed),)), OWNER, SHARE) == {}


def test_keys_of_another_share_do_not_open() -> None:
    content, _ = started()
    assert open_epochs(content, OWNER, b"t" * 32) == {}


def test_who_is_named_again_counts_as_removed_no_more() -> None:
    content, keys = started()
    content = replace(content, removed=(PUBLISHER.hex, STRANGER.hex))
    assert keyrings.with_reader(content, keys, PUBLISHER.public, Role.VIEWER, SHARE).removed == (STRANGER.hex,)
