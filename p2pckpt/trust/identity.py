"""A person's three keys in memory, and what others see of them: Ed25519 signs and is the person, X25519 receives
content keys, P-256 signs models for OpenSSF model signing. How they are kept is ``identity_file``'s subject.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from p2pckpt.errors import BadUsage, UntrustedKey
from p2pckpt.tracker_protocol import RECEIVE_KEY_CONTEXT

PUBLIC_PREFIX: Final = "p2pckpt-id:"
_SECOND: Final = "2."
"""What follows the prefix of a text with three keys; base64 has no dot, so who knows only two keys refuses it."""
MODEL_KEY_CONTEXT: Final = b"p2pckpt model key v1\0"
"""Put before a P-256 key when its bearer signs it."""
_LENGTHS: Final = {"": (32, 32, 64), _SECOND: (32, 32, 64, 33, 64)}
_P256_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


@dataclass(frozen=True, slots=True)
class PublicIdentity:
    """What others know of a person."""

    identity: bytes
    """Raw Ed25519 public key."""
    receive_key: bytes
    """Raw X25519 public key."""
    signature: bytes
    """Ed25519 by ``identity`` over the receive key."""
    model_key: bytes = b""
    """P-256 public key, a compressed point of 33 bytes; empty for people of whom only two keys are known."""
    model_signature: bytes = b""
    """Ed25519 by ``identity`` over the model key."""

    @property
    def text(self) -> str:
        """One string to send to an owner."""
        kind = _SECOND if self.model_key else ""
        raw = self.identity + self.receive_key + self.signature + self.model_key + self.model_signature
        return PUBLIC_PREFIX + kind + base64.urlsafe_b64encode(raw).decode()

    @classmethod
    def parse(cls, text: str) -> PublicIdentity:
        """Raises ``BadUsage`` for anything that ``text`` did not make, ``UntrustedKey`` for a false signature."""
        rest = text.removeprefix(PUBLIC_PREFIX)
        kind = _SECOND if rest.startswith(_SECOND) else ""
        try:
            raw = base64.b64decode(rest.removeprefix(kind), altchars=b"-_", validate=True)
        except ValueError:
            raw = b""
        if not text.startswith(PUBLIC_PREFIX) or len(raw) != sum(_LENGTHS[kind]):
            raise BadUsage(f"{text[:40]!r} is no public key", next_step="ask for the output of: p2pckpt key show")
        fields = []
        for length in _LENGTHS[kind]:
            fields.append(raw[:length])
            raw = raw[length:]
        return cls(*fields).checked()

    def checked(self) -> PublicIdentity:
        """Itself, if the identity signed its other keys; ``UntrustedKey`` else."""
        if not verify(self.identity, self.signature, RECEIVE_KEY_CONTEXT + self.receive_key):
            raise UntrustedKey("a member's receive key is not signed by that member")
        if self.model_key:
            check_model_key(self.identity, self.model_key, self.model_signature)
        return self


@dataclass(frozen=True, slots=True)
class Identity:
    """Our private keys."""

    signing: Ed25519PrivateKey
    receiving: X25519PrivateKey
    name: str
    created_at: int
    modelling: ec.EllipticCurvePrivateKey
    """On P-256; signs models and nothing else."""

    @property
    def public_bytes(self) -> bytes:
        return self.signing.public_key().public_bytes_raw()

    @property
    def hex(self) -> str:
        """The identity as it is written everywhere: the public key, 64 hex digits."""
        return self.public_bytes.hex()

    @property
    def public(self) -> PublicIdentity:
        receive = self.receiving.public_key().public_bytes_raw()
        model = self.modelling.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
        return PublicIdentity(
            self.public_bytes,
            receive,
            self.signing.sign(RECEIVE_KEY_CONTEXT + receive),
            model,
            self.signing.sign(MODEL_KEY_CONTEXT + model),
        )

    def sign(self, data: bytes) -> bytes:
        return self.signing.sign(data)


def verify(identity: bytes, signature: bytes, data: bytes) -> bool:
    """Whether ``signature`` over ``data`` is by ``identity``."""
    try:
        Ed25519PublicKey.from_public_bytes(identity).verify(signature, data)
    except (InvalidSignature, ValueError):
        return False
    return True


def words(identity: bytes) -> str:
    """A key as six pronounceable words to compare by voice: 96 bits as proquints (arXiv:0901.4016)."""
    consonants, vowels = "bdfghjklmnprstvz", "aiou"

    def quint(value: int) -> str:
        return (
            consonants[value >> 12]
            + vowels[value >> 10 & 3]
            + consonants[value >> 6 & 15]
            + vowels[value >> 4 & 3]
            + consonants[value & 15]
        )

    return "-".join(quint(int.from_bytes(identity[i : i + 2], "big")) for i in range(0, 12, 2))


def check_model_key(identity: bytes, model_key: bytes, signature: bytes) -> ec.EllipticCurvePublicKey:
    """The P-256 key in ``model_key``, a compressed point; ``UntrustedKey`` unless ``identity`` signed it."""
    if not verify(identity, signature, MODEL_KEY_CONTEXT + model_key):
        raise UntrustedKey("a key that signs models is not signed by the person it is said to belong to")
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), model_key)
    except ValueError as exc:
        raise UntrustedKey("a key that signs models is no point of P-256") from exc


def pem(model_key: bytes) -> str:
    """A P-256 key, given as a compressed point, as other programs take it. Raises ``ValueError`` for no point."""
    key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), model_key)
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def model_key_of_old(signing: Ed25519PrivateKey) -> ec.EllipticCurvePrivateKey:
    """The P-256 key of an identity that was made without one.

    It follows from the signing key, so that every copy and backup of that identity comes to the same key.
    """
    wide = HKDF(hashes.SHA256(), 48, salt=None, info=MODEL_KEY_CONTEXT).derive(signing.private_bytes_raw())
    # 128 bits more than the order has: the bias of the remainder is out of reach (FIPS 186-5, A.2.1)
    return ec.derive_private_key(int.from_bytes(wide, "big") % (_P256_ORDER - 1) + 1, ec.SECP256R1())
