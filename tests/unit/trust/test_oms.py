"""Model signatures, and that the public verifier agrees with them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from p2pckpt.checkpoint.manifest import Body, FileEntry, Manifest, ModelSignature
from p2pckpt.errors import UntrustedKey, VerificationFailed
from p2pckpt.trust import oms
from p2pckpt.trust.identity import Identity
from tests.support.model_signing import sign_elsewhere, verifier
from tests.unit.checkpoint.test_manifest import empty_body
from tests.unit.trust.people import OWNER, PUBLISHER, STRANGER

VECTOR: dict[str, str] = json.loads((Path(__file__).parents[2] / "vectors" / "model_signature.json").read_text())
FILES = {
    "a/z.bin": b"z",
    "a-b.bin": b"sorts between a and a/z as text",
    'é "quoted".txt': b"name",
    "b/.git/kept": b"only at the top it is left out",
    ".gitattributes": b"left out",
    ".github/workflow": b"left out",
    "README.md": b"",
}


def body_of(files: Mapping[str, bytes], **fields: Any) -> Body:
    rows = (FileEntry(path, 0, False, hashlib.sha256(data).digest(), "opaque", 0, 0) for path, data in files.items())
    return empty_body(files=tuple(rows), **({"publisher": OWNER.public_bytes} | fields))


def write(directory: Path, files: Mapping[str, bytes], body: Body) -> Path:
    """A checkout with its signature, and the key beside it."""
    for path, data in files.items():
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_bytes(data)
    (directory / oms.FILE).write_bytes(oms.bundle(body))
    key = directory.with_name("key.pem")
    key.write_text(oms.public_key(body))
    return key


def test_the_public_verifier_accepts_a_checkout_and_refuses_a_changed_one(tmp_path: Path) -> None:
    body = oms.signed(body_of(FILES), OWNER)
    model = tmp_path / "model"
    key = write(model, FILES, body)
    replaced = model / ".p2pckpt-replaced" / "now" / "a-b.bin"
    replaced.parent.mkdir(parents=True)
    replaced.write_bytes(b"made way for a file of the version")
    accepted = verifier(model, key)
    assert accepted.returncode == 0, accepted.stdout + accepted.stderr
    key.write_text(oms.public_key(oms.signed(body_of(FILES, publisher=STRANGER.public_bytes), STRANGER)))
    assert verifier(model, key).returncode != 0, "another key"
    key.write_text(oms.public_key(body))
    (model / "a" / "z.bin").write_bytes(b"Z")
    changed = verifier(model, key)
    assert changed.returncode != 0
    assert "a/z.bin" in changed.stdout + changed.stderr


def test_what_is_not_all_there_is_not_what_was_signed(tmp_path: Path) -> None:
    """Why a partial checkout gets no signature: the verifier has no option that makes up for a missing file."""
    body = oms.signed(body_of(FILES), OWNER)
    key = write(tmp_path / "model", FILES, body)
    (tmp_path / "model" / "README.md").unlink()
    assert verifier(tmp_path / "model", key, "--ignore_unsigned_files").returncode != 0


def test_the_bytes_are_those_of_the_vector() -> None:
    body = msgspec.msgpack.decode(bytes.fromhex(VECTOR["msgpack"]), type=Body)
    assert Manifest(body).body.model_signature is not None
    oms.check(body)
    assert oms.bundle(body).decode() == VECTOR["model.sig"]
    assert oms.public_key(body) == VECTOR["public_key"]
    assert oms._statement(body).decode() == VECTOR["statement"]


def test_every_receiver_writes_the_same_file() -> None:
    body = oms.signed(body_of(FILES), OWNER)
    assert oms.bundle(body) == oms.bundle(msgspec.msgpack.decode(msgspec.msgpack.encode(body), type=Body))


def other_files() -> Body:
    changed = body_of(FILES | {"README.md": b"changed"})
    return msgspec.structs.replace(changed, model_signature=oms.signed(body_of(FILES), OWNER).model_signature)


def with_signature(**fields: bytes) -> Body:
    body = oms.signed(body_of(FILES), OWNER)
    assert body.model_signature is not None
    made = msgspec.structs.replace(body.model_signature, **fields)
    return msgspec.structs.replace(body, model_signature=made)


def by(signer: Identity, publisher: Identity) -> Body:
    return oms.signed(body_of(FILES, publisher=publisher.public_bytes), signer)


FORGERIES: dict[str, tuple[Body, type[Exception]]] = {
    "other files": (other_files(), VerificationFailed),
    "another version": (msgspec.structs.replace(oms.signed(body_of(FILES), OWNER), version=2), VerificationFailed),
    "another share": (
        msgspec.structs.replace(oms.signed(body_of(FILES), OWNER), share_id=b"x" * 32),
        VerificationFailed,
    ),
    "no signature at all": (with_signature(signature=b"\x30" * 70), VerificationFailed),
    "somebody else's key": (by(STRANGER, publisher=OWNER), UntrustedKey),
    "another key than was signed": (with_signature(key=PUBLISHER.public.model_key), UntrustedKey),
    "a key that is no point": (
        with_signature(key=b"\x05" * 33, key_signature=OWNER.sign(b"p2pckpt model key v1\0" + b"\x05" * 33)),
        UntrustedKey,
    ),
    "a model.sig among the files as well": (
        msgspec.structs.replace(
            body_of({**FILES, "model.sig": b"x"}), model_signature=ModelSignature(b"k" * 33, b"s" * 64, b"d" * 70)
        ),
        VerificationFailed,
    ),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_signature_that_is_not_the_publishers_over_these_files_is_refused(forgery: str) -> None:
    body, error = FORGERIES[forgery]
    with pytest.raises(error):
        oms.check(body)


@pytest.mark.parametrize("path", ["model.sig", "MODEL.sig", "model.sig/inside"])
def test_a_version_with_a_signature_of_somebody_elses_gets_none_of_ours(path: str) -> None:
    body = body_of({**FILES, path: b"{}"})
    assert oms.signed(body, OWNER) == body
    assert oms.bundle(body) == b""
    oms.check(body)


def test_our_signatures_are_told_from_others(tmp_path: Path) -> None:
    path = tmp_path / oms.FILE
    assert not oms.is_ours(path)
    for files in ({}, FILES, {f"file {number}": b"" for number in range(1000)}):
        path.write_bytes(oms.bundle(oms.signed(body_of(files, version=len(files) + 1), OWNER)))
        assert oms.is_ours(path)
    (tmp_path / "link").symlink_to(path)
    assert not oms.is_ours(tmp_path / "link")
    assert not oms.is_ours(tmp_path)
    for content in (b"", b"{}", b"\xff" * 2000, path.read_bytes().replace(b'"hint":"', b'"hint":"x')):
        path.write_bytes(content)
        assert not oms.is_ours(path)
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "file").write_bytes(b"x")
    sign_elsewhere(theirs, tmp_path / "key.pem")
    assert not oms.is_ours(theirs / oms.FILE)
