"""This machine's identity: an Ed25519 key that signs and an X25519 key that receives, made at first use.

Kept in one file of mode 0600 in a directory of mode 0700, created exclusively so that two processes can't both
make one. ``backup`` and ``restore`` carry it as one passphrase-protected string.
"""

from __future__ import annotations

import base64
import contextlib
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from p2pckpt import atomic
from p2pckpt.errors import BadUsage, NotAllowed, P2pckptError, UntrustedKey, VerificationFailed
from p2pckpt.tracker_protocol import RECEIVE_KEY_CONTEXT
from p2pckpt.trust import sealing

PUBLIC_PREFIX: Final = "p2pckpt-id:"
_FILE: Final = "identity.json"
_BACKUP_HEADER: Final = b"p2pckpt identity backup v1\n"
_SALT: Final = 16


class _Saved(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: int
    signing_key: str
    receive_key: str
    name: str
    created_at: int


@dataclass(frozen=True, slots=True)
class PublicIdentity:
    """What others know of a person."""

    identity: bytes
    """Raw Ed25519 public key."""
    receive_key: bytes
    """Raw X25519 public key."""
    signature: bytes
    """Ed25519 by ``identity`` over the receive key."""

    @property
    def text(self) -> str:
        """One string to send to an owner."""
        return PUBLIC_PREFIX + base64.urlsafe_b64encode(self.identity + self.receive_key + self.signature).decode()

    @classmethod
    def parse(cls, text: str) -> PublicIdentity:
        """Raises ``BadUsage`` for anything that ``text`` did not make, ``UntrustedKey`` for a false signature."""
        try:
            raw = base64.b64decode(text.removeprefix(PUBLIC_PREFIX), altchars=b"-_", validate=True)
        except ValueError:
            raw = b""
        if not text.startswith(PUBLIC_PREFIX) or len(raw) != 128:
            raise BadUsage(f"{text[:40]!r} is no public key", next_step="ask for the output of: p2pckpt key show")
        return cls(raw[:32], raw[32:64], raw[64:]).checked()

    def checked(self) -> PublicIdentity:
        """Itself, if the receive key is signed by the identity; ``UntrustedKey`` else."""
        if not verify(self.identity, self.signature, RECEIVE_KEY_CONTEXT + self.receive_key):
            raise UntrustedKey("a member's receive key is not signed by that member")
        return self


@dataclass(frozen=True, slots=True)
class Identity:
    """Our private keys."""

    signing: Ed25519PrivateKey
    receiving: X25519PrivateKey
    name: str
    created_at: int

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
        return PublicIdentity(self.public_bytes, receive, self.signing.sign(RECEIVE_KEY_CONTEXT + receive))

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


def load_or_create(keys_dir: Path, name: str) -> Identity:
    """The identity in ``keys_dir``, made now if there is none. Raises ``NotAllowed`` when others could read it."""
    keys_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = keys_dir / _FILE
    if not path.exists():
        saved = _Saved(
            1,
            Ed25519PrivateKey.generate().private_bytes_raw().hex(),
            X25519PrivateKey.generate().private_bytes_raw().hex(),
            name,
            int(time.time()),
        )
        with contextlib.suppress(FileExistsError):  # another process made it first: use that one
            atomic.write_new(path, msgspec.json.encode(saved))
    return load(keys_dir)


def load(keys_dir: Path) -> Identity:
    """The identity in ``keys_dir``; raises ``P2pckptError`` when it is missing, unreadable or readable by others."""
    path = keys_dir / _FILE
    try:
        if path.stat().st_mode & 0o077:
            raise NotAllowed(f"{path} can be read by other users", next_step=f"chmod 600 {path}")
        saved = msgspec.json.decode(path.read_bytes(), type=_Saved)
        return _from_saved(saved)
    except (OSError, msgspec.MsgspecError, ValueError) as exc:
        raise P2pckptError(
            f"the identity in {path} can't be read: {exc}", next_step="p2pckpt key restore BACKUP"
        ) from exc


def backup(keys_dir: Path, passphrase: bytes) -> bytes:
    """The identity as text, under Argon2id (RFC 9106: t=3, p=4, 64 MiB) and AES-256-GCM."""
    load(keys_dir)
    salt = os.urandom(_SALT)
    wrapped = sealing.wrap(_stretch(passphrase, salt), (keys_dir / _FILE).read_bytes(), _BACKUP_HEADER)
    return _BACKUP_HEADER + base64.encodebytes(salt + wrapped)


def restore(keys_dir: Path, data: bytes, passphrase: bytes) -> None:
    """Put a backed-up identity into ``keys_dir``; never over an existing one.

    Raises ``BadUsage`` for what is no backup, ``VerificationFailed`` for a wrong passphrase, ``NotAllowed`` when a
    different identity is there.
    """
    if not data.startswith(_BACKUP_HEADER):
        raise BadUsage("this is no key backup", next_step="make one with: p2pckpt key backup")
    try:
        raw = base64.b64decode(data[len(_BACKUP_HEADER) :])
        plain = sealing.unwrap(_stretch(passphrase, raw[:_SALT]), raw[_SALT:], _BACKUP_HEADER)
        identity = _from_saved(msgspec.json.decode(plain, type=_Saved))
    except (VerificationFailed, ValueError, msgspec.MsgspecError) as exc:
        raise VerificationFailed("the passphrase is wrong, or the backup is damaged") from exc
    keys_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        atomic.write_new(keys_dir / _FILE, plain)
    except FileExistsError as exc:
        if load(keys_dir).hex == identity.hex:
            return
        raise NotAllowed(
            f"{keys_dir / _FILE} holds another identity",
            kept="nothing was changed",
            next_step=f"move {keys_dir / _FILE} away first, or use --home",
        ) from exc


def _from_saved(saved: _Saved) -> Identity:
    return Identity(
        Ed25519PrivateKey.from_private_bytes(bytes.fromhex(saved.signing_key)),
        X25519PrivateKey.from_private_bytes(bytes.fromhex(saved.receive_key)),
        saved.name,
        saved.created_at,
    )


def _stretch(passphrase: bytes, salt: bytes) -> bytes:
    return Argon2id(salt=salt, length=32, iterations=3, lanes=4, memory_cost=64 * 1024).derive(passphrase)
