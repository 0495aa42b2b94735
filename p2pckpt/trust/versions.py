"""Signed files of a share, made: The Update Framework's metadata through python-tuf.

Each share is one TUF repository. ``root`` is signed by the owner, ``targets`` by publishers, ``keyring``
(delegated) by the owner, ``snapshot`` and ``timestamp`` by the tracker. What TUF has no field for sits in the
signed field ``p2pckpt``. Reading and judging them is ``trust.admission``.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final, TypeVar

import msgspec
from securesystemslib.signer import CryptoSigner, SSlibKey
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import DelegatedRole, Delegations, Metadata, Role, Root, TargetFile, Targets
from tuf.api.serialization import DeserializationError
from tuf.api.serialization.json import JSONSerializer

from p2pckpt.errors import VerificationFailed
from p2pckpt.tracker_protocol import KEYRING_ROLE, MANIFEST_TARGET_PREFIX, SIGNED_EXTENSION, KeyringContent
from p2pckpt.trust import sealing
from p2pckpt.trust.identity import Identity, PublicIdentity

_T = TypeVar("_T")
_Signed = TypeVar("_Signed", Root, Targets)
ROOT_LIFETIME: Final = timedelta(days=365)
TARGETS_LIFETIME: Final = timedelta(days=365)
_NUMBER: Final = re.compile(rf"{MANIFEST_TARGET_PREFIX}([1-9][0-9]{{0,8}})")

Hash = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]
Count = Annotated[int, msgspec.Meta(ge=0)]


class ShareTerms(msgspec.Struct, frozen=True):
    """What the root of a share fixes for ever."""

    name: str
    torrent_name: str
    """Every torrent of the share carries this name."""
    owner: str
    sealed: bool
    """False for public shares: content is plain."""


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

    @property
    def content(self) -> tuple[str, str]:
        """What of a version never changes: its manifest and its torrent."""
        return self.manifest_sha256, self.infohash


class SealedEpoch(msgspec.Struct, frozen=True):
    """One epoch in the keyring: its keys, sealed to each member."""

    epoch: int
    sealed: dict[str, str]
    """Member's identity → base64 of what ``sealing.seal_for_member`` made."""


class SignedTargets(msgspec.Struct, frozen=True):
    """Targets metadata, parsed: what a share offers."""

    metadata_version: int
    versions: dict[int, VersionTarget]
    tags: dict[str, int]
    trackers: tuple[str, ...]

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
    keyring_role = DelegatedRole(KEYRING_ROLE, [owner_key.keyid], 1, True, paths=[f"{KEYRING_ROLE}/*"])
    targets = Targets(
        expires=_after(TARGETS_LIFETIME),
        delegations=Delegations({owner_key.keyid: owner_key}, {KEYRING_ROLE: keyring_role}),
        unrecognized_fields={SIGNED_EXTENSION: {"tags": {}, "trackers": list(trackers)}},
    )
    root_bytes = _signed(root, identity)
    first = sealing.EpochKeys.generate(1)
    epochs = [seal_epoch(first, [identity.public], share_id(root_bytes))] if sealed else []
    keyring = Targets(
        expires=_after(TARGETS_LIFETIME),
        unrecognized_fields={SIGNED_EXTENSION: {"epochs": [msgspec.to_builtins(e) for e in epochs]}},
    )
    return root_bytes, _signed(targets, identity), _signed(keyring, identity)


def share_id(root_bytes: bytes) -> bytes:
    """The id of the share whose first root this is."""
    return hashlib.sha256(root_bytes).digest()


def seal_epoch(keys: sealing.EpochKeys, members: Sequence[PublicIdentity], share: bytes) -> SealedEpoch:
    """``keys`` sealed to every member."""
    return SealedEpoch(
        keys.epoch,
        {
            member.identity.hex(): base64.b64encode(sealing.seal_for_member(keys, member.receive_key, share)).decode()
            for member in members
        },
    )


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
    extension = signed.unrecognized_fields[SIGNED_EXTENSION]
    for tag in ("latest", *tags):
        extension["tags"][tag] = target.version
    return _next(metadata, identity)


def move_tag(targets: bytes, identity: Identity, tag: str, version: int | None) -> bytes:
    """Targets with ``tag`` on ``version``, or without it when that is None, signed."""
    metadata = _load_targets(targets)
    tags = metadata.signed.unrecognized_fields[SIGNED_EXTENSION]["tags"]
    if version is None:
        tags.pop(tag, None)
    else:
        tags[tag] = version
    return _next(metadata, identity)


def sign_again(targets: bytes, identity: Identity) -> bytes:
    """The same targets, one version on, signed by us."""
    return _next(_load_targets(targets), identity)


def publishers(root: bytes) -> set[bytes]:
    """Public keys that may sign versions."""
    signed = _load_root(root).signed
    keys = (signed.keys[keyid] for keyid in signed.roles["targets"].keyids)
    return {bytes.fromhex(key.keyval["public"]) for key in keys}


def update_keyring(keyring: bytes, identity: Identity, epochs: Sequence[SealedEpoch]) -> bytes:
    """The keyring with these epochs, signed."""
    metadata = _load_targets(keyring)
    metadata.signed.unrecognized_fields[SIGNED_EXTENSION]["epochs"] = [msgspec.to_builtins(e) for e in epochs]
    return _next(metadata, identity)


def set_publishers(root: bytes, identity: Identity, publishers: Sequence[bytes]) -> bytes:
    """The next root, whose targets role names the root keys and ``publishers``."""
    metadata = _load_root(root)
    signed = metadata.signed
    keys = [_key(publisher) for publisher in publishers]
    keep = {keyid for role in ("root", "snapshot", "timestamp") for keyid in signed.roles[role].keyids}
    signed.keys = {keyid: key for keyid, key in signed.keys.items() if keyid in keep}
    signed.keys.update({key.keyid: key for key in keys})
    signed.roles["targets"].keyids = sorted({*signed.roles["root"].keyids, *(key.keyid for key in keys)})
    signed.version += 1
    signed.expires = _after(ROOT_LIFETIME)
    metadata.signatures.clear()
    metadata.sign(_signer(identity))
    return metadata.to_bytes(JSONSerializer(compact=True))


def parse_terms(root: bytes) -> ShareTerms:
    """The terms in verified root bytes. Raises ``VerificationFailed``."""
    return _extension(_load_root(root).signed.unrecognized_fields, ShareTerms)


def parse_targets(targets: bytes) -> SignedTargets:
    """What verified targets bytes say. Raises ``VerificationFailed`` for what no publisher of ours writes."""
    signed = _load_targets(targets).signed
    versions: dict[int, VersionTarget] = {}
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
        versions[number] = _convert(fields, VersionTarget)

    class Extension(msgspec.Struct):
        tags: dict[str, int]
        trackers: tuple[str, ...] = ()

    extension = _convert(signed.unrecognized_fields.get(SIGNED_EXTENSION), Extension)
    tags = {tag: version for tag, version in extension.tags.items() if version in versions}
    return SignedTargets(signed.version, versions, tags, extension.trackers)


def parse_keyring(keyring: bytes) -> list[SealedEpoch]:
    """The epochs in verified keyring bytes. Raises ``VerificationFailed``."""

    class Extension(msgspec.Struct):
        epochs: list[SealedEpoch]

    fields = _load_targets(keyring).signed.unrecognized_fields.get(SIGNED_EXTENSION)
    return _convert(fields, Extension).epochs


def licence_to_accept(keyring: bytes) -> str:
    """The licence that verified keyring bytes ask downloaders to accept; empty for none. Raises
    ``VerificationFailed``."""
    return _extension(_load_targets(keyring).signed.unrecognized_fields, KeyringContent).licence


def open_epochs(epochs: Sequence[SealedEpoch], identity: Identity, share: bytes) -> dict[int, sealing.EpochKeys]:
    """The epochs' keys that are sealed to us. Raises ``VerificationFailed`` for one that does not open."""
    opened: dict[int, sealing.EpochKeys] = {}
    for epoch in epochs:
        sealed = epoch.sealed.get(identity.hex)
        if sealed is not None:
            try:
                raw = base64.b64decode(sealed)
            except ValueError as exc:
                raise VerificationFailed("content keys addressed to this machine can't be read") from exc
            opened[epoch.epoch] = sealing.open_as_member(raw, identity.receiving, share)
    return opened


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
    root_role = root_signed.roles["root"]
    same_keys = set(role.keyids) == set(root_role.keyids) and role.threshold == root_role.threshold
    return same_keys and all(delegations.keys.get(k) == root_signed.keys.get(k) for k in role.keyids)


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
