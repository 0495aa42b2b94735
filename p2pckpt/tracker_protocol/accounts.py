"""The tracker itself, and how somebody logs in: by proving that an identity is theirs."""

from __future__ import annotations

from typing import Final

import msgspec

TOKEN_PREFIX: Final = "p2pt_"  # noqa: S105 - marks a token, is none
TOKEN_LIFETIME: Final = 30 * 24 * 3600
"""Seconds an account token is valid."""
CHALLENGE_LIFETIME: Final = 60
"""Seconds within which a challenge must come back signed."""
LOGIN_CONTEXT: Final = b"p2pckpt login v2\0"
RECEIVE_KEY_CONTEXT: Final = b"p2pckpt receive key v1\0"


class TrackerInfo(msgspec.Struct, frozen=True):
    """``GET /api/v1/tracker`` (no token)."""

    tracker_id: str
    """Random, 32 hex digits, made at first start; signed into every login."""
    version: str
    online_key: str
    """Ed25519 public key, hex: signs snapshot and timestamp of every share here."""
    announce_url: str
    """Base of BEP 3 announces for stock clients, without the pass; empty when that listener is off."""
    new_shares: str
    """``open`` or ``listed``: who may create shares."""


class ChallengeReply(msgspec.Struct, frozen=True):
    """``POST /api/v1/challenges`` (no token, no body)."""

    challenge: str
    """Hex; single use, valid for ``CHALLENGE_LIFETIME``."""


class LoginRequest(msgspec.Struct, frozen=True):
    """``POST /api/v1/tokens``: proves possession of an identity, makes the account if there is none."""

    identity: str
    """Ed25519 public key, hex. It is the account's and the member's id everywhere."""
    receive_key: str
    """X25519 public key, hex: what content keys are sealed to."""
    receive_key_signature: str
    """Ed25519 over RECEIVE_KEY_CONTEXT + raw receive key, hex."""
    name: str
    """What the person calls themselves, ≤64 characters; shown, never trusted."""
    challenge: str
    signature: str
    """Ed25519 over ``login_message``, hex."""
    certificate: str = ""
    """SHA-256 of the TLS certificate that the client was shown, hex; empty over plain HTTP."""


def login_message(tracker_id: str, challenge: str, certificate: str) -> bytes:
    """What a login signs. The certificate stands first: whatever a tracker sends as its id and challenge, a login made
    over a connection with one certificate is none for a tracker that shows another."""
    return LOGIN_CONTEXT + b"\0".join(each.encode() for each in (certificate, tracker_id, challenge))


class TokenReply(msgspec.Struct, frozen=True):
    token: str
    expires_at: int
    """Unix seconds."""
