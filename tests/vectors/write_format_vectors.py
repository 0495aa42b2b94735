"""Writes vectors beside this file: `python -m tests.vectors.write_format_vectors`.

Run it only when a format gains something. Existing vectors are a promise: a change to one of them is a change of the
format. Binary data is hex. What is sealed here is made from docs/format.md with plain cryptographic parts, not with the
code under test, and with nonces and ephemeral keys that are no secret: never use them for anything else.

manifest.json    `accepted`: `packed` is a manifest before sealing, `msgpack` what its zstd frame holds (other encoders
                 may compress it otherwise), `manifest` what it says. `refused`: `msgpack` of manifests that contradict
                 themselves, or `packed` bytes that are none, with the reason.
sealing.json     `frames` and `manifests`: `sealed` opens to `opened` under the keys given. `refused`: what must not
                 open. `members`: epoch keys sealed to an X25519 key with HPKE. `links`: what follows from the text
                 after `#`, with a password where there is a salt. `identities`: what others see of a key pair.
model_signature.json   `msgpack` is a manifest with a model signature, `statement` what is signed, `model.sig` the file
                 in a checkout, `public_key` what verifies it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

import msgspec
import zstandard
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from p2pckpt.checkpoint.manifest import Body, FileEntry, Manifest, ModelSignature
from tests.unit.checkpoint import test_manifest

HERE = Path(__file__).parent
SHARE = bytes(range(32))
P256_ORDER = 2**256 - 2**224 + 2**192 - 0x4319055258E8617B0C46353D039CDAAF
VIEW, CONTENT = bytes([0x11]) * 32, bytes([0x22]) * 32


def fixed(purpose: str, length: int) -> bytes:
    """Bytes that stand where real ones are random."""
    return hashlib.shake_256(f"p2pckpt vector {purpose}".encode()).digest(length)


# -- manifests

BODIES: dict[str, Body] = {
    "everything once": test_manifest.sample_body(),
    "no files": test_manifest.empty_body(),
    "directories alone": test_manifest.empty_body(directories=("only", "empty/ones")),
    "nothing known of training": test_manifest.sample_body(step=None, metrics={}, name="", tags=(), card=b""),
}


def packed_manifests() -> dict[str, Any]:
    accepted = []
    for name, body in BODIES.items():
        encoded = msgspec.msgpack.encode(body)
        packed = zstandard.ZstdCompressor(level=9).compress(encoded)
        accepted.append(
            {
                "name": name,
                "packed": packed.hex(),
                "msgpack": encoded.hex(),
                "manifest": json.loads(json.dumps(Manifest(body).as_json())),
            }
        )
    contradictions = [
        {"why": why, "msgpack": msgspec.msgpack.encode(make()).hex()}
        for why, (make, _) in test_manifest.VIOLATIONS.items()
    ]
    garbage = [{"why": why, "packed": data.hex()} for why, data in test_manifest.REST.items() if len(data) < 4096]
    return {"accepted": accepted, "refused": contradictions + garbage}


# -- sealing


def version_key(key: bytes, label: bytes, share: bytes, version: int) -> bytes:
    info = label + share + version.to_bytes(8, "little")
    return HKDFExpand(hashes.SHA256(), 32, info).derive(key)


def frames() -> list[dict[str, Any]]:
    vectors = []
    for name, opened, version in (("empty", b"", 1), ("a few bytes", b"frame", 1), ("a later version", b"frame", 300)):
        nonce = fixed(f"frame {name}", 12)
        key = version_key(CONTENT, b"p2pckpt frames v1\0", SHARE, version)
        sealed = nonce + AESGCM(key).encrypt(nonce, opened, None)
        vectors.append(
            {
                "name": name,
                "content_key": CONTENT.hex(),
                "share_id": SHARE.hex(),
                "version": version,
                "version_key": key.hex(),
                "sealed": sealed.hex(),
                "opened": opened.hex(),
            }
        )
    return vectors


def manifest_files() -> list[dict[str, Any]]:
    vectors: list[dict[str, Any]] = []
    for name, epoch, version in (("first epoch", 1, 1), ("a later one", 70_000, 5)):
        header = b"P2PM\1\1" + epoch.to_bytes(4, "little")
        nonce, opened = fixed(f"manifest {name}", 12), f"packed manifest of {name}".encode()
        cipher = AESGCM(version_key(VIEW, b"p2pckpt manifest v1\0", SHARE, version))
        vectors.append(
            {
                "name": name,
                "epoch": epoch,
                "view_key": VIEW.hex(),
                "share_id": SHARE.hex(),
                "version": version,
                "sealed": (header + nonce + cipher.encrypt(nonce, opened, header)).hex(),
                "opened": opened.hex(),
            }
        )
    plain = {"name": "public", "epoch": 0, "view_key": "", "share_id": SHARE.hex(), "version": 1}
    return [*vectors, {**plain, "sealed": (b"P2PM\1\0" + b"packed").hex(), "opened": b"packed".hex()}]


def refused() -> list[dict[str, Any]]:
    frame, manifest = frames()[1], manifest_files()[0]
    sealed = frame["sealed"]
    return [
        {
            **frame,
            "kind": "frame",
            "why": "a bit is wrong",
            "sealed": sealed[:-1] + ("0" if sealed[-1] != "0" else "1"),
        },
        {**frame, "kind": "frame", "why": "cut off", "sealed": sealed[:-2]},
        {**frame, "kind": "frame", "why": "shorter than a nonce and a tag", "sealed": sealed[:54]},
        {**frame, "kind": "frame", "why": "another version", "version": 2},
        {**frame, "kind": "frame", "why": "another share", "share_id": bytes(32).hex()},
        {**frame, "kind": "frame", "why": "another key", "content_key": VIEW.hex()},
        {**manifest, "kind": "manifest", "why": "another version", "version": 2},
        {**manifest, "kind": "manifest", "why": "another share", "share_id": bytes(32).hex()},
        {**manifest, "kind": "manifest", "why": "another key", "view_key": CONTENT.hex()},
        {**manifest, "kind": "manifest", "why": "the epoch's key is not there", "epoch": 2},
        {**manifest, "kind": "manifest", "why": "a newer format", "sealed": "5032504d02" + manifest["sealed"][10:]},
        {**manifest, "kind": "manifest", "why": "no manifest", "sealed": b"#!/bin/sh and a little more text".hex()},
    ]


def hpke(plain: bytes, public: bytes, info: bytes, ephemeral: X25519PrivateKey) -> bytes:
    """RFC 9180, base mode, DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20-Poly1305: enc ‖ ciphertext."""

    def extract(salt: bytes, suite: bytes, label: bytes, material: bytes) -> bytes:
        return hmac.new(salt or bytes(32), b"HPKE-v1" + suite + label + material, hashlib.sha256).digest()

    def expand(key: bytes, suite: bytes, label: bytes, info: bytes, length: int) -> bytes:
        labelled = length.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info
        return HKDFExpand(hashes.SHA256(), length, labelled).derive(key)

    enc = ephemeral.public_key().public_bytes_raw()
    kem, suite = b"KEM" + b"\x00\x20", b"HPKE" + b"\x00\x20" + b"\x00\x01" + b"\x00\x03"
    shared = ephemeral.exchange(X25519PublicKey.from_public_bytes(public))
    secret = expand(extract(b"", kem, b"eae_prk", shared), kem, b"shared_secret", enc + public, 32)
    context = b"\0" + extract(b"", suite, b"psk_id_hash", b"") + extract(b"", suite, b"info_hash", info)
    secret = extract(secret, suite, b"secret", b"")
    key, nonce = expand(secret, suite, b"key", context, 32), expand(secret, suite, b"base_nonce", context, 12)
    return enc + ChaCha20Poly1305(key).encrypt(nonce, plain, b"")


def members() -> list[dict[str, Any]]:
    vectors = []
    for name, content in (("a downloader", CONTENT), ("a viewer", b"")):
        private = X25519PrivateKey.from_private_bytes(fixed(f"receive key of {name}", 32))
        public = private.public_key().public_bytes_raw()
        ephemeral = X25519PrivateKey.from_private_bytes(fixed(f"ephemeral key for {name}", 32))
        plain = msgspec.msgpack.encode([4, VIEW, content])
        vectors.append(
            {
                "name": name,
                "receive_key": private.private_bytes_raw().hex(),
                "public_receive_key": public.hex(),
                "share_id": SHARE.hex(),
                "sealed": hpke(plain, public, b"p2pckpt epoch keys v1\0" + SHARE, ephemeral).hex(),
                "epoch": 4,
                "view_key": VIEW.hex(),
                "content_key": content.hex(),
            }
        )
    return vectors


def links() -> list[dict[str, Any]]:
    vectors = []
    for name, password, salt in (("without a password", "", b""), ("with one", "pass w\u00f6rd", fixed("salt", 16))):
        link_id, secret = fixed(f"link {name}", 8), fixed(f"secret {name}", 24)
        material = secret
        if salt:
            stretch = Argon2id(salt=salt, length=32, iterations=3, lanes=4, memory_cost=64 * 1024)
            material += stretch.derive(password.encode())

        def derived(label: bytes, material: bytes = material, link_id: bytes = link_id) -> bytes:
            return HKDF(hashes.SHA256(), 32, salt=None, info=label + link_id).derive(material)

        identity, receive_key = fixed("identity", 32), fixed("receive key", 32)
        bound = b"p2pckpt link bind v1\0" + identity + receive_key
        vectors.append(
            {
                "name": name,
                "secret_text": base64.urlsafe_b64encode(link_id + secret).decode().rstrip("="),
                "link_id": link_id.hex(),
                "secret": secret.hex(),
                "password": password,
                "salt": salt.hex(),
                "auth": derived(b"p2pckpt link auth v1\0").hex(),
                "wrapping_key": derived(b"p2pckpt link wrap v1\0").hex(),
                "identity": identity.hex(),
                "receive_key": receive_key.hex(),
                "binding": hmac.new(secret, bound, hashlib.sha256).hexdigest(),
            }
        )
    return vectors


def identities() -> list[dict[str, Any]]:
    vectors = []
    for name in ("ann", "bob"):
        signing = Ed25519PrivateKey.from_private_bytes(fixed(f"signing key of {name}", 32))
        receiving = X25519PrivateKey.from_private_bytes(fixed(f"receiving key of {name}", 32))
        identity, receive = signing.public_key().public_bytes_raw(), receiving.public_key().public_bytes_raw()
        signature = signing.sign(b"p2pckpt receive key v1\0" + receive)
        scalar = int.from_bytes(fixed(f"model key of {name}", 32), "big")
        point = ec.derive_private_key(scalar, ec.SECP256R1()).public_key()
        model = point.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
        three = identity + receive + signature + model + signing.sign(b"p2pckpt model key v1\0" + model)
        wide = HKDF(hashes.SHA256(), 48, salt=None, info=b"p2pckpt model key v1\0").derive(signing.private_bytes_raw())
        vectors.append(
            {
                "signing_key": signing.private_bytes_raw().hex(),
                "receive_key": receiving.private_bytes_raw().hex(),
                "identity": identity.hex(),
                "text": "p2pckpt-id:" + base64.urlsafe_b64encode(identity + receive + signature).decode(),
                "model_key": scalar.to_bytes(32, "big").hex(),
                "model_public": model.hex(),
                "text_with_model_key": "p2pckpt-id:2." + base64.urlsafe_b64encode(three).decode(),
                "model_key_of_format_1": (int.from_bytes(wide, "big") % (P256_ORDER - 1) + 1).to_bytes(32, "big").hex(),
                "words": "-".join(proquint(identity[at : at + 2]) for at in range(0, 12, 2)),
            }
        )
    return vectors


def proquint(pair: bytes) -> str:
    """Two bytes as five letters (arXiv:0901.4016)."""
    bits = f"{int.from_bytes(pair, 'big'):016b}"
    consonants, vowels = "bdfghjklmnprstvz", "aiou"
    fields = [bits[0:4], bits[4:6], bits[6:10], bits[10:12], bits[12:16]]
    return "".join((vowels if len(field) == 2 else consonants)[int(field, 2)] for field in fields)


def sealing() -> dict[str, Any]:
    return {
        "frames": frames(),
        "manifests": manifest_files(),
        "refused": refused(),
        "members": members(),
        "links": links(),
        "identities": identities(),
    }


# -- model signatures


def model_signatures() -> dict[str, Any]:
    signing = Ed25519PrivateKey.from_private_bytes(fixed("signing key of ann", 32))
    scalar = int.from_bytes(fixed("model key of ann", 32), "big")
    key = ec.derive_private_key(scalar, ec.SECP256R1())
    point = key.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    paths = [
        "a/z",
        "a",
        "a-b",
        '\u00e9 "quoted".bin',
        "b/.git/kept",
        ".gitattributes",
        ".git/config",
        "model.safetensors",
    ]
    digests = {path: fixed(f"file {path}", 32) for path in paths if path != "a"}
    body = test_manifest.empty_body(
        version=7,
        share_id=SHARE,
        publisher=signing.public_key().public_bytes_raw(),
        files=tuple(FileEntry(path, 0, False, digest, "opaque", 0, 0) for path, digest in sorted(digests.items())),
    )
    signed = sorted(
        (p for p in digests if p.split("/")[0] not in (".git", ".gitattributes")), key=lambda p: p.split("/")
    )
    ignored = [".git", ".gitattributes", ".github", ".gitignore", ".p2pckpt-replaced", "model.sig"]
    how = {"method": "files", "hash_type": "sha256", "allow_symlinks": False, "ignore_paths": ignored}
    resources = [{"name": path, "algorithm": "sha256", "digest": digests[path].hex()} for path in signed]
    whole = hashlib.sha256(b"".join(digests[path] for path in signed)).hexdigest()
    statement = compact(
        {
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{"name": f"p2pckpt:{SHARE.hex()}@v7", "digest": {"sha256": whole}}],
            "predicateType": "https://model_signing/signature/v1.0",
            "predicate": {"serialization": how, "resources": resources},
        }
    )
    kind = "application/vnd.in-toto+json"
    pae = f"DSSEv1 {len(kind)} {kind} {len(statement.encode())} {statement}".encode()
    signature = key.sign(pae, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))
    material = {"publicKey": {"hint": hashlib.sha256(pem).hexdigest()}, "tlogEntries": []}
    envelope = {
        "payload": base64.b64encode(statement.encode()).decode(),
        "payloadType": kind,
        "signatures": [{"sig": base64.b64encode(signature).decode(), "keyid": ""}],
    }
    made = ModelSignature(point, signing.sign(b"p2pckpt model key v1\0" + point), signature)
    return {
        "msgpack": msgspec.msgpack.encode(msgspec.structs.replace(body, model_signature=made)).hex(),
        "public_key": pem.decode(),
        "statement": statement,
        "model.sig": compact(
            {
                "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
                "verificationMaterial": material,
                "dsseEnvelope": envelope,
            }
        ),
    }


def compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def main() -> None:
    contents = {"manifest": packed_manifests(), "sealing": sealing(), "model_signature": model_signatures()}
    for name, content in contents.items():
        (HERE / f"{name}.json").write_text(json.dumps(content, indent=1, ensure_ascii=True) + "\n")


if __name__ == "__main__":
    main()
