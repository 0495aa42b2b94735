"""Signed files of a share, made: The Update Framework's metadata through python-tuf.

Each share is one TUF repository. ``root`` is signed by the owner, ``targets`` by publishers, ``keyring``
(delegated) by the owner, ``snapshot`` and ``timestamp`` by the tracker. What TUF has no field for sits in the
signed field ``p2pckpt``. Reading and judging them is ``trust.admission``.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, TypeVar

import msgspec
from msgspec.structs import replace
from securesystemslib.signer import CryptoSigner, Key, SSlibKey
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import DelegatedRole, Delegations, Metadata, Role, Root, TargetFile, Targets
from tuf.api.serialization import DeserializationError
from tuf.api.serialization.json import JSONSerializer

from p2pckpt.errors import BadUsage, Conflict, VerificationFailed
from p2pckpt.tracker_protocol import KEYRING_ROLE, MANIFEST_TARGET_PREFIX, SIGNED_EXTENSION
from p2pckpt.tracker_protocol.signed import KeyringContent
from p2pckpt.trust import keyrings
from p2pckpt.trust.identity import Identity
from p2pckpt.trust.share_names import is_share_name

_T = TypeVar("_T")
_Signed = TypeVar("_Signed", Root, Targets)
ROOT_LIFETIME: Final = timedelta(days=365)
TARGETS_LIFETIME: Final = timedelta(days=365)
_SLOWEST_SIGNER: Final = timedelta(days=60)
"""How old a proposal may be that an owner signs: what runs out sooner may be meant to."""
_NUMBER: Final = re.compile(rf"{MANIFEST_TARGET_PREFIX}([1-9][0-9]{{0,8}})")

Hash = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]
Count = Annotated[int, msgspec.Meta(ge=0)]


class ShareTerms(msgspec.Struct, frozen=True):
    """What the root of a share says about it; all but ``owner`` is fixed for ever."""

    name: str
    torrent_name: str
    """Every torrent of the share carries this name."""
    owner: str
    """Whom to ask: the founder, or whoever took over the keys. All owners are among the root's keys."""
    sealed: bool
    """False for public shares: content is plain."""

    @property
    def fixed(self) -> tuple[str, str, bool]:
        return self.name, self.torrent_name, self.sealed


class VersionTarget(msgspec.Struct, frozen=True):
    """What is signed about one version."""

    version: int
    manifest_sha256: Hash
    manifest_length: Count
    infohash: Hash
    torrent_length: Count
    """Bytes of the .torrent file."""
    torrent_size: Count
    """Bytes of the files in it: what this version added."""
    name: str
    published_at: Count
    publisher: Hash
    epoch: Count
    size: Count
    files: Count
    card: Annotated[str, msgspec.Meta(pattern=r"\A([0-9a-f]{64})?\Z")] = ""
    leans_on: tuple[Hash, ...] | msgspec.UnsetType = msgspec.UNSET
    """Infohashes of the other torrents that its objects are in: the tracker keeps them for it. Not said of versions
    that were published before there was such a field."""

    @property
    def content(self) -> tuple[str, str]:
        """What of a version never changes: its manifest and its torrent."""
        return self.manifest_sha256, self.infohash


@dataclass(frozen=True, slots=True)
class RootKeys:
    """Who may sign what, by public key; what a root says besides the tracker's own key."""

    owners: frozenset[bytes]
    """Sign roots and the keyring, and may publish."""
    publishers: frozenset[bytes]
    """Others who may publish."""
    threshold: int
    """Owners' signatures that the next root needs."""


class SignedTargets(msgspec.Struct, frozen=True):
    """Targets metadata, parsed: what a share offers."""

    metadata_version: int
    versions: dict[int, VersionTarget]
    tags: dict[str, int]
    trackers: tuple[str, ...]

    @property
    def torrents(self) -> set[str]:
        """Infohashes that the versions name, which the tracker keeps therefore."""
        versions = self.versions.values()
        return {each.infohash for each in versions}.union(*(each.leans_on or () for each in versions))

    @property
    def latest(self) -> int:
        return self.tags.get("latest", max(self.versions, default=0))


def new_share(
    identity: Identity, name: str, *, sealed: bool, online_key: bytes, trackers: Sequence[str]
) -> tuple[bytes, bytes, bytes]:
    """Root, targets and keyring of a new share, version 1 each. Its id is SHA-256 of the root."""
    owner_key, tracker_key = _key(identity.public_bytes), _key(online_key)
    terms = ShareTerms(name, f"p2pckpt-{secrets.token_hex(8)}", identity.hex, sealed)
    root = Root(
        expires=_after(ROOT_LIFETIME),
        keys={owner_key.keyid: owner_key, tracker_key.keyid: tracker_key},
        roles={
            "root": Role([owner_key.keyid], 1),
            "targets": Role([owner_key.keyid], 1),
            "snapshot": Role([tracker_key.keyid], 1),
            "timestamp": Role([tracker_key.keyid], 1),
        },
        unrecognized_fields={SIGNED_EXTENSION: msgspec.to_builtins(terms)},
    )
    targets = Targets(
        expires=_after(TARGETS_LIFETIME),
        delegations=_keyring_delegation([owner_key]),
        unrecognized_fields={SIGNED_EXTENSION: {"tags": {}, "trackers": list(trackers)}},
    )
    root_bytes = _signed(root, identity)
    content = keyrings.first(identity.public, share_id(root_bytes)) if sealed else KeyringContent(())
    keyring = Targets(
        expires=_after(TARGETS_LIFETIME), unrecognized_fields={SIGNED_EXTENSION: msgspec.to_builtins(content)}
    )
    return root_bytes, _signed(targets, identity), _signed(keyring, identity)


def share_id(root_bytes: bytes) -> bytes:
    """The id of the share whose first root this is."""
    return hashlib.sha256(root_bytes).digest()


def publish_version(targets: bytes, identity: Identity, target: VersionTarget, tags: Sequence[str]) -> bytes:
    """Targets with one version more, ``tags`` (and ``latest``) on it, signed."""
    metadata = _load_targets(targets)
    signed = metadata.signed
    path = f"{MANIFEST_TARGET_PREFIX}{target.version}"
    custom = msgspec.to_builtins(target)
    for derived in ("version", "manifest_sha256", "manifest_length"):
        del custom[derived]
    signed.targets[path] = TargetFile(
        target.manifest_length, {"sha256": target.manifest_sha256}, path, {"custom": custom}
    )
    _set_tags(metadata, parse_targets(targets), dict.fromkeys(("latest", *tags), target.version))
    return _next(metadata, identity)


def move_tag(targets: bytes, identity: Identity, tag: str, version: int | None) -> bytes:
    """Targets with ``tag`` on ``version``, or without it when that is None, signed."""
    metadata = _load_targets(targets)
    _set_tags(metadata, parse_targets(targets), {tag: version})
    return _next(metadata, identity)


def retire(targets: bytes, identity: Identity, numbers: Collection[int]) -> bytes:
    """Targets without these versions, signed; those that are gone already are no matter.

    Raises ``Conflict`` for the newest, whose number the next one follows, and for tagged ones: people are sent there.
    """
    metadata, before = _load_targets(targets), parse_targets(targets)
    kept = {before.latest, max(before.versions, default=0), *before.tags.values()} & set(numbers)
    if kept:
        raise Conflict(f"version {min(kept)} is the newest or has a tag", kept="every version")
    for number in numbers:
        metadata.signed.targets.pop(f"{MANIFEST_TARGET_PREFIX}{number}", None)
    return _next(metadata, identity)


def entries(targets: bytes, numbers: Collection[int]) -> dict[int, bytes]:
    """All that verified targets say of those of these versions that they list, for ``restore``."""
    listed = _load_targets(targets).signed.targets
    found = {number: listed.get(f"{MANIFEST_TARGET_PREFIX}{number}") for number in numbers}
    return {number: msgspec.json.encode(file.to_dict()) for number, file in found.items() if file is not None}


def restore(targets: bytes, identity: Identity, retired: Mapping[int, bytes]) -> bytes:
    """Targets with versions that were retired, as ``entries`` kept them, signed."""
    metadata = _load_targets(targets)
    for number, kept in retired.items():
        path = f"{MANIFEST_TARGET_PREFIX}{number}"
        metadata.signed.targets[path] = TargetFile.from_dict(msgspec.json.decode(kept), path)
    return _next(metadata, identity)


def _set_tags(metadata: Metadata[Targets], before: SignedTargets, moved: Mapping[str, int | None]) -> None:
    """Write our field anew, so that what somebody else wrote there is never in the way."""
    tags = {tag: version for tag, version in {**before.tags, **moved}.items() if version is not None}
    metadata.signed.unrecognized_fields[SIGNED_EXTENSION] = {"tags": tags, "trackers": list(before.trackers)}


def sign_again(targets: bytes, identity: Identity) -> bytes:
    """The same targets, one version on, signed by us."""
    return _next(_load_targets(targets), identity)


def redelegate(targets: bytes, root: bytes, identity: Identity) -> bytes:
    """The same targets, one version on, with the keyring delegated to the owners that ``root`` names."""
    metadata = _load_targets(targets)
    signed = _load_root(root).signed
    metadata.signed.delegations = _keyring_delegation([signed.keys[keyid] for keyid in signed.roles["root"].keyids])
    return _next(metadata, identity)


def update_keyring(keyring: bytes, identity: Identity, content: KeyringContent) -> bytes:
    """The keyring with this content, signed."""
    metadata = _load_targets(keyring)
    metadata.signed.unrecognized_fields[SIGNED_EXTENSION] = msgspec.to_builtins(content)
    return _next(metadata, identity)


def root_keys(root: bytes) -> RootKeys:
    """Who a root says may sign what."""
    signed = _load_root(root).signed
    owners = [_public(signed.keys[keyid]) for keyid in signed.roles["root"].keyids]
    publishers = [_public(signed.keys[keyid]) for keyid in signed.roles["targets"].keyids]
    return RootKeys(frozenset(owners), frozenset(publishers) - frozenset(owners), signed.roles["root"].threshold)


def next_root(root: bytes, keys: RootKeys, identity: Identity) -> bytes:
    """The root after ``root`` with these keys, signed by us: enough, or a proposal for other owners to sign."""
    if not 1 <= keys.threshold <= len(keys.owners):
        raise BadUsage(f"{len(keys.owners)} owners can't give {keys.threshold} signatures")
    metadata = _load_root(root)
    signed = metadata.signed
    online = {keyid for role in ("snapshot", "timestamp") for keyid in signed.roles[role].keyids}
    owners, publishers = ([_key(public) for public in sorted(group)] for group in (keys.owners, keys.publishers))
    signed.keys = {keyid: signed.keys[keyid] for keyid in online} | {key.keyid: key for key in owners + publishers}
    signed.roles["root"] = Role([key.keyid for key in owners], keys.threshold)
    signed.roles["targets"] = Role(sorted({key.keyid for key in owners + publishers}), 1)
    terms = parse_terms(root)
    if bytes.fromhex(terms.owner) not in keys.owners:
        heir = identity.public_bytes if identity.public_bytes in keys.owners else min(keys.owners)
        signed.unrecognized_fields[SIGNED_EXTENSION] = msgspec.to_builtins(replace(terms, owner=heir.hex()))
    signed.version += 1
    signed.expires = _after(ROOT_LIFETIME)
    metadata.signatures.clear()
    return sign_root(metadata.to_bytes(JSONSerializer(compact=True)), identity)


def sign_root(root: bytes, identity: Identity) -> bytes:
    """A proposed root with our signature beside those that it has."""
    metadata = _load_root(root)
    metadata.sign(_signer(identity), append=True)
    return metadata.to_bytes(JSONSerializer(compact=True))


def missing_signatures(root: bytes, proposed: bytes) -> int:
    """How many owners' signatures ``proposed`` lacks to follow ``root``. Raises ``VerificationFailed`` if it can't."""
    before, after = _load_root(root), _load_root(proposed)
    if after.signed.version != before.signed.version + 1:
        raise VerificationFailed("the proposed keys are not meant for the share as it is now")
    result = after.signed.get_root_verification_result(before.signed, after.signed_bytes, after.signatures)
    return max(result.first.missing, result.second.missing)


def is_signed_by(root: bytes, public: bytes) -> bool:
    """Whether this key's signature is on a root; for proposals, whose other signatures count as they are."""
    return _key(public).keyid in _load_root(root).signatures


def root_signers(root: bytes) -> frozenset[bytes]:
    """Owners who signed a verified root."""
    metadata = _load_root(root)
    result = metadata.signed.get_verification_result("root", metadata.signed_bytes, metadata.signatures)
    return frozenset(map(_public, result.signed.values()))


def list_signers(root: bytes, targets: bytes) -> frozenset[bytes]:
    """Publishers who signed verified targets: who vouches for the list, whoever published what is on it."""
    metadata = _load_targets(targets)
    result = _load_root(root).signed.get_verification_result("targets", metadata.signed_bytes, metadata.signatures)
    return frozenset(map(_public, result.signed.values()))


def judge_proposal(root: bytes, proposed: bytes) -> RootKeys:
    """The keys that ``proposed`` names, if it follows ``root`` and changes nothing but owners, publishers and the
    number of signatures. Raises ``VerificationFailed``: an owner must not sign what was not shown."""
    keys = root_keys(proposed)
    before, after = _load_root(root).signed, _load_root(proposed).signed
    online = {keyid for role in ("snapshot", "timestamp") for keyid in before.roles[role].keyids}
    expected = {_key(public).keyid for public in keys.owners | keys.publishers} | online
    same = (
        after.version == before.version + 1
        and after.consistent_snapshot == before.consistent_snapshot
        and all(after.roles[role] == before.roles[role] for role in ("snapshot", "timestamp"))
        and after.keys.keys() == expected
        and all(after.keys[_key(public).keyid] == _key(public) for public in keys.owners | keys.publishers)
        and after.expires >= _after(ROOT_LIFETIME) - _SLOWEST_SIGNER
        and all(after.keys[keyid] == before.keys[keyid] for keyid in online)
        and after.roles["targets"].threshold == 1
        and after.unrecognized_fields.keys() == before.unrecognized_fields.keys()
        and parse_terms(proposed).fixed == parse_terms(root).fixed
        and bytes.fromhex(parse_terms(proposed).owner) in keys.owners
    )
    if not same:
        raise VerificationFailed("the proposal changes more than owners, publishers and the number of signatures")
    return keys


def may_sign_keyring(targets: bytes, keyring: bytes) -> bool:
    """Whether ``keyring`` is signed by a key that ``targets`` delegate it to."""
    signed, metadata = _load_targets(targets).signed, _load_targets(keyring)
    return bool(signed.get_verification_result(KEYRING_ROLE, metadata.signed_bytes, metadata.signatures))


def parse_terms(root: bytes) -> ShareTerms:
    """The terms in verified root bytes. Raises ``VerificationFailed``, also for a name that no share may have."""
    terms = _extension(_load_root(root).signed.unrecognized_fields, ShareTerms)
    if not is_share_name(terms.name):
        raise VerificationFailed(f"the share is called {terms.name[:60]!r}, which is no name for one")
    return terms


def parse_targets(targets: bytes) -> SignedTargets:
    """What verified targets bytes say. Raises ``VerificationFailed`` for what no publisher of ours writes."""
    signed = _load_targets(targets).signed
    versions: dict[int, VersionTarget] = {}
    if any(path.startswith(f"{KEYRING_ROLE}/") for path in signed.targets):
        raise VerificationFailed("a publisher tried to hide the share's keyring")
    for path, file in signed.targets.items():
        match = _NUMBER.fullmatch(path)
        if match is None:
            continue  # another client's kind of target: not ours to judge
        number = int(match[1])
        fields = {
            **(file.custom or {}),
            "version": number,
            "manifest_length": file.length,
            "manifest_sha256": file.hashes.get("sha256", ""),
        }
        try:
            versions[number] = _convert(fields, VersionTarget)
        except VerificationFailed:
            continue  # one publisher's nonsense must not take the others' versions away

    class Extension(msgspec.Struct):
        tags: dict[str, int]
        trackers: tuple[str, ...] = ()

    try:
        extension = _convert(signed.unrecognized_fields.get(SIGNED_EXTENSION), Extension)
    except VerificationFailed:
        extension = Extension({})  # as above: versions can be fetched by number
    tags = {tag: version for tag, version in extension.tags.items() if version in versions}
    return SignedTargets(signed.version, versions, tags, extension.trackers)


def parse_keyring(keyring: bytes) -> KeyringContent:
    """What verified keyring bytes say. Raises ``VerificationFailed``."""
    content = _extension(_load_targets(keyring).signed.unrecognized_fields, KeyringContent)
    numbers = [epoch.epoch for epoch in content.epochs]
    if numbers != list(range(1, len(numbers) + 1)):
        raise VerificationFailed("the keyring's epochs are not numbered one after the other")
    return content


def expiry(metadata: bytes) -> int:
    """When a verified signed file runs out, Unix seconds. Raises ``VerificationFailed``."""
    try:
        return int(Metadata[Any].from_bytes(metadata).signed.expires.timestamp())
    except (DeserializationError, RepositoryError) as exc:
        raise VerificationFailed("a signed file can't be read") from exc


def keyring_delegation_is_sound(root: bytes, targets: bytes) -> bool:
    """Whether targets delegate the keyring, whole, to the root's own keys and delegate nothing else: a publisher must
    be able neither to take it over nor to hide it."""
    root_signed, delegations = _load_root(root).signed, _load_targets(targets).signed.delegations
    roles = (delegations.roles or {}) if delegations else {}
    if delegations is None or delegations.succinct_roles is not None or set(roles) != {KEYRING_ROLE}:
        return False
    role = roles[KEYRING_ROLE]
    if role.paths != [f"{KEYRING_ROLE}/*"]:
        return False
    same_keys = set(role.keyids) == set(root_signed.roles["root"].keyids) and role.threshold == 1
    return same_keys and all(delegations.keys.get(k) == root_signed.keys.get(k) for k in role.keyids)


def _keyring_delegation(owners: Sequence[Key]) -> Delegations:
    """Any one owner may sign the keyring: adding and removing readers must not wait for a second signature."""
    keyids = sorted(key.keyid for key in owners)
    role = DelegatedRole(KEYRING_ROLE, keyids, 1, True, paths=[f"{KEYRING_ROLE}/*"])
    return Delegations({key.keyid: key for key in owners}, {KEYRING_ROLE: role})


def _public(key: Key) -> bytes:
    try:
        return bytes.fromhex(key.keyval["public"])
    except (KeyError, TypeError, ValueError) as exc:
        raise VerificationFailed("a key in the share's root can't be read") from exc


def _key(public: bytes) -> SSlibKey:
    keyid = hashlib.sha256(b"ed25519:" + public).hexdigest()
    return SSlibKey(keyid, "ed25519", "ed25519", {"public": public.hex()})


def _signer(identity: Identity) -> CryptoSigner:
    return CryptoSigner(identity.signing, _key(identity.public_bytes))


def _signed(signed: _Signed, identity: Identity) -> bytes:
    metadata = Metadata(signed)
    metadata.sign(_signer(identity))
    return metadata.to_bytes(JSONSerializer(compact=True))


def _next(metadata: Metadata[Targets], identity: Identity) -> bytes:
    metadata.signed.version += 1
    metadata.signed.expires = _after(TARGETS_LIFETIME)
    metadata.signatures.clear()
    metadata.sign(_signer(identity))
    return metadata.to_bytes(JSONSerializer(compact=True))


def _load_targets(data: bytes) -> Metadata[Targets]:
    try:
        metadata = Metadata[Targets].from_bytes(data)
    except (DeserializationError, RepositoryError) as exc:
        raise VerificationFailed("signed targets can't be read") from exc
    if type(metadata.signed) is not Targets:
        raise VerificationFailed("a signed file of another kind stands where targets belong")
    return metadata


def _load_root(data: bytes) -> Metadata[Root]:
    try:
        metadata = Metadata[Root].from_bytes(data)
    except (DeserializationError, RepositoryError) as exc:
        raise VerificationFailed("a signed root can't be read") from exc
    if type(metadata.signed) is not Root:
        raise VerificationFailed("a signed file of another kind stands where a root belongs")
    return metadata


def _extension(fields: Mapping[str, object], kind: type[_T]) -> _T:
    return _convert(fields.get(SIGNED_EXTENSION), kind)


def _convert(value: object, kind: type[_T]) -> _T:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as exc:
        raise VerificationFailed(f"signed metadata of this share is not as p2pckpt writes it: {exc}") from exc


def _after(lifetime: timedelta) -> datetime:
    return (datetime.now(UTC) + lifetime).replace(microsecond=0)
