"""The rules for a share's signed files (TUF, through python-tuf): bytes and a clock in, a verdict out. No I/O.

The tracker enforces here what receivers check again for themselves; what it refuses could only confuse them.
It holds one key, which signs which files are current (snapshot) and that this was so today (timestamp). It can
therefore hold updates back, and can't make a version.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.signer import CryptoSigner, Key, SSlibKey
from tuf.api.metadata import Metadata, MetaFile, Role, Root, Snapshot, T, TargetFile, Targets, Timestamp
from tuf.api.serialization import DeserializationError

from p2pckpt.audit_log import AUDIT_START, AuditHead
from p2pckpt.tracker_protocol import (
    KEYRING_ROLE,
    MANIFEST_TARGET_PREFIX,
    MAX_LICENCE,
    MAX_METADATA,
    SIGNED_EXTENSION,
    KeyringContent,
)

SNAPSHOT_LIFETIME = timedelta(days=30)
TIMESTAMP_LIFETIME = timedelta(days=1)

_TARGET_PATH = re.compile(rf"{MANIFEST_TARGET_PREFIX}([1-9][0-9]{{0,8}})")
_HEX64 = re.compile("[0-9a-f]{64}")
_NAME = re.compile(r"[^\x00-\x1f\x7f]{1,200}")
_TORRENT_NAME = re.compile(r"[^\x00-\x1f\x7f/\\]{1,200}")
_TAG = re.compile(r"[^\x00-\x20\x7f]{1,100}")
_MAX_TAGS = 1000


class MetadataRefused(Exception):
    """A signed file breaks a rule; the text names the rule."""


class BadSignature(MetadataRefused):
    """A signature is missing, wrong, or by somebody who may not sign this."""


class VersionConflict(MetadataRefused):
    """The file is not the successor of the current one: somebody published in between."""


@dataclass(frozen=True, slots=True)
class RootFacts:
    """What the tracker reads out of a root."""

    name: str
    torrent_name: str
    owner: str
    """Identity, hex."""


@dataclass(frozen=True, slots=True)
class Version:
    """One target ``v/N``."""

    number: int
    length: int
    """Bytes of the sealed manifest."""
    manifest: str
    """SHA-256 of the sealed manifest, hex."""
    info_hash: str
    card: str
    """SHA-256 of the card, hex; empty for none."""
    epoch: int
    """Whose keys its manifest is sealed with; 0 in public shares."""


@dataclass(frozen=True, slots=True)
class TargetsFacts:
    """What a change of targets means."""

    version: int
    added: tuple[Version, ...]
    count: int
    """Versions that are not retired."""
    last_number: int
    retired: tuple[int, ...]
    moved_tags: tuple[tuple[str, int | None], ...]
    """Tags with the versions they lead to now, None for those taken away; not ``latest`` on a new version."""


@dataclass(frozen=True, slots=True)
class KeyringFacts:
    """What the tracker reads out of a keyring."""

    version: int
    licence: str


def check_first(
    root: bytes, targets: bytes, keyring: bytes, *, caller: str, online_key: str, now: datetime
) -> tuple[RootFacts, KeyringFacts]:
    """Check the files a share begins with. Raises MetadataRefused.

    Root is version 1, signed by its own root keys and by the caller as one of them; snapshot and timestamp are
    left to the tracker's online key; targets and keyring are version 1, verify, and publish nothing yet.
    """
    root_md = _load(root, Root)
    if root_md.signed.version != 1:
        raise MetadataRefused("the first root must be version 1")
    facts = _check_root(root_md.signed, online_key, now)
    result = root_md.signed.get_root_verification_result(None, root_md.signed_bytes, root_md.signatures)
    if not result:
        raise BadSignature("the root is not signed by enough of its own root keys")
    if caller not in {_public(key) for key in result.signed.values()}:
        raise BadSignature("the caller is not among the signers of the root")
    if facts.owner != caller:
        raise MetadataRefused("the owner named in the root is not the caller")
    targets_md = _load(targets, Targets)
    if targets_md.signed.targets:
        raise MetadataRefused("the first targets must be empty: nothing has been uploaded yet")
    _check_targets(root_md.signed, targets_md, 1, caller, now)
    licence = _check_keyring(targets_md.signed, _load(keyring, Targets), 1, now)
    return facts, KeyringFacts(1, licence)


def check_targets(
    root: bytes, current: bytes, new: bytes, keyring: bytes, *, caller: str, last_number: int, now: datetime
) -> TargetsFacts:
    """Check the successor of the targets. Raises MetadataRefused, VersionConflict for any other version.

    Versions are immutable: one that stays must be unchanged, a new one has a number never used before, and one
    that is missing is retired. The current keyring must still verify under the new delegation, and a new version is
    sealed with its newest epoch: whoever was removed meanwhile must not be able to read it.
    """
    old_md, new_md = _load(current, Targets), _load(new, Targets)
    _check_successor(old_md.signed.version, new_md.signed.version)
    _check_targets(_load(root, Root).signed, new_md, old_md.signed.version + 1, caller, now)
    keyring_md = _load(keyring, Targets)
    _verify(new_md.signed, KEYRING_ROLE, keyring_md, "the current keyring")
    newest = keyring_content(keyring_md).newest
    added: list[Version] = []
    for path, target in new_md.signed.targets.items():
        before = old_md.signed.targets.get(path)
        if before is not None and before != target:
            raise MetadataRefused(f"{path} was published before and can't change")
        version = _version(path, target)
        if before is None:
            if version.number <= last_number:
                raise MetadataRefused(f"{path} is a number that was used before")
            if version.epoch != newest:
                raise VersionConflict(f"{path} is sealed with epoch {version.epoch}, and the newest is {newest}")
            added.append(version)
    kept = new_md.signed.targets
    return TargetsFacts(
        version=new_md.signed.version,
        added=tuple(added),
        count=len(new_md.signed.targets),
        last_number=max((each.number for each in added), default=last_number),
        retired=tuple(_version(path, old).number for path, old in old_md.signed.targets.items() if path not in kept),
        moved_tags=_moved_tags(old_md.signed, new_md.signed, {each.number for each in added}),
    )


def check_keyring(targets: bytes, current: bytes, new: bytes, *, now: datetime) -> KeyringFacts:
    """Check the successor of the keyring. Raises MetadataRefused, VersionConflict."""
    old_md, new_md = _load(current, Targets), _load(new, Targets)
    _check_successor(old_md.signed.version, new_md.signed.version)
    licence = _check_keyring(_load(targets, Targets).signed, new_md, old_md.signed.version + 1, now)
    return KeyringFacts(new_md.signed.version, licence)


def check_root(current: bytes, new: bytes, targets: bytes, *, online_key: str, now: datetime) -> RootFacts:
    """Check the successor of the root. Raises MetadataRefused, VersionConflict.

    It is signed by the old and the new root keys, keeps the torrents' name, and ``targets``, the current ones or
    those that come with it, verify under it and delegate the keyring to its keys: a root that takes a publisher away
    comes after targets that somebody else has signed, or with them.
    """
    old_md, new_md = _load(current, Root), _load(new, Root)
    _check_successor(old_md.signed.version, new_md.signed.version)
    facts = _check_root(new_md.signed, online_key, now)
    if facts.torrent_name != _root_facts(old_md.signed).torrent_name:
        raise MetadataRefused("the torrents' name can't change")
    if not new_md.signed.get_root_verification_result(old_md.signed, new_md.signed_bytes, new_md.signatures):
        raise BadSignature("the root is not signed by enough of the old and of the new root keys")
    targets_md = _load(targets, Targets)
    _verify(new_md.signed, Targets.type, targets_md, "the targets")
    _check_delegation(new_md.signed, targets_md.signed)
    return facts


def check_proposal(current: bytes, new: bytes, *, caller: str, online_key: str, now: datetime) -> None:
    """Check a next root that still lacks signatures: everything else must be right, and the caller's be there.

    Raises MetadataRefused, VersionConflict.
    """
    old_md, new_md = _load(current, Root), _load(new, Root)
    _check_successor(old_md.signed.version, new_md.signed.version)
    _check_root(new_md.signed, online_key, now)
    result = new_md.signed.get_root_verification_result(old_md.signed, new_md.signed_bytes, new_md.signatures)
    if caller not in {_public(key) for key in result.signed.values()}:
        raise BadSignature("the caller is not among the signers of the root")


def keyring_content(keyring: Metadata[Targets]) -> KeyringContent:
    """What a keyring says. Raises MetadataRefused for what clients could not read."""
    try:
        return msgspec.convert(keyring.signed.unrecognized_fields.get(SIGNED_EXTENSION), KeyringContent)
    except msgspec.ValidationError as exc:
        raise MetadataRefused(f"the keyring's {SIGNED_EXTENSION} field is malformed") from exc


class OnlineSigner:
    """Signs snapshot and timestamp with the tracker's key."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public = key.public_key().public_bytes_raw().hex()
        """Hex, as roots name it."""

    def snapshot(self, version: int, root: bytes, targets: bytes, keyring: bytes, now: datetime) -> bytes:
        """A snapshot of these targets and this keyring."""
        meta = {
            "targets.json": _meta_file(_load(targets, Targets).signed.version, targets),
            f"{KEYRING_ROLE}.json": _meta_file(_load(keyring, Targets).signed.version, keyring),
        }
        signed = Metadata(Snapshot(version=version, expires=now + SNAPSHOT_LIFETIME, meta=meta))
        signed.sign(self._signer(root, Snapshot.type))
        return signed.to_bytes()

    def timestamp(
        self, version: int, root: bytes, snapshot: bytes, now: datetime, log: AuditHead = AUDIT_START
    ) -> bytes:
        """A timestamp that vouches for this snapshot, and for the share's audit log up to ``log``."""
        meta = _meta_file(_load(snapshot, Snapshot).signed.version, snapshot)
        extension = {SIGNED_EXTENSION: {"log": msgspec.to_builtins(log), "at": int(now.timestamp())}}
        expires = now + TIMESTAMP_LIFETIME
        signed = Metadata(
            Timestamp(version=version, expires=expires, snapshot_meta=meta, unrecognized_fields=extension)
        )
        signed.sign(self._signer(root, Timestamp.type))
        return signed.to_bytes()

    def _signer(self, root: bytes, role: str) -> CryptoSigner:
        # What a key's id is, is for each root to say.
        keyid = _load(root, Root).signed.roles[role].keyids[0]
        return CryptoSigner(self._key, SSlibKey(keyid, "ed25519", "ed25519", {"public": self.public}))


def _check_root(root: Root, online_key: str, now: datetime) -> RootFacts:
    facts = _root_facts(root)
    if not root.consistent_snapshot:
        raise MetadataRefused("the root must ask for consistent snapshots")
    if root.expires <= now:
        raise MetadataRefused("the root has expired")
    for keyid, key in root.keys.items():
        if key.keytype != "ed25519" or key.scheme != "ed25519" or not _HEX64.fullmatch(_public(key)):
            raise MetadataRefused(f"key {keyid[:16]} is no Ed25519 key")
    if len({_public(key) for key in root.keys.values()}) != len(root.keys):
        raise MetadataRefused("one key stands in the root under two ids")
    for role in (Snapshot.type, Timestamp.type):
        if _publics(root, root.roles[role]) != {online_key} or root.roles[role].threshold != 1:
            raise MetadataRefused(f"the {role} role must be the tracker's online key alone")
    if online_key in _publics(root, root.roles[Root.type]) | _publics(root, root.roles[Targets.type]):
        raise MetadataRefused("the tracker's online key must not sign root or targets")
    if facts.owner not in _publics(root, root.roles[Root.type]):
        raise MetadataRefused("the owner is not among the root keys")
    return facts


def _root_facts(root: Root) -> RootFacts:
    extension = root.unrecognized_fields.get(SIGNED_EXTENSION)
    if not isinstance(extension, dict):
        raise MetadataRefused(f"the root lacks its {SIGNED_EXTENSION} field")
    name, torrent_name, owner = (extension.get(field) for field in ("name", "torrent_name", "owner"))
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise MetadataRefused("the share's name is missing, too long, or holds control characters")
    if not isinstance(torrent_name, str) or not _TORRENT_NAME.fullmatch(torrent_name):
        raise MetadataRefused("the torrents' name is missing, too long, or holds slashes or control characters")
    if not isinstance(owner, str) or not _HEX64.fullmatch(owner):
        raise MetadataRefused("the owner is no identity")
    return RootFacts(name, torrent_name, owner)


def _moved_tags(old: Targets, new: Targets, added: set[int]) -> tuple[tuple[str, int | None], ...]:
    before: dict[str, int] = old.unrecognized_fields[SIGNED_EXTENSION]["tags"]
    after: dict[str, int] = new.unrecognized_fields[SIGNED_EXTENSION]["tags"]
    moved = {tag: after.get(tag) for tag in (before | after) if before.get(tag) != after.get(tag)}
    return tuple((tag, number) for tag, number in sorted(moved.items()) if tag != "latest" or number not in added)


def _check_targets(root: Root, targets: Metadata[Targets], version: int, caller: str, now: datetime) -> None:
    signed = targets.signed
    if signed.version != version:
        raise MetadataRefused(f"targets must be version {version}")
    if signed.expires <= now:
        raise MetadataRefused("the targets have expired")
    extension = signed.unrecognized_fields.get(SIGNED_EXTENSION)
    if (
        not isinstance(extension, dict)
        or not isinstance(extension.get("tags"), dict)
        or not isinstance(extension.get("trackers"), list)
    ):
        raise MetadataRefused(f"the targets lack tags or trackers in their {SIGNED_EXTENSION} field")
    tags = extension["tags"]
    if len(tags) > _MAX_TAGS or not all(_TAG.fullmatch(tag) and type(number) is int for tag, number in tags.items()):
        raise MetadataRefused("there are too many tags, or one is too long, or leads to no number")
    _verify(root, Targets.type, targets, "the targets")
    result = root.get_verification_result(Targets.type, targets.signed_bytes, targets.signatures)
    if caller not in {_public(key) for key in result.signed.values()}:
        raise BadSignature("the caller is not among the signers of the targets")
    _check_delegation(root, signed)


def _check_delegation(root: Root, targets: Targets) -> None:
    delegations = targets.delegations
    roles = (delegations.roles if delegations is not None else None) or {}
    if delegations is None or set(roles) != {KEYRING_ROLE} or delegations.succinct_roles is not None:
        raise MetadataRefused(f"targets must delegate to the role {KEYRING_ROLE} and nothing else")
    role = roles[KEYRING_ROLE]
    if role.paths != [f"{KEYRING_ROLE}/*"] or role.path_hash_prefixes is not None:
        raise MetadataRefused(f"the keyring's paths must be {KEYRING_ROLE}/*")
    keys = {_public(delegations.keys[keyid]) for keyid in role.keyids if keyid in delegations.keys}
    if keys != _publics(root, root.roles[Root.type]) or len(keys) != len(role.keyids) or role.threshold != 1:
        raise MetadataRefused("the keyring must be delegated to exactly the root's keys, one of which is enough")


def _check_keyring(targets: Targets, keyring: Metadata[Targets], version: int, now: datetime) -> str:
    """Returns the licence that downloaders have to accept."""
    if keyring.signed.version != version:
        raise MetadataRefused(f"the keyring must be version {version}")
    if keyring.signed.expires <= now:
        raise MetadataRefused("the keyring has expired")
    if keyring.signed.delegations is not None:
        raise MetadataRefused("the keyring delegates nothing")
    if any(not path.startswith(f"{KEYRING_ROLE}/") for path in keyring.signed.targets):
        raise MetadataRefused(f"the keyring's targets must lie below {KEYRING_ROLE}/")
    content = keyring_content(keyring)
    if len(content.licence) > MAX_LICENCE or not content.licence.isprintable():
        raise MetadataRefused(f"a licence to accept is at most {MAX_LICENCE} printable characters")
    _verify(targets, KEYRING_ROLE, keyring, "the keyring")
    return content.licence


def _check_successor(current: int, new: int) -> None:
    if new != current + 1:
        raise VersionConflict(f"version {new} does not follow the current version {current}")


def _verify(delegator: Root | Targets, role: str, metadata: Metadata[Any], what: str) -> None:
    try:
        result = delegator.get_verification_result(role, metadata.signed_bytes, metadata.signatures)
    except ValueError:
        result = None
    if not result:
        raise BadSignature(f"{what} would not be signed by enough keys that may sign it")


def _version(path: str, target: TargetFile) -> Version:
    match = _TARGET_PATH.fullmatch(path)
    if match is None:
        raise MetadataRefused("targets may name versions (v/N) only")
    custom = target.custom
    manifest = target.hashes.get("sha256", "")
    if not isinstance(custom, dict):
        raise MetadataRefused(f"{path} lacks its custom field")
    info_hash, card, size = custom.get("infohash"), custom.get("card"), custom.get("torrent_length")
    if not isinstance(info_hash, str) or not _HEX64.fullmatch(info_hash):
        raise MetadataRefused(f"{path} lacks a v2 infohash")
    if not isinstance(card, str) or (card and not _HEX64.fullmatch(card)):
        raise MetadataRefused(f"{path} has no valid card hash")
    if not isinstance(size, int) or isinstance(size, bool) or size <= 0 or not _HEX64.fullmatch(manifest):
        raise MetadataRefused(f"{path} lacks a length or a SHA-256")
    epoch = custom.get("epoch")
    if not isinstance(epoch, int) or isinstance(epoch, bool):
        raise MetadataRefused(f"{path} names no epoch")
    return Version(int(match[1]), target.length, manifest, info_hash, card, epoch)


def _load(data: bytes, kind: type[T]) -> Metadata[T]:
    """Parse one signed file, refusing what parsers could read in two ways."""
    if len(data) > MAX_METADATA:
        raise MetadataRefused("a signed file is too large")
    try:
        json.loads(data, object_pairs_hook=_no_duplicates, parse_constant=_no_constant)
        metadata = Metadata[T].from_bytes(data)
    except (DeserializationError, ValueError, RecursionError) as exc:
        raise MetadataRefused(f"not a {kind.type} file") from exc
    if type(metadata.signed) is not kind:
        raise MetadataRefused(f"not a {kind.type} file")
    return metadata


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def _public(key: Key) -> str:
    keyval: Mapping[str, Any] = key.keyval
    return str(keyval.get("public", ""))


def _publics(root: Root, role: Role) -> set[str]:
    return {_public(root.keys[keyid]) for keyid in role.keyids if keyid in root.keys}


def _meta_file(version: int, data: bytes) -> MetaFile:
    return MetaFile(version=version, length=len(data), hashes={"sha256": hashlib.sha256(data).hexdigest()})


def utc_now() -> datetime:
    """The present, to the second, as TUF writes it."""
    return datetime.now(UTC).replace(microsecond=0)
