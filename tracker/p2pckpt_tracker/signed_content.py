"""What stands in the fields of a share's signed files that are ours, held against what clients write and read.

A client that can't read a file of a share can't use the share: one publisher could end it for everybody.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

import msgspec
from tuf.api.metadata import Root, TargetFile, Targets

from p2pckpt.tracker_protocol import MANIFEST_TARGET_PREFIX, MAX_LICENCE, SIGNED_EXTENSION, BlobKind
from p2pckpt.tracker_protocol.signed import KeyringContent

from .refusals import MetadataRefused
from .store.blobs import upload_of

MAX_READERS = 20_000
_TARGET_PATH = re.compile(rf"{MANIFEST_TARGET_PREFIX}([1-9][0-9]{{0,8}})")
_HEX64 = re.compile("[0-9a-f]{64}")
_NAME = re.compile(r"[^\x00-\x1f\x7f]{1,200}")
_TORRENT_NAME = re.compile(r"[^\x00-\x1f\x7f/\\]{1,200}")
_TAG = re.compile(r"(?!v?[0-9]+\Z)[a-z0-9][a-z0-9._-]{0,63}")
_MAX_TAGS = 1000
_MAX_TRACKERS = 16
_MAX_TRACKER = 1000
"""Characters of one tracker's addresses, of which a machine may have a dozen."""
_MAX_VERSION_NAME = 100
_MAX_CUSTOM = 4096
"""Bytes of what is signed about one version."""
_MAX_NUMBER = 1 << 53
"""What is at least this is no exact number to every reader of JSON."""


@dataclass(frozen=True, slots=True)
class RootFacts:
    """What the tracker reads out of a root."""

    name: str
    torrent_name: str
    owner: str
    """Identity, hex."""
    sealed: bool

    @property
    def fixed(self) -> tuple[str, str, bool]:
        """What is the same in every root of a share."""
        return self.name, self.torrent_name, self.sealed


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
    publisher: str
    """Identity, hex."""
    leans_on: tuple[str, ...]
    """Infohashes of the other torrents that its objects are in."""

    @property
    def uploads(self) -> list[str]:
        """What has to be here for somebody to fetch it."""
        torrents = [upload_of(BlobKind.TORRENT, each) for each in (self.info_hash, *self.leans_on)]
        cards = [upload_of(BlobKind.CARD, self.card)] if self.card else []
        return [upload_of(BlobKind.MANIFEST, self.manifest), *torrents, *cards]


@dataclass(frozen=True, slots=True)
class Needs:
    """What a share's targets need of what was uploaded."""

    uploads: set[str]
    all_torrents: bool
    """A version does not say which torrents it leans on: it may be any."""


class _Hashes(msgspec.Struct, gc=False):
    sha256: str


class _Custom(msgspec.Struct, gc=False):
    infohash: str
    card: str
    leans_on: list[str] | None = None


class _Target(msgspec.Struct, gc=False):
    hashes: _Hashes
    custom: _Custom


class _Signed(msgspec.Struct):
    targets: dict[str, _Target]


class _TargetsFile(msgspec.Struct):
    signed: _Signed


def root_facts(root: Root) -> RootFacts:
    """Raises MetadataRefused."""
    extension = root.unrecognized_fields.get(SIGNED_EXTENSION)
    if not isinstance(extension, dict) or extension.keys() != {"name", "torrent_name", "owner", "sealed"}:
        raise MetadataRefused(f"the root's {SIGNED_EXTENSION} field lacks something, or has too much")
    name, torrent_name, owner = (extension.get(field) for field in ("name", "torrent_name", "owner"))
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise MetadataRefused("the share's name is missing, too long, or holds control characters")
    if not isinstance(torrent_name, str) or not _TORRENT_NAME.fullmatch(torrent_name):
        raise MetadataRefused("the torrents' name is missing, too long, or holds slashes or control characters")
    if not isinstance(owner, str) or not _HEX64.fullmatch(owner):
        raise MetadataRefused("the owner is no identity")
    if not isinstance(extension["sealed"], bool):
        raise MetadataRefused("the root does not say whether the share is sealed")
    return RootFacts(name, torrent_name, owner, extension["sealed"])


def read_version(path: str, target: TargetFile) -> Version:
    """Raises MetadataRefused for what clients could not read."""
    match = _TARGET_PATH.fullmatch(path)
    if match is None:
        raise MetadataRefused("targets may name versions (v/N) only")
    custom = target.custom
    if not isinstance(custom, dict) or target.unrecognized_fields.keys() != {"custom"}:
        raise MetadataRefused(f"{path} lacks its custom field, or has others beside it")
    if len(json.dumps(custom)) > _MAX_CUSTOM:
        raise MetadataRefused(f"{path} says more than {_MAX_CUSTOM} bytes about itself")
    info_hash, card, publisher, name = (custom.get(field) for field in ("infohash", "card", "publisher", "name"))
    if not isinstance(info_hash, str) or not _HEX64.fullmatch(info_hash):
        raise MetadataRefused(f"{path} lacks a v2 infohash")
    if not isinstance(card, str) or (card and not _HEX64.fullmatch(card)):
        raise MetadataRefused(f"{path} has no valid card hash")
    if not isinstance(publisher, str) or not _HEX64.fullmatch(publisher):
        raise MetadataRefused(f"{path} names no publisher")
    if not isinstance(name, str) or len(name) > _MAX_VERSION_NAME or not name.isprintable():
        raise MetadataRefused(f"{path} has no name, or one of more than {_MAX_VERSION_NAME} printable characters")
    leans_on = custom.get("leans_on", [])  # clients of before did not say
    if not isinstance(leans_on, list) or not all(isinstance(e, str) and _HEX64.fullmatch(e) for e in leans_on):
        raise MetadataRefused(f"{path} leans on something that is no torrent")
    for field in ("published_at", "size", "files", "torrent_size", "torrent_length", "epoch"):
        number = custom.get(field)
        if type(number) is not int or not 0 <= number < _MAX_NUMBER:
            raise MetadataRefused(f"{path} has no number for {field}")
    manifest = target.hashes.get("sha256", "")
    if target.hashes.keys() != {"sha256"} or not _HEX64.fullmatch(manifest) or not custom["torrent_length"]:
        raise MetadataRefused(f"{path} lacks a length, or a SHA-256 and nothing else")
    return Version(int(match[1]), target.length, manifest, info_hash, card, custom["epoch"], publisher, tuple(leans_on))


def needs(targets: bytes) -> Needs:
    """What targets that were accepted need. Fast, and without the checks that they passed. Raises MetadataRefused."""
    try:
        listed = msgspec.json.decode(targets, type=_TargetsFile).signed.targets.values()
    except msgspec.MsgspecError as exc:
        raise MetadataRefused("the targets can't be read") from exc
    uploads = {upload_of(BlobKind.MANIFEST, each.hashes.sha256) for each in listed}
    uploads.update(upload_of(BlobKind.CARD, each.custom.card) for each in listed)
    for each in listed:
        uploads.update(
            upload_of(BlobKind.TORRENT, name) for name in (each.custom.infohash, *(each.custom.leans_on or ()))
        )
    return Needs(uploads, any(each.custom.leans_on is None for each in listed))


def check_offer(targets: Targets, last_number: int) -> None:
    """Tags and trackers; ``last_number`` is the highest version there ever was. Raises MetadataRefused."""
    extension = targets.unrecognized_fields.get(SIGNED_EXTENSION)
    if not isinstance(extension, dict) or extension.keys() != {"tags", "trackers"}:
        raise MetadataRefused(f"the {SIGNED_EXTENSION} field of targets has tags and trackers")
    tags, trackers = extension["tags"], extension["trackers"]
    if not isinstance(tags, dict) or len(tags) > _MAX_TAGS or not all(_TAG.fullmatch(tag) for tag in tags):
        raise MetadataRefused(f"there are more than {_MAX_TAGS} tags, or one is none that clients write")
    if not all(type(number) is int and 1 <= number <= last_number for number in tags.values()):
        raise MetadataRefused("a tag leads to no version")
    if not isinstance(trackers, list) or len(trackers) > _MAX_TRACKERS:
        raise MetadataRefused(f"a share has at most {_MAX_TRACKERS} trackers")
    if not all(isinstance(each, str) and len(each) <= _MAX_TRACKER and each.isprintable() for each in trackers):
        raise MetadataRefused(f"a tracker is at most {_MAX_TRACKER} printable characters")


def keyring_content(keyring: Targets) -> KeyringContent:
    """What a keyring says. Raises MetadataRefused for what clients could not read."""
    try:
        return msgspec.convert(keyring.unrecognized_fields.get(SIGNED_EXTENSION), KeyringContent)
    except msgspec.ValidationError as exc:
        raise MetadataRefused(f"the keyring's {SIGNED_EXTENSION} field is malformed") from exc


def check_keyring_content(content: KeyringContent, *, sealed: bool) -> None:
    """``sealed`` is what the root says of the share. Raises MetadataRefused."""
    if [each.epoch for each in content.epochs] != list(range(1, len(content.epochs) + 1)):
        raise MetadataRefused("the keyring's epochs must be numbered from 1, one after the other")
    if bool(content.epochs) is not sealed:
        raise MetadataRefused("a sealed share has epochs of keys, and one that is not has none")
    if len(content.readers) > MAX_READERS:
        raise MetadataRefused(f"a keyring names at most {MAX_READERS} readers")
    if len(content.licence) > MAX_LICENCE or not content.licence.isprintable():
        raise MetadataRefused(f"a licence to accept is at most {MAX_LICENCE} printable characters")


def check_growth(before: KeyringContent, after: KeyringContent) -> None:
    """Every epoch stays, leading back as it did, and at most one is added. Raises MetadataRefused."""
    if not 0 <= len(after.epochs) - len(before.epochs) <= 1:
        raise MetadataRefused("a keyring keeps its epochs and adds at most one")
    for old, new in zip(before.epochs, after.epochs, strict=False):
        if (old.earlier_view, old.earlier_content) != (new.earlier_view, new.earlier_content):
            raise MetadataRefused(f"epoch {old.epoch} led back to other keys before")
