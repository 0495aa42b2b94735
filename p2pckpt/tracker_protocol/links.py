"""Links: registering, revoking and redeeming them."""

from __future__ import annotations

from typing import Final

import msgspec

from p2pckpt.tracker_protocol.roles import Role

LINK_AUTH_CONTEXT: Final = b"p2pckpt link auth v1\0"
LINK_WRAP_CONTEXT: Final = b"p2pckpt link wrap v1\0"
LINK_BIND_CONTEXT: Final = b"p2pckpt link bind v1\0"


class CreateLink(msgspec.Struct, frozen=True):
    """``POST /api/v1/shares/{id}/links``: register a link made by the client, needs owner.

    The tracker learns neither the secret nor the keys: only SHA-256 of what a redeemer must show, and the
    content keys wrapped under another key derived from the secret.
    """

    link_id: str
    """16 hex digits, random."""
    auth_hash: str
    """SHA-256 of the 32-byte auth value, hex."""
    wrapped_keys: bytes
    role: Role
    """viewer or downloader."""
    expires_at: int = 0
    """Unix seconds; 0 for never."""
    max_uses: int = 0
    """0 for any number."""
    password_salt: str = ""
    """Hex; not empty when a password joins the secret (Argon2id, parameters fixed by the client)."""


class RewrapLink(msgspec.Struct, frozen=True):
    """``PUT /api/v1/shares/{id}/links/{link_id}``: the newest content keys under the same secret, needs owner."""

    wrapped_keys: bytes


class LinkRecord(msgspec.Struct, frozen=True):
    """``GET /api/v1/shares/{id}/links`` (a list, needs owner); ``DELETE …/links/{link_id}`` revokes one."""

    link_id: str
    role: Role
    expires_at: int
    max_uses: int
    uses: int
    created_at: int
    revoked: bool
    """Whether nobody can join with it any more, because an owner said so or because it was burnt."""
    burnt: bool = False
    """Whether wrong secrets or passwords were what ended it."""


class LinkInfo(msgspec.Struct, frozen=True):
    """``GET /api/v1/links/{link_id}`` (any token): what a client must know before it can redeem."""

    share_id: str
    password_salt: str


class RedeemLink(msgspec.Struct, frozen=True):
    """``POST /api/v1/links/{link_id}/redeem`` (any token): join the link's share with the link's role.

    Redeeming again as a member counts no second use and never lowers a role. After 5 wrong auth values the link
    is burnt.
    """

    auth: str
    """The 32-byte auth value, hex."""
    binding: str
    """HMAC-SHA256(link secret, LINK_BIND_CONTEXT + identity + receive key), hex: proves to the owner that this
    key came with the secret."""


class RedeemReply(msgspec.Struct, frozen=True):
    share_id: str
    role: Role
    wrapped_keys: bytes
