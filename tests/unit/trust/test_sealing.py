from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pckpt.errors import NotAllowed, VerificationFailed
from p2pckpt.trust import sealing
from p2pckpt.trust.sealing import (
    NONCE,
    OVERHEAD,
    PLAIN_MANIFEST,
    SEALED_MANIFEST,
    TAG,
    EpochKeys,
    FrameSealer,
    open_as_member,
    open_manifest,
    seal_for_member,
    seal_manifest,
)
from tests.unit.trust.people import OWNER, STRANGER

SHARE, OTHER_SHARE = b"s" * 32, b"t" * 32
KEYS = EpochKeys(3, b"v" * 32, b"c" * 32)
SEALER = FrameSealer(KEYS.content, SHARE, 7)


# -- frames


@given(st.binary(max_size=5000))
def test_a_frame_opens_to_what_was_sealed_and_grows_by_28_bytes(frame: bytes) -> None:
    sealed = SEALER.seal(frame)
    assert SEALER.open(sealed) == frame
    assert SEALER.open(memoryview(sealed)) == frame
    assert len(sealed) == len(frame) + OVERHEAD == len(frame) + 28


@pytest.mark.parametrize("length", [0, 1, 15, 16, 17, 100_003])
def test_sealing_and_opening_in_place_are_the_same_as_elsewhere(length: int) -> None:
    frame = bytes(number % 251 for number in range(length))
    room = bytearray(NONCE) + frame + bytearray(TAG)
    SEALER.seal_in_place(memoryview(room))
    assert SEALER.open(bytes(room)) == frame
    again = bytearray(SEALER.seal(frame))
    assert bytes(SEALER.open_in_place(memoryview(again))) == frame


def test_what_does_not_open_elsewhere_does_not_in_place() -> None:
    sealed = bytearray(SEALER.seal(b"a frame"))
    sealed[15] ^= 1
    with pytest.raises(VerificationFailed, match="does not open"):
        SEALER.open_in_place(memoryview(sealed))
    with pytest.raises(VerificationFailed, match="too short"):
        SEALER.open_in_place(memoryview(bytearray(27)))


def test_the_same_frame_is_sealed_differently_every_time() -> None:
    assert len({SEALER.seal(b"frame") for _ in range(100)}) == 100


@pytest.mark.parametrize(
    "other",
    [
        FrameSealer(b"d" * 32, SHARE, 7),
        FrameSealer(KEYS.view, SHARE, 7),
        FrameSealer(KEYS.content, OTHER_SHARE, 7),
        FrameSealer(KEYS.content, SHARE, 8),
    ],
    ids=["another key", "the view key", "another share", "another version"],
)
def test_a_frame_does_not_open_elsewhere(other: FrameSealer) -> None:
    with pytest.raises(VerificationFailed, match="does not open"):
        other.open(SEALER.seal(b"frame"))


@given(st.integers(0, OVERHEAD + 9), st.integers(0, 7))
def test_no_bit_of_a_sealed_frame_can_be_changed(at: int, bit: int) -> None:
    sealed = bytearray(SEALER.seal(b"ten bytes!"))
    sealed[at] ^= 1 << bit
    with pytest.raises(VerificationFailed):
        SEALER.open(bytes(sealed))


@pytest.mark.parametrize("length", [0, 1, 12, 27, 28, 37])
def test_a_cut_off_frame_does_not_open(length: int) -> None:
    sealed = SEALER.seal(b"ten bytes!")
    with pytest.raises(VerificationFailed):
        SEALER.open(sealed[:length])


# -- manifests


@pytest.mark.parametrize("keys", [KEYS, None], ids=["sealed", "plain"])
def test_a_manifest_opens_to_what_was_packed(keys: EpochKeys | None) -> None:
    data = seal_manifest(b"packed", keys, SHARE, 7)
    assert data.startswith(PLAIN_MANIFEST if keys is None else SEALED_MANIFEST)
    assert open_manifest(data, {3: KEYS} if keys else {}, SHARE, 7) == b"packed"


def test_a_viewer_opens_manifests_without_the_content_key() -> None:
    viewer = EpochKeys(3, KEYS.view, b"")
    assert open_manifest(seal_manifest(b"packed", KEYS, SHARE, 7), {3: viewer}, SHARE, 7) == b"packed"


def test_a_manifest_of_an_epoch_without_a_key_says_so() -> None:
    data = seal_manifest(b"packed", KEYS, SHARE, 7)
    with pytest.raises(NotAllowed, match="epoch 3"):
        open_manifest(data, {2: KEYS, 4: KEYS}, SHARE, 7)


@pytest.mark.parametrize(
    ("keys", "share", "version"),
    [
        (EpochKeys(3, b"w" * 32, KEYS.content), SHARE, 7),
        (EpochKeys(3, KEYS.content, KEYS.view), SHARE, 7),
        (KEYS, OTHER_SHARE, 7),
        (KEYS, SHARE, 8),
    ],
    ids=["another key", "keys exchanged", "another share", "another version"],
)
def test_a_manifest_does_not_open_elsewhere(keys: EpochKeys, share: bytes, version: int) -> None:
    with pytest.raises(VerificationFailed, match="view key"):
        open_manifest(seal_manifest(b"packed", KEYS, SHARE, 7), {3: keys}, share, version)


def test_the_epoch_in_a_manifests_header_is_sealed_too() -> None:
    data = bytearray(seal_manifest(b"packed", KEYS, SHARE, 7))
    data[len(SEALED_MANIFEST)] = 4
    with pytest.raises(VerificationFailed):
        open_manifest(bytes(data), {3: KEYS, 4: EpochKeys(4, KEYS.view, KEYS.content)}, SHARE, 7)


@given(st.integers(0, 43))
def test_a_cut_off_manifest_is_refused(length: int) -> None:
    data = seal_manifest(b"packed", KEYS, SHARE, 7)
    assert len(data) == 44
    with pytest.raises((VerificationFailed, NotAllowed)):
        open_manifest(data[:length], {3: KEYS}, SHARE, 7)


@given(st.binary(max_size=100) | st.binary(max_size=60).map(SEALED_MANIFEST.__add__))
def test_what_is_no_manifest_is_refused(data: bytes) -> None:
    if not data.startswith(PLAIN_MANIFEST):
        with pytest.raises((VerificationFailed, NotAllowed)):
            open_manifest(data, {3: KEYS}, SHARE, 7)


def test_a_sealed_manifest_cannot_be_passed_off_as_plain() -> None:
    data = seal_manifest(b"packed", KEYS, SHARE, 7)
    opened = open_manifest(PLAIN_MANIFEST + data[len(SEALED_MANIFEST) :], {3: KEYS}, SHARE, 7)
    assert b"packed" not in opened


# -- keys for members


def test_keys_reach_the_member_they_are_sealed_to() -> None:
    sealed = seal_for_member(KEYS, OWNER.public.receive_key, SHARE)
    assert open_as_member(sealed, OWNER.receiving, SHARE) == KEYS
    assert KEYS.content not in sealed
    assert KEYS.view not in sealed


def test_keys_open_for_nobody_else_and_in_no_other_share() -> None:
    sealed = seal_for_member(KEYS, OWNER.public.receive_key, SHARE)
    for private, share in ((STRANGER.receiving, SHARE), (OWNER.receiving, OTHER_SHARE)):
        with pytest.raises(VerificationFailed):
            open_as_member(sealed, private, share)


@given(st.binary(max_size=200))
def test_garbage_addressed_to_a_member_is_refused(data: bytes) -> None:
    with pytest.raises(VerificationFailed):
        open_as_member(data, OWNER.receiving, SHARE)


@given(st.integers(0, 150), st.integers(0, 7))
def test_no_bit_of_sealed_keys_can_be_changed(at: int, bit: int) -> None:
    sealed = bytearray(seal_for_member(KEYS, OWNER.public.receive_key, SHARE))
    sealed[at % len(sealed)] ^= 1 << bit
    with pytest.raises(VerificationFailed):
        open_as_member(bytes(sealed), OWNER.receiving, SHARE)


def test_what_an_owner_sealed_must_be_keys() -> None:
    for plain in (b"", b"no msgpack", msgspec.msgpack.encode([1, "v", "c"]), msgspec.msgpack.encode([1, b"v"])):
        sealed = sealing._SUITE.encrypt(plain, OWNER.receiving.public_key(), sealing._MEMBER_LABEL + SHARE)
        with pytest.raises(VerificationFailed):
            open_as_member(sealed, OWNER.receiving, SHARE)


def test_a_receive_key_that_nothing_can_be_sealed_to_is_refused() -> None:
    for useless in (bytes(32), b"\x01" + bytes(31), b"short"):
        with pytest.raises(VerificationFailed):
            seal_for_member(KEYS, useless, SHARE)


# -- secrets


def test_wrapped_bytes_open_with_the_same_key_and_context() -> None:
    wrapped = sealing.wrap(b"k" * 32, b"plain", b"context")
    assert sealing.unwrap(b"k" * 32, wrapped, b"context") == b"plain"
    for key, data, context in (
        (b"l" * 32, wrapped, b"context"),
        (b"k" * 32, wrapped, b"another"),
        (b"k" * 32, wrapped[:-1], b"context"),
        (b"k" * 32, b"", b"context"),
    ):
        with pytest.raises(VerificationFailed):
            sealing.unwrap(key, data, context)


def test_a_binding_depends_on_secret_context_and_parts() -> None:
    bindings = {
        sealing.bind(b"secret", b"context", b"identity", b"key"),
        sealing.bind(b"other secret", b"context", b"identity", b"key"),
        sealing.bind(b"secret", b"other context", b"identity", b"key"),
        sealing.bind(b"secret", b"context", b"other identity", b"key"),
        sealing.bind(b"secret", b"context", b"identity", b"other key"),
    }
    assert len(bindings) == 5
    assert sealing.bind(b"secret", b"context", b"identity", b"key") in bindings


def test_epochs_have_random_keys() -> None:
    one, other = EpochKeys.generate(1), EpochKeys.generate(1)
    assert len({one.view, one.content, other.view, other.content}) == 4
    assert {len(one.view), len(one.content)} == {32}
