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
from tuf.api.metadata import Metadata, MetaFile, Role, Root, Snapshot, T, Targets, Timestamp
from tuf.api.serialization import DeserializationError, SerializationError
from tuf.api.serialization.json import JSONSerializer

from p2pckpt.tracker_protocol import (
    KEYRING_ROLE,
    MANIFEST_TARGET_PREFIX,
    MAX_METADATA,
    SIGNED_EXTENSION,
)
from p2pckpt.tracker_protocol.audit_log import AUDIT_START, AuditHead

from .refusals import BadSignature, MetadataRefused, VersionConflict
from .signed_content import (
    RootFacts,
    Version,
    check_growth,
    check_keyring_content,
    check_offer,
    keyring_content,
    read_version,
    root_facts,
)

SNAPSHOT_LIFETIME = timedelta(days=30)
TIMESTAMP_LIFETIME = timedelta(days=1)

_HEX64 = re.compile("[0-9a-f]{64}")
_LIFETIMES = timedelta(days=300), timedelta(days=400)
"""A signed file that runs out sooner or later than this is none that clients write: they give it a year."""
_MAX_TARGETS = 3 << 20
"""Bytes of targets that are taken: below what clients read, so that a next file, with less in it, fits."""
_MAX_PROPOSAL = 256 << 10
"""Bytes of a next root that waits for signatures; several may wait."""


@dataclass(frozen=True, slots=True)
class TargetsFacts:
    """What a change of targets means."""

    version: int
    added: tuple[Version, ...]
    count: int
    """Versions that are not retired."""
    last_number: int
    retired: tuple[int, ...]
    restored: tuple[Version, ...]
    """Versions that were retired and are there again."""
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
    check_offer(targets_md.signed, 0)
    licence = _check_keyring(root_md.signed, targets_md.signed, _load(keyring, Targets), 1, now)
    return facts, KeyringFacts(1, licence)


def check_targets(
    root: bytes,
    current: bytes,
    new: bytes,
    keyring: bytes,
    *,
    caller: str,
    last_number: int,
    now: datetime,
    earlier: bytes | None = None,
) -> TargetsFacts:
    """Check the successor of the targets. Raises MetadataRefused, VersionConflict for any other version.

    Versions are immutable: one that stays must be unchanged, a new one is the caller's and has the number after the
    last, and one that is missing is retired, which is for owners: publishers add versions and move tags. An owner may
    also take retired versions back, each as it stood in the ``earlier`` targets. The current keyring must still verify
    under the new delegation, and a new version is sealed with its newest epoch: whoever was removed meanwhile must not
    be able to read it.
    """
    if len(new) > _MAX_TARGETS:
        raise MetadataRefused(f"targets are at most {_MAX_TARGETS >> 20} MiB: an owner has to retire versions")
    old_md, new_md = _load(current, Targets), _load(new, Targets)
    _check_successor(old_md.signed.version, new_md.signed.version)
    root_signed = _load(root, Root).signed
    _check_targets(root_signed, new_md, old_md.signed.version + 1, caller, now)
    keyring_md = _load(keyring, Targets)
    _verify(new_md.signed, KEYRING_ROLE, keyring_md, "the current keyring")
    newest = keyring_content(keyring_md.signed).newest
    listed_before = _load(earlier, Targets).signed.targets if earlier is not None else {}
    added: list[Version] = []
    restored: list[Version] = []
    for path, target in new_md.signed.targets.items():
        before = old_md.signed.targets.get(path)
        if before is not None and before != target:
            raise MetadataRefused(f"{path} was published before and can't change")
        version = read_version(path, target)
        if before is None and path in listed_before:
            if listed_before[path] != target:
                raise MetadataRefused(f"{path} is not what it was before it was retired")
            restored.append(version)
        elif before is None:
            if version.number != last_number + 1:
                raise MetadataRefused(f"{path} is not the number after the last, which was {last_number}")
            if version.publisher != caller:
                raise MetadataRefused(f"{path} names a publisher who is not the caller")
            if version.epoch != newest:
                raise VersionConflict(f"{path} is sealed with epoch {version.epoch}, and the newest is {newest}")
            added.append(version)
    last_number = max((each.number for each in added), default=last_number)
    check_offer(new_md.signed, last_number)
    kept = new_md.signed.targets
    facts = TargetsFacts(
        version=new_md.signed.version,
        added=tuple(added),
        count=len(new_md.signed.targets),
        last_number=last_number,
        retired=tuple(
            read_version(path, old).number for path, old in old_md.signed.targets.items() if path not in kept
        ),
        restored=tuple(restored),
        moved_tags=_moved_tags(old_md.signed, new_md.signed, {each.number for each in added}),
    )
    if caller not in _publics(root_signed, root_signed.roles[Root.type]):
        _check_publisher(old_md.signed, facts, caller)
    return facts


def check_keyring(root: bytes, targets: bytes, current: bytes, new: bytes, *, now: datetime) -> KeyringFacts:
    """Check the successor of the keyring. Raises MetadataRefused, VersionConflict.

    Epochs only grow: what members and versions rely on can't be taken away or exchanged.
    """
    old_md, new_md = _load(current, Targets), _load(new, Targets)
    _check_successor(old_md.signed.version, new_md.signed.version)
    root_signed, targets_signed = _load(root, Root).signed, _load(targets, Targets).signed
    licence = _check_keyring(root_signed, targets_signed, new_md, old_md.signed.version + 1, now)
    check_growth(keyring_content(old_md.signed), keyring_content(new_md.signed))
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
    if facts.fixed != root_facts(old_md.signed).fixed:
        raise MetadataRefused("the share's name, the torrents' name and whether it is sealed can't change")
    if not new_md.signed.get_root_verification_result(old_md.signed, new_md.signed_bytes, new_md.signatures):
        raise BadSignature("the root is not signed by enough of the old and of the new root keys")
    targets_md = _load(targets, Targets)
    _verify(new_md.signed, Targets.type, targets_md, "the targets")
    _check_delegation(new_md.signed, targets_md.signed)
    return facts


def root_owners(root: bytes) -> frozenset[str]:
    """Identities whose keys sign roots. Raises MetadataRefused."""
    signed = _load(root, Root).signed
    return frozenset(_publics(signed, signed.roles[Root.type]))


def check_proposal(
    current: bytes, new: bytes, waiting: Mapping[str, bytes], *, caller: str, online_key: str, now: datetime
) -> tuple[str, bytes]:
    """Check a next root that still lacks signatures: everything else must be right, and the caller's be there.

    ``waiting`` are the proposals that there are, by who made them. Returns whose proposal this is and its bytes: the
    caller's, or another's that says the same and has these signatures now as well. Only good signatures are kept.
    Raises MetadataRefused, VersionConflict.
    """
    if len(new) > _MAX_PROPOSAL:
        raise MetadataRefused(f"a proposal is at most {_MAX_PROPOSAL >> 10} KiB")
    old_md, new_md = _load(current, Root), _load(new, Root)
    _check_successor(old_md.signed.version, new_md.signed.version)
    if _check_root(new_md.signed, online_key, now).fixed != root_facts(old_md.signed).fixed:
        raise MetadataRefused("the share's name, the torrents' name and whether it is sealed can't change")
    result = new_md.signed.get_root_verification_result(old_md.signed, new_md.signed_bytes, new_md.signatures)
    if caller not in {_public(key) for key in result.signed.values()}:
        raise BadSignature("the caller is not among the signers of the root")
    new_md.signatures = {keyid: new_md.signatures[keyid] for keyid in result.signed}
    for proposer, data in waiting.items():
        same = _load(data, Root)
        if same.signed_bytes == new_md.signed_bytes:
            new_md.signatures |= same.signatures
            return proposer, new_md.to_bytes(JSONSerializer(compact=True))
    return caller, new_md.to_bytes(JSONSerializer(compact=True))


def follows(current: bytes, proposed: bytes) -> bool:
    """Whether a proposal that was taken is for the root after this one."""
    return _load(proposed, Root).signed.version == _load(current, Root).signed.version + 1


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
    facts = root_facts(root)
    if not root.consistent_snapshot:
        raise MetadataRefused("the root must ask for consistent snapshots")
    _check_lifetime(root, "the root", now)
    for keyid, key in root.keys.items():
        plain = {"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": _public(key)}}
        if key.to_dict() != plain or not _HEX64.fullmatch(_public(key)):
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


def _moved_tags(old: Targets, new: Targets, added: set[int]) -> tuple[tuple[str, int | None], ...]:
    before: dict[str, int] = old.unrecognized_fields[SIGNED_EXTENSION]["tags"]
    after: dict[str, int] = new.unrecognized_fields[SIGNED_EXTENSION]["tags"]
    moved = {tag: after.get(tag) for tag in (before | after) if before.get(tag) != after.get(tag)}
    return tuple((tag, number) for tag, number in sorted(moved.items()) if tag != "latest" or number not in added)


def _check_targets(root: Root, targets: Metadata[Targets], version: int, caller: str, now: datetime) -> None:
    signed = targets.signed
    if signed.version != version:
        raise MetadataRefused(f"targets must be version {version}")
    _check_lifetime(signed, "the targets", now)
    _verify(root, Targets.type, targets, "the targets")
    result = root.get_verification_result(Targets.type, targets.signed_bytes, targets.signatures)
    if caller not in {_public(key) for key in result.signed.values()}:
        raise BadSignature("the caller is not among the signers of the targets")
    _check_delegation(root, signed)


def _check_publisher(before: Targets, facts: TargetsFacts, caller: str) -> None:
    """What a publisher who is no owner may do besides adding versions: move tags, and take those off its own."""
    if facts.retired or facts.restored:
        raise MetadataRefused("versions are retired, and taken back, by an owner")
    tags: dict[str, int] = before.unrecognized_fields[SIGNED_EXTENSION]["tags"]
    for tag, number in facts.moved_tags:
        path = f"{MANIFEST_TARGET_PREFIX}{tags.get(tag)}"
        target = before.targets.get(path)
        if number is None and (target is None or read_version(path, target).publisher != caller):
            raise MetadataRefused(f"the tag {tag} is on somebody else's version: an owner can take it away")


def _check_lifetime(signed: Root | Targets, what: str, now: datetime) -> None:
    shortest, longest = _LIFETIMES
    if signed.version == 1:
        shortest = timedelta()  # who makes a share can spoil only that one
    if signed.expires <= now:
        raise MetadataRefused(f"{what} has expired")
    if not now + shortest <= signed.expires <= now + longest:
        raise MetadataRefused(f"{what} must run out in {shortest.days} to {longest.days} days")


def _check_delegation(root: Root, targets: Targets) -> None:
    delegations = targets.delegations
    roles = (delegations.roles if delegations is not None else None) or {}
    if delegations is None or set(roles) != {KEYRING_ROLE} or delegations.succinct_roles is not None:
        raise MetadataRefused(f"targets must delegate to the role {KEYRING_ROLE} and nothing else")
    role = roles[KEYRING_ROLE]
    if role.paths != [f"{KEYRING_ROLE}/*"] or role.path_hash_prefixes is not None:
        raise MetadataRefused(f"the keyring's paths must be {KEYRING_ROLE}/*")
    owners = {keyid: root.keys[keyid] for keyid in root.roles[Root.type].keyids}
    if delegations.keys != owners or set(role.keyids) != set(owners) or role.threshold != 1:
        raise MetadataRefused("the keyring must be delegated to exactly the root's keys, one of which is enough")
    if delegations.unrecognized_fields or role.unrecognized_fields or not role.terminating:
        raise MetadataRefused("the delegation of the keyring has fields that clients do not write")


def _check_keyring(root: Root, targets: Targets, keyring: Metadata[Targets], version: int, now: datetime) -> str:
    """Returns the licence that downloaders have to accept."""
    if keyring.signed.version != version:
        raise MetadataRefused(f"the keyring must be version {version}")
    _check_lifetime(keyring.signed, "the keyring", now)
    if keyring.signed.delegations is not None:
        raise MetadataRefused("the keyring delegates nothing")
    if keyring.signed.targets:
        raise MetadataRefused("the keyring names no targets")
    content = keyring_content(keyring.signed)
    check_keyring_content(content, sealed=root_facts(root).sealed)
    if any(read_version(path, target).epoch > content.newest for path, target in targets.targets.items()):
        raise MetadataRefused("a version is sealed with an epoch that this keyring lacks")
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


def _load(data: bytes, kind: type[T]) -> Metadata[T]:
    """Parse one signed file, refusing what parsers could read in two ways."""
    if len(data) > MAX_METADATA:
        raise MetadataRefused("a signed file is too large")
    try:
        json.loads(data, object_pairs_hook=_no_duplicates, parse_constant=_no_constant)
        metadata = Metadata[T].from_bytes(data)
        _ = metadata.signed_bytes  # there are numbers and texts that can be read and have no canonical form
    except (DeserializationError, SerializationError, ValueError, RecursionError) as exc:
        raise MetadataRefused(f"not a {kind.type} file") from exc
    if type(metadata.signed) is not kind:
        raise MetadataRefused(f"not a {kind.type} file")
    if metadata.unrecognized_fields or not metadata.signed.unrecognized_fields.keys() <= {SIGNED_EXTENSION}:
        raise MetadataRefused(f"a {kind.type} file has fields that clients do not write")
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
