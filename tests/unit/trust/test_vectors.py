"""tests/vectors/sealing.json: what other implementations have to open, derive and refuse as this one does."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from p2pckpt.errors import NotAllowed, VerificationFailed
from p2pckpt.tracker_protocol import LINK_BIND_CONTEXT
from p2pckpt.trust import sealing
from p2pckpt.trust.identity import Identity, PublicIdentity, model_key_of_old, words
from p2pckpt.trust.links import Link, LinkSecret, TrackerAddress
from p2pckpt.trust.sealing import EpochKeys, FrameSealer
from tests.vectors import write_format_vectors

VECTORS: dict[str, list[dict[str, Any]]] = json.loads((write_format_vectors.HERE / "sealing.json").read_text())


def raw(vector: dict[str, Any], field: str) -> bytes:
    return bytes.fromhex(vector[field])


def test_no_list_of_vectors_is_empty() -> None:
    assert {name: len(vectors) > 1 for name, vectors in VECTORS.items()} == dict.fromkeys(
        write_format_vectors.sealing(), True
    )


def test_the_vectors_are_what_their_script_writes() -> None:
    assert json.loads(json.dumps(write_format_vectors.sealing())) == VECTORS


def open_frame(vector: dict[str, Any]) -> bytes:
    return FrameSealer(raw(vector, "content_key"), raw(vector, "share_id"), vector["version"]).open(
        raw(vector, "sealed")
    )


def open_manifest(vector: dict[str, Any]) -> bytes:
    keys = {vector["epoch"]: EpochKeys(vector["epoch"], raw(vector, "view_key"), b"")}
    return sealing.open_manifest(raw(vector, "sealed"), keys, raw(vector, "share_id"), vector["version"])


@pytest.mark.parametrize("vector", VECTORS["frames"], ids=lambda vector: vector["name"])
def test_frames_open_to_what_the_vector_says(vector: dict[str, Any]) -> None:
    assert open_frame(vector) == raw(vector, "opened")


@pytest.mark.parametrize("vector", VECTORS["manifests"], ids=lambda vector: vector["name"])
def test_manifests_open_to_what_the_vector_says(vector: dict[str, Any]) -> None:
    assert open_manifest(vector) == raw(vector, "opened")


@pytest.mark.parametrize("vector", VECTORS["refused"], ids=lambda vector: f"{vector['kind']}: {vector['why']}")
def test_what_the_vectors_refuse_does_not_open(vector: dict[str, Any]) -> None:
    with pytest.raises((VerificationFailed, NotAllowed)):
        (open_frame if vector["kind"] == "frame" else open_manifest)(vector)


@pytest.mark.parametrize("vector", VECTORS["members"], ids=lambda vector: vector["name"])
def test_a_members_keys_open_to_what_the_vector_says(vector: dict[str, Any]) -> None:
    private = X25519PrivateKey.from_private_bytes(raw(vector, "receive_key"))
    assert private.public_key().public_bytes_raw() == raw(vector, "public_receive_key")
    opened = sealing.open_as_member(raw(vector, "sealed"), private, raw(vector, "share_id"))
    assert opened == EpochKeys(vector["epoch"], raw(vector, "view_key"), raw(vector, "content_key"))


@pytest.mark.parametrize("vector", VECTORS["links"], ids=lambda vector: vector["name"])
def test_a_links_keys_are_those_of_the_vector(vector: dict[str, Any]) -> None:
    secret = LinkSecret(vector["link_id"], raw(vector, "secret"))
    assert secret.text == vector["secret_text"]
    link = Link(bytes(32), TrackerAddress(("h:1",)), secret)
    assert Link.parse(link.text).secret == secret
    keys = secret.keys(vector["password"], raw(vector, "salt"))
    assert (keys.auth.hex(), keys.wrap.hex()) == (vector["auth"], vector["wrapping_key"])
    bound = sealing.bind(secret.secret, LINK_BIND_CONTEXT, raw(vector, "identity"), raw(vector, "receive_key"))
    assert bound.hex() == vector["binding"]


@pytest.mark.parametrize("vector", VECTORS["identities"], ids=lambda vector: vector["words"])
def test_what_others_see_of_an_identity_is_as_the_vector_says(vector: dict[str, Any]) -> None:
    identity = Identity(
        Ed25519PrivateKey.from_private_bytes(raw(vector, "signing_key")),
        X25519PrivateKey.from_private_bytes(raw(vector, "receive_key")),
        "",
        0,
        ec.derive_private_key(int(vector["model_key"], 16), ec.SECP256R1()),
    )
    assert identity.hex == vector["identity"]
    assert identity.public.text == vector["text_with_model_key"]
    assert identity.public.model_key == raw(vector, "model_public")
    assert PublicIdentity.parse(vector["text_with_model_key"]) == identity.public
    two_keys = PublicIdentity.parse(vector["text"])
    assert two_keys == replace(identity.public, model_key=b"", model_signature=b"")
    assert two_keys.text == vector["text"]
    old = model_key_of_old(identity.signing).private_numbers().private_value
    assert old.to_bytes(32, "big").hex() == vector["model_key_of_format_1"]
    assert words(identity.public_bytes) == vector["words"]
