"""Shares: making one, finding one, and changing its signed files and what they name."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

from p2pckpt.tracker_protocol.roles import Role, Visibility

MAX_METADATA: Final = 4 << 20
"""Bytes of one TUF file."""
MAX_MANIFEST: Final = 64 << 20
MAX_TORRENT: Final = 64 << 20
MAX_CARD: Final = 1 << 20
"""Bytes of one sealed manifest, .torrent file and card (README.md)."""
MANIFEST_TARGET_PREFIX: Final = "v/"
"""A version's manifest is the TUF target ``v/<number>``."""
KEYRING_ROLE: Final = "keyring"
SIGNED_EXTENSION: Final = "p2pckpt"
"""The field in signed root, targets, keyring and timestamp metadata that holds what is ours (trust/versions.py)."""


class CreateShare(msgspec.Struct, frozen=True):
    """``POST /api/v1/shares``: a new share from its first signed files; the caller becomes its owner.

    The tracker checks: share id is SHA-256(root), root version 1 is signed by its own root keys and by the
    caller's identity among them, snapshot and timestamp name the tracker's online key, targets and keyring
    verify. It then signs snapshot 1 and timestamp 1.
    """

    root: bytes
    targets: bytes
    keyring: bytes
    visibility: Visibility


class ShareRecord(msgspec.Struct, frozen=True):
    """One share as its members see it: ``GET /api/v1/shares/{id}``; a page of them: ``GET /api/v1/shares``."""

    share_id: str
    """SHA-256 of root version 1, hex."""
    name: str
    """From the signed root: ``cars/sd15``."""
    visibility: Visibility
    owner: str
    role: Role
    """The caller's own role."""
    targets_version: int
    versions: int
    created_at: int
    updated_at: int
    torrent_name: str
    """The name all torrents of this share carry."""
    licence_due: str = ""
    """What the caller must accept before a pass, a torrent or a certificate is given; empty for nothing."""


class SharePage(msgspec.Struct, frozen=True):
    """``GET /api/v1/shares?after=…&limit=…&query=…``: shares the caller may view, ordered by id."""

    shares: list[ShareRecord]
    next: str | None
    """Pass as ``after`` for the next page; null at the end."""


# TUF files:      GET  /api/v1/shares/{id}/metadata/{file}   needs viewer; raw bytes
#                 file: N.root.json, timestamp.json, N.snapshot.json, N.targets.json, N.keyring.json
# blobs:          PUT  /api/v1/shares/{id}/blobs/{kind}/{sha256}   needs publisher; raw body, idempotent
#                 GET  …                                           manifest and card: viewer; torrent: downloader
#                 kind: manifest, torrent, card; for a torrent the name is its v2 infohash


class BlobKind(StrEnum):
    MANIFEST = "manifest"
    TORRENT = "torrent"
    CARD = "card"


class PublishTargets(msgspec.Struct, frozen=True):
    """``POST /api/v1/shares/{id}/targets``: new versions or moved tags, needs publisher; retired ones, needs owner.

    Compare-and-swap: the signed version must be the current one plus one, else 409 and nothing changes. Every
    new target's manifest and torrent must have been uploaded.
    """

    targets: bytes
    earlier: int = 0
    """Number of the targets that listed what these list again: retired versions that an owner takes back."""


class PublishKeyring(msgspec.Struct, frozen=True):
    """``POST /api/v1/shares/{id}/keyring``: a new keyring, needs owner; compare-and-swap as for targets."""

    keyring: bytes


class PublishRoot(msgspec.Struct, frozen=True):
    """``POST /api/v1/shares/{id}/root``: the next root, signed by the old and the new keys, needs owner.

    What has to change with it comes along and counts at the same moment: targets when owners change, because they
    delegate the keyring to the root's keys, and a keyring that a leaving owner had signed.
    """

    root: bytes
    targets: bytes = b""
    """Empty: the present ones stay."""
    keyring: bytes = b""
    """Empty: the present one stays."""


class RootProposal(msgspec.Struct, frozen=True):
    """``PUT /api/v1/shares/{id}/proposal``, needs owner: a next root that needs more owners' signatures.

    One of each owner at a time; a newer one of the same owner takes its place, and any new root ends all. What says the
    same as another's proposal adds its signatures to that one. ``DELETE`` withdraws the caller's own.
    """

    root: bytes


class RootProposals(msgspec.Struct, frozen=True):
    """``GET /api/v1/shares/{id}/proposal``, needs owner: next roots that wait for signatures; one of them can win."""

    roots: list[bytes]


class PublishReply(msgspec.Struct, frozen=True):
    targets_version: int
    snapshot_version: int
    timestamp_version: int
