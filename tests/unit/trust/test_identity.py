from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pckpt.errors import BadUsage, UntrustedKey
from p2pckpt.trust.identity import PUBLIC_PREFIX, PublicIdentity, verify, words
from tests.unit.trust.people import OWNER, STRANGER


def test_a_public_identity_survives_being_sent_as_text() -> None:
    text = OWNER.public.text
    assert text.startswith(PUBLIC_PREFIX)
    assert PublicIdentity.parse(text) == OWNER.public


def test_a_receive_key_that_somebody_else_signed_is_not_trusted() -> None:
    mixed = PublicIdentity(OWNER.public.identity, STRANGER.public.receive_key, STRANGER.public.signature)
    with pytest.raises(UntrustedKey):
        PublicIdentity.parse(mixed.text)


@given(st.text(max_size=250) | st.text("ABCdef123-_=", min_size=165, max_size=175).map(PUBLIC_PREFIX.__add__))
def test_any_other_text_is_no_public_key(text: str) -> None:
    with pytest.raises((BadUsage, UntrustedKey)):
        PublicIdentity.parse(text)


def test_signatures_verify_for_their_signer_and_content_alone() -> None:
    signature = OWNER.sign(b"content")
    assert verify(OWNER.public_bytes, signature, b"content")
    assert not verify(OWNER.public_bytes, signature, b"content!")
    assert not verify(STRANGER.public_bytes, signature, b"content")
    assert not verify(OWNER.public_bytes, b"short", b"content")
    assert not verify(b"no key", signature, b"content")


def test_a_key_reads_as_six_proquints() -> None:
    # "lusab-babad" is 127.0.0.1 in the proposal that proquints come from
    spoken = words(bytes([127, 0, 0, 1]) + bytes(28))
    assert spoken == "lusab-babad-babab-babab-babab-babab"


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32))
def test_words_tell_keys_apart_by_their_first_96_bits(one: bytes, other: bytes) -> None:
    assert (words(one) == words(other)) == (one[:12] == other[:12])
    assert all(len(word) == 5 for word in words(one).split("-"))
