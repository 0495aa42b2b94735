"""How an identity is kept: one file of mode 0600 in a directory of mode 0700, with the keys in it plain, sealed with a
passphrase, or in the OS keyring, which the file then points to.

The file is made exclusively, so that two processes can't both make an identity, and replaced atomically. It is there
whatever holds the keys: a keyring that can't be reached is an error, never a reason to make another identity.
"""

from __future__ import annotations

import base64
import contextlib
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from p2pckpt import atomic
from p2pckpt.errors import BadUsage, NotAllowed, NotFound, P2pckptError, VerificationFailed
from p2pckpt.trust import os_keyring, sealing
from p2pckpt.trust.identity import Identity, PublicIdentity, model_key_of_old

FORMAT: Final = 2
_FILE: Final = "identity.json"
_BACKED_UP: Final = "backup.json"
_NEXT: Final = "next"
"""Directory of the identity that is to follow."""
_MAX_FILE: Final = 64 << 10
_BACKUP: Final = b"p2pckpt identity backup v2\n"
_OLD_BACKUP: Final = b"p2pckpt identity backup v1\n"
_SEALED: Final = b"p2pckpt identity sealed v1\0"
_SALT: Final = 16
_NONCE: Final = 12

Ask = Callable[[], str]
"""Gives the passphrase, called only where one is needed; empty when there is nobody to ask."""


class _Keys(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All of it, private keys in hex."""

    format: int
    signing_key: str
    receive_key: str
    name: str
    created_at: int
    model_key: str = ""
    """The P-256 scalar; empty in format 1, which had two keys."""


class _Sealed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``_Keys`` under a passphrase."""

    format: int
    identity: str
    sealed: str
    """Base64 of salt, nonce and ciphertext."""


class _InKeyring(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``_Keys`` are in the OS keyring, under the identity."""

    format: int
    identity: str
    keyring: str
    """The service's name in the keyring."""


class _BackedUp(msgspec.Struct, frozen=True):
    """When a backup of which identity was made."""

    identity: str
    at: int


_Record = _Keys | _Sealed | _InKeyring


def nobody() -> str:
    """An ``Ask`` where no passphrase can be had."""
    return ""


def load_or_create(keys_dir: Path, name: str, *, store: str = "file", ask: Ask = nobody) -> Identity:
    """The identity in ``keys_dir``, made now if there is none and kept as ``store`` says: auto, keyring or file.

    Raises as ``load`` does, and ``KeyringFailed`` when the keyring was asked for and does not work.
    """
    keys_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not os.path.lexists(keys_dir / _FILE):
        with contextlib.suppress(FileExistsError):  # another process made it first: use that one
            _create(keys_dir, _new_keys(name), store)
    return load(keys_dir, ask=ask)


def load(keys_dir: Path, *, ask: Ask = nobody) -> Identity:
    """The identity in ``keys_dir``; one of format 1 gets its third key, and its file is replaced.

    Raises ``NotAllowed`` when others can get at the file, or a passphrase is needed and ``ask`` has none,
    ``VerificationFailed`` for a wrong one, ``KeyringFailed``, and ``P2pckptError`` when the file is missing or damaged.
    """
    return _identity(_keys(keys_dir, ask))


def needs_passphrase(keys_dir: Path) -> bool:
    """Whether the identity is there and sealed. Raises as ``load`` does."""
    return os.path.lexists(keys_dir / _FILE) and isinstance(_read(keys_dir), _Sealed)


def describe(keys_dir: Path) -> str:
    """Where the keys are, for people."""
    path = keys_dir / _FILE
    match _read(keys_dir):
        case _Sealed():
            return f"{path}, with a passphrase"
        case _InKeyring():
            return f"the OS keyring; {path} says so"
        case _:
            return str(path)


def set_passphrase(keys_dir: Path, passphrase: str, *, ask: Ask = nobody) -> None:
    """Seal the file with ``passphrase``; with an empty one, keep it plain. ``ask`` gives the one it has, if any."""
    if isinstance(_read(keys_dir), _InKeyring):
        raise BadUsage(
            "the keys are in the OS keyring, which protects them by your login",
            kept="nothing was changed",
            next_step="p2pckpt key store file, then this again",
        )
    keys = _keys(keys_dir, ask)
    _write(keys_dir, _sealed(keys, passphrase) if passphrase else keys)


def move(keys_dir: Path, store: str, *, ask: Ask = nobody) -> None:
    """Move the keys into the OS keyring, or out of it into the file; nothing happens where they are there already."""
    record = _read(keys_dir)
    if isinstance(record, _InKeyring) == (store == "keyring"):
        return
    keys = _keys(keys_dir, ask)
    if store == "keyring":
        _write(keys_dir, _into_keyring(keys))
        return
    _write(keys_dir, keys)
    with contextlib.suppress(os_keyring.KeyringFailed):  # the file has them now; a copy left behind does no harm
        os_keyring.delete(_hex(keys))


def backup(keys_dir: Path, passphrase: str, *, ask: Ask = nobody) -> bytes:
    """All keys as text, under Argon2id (RFC 9106: t=3, p=4, 64 MiB) and ChaCha20-Poly1305."""
    return _backed_up(_keys(keys_dir, ask), passphrase)


def note_backup(keys_dir: Path) -> None:
    """A backup of the identity in ``keys_dir`` was written somewhere, now."""
    atomic.write(keys_dir / _BACKED_UP, msgspec.json.encode(_BackedUp(_whose(keys_dir), int(time.time()))))


def last_backup(keys_dir: Path) -> int:
    """When the last backup of the identity in ``keys_dir`` was written, Unix seconds; 0 for never, as far as is known.

    Raises as ``load`` does.
    """
    try:
        noted = msgspec.json.decode((keys_dir / _BACKED_UP).read_bytes(), type=_BackedUp)
    except (OSError, msgspec.MsgspecError):
        return 0
    return noted.at if noted.identity == _whose(keys_dir) else 0


def _whose(keys_dir: Path) -> str:
    record = _read(keys_dir)
    return _hex(record) if isinstance(record, _Keys) else record.identity


def restore(keys_dir: Path, data: bytes, passphrase: str, *, store: str = "file", ask: Ask = nobody) -> None:
    """Put a backed-up identity into ``keys_dir``, kept as ``store`` says; never over an existing one.

    Raises ``BadUsage`` for what is no backup, ``VerificationFailed`` for a wrong passphrase, ``NotAllowed`` when a
    different identity is there.
    """
    header = next((known for known in (_BACKUP, _OLD_BACKUP) if data.startswith(known)), None)
    if header is None:
        raise BadUsage("this is no key backup", next_step="make one with: p2pckpt key backup")
    try:
        raw = base64.b64decode(data[len(header) :])
        if header == _OLD_BACKUP:
            plain = sealing.unwrap(_stretch(passphrase, raw[:_SALT]), raw[_SALT:], header)
        else:
            plain = _unseal(passphrase, raw, header)
        keys = _completed(msgspec.json.decode(plain, type=_Keys))
        identity = _identity(keys)
    except (VerificationFailed, ValueError, msgspec.MsgspecError) as exc:
        raise VerificationFailed("the passphrase is wrong, or the backup is damaged") from exc
    keys_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        _create(keys_dir, keys, store)
    except FileExistsError as exc:
        record = _read(keys_dir)
        if (_hex(record) if isinstance(record, _Keys) else record.identity) == identity.hex:
            return
        raise NotAllowed(
            f"{keys_dir / _FILE} holds another identity",
            kept="nothing was changed",
            next_step=f"move {keys_dir / _FILE} away first, or use --home",
        ) from exc


def spare(name: str, passphrase: str) -> tuple[bytes, PublicIdentity]:
    """A new identity that is nowhere but in the backup returned, and what others need of it."""
    keys = _new_keys(name)
    return _backed_up(keys, passphrase), _identity(keys).public


def successor(keys_dir: Path, *, ask: Ask = nobody) -> Identity:
    """The identity that is to follow the one in ``keys_dir``, made beside it and kept in the same way."""
    record, directory = _read(keys_dir), keys_dir / _NEXT
    directory.mkdir(exist_ok=True, mode=0o700)
    if not os.path.lexists(directory / _FILE):
        keys = _new_keys(_keys(keys_dir, ask).name)
        if isinstance(record, _Sealed):
            _write(directory, _sealed(keys, ask()))
        else:
            _create(directory, keys, "keyring" if isinstance(record, _InKeyring) else "file")
    return load(directory, ask=ask)


def succeed(keys_dir: Path) -> Path:
    """Put the successor in the place of the identity, which is kept beside it under the name returned."""
    record = _read(keys_dir)
    old = _hex(record) if isinstance(record, _Keys) else record.identity
    retired = keys_dir / f"retired-{old[:16]}.json"
    if not os.path.lexists(keys_dir / _NEXT / _FILE):
        raise NotFound("there is no identity to take over", next_step="p2pckpt key rotate")
    with contextlib.suppress(FileExistsError):
        os.link(keys_dir / _FILE, retired)
    (keys_dir / _NEXT / _FILE).replace(keys_dir / _FILE)
    atomic.sync_directory(keys_dir)
    return retired


# -- the file


def _backed_up(keys: _Keys, passphrase: str) -> bytes:
    return _BACKUP + base64.encodebytes(_seal(passphrase, msgspec.json.encode(keys), _BACKUP))


def _new_keys(name: str) -> _Keys:
    return _Keys(
        FORMAT,
        Ed25519PrivateKey.generate().private_bytes_raw().hex(),
        X25519PrivateKey.generate().private_bytes_raw().hex(),
        name,
        int(time.time()),
        _scalar(ec.generate_private_key(ec.SECP256R1())),
    )


def _read(keys_dir: Path) -> _Record:
    """What the file says, once it is sure that nobody else could have written or read it."""
    path = keys_dir / _FILE
    try:
        record = _parse(_contents(path))
    except (OSError, msgspec.MsgspecError, ValueError) as exc:
        reason = (exc.strerror or type(exc).__name__) if isinstance(exc, OSError) else str(exc)
        raise P2pckptError(
            f"the identity in {path} can't be read: {reason}",
            kept="nothing was changed",
            next_step="p2pckpt key restore BACKUP, after moving that file away",
        ) from exc
    if not 1 <= record.format <= FORMAT:
        raise P2pckptError(f"{path} has format {record.format}", next_step="it is of a newer p2pckpt: upgrade")
    return record


def _contents(path: Path) -> bytes:
    if path.is_symlink():
        raise NotAllowed(f"{path} is a link", next_step="put the file itself there, or use --home")
    # without waiting: what is no file might never answer
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as source:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("it is no file")
        if status.st_uid != os.geteuid():
            raise NotAllowed(f"{path} belongs to another user", next_step=f"chown {os.geteuid()} {path}")
        if status.st_mode & 0o077:
            raise NotAllowed(f"{path} can be read by other users", next_step=f"chmod 600 {path}")
        directory = path.parent.stat()
        if directory.st_uid not in (os.geteuid(), 0) or directory.st_mode & 0o022:
            raise NotAllowed(f"others can write to {path.parent}", next_step=f"chmod 700 {path.parent}")
        return source.read(_MAX_FILE)


def _parse(data: bytes) -> _Record:
    fields: Any = msgspec.json.decode(data)
    kind: Any = _Keys
    if isinstance(fields, dict):
        kind = _Sealed if "sealed" in fields else _InKeyring if "keyring" in fields else _Keys
    record: _Record = msgspec.convert(fields, kind)
    if isinstance(record, _Keys):
        _identity(_completed(record))  # a file that can't be used is better found now
    return record


def _keys(keys_dir: Path, ask: Ask) -> _Keys:
    record = _read(keys_dir)
    match record:
        case _Sealed():
            return _opened(keys_dir, record, ask)
        case _InKeyring():
            return _from_keyring(record)
    completed = _completed(record)
    if completed != record:
        with contextlib.suppress(OSError):  # it follows from the others, so that it need not be written to be kept
            _write(keys_dir, completed)
    return completed


def _write(keys_dir: Path, record: _Record) -> None:
    atomic.write(keys_dir / _FILE, msgspec.json.encode(record))


def _create(keys_dir: Path, keys: _Keys, store: str) -> None:
    """Raises ``FileExistsError`` when there is an identity."""
    if os.path.lexists(keys_dir / _FILE):
        raise FileExistsError(keys_dir / _FILE)
    record: _Record = keys
    if store == "keyring":
        record = _into_keyring(keys)
    elif store == "auto" and os_keyring.is_ready():
        with contextlib.suppress(os_keyring.KeyringFailed):
            record = _into_keyring(keys)
    atomic.write_new(keys_dir / _FILE, msgspec.json.encode(record))


# -- the keys


def _identity(keys: _Keys) -> Identity:
    return Identity(
        Ed25519PrivateKey.from_private_bytes(bytes.fromhex(keys.signing_key)),
        X25519PrivateKey.from_private_bytes(bytes.fromhex(keys.receive_key)),
        keys.name,
        keys.created_at,
        ec.derive_private_key(int.from_bytes(bytes.fromhex(keys.model_key), "big"), ec.SECP256R1()),
    )


def _completed(keys: _Keys) -> _Keys:
    """With the key that format 1 did not have."""
    if keys.model_key:
        return keys
    signing = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(keys.signing_key))
    return msgspec.structs.replace(keys, format=FORMAT, model_key=_scalar(model_key_of_old(signing)))


def _hex(keys: _Keys) -> str:
    return _identity(_completed(keys)).hex


def _scalar(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_numbers().private_value.to_bytes(32, "big").hex()


def _into_keyring(keys: _Keys) -> _InKeyring:
    entry = _hex(keys)
    os_keyring.put(entry, msgspec.json.encode(keys).decode())
    return _InKeyring(FORMAT, entry, os_keyring.SERVICE)


def _from_keyring(record: _InKeyring) -> _Keys:
    try:
        keys = msgspec.json.decode(os_keyring.get(record.identity), type=_Keys)
        if _hex(keys) != record.identity:
            raise ValueError
    except os_keyring.KeyringFailed as exc:
        raise os_keyring.KeyringFailed(
            f"the identity can't be had: {exc.fact}",
            kept="it is in the OS keyring",
            next_step="unlock the keyring (log in on the desktop), or: p2pckpt key restore BACKUP in another home",
        ) from exc
    except (msgspec.MsgspecError, ValueError) as exc:
        raise P2pckptError(
            "what the OS keyring holds is not this identity", next_step="p2pckpt key restore BACKUP in another home"
        ) from exc
    return keys


# -- passphrases


def _sealed(keys: _Keys, passphrase: str) -> _Sealed:
    identity = _hex(keys)
    sealed = _seal(passphrase, msgspec.json.encode(keys), _SEALED + bytes.fromhex(identity))
    return _Sealed(FORMAT, identity, base64.b64encode(sealed).decode())


def _opened(keys_dir: Path, record: _Sealed, ask: Ask) -> _Keys:
    passphrase = ask()
    if not passphrase:
        raise NotAllowed(
            f"the identity in {keys_dir / _FILE} needs its passphrase",
            next_step="p2pckpt daemon start on a terminal, or set passphrase_file",
        )
    try:
        plain = _unseal(passphrase, base64.b64decode(record.sealed), _SEALED + bytes.fromhex(record.identity))
        keys = msgspec.json.decode(plain, type=_Keys)
    except (VerificationFailed, ValueError, msgspec.MsgspecError) as exc:
        raise VerificationFailed(
            f"the passphrase does not open the identity in {keys_dir / _FILE}",
            next_step="try again, or: p2pckpt key restore BACKUP in another home",
        ) from exc
    return keys


def _seal(passphrase: str, plain: bytes, context: bytes) -> bytes:
    salt, nonce = os.urandom(_SALT), os.urandom(_NONCE)
    return salt + nonce + ChaCha20Poly1305(_stretch(passphrase, salt)).encrypt(nonce, plain, context)


def _unseal(passphrase: str, sealed: bytes, context: bytes) -> bytes:
    """Raises ``VerificationFailed`` for another passphrase, ``ValueError`` for what is too short to be sealed."""
    salt, nonce, rest = sealed[:_SALT], sealed[_SALT : _SALT + _NONCE], sealed[_SALT + _NONCE :]
    try:
        return ChaCha20Poly1305(_stretch(passphrase, salt)).decrypt(nonce, rest, context)
    except InvalidTag as exc:
        raise VerificationFailed("the passphrase is wrong") from exc


def _stretch(passphrase: str, salt: bytes) -> bytes:
    return Argon2id(salt=salt, length=32, iterations=3, lanes=4, memory_cost=64 * 1024).derive(passphrase.encode())
