"""Sealing: AES-256-GCM for frames and manifests, HPKE for handing content keys to members.

An epoch has two keys: ``view`` opens manifests, ``content`` opens frames. From them a key per version is derived
with HKDF, so that one version's keys say nothing about another's. Nonces are random (96 bits): with one key a
version and at most a million frames a version, a collision is out of reach (NIST SP 800-38D allows 2^32).
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from typing import Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, hpke
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from p2pckpt.errors import NotAllowed, VerificationFailed

NONCE: Final = 12
TAG: Final = 16
OVERHEAD: Final = NONCE + TAG
"""Bytes that sealing adds to a frame."""
KEY: Final = 32
_SUITE: Final = hpke.Suite(hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.CHACHA20_POLY1305)
_FRAME_LABEL: Final = b"p2pckpt frames v1\0"
_MANIFEST_LABEL: Final = b"p2pckpt manifest v1\0"
_MEMBER_LABEL: Final = b"p2pckpt epoch keys v1\0"

PLAIN_MANIFEST: Final = b"P2PM\x01\x00"
SEALED_MANIFEST: Final = b"P2PM\x01\x01"
"""Manifest files start with four letters, the format's number, and whether the rest is sealed."""


class EpochKeys(msgspec.Struct, frozen=True, array_like=True):
    """The two keys of one epoch; ``content`` is empty for members who may only view."""

    epoch: int
    view: bytes
    content: bytes

    @classmethod
    def generate(cls, epoch: int) -> EpochKeys:
        return cls(epoch, secrets.token_bytes(KEY), secrets.token_bytes(KEY))


class FrameSealer:
    """Seals and opens the frames of one (share, version, epoch). Thread-safe."""

    def __init__(self, content_key: bytes, share_id: bytes, version: int) -> None:
        self._cipher = AESGCM(_derive(content_key, _FRAME_LABEL, share_id, version))

    def seal(self, frame: bytes | memoryview) -> bytes:
        room = bytearray(NONCE) + frame + bytearray(TAG)
        self.seal_in_place(memoryview(room))
        return bytes(room)

    def seal_in_place(self, room: memoryview) -> None:
        """As ``seal``, where the frame lies: from ``NONCE`` on, with ``TAG`` bytes left behind it."""
        nonce = os.urandom(NONCE)
        room[:NONCE] = nonce
        self._cipher.encrypt_into(nonce, room[NONCE:-TAG], None, room[NONCE:])

    def open_in_place(self, sealed: memoryview) -> memoryview:
        """As ``open``: the frame takes the place of what was sealed, and is returned as a part of it."""
        if len(sealed) < OVERHEAD:
            raise VerificationFailed("a sealed frame is too short to be one")
        frame = sealed[NONCE:-TAG]
        try:
            self._cipher.decrypt_into(bytes(sealed[:NONCE]), sealed[NONCE:], None, frame)
        except InvalidTag as exc:
            raise VerificationFailed("a frame does not open with this version's key") from exc
        return frame

    def open(self, sealed: bytes | memoryview) -> bytes:
        """Raises ``VerificationFailed`` when the bytes were not sealed under this key."""
        return bytes(self.open_in_place(memoryview(bytearray(sealed))))


def seal_manifest(packed: bytes, keys: EpochKeys | None, share_id: bytes, version: int) -> bytes:
    """A manifest file; plain when ``keys`` is None (public shares)."""
    if keys is None:
        return PLAIN_MANIFEST + packed
    nonce = os.urandom(NONCE)
    header = SEALED_MANIFEST + keys.epoch.to_bytes(4, "little")
    cipher = AESGCM(_derive(keys.view, _MANIFEST_LABEL, share_id, version))
    return header + nonce + cipher.encrypt(nonce, packed, header)


def open_manifest(data: bytes, keys: dict[int, EpochKeys], share_id: bytes, version: int) -> bytes:
    """The packed manifest in ``data``. Raises ``NotAllowed`` without the epoch's key, ``VerificationFailed`` else."""
    if data.startswith(PLAIN_MANIFEST):
        return data[len(PLAIN_MANIFEST) :]
    head = len(SEALED_MANIFEST) + 4
    if not data.startswith(SEALED_MANIFEST) or len(data) < head + OVERHEAD:
        raise VerificationFailed("this is no manifest, or a newer p2pckpt wrote it")
    epoch = int.from_bytes(data[head - 4 : head], "little")
    if epoch not in keys:
        raise NotAllowed(
            f"the manifest is sealed with the key of epoch {epoch}, which was not given to you",
            next_step="ask an owner of the share to add you again",
        )
    cipher = AESGCM(_derive(keys[epoch].view, _MANIFEST_LABEL, share_id, version))
    try:
        return cipher.decrypt(data[head : head + NONCE], data[head + NONCE :], data[:head])
    except InvalidTag as exc:
        raise VerificationFailed("the manifest does not open with this share's view key") from exc


def seal_for_member(keys: EpochKeys, receive_key: bytes, share_id: bytes) -> bytes:
    """One epoch's keys, sealed to a member and bound to the share. Raises as ``seal_to`` does."""
    return seal_to(receive_key, msgspec.msgpack.encode(keys), _MEMBER_LABEL + share_id)


def open_as_member(sealed: bytes, private: X25519PrivateKey, share_id: bytes) -> EpochKeys:
    """What ``seal_for_member`` sealed to us. Raises ``VerificationFailed``."""
    try:
        return msgspec.msgpack.decode(open_sealed(private, sealed, _MEMBER_LABEL + share_id), type=EpochKeys)
    except msgspec.MsgspecError as exc:
        raise VerificationFailed("content keys addressed to this machine can't be read") from exc


def seal_to(receive_key: bytes, plain: bytes, context: bytes) -> bytes:
    """HPKE to somebody's X25519 key. Raises ``VerificationFailed`` for a key that nothing can be sealed to."""
    try:
        return _SUITE.encrypt(plain, X25519PublicKey.from_public_bytes(receive_key), context)
    except ValueError as exc:  # of another length, or a point of low order
        raise VerificationFailed("a member's receive key is no usable key") from exc


def open_sealed(private: X25519PrivateKey, sealed: bytes, context: bytes) -> bytes:
    """What ``seal_to`` sealed to us. Raises ``VerificationFailed``."""
    try:
        return _SUITE.decrypt(sealed, private, context)
    except (InvalidTag, ValueError) as exc:
        raise VerificationFailed("what was sealed to this machine does not open with its key") from exc


def wrap(key: bytes, plain: bytes, context: bytes) -> bytes:
    """``plain`` under a 32-byte key, bound to ``context``: for links and key backups."""
    nonce = os.urandom(NONCE)
    return nonce + AESGCM(key).encrypt(nonce, plain, context)


def unwrap(key: bytes, wrapped: bytes, context: bytes) -> bytes:
    """Raises ``VerificationFailed`` when key, context or bytes are not the ones wrapped."""
    try:
        return AESGCM(key).decrypt(wrapped[:NONCE], wrapped[NONCE:], context)
    except (InvalidTag, ValueError) as exc:
        raise VerificationFailed("the wrapped keys do not open with this secret") from exc


def bind(secret: bytes, context: bytes, *parts: bytes) -> bytes:
    """HMAC-SHA256 over ``context`` and ``parts``: shows knowledge of a secret without sending it."""
    return hmac.new(secret, context + b"".join(parts), hashlib.sha256).digest()


def _derive(key: bytes, label: bytes, share_id: bytes, version: int) -> bytes:
    info = label + share_id + version.to_bytes(8, "little")
    return HKDFExpand(algorithm=hashes.SHA256(), length=KEY, info=info).derive(key)
