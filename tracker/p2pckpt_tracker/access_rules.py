"""Who may do what, in memory: grants, tokens, passes and the torrents of each share. Default deny.

Loaded once at start; afterwards whoever commits a change to the database applies it here in the same call, so
that an announce never asks the database. Tokens and passes are known by their SHA-256 only.
"""

from __future__ import annotations

import binascii
import hashlib
import secrets
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from p2pckpt.tracker_protocol import PASS_PREFIX, TOKEN_PREFIX, Role, Visibility

_SECRET_BYTES = 32
_CHECK_DIGITS = 8
"""CRC-32 in hex: lets secret scanners and typing errors be told from real tokens without a look-up."""


def new_secret(prefix: str) -> str:
    """A bearer secret: prefix, 32 random bytes in hex, checksum."""
    body = prefix + secrets.token_hex(_SECRET_BYTES)
    return body + _check(body)


def digest(secret: str) -> bytes:
    """What is stored and looked up in place of a token or pass."""
    return hashlib.sha256(secret.encode()).digest()


def well_formed(secret: str, prefix: str) -> bool:
    """Whether prefix, length and checksum fit; says nothing about whether it was ever issued."""
    length = len(prefix) + 2 * _SECRET_BYTES + _CHECK_DIGITS
    if len(secret) != length or not secret.startswith(prefix) or not secret.isascii():
        return False
    return _check(secret[:-_CHECK_DIGITS]) == secret[-_CHECK_DIGITS:]


def _check(body: str) -> str:
    return f"{binascii.crc32(body.encode()):08x}"


class Token(NamedTuple):
    identity: str
    expires_at: int


class Pass(NamedTuple):
    share_id: str
    identity: str
    expires_at: int


@dataclass(slots=True)
class ShareGrants:
    """What decides about one share."""

    visibility: Visibility
    members: dict[str, Role] = field(default_factory=dict)
    torrents: dict[bytes, bytes] = field(default_factory=dict)
    """First 20 bytes of the v2 infohash → all 32, for every torrent that was ever published."""
    licence: str = ""
    """What downloaders have to accept; empty for nothing."""
    accepted: set[str] = field(default_factory=set)
    """Who has accepted exactly that licence."""
    authority: int = 0
    """Generation of the swarms' certificate authority; 0 before there is one."""


class AccessRules:
    """Answers in about a microsecond; changed only by those who have just committed the same change."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self.shares: dict[str, ShareGrants] = {}
        self.tokens: dict[bytes, Token] = {}
        self.passes: dict[bytes, Pass] = {}
        self.public_torrents: dict[bytes, str] = {}
        """First 20 bytes of the v2 infohash → public share, for every torrent of a public share."""
        self._member_numbers: dict[str, int] = {}
        self._identities: list[str] = []

    def identity_of(self, token: str) -> str | None:
        """The account a bearer token stands for; None for unknown, expired or malformed ones."""
        if not well_formed(token, TOKEN_PREFIX):
            return None
        known = self.tokens.get(digest(token))
        return known.identity if known is not None and known.expires_at > self._clock() else None

    def role(self, share_id: str, identity: str) -> Role | None:
        """The caller's role; in a public share everybody with an account may download."""
        grants = self.shares.get(share_id)
        if grants is None:
            return None
        role = grants.members.get(identity)
        if grants.visibility is Visibility.PUBLIC and (role is None or not role.covers(Role.DOWNLOADER)):
            return Role.DOWNLOADER
        return role

    def may(self, share_id: str, identity: str, needed: Role) -> bool:
        role = self.role(share_id, identity)
        return role is not None and role.covers(needed)

    def owners(self, share_id: str) -> set[str]:
        """The owners of a share that exists."""
        return {identity for identity, role in self.shares[share_id].members.items() if role is Role.OWNER}

    def licence_due(self, share_id: str, identity: str) -> str:
        """The licence that somebody has to accept first; empty when it is accepted, or they publish it themselves."""
        grants = self.shares.get(share_id)
        if grants is None or not grants.licence or identity in grants.accepted:
            return ""
        return "" if self.may(share_id, identity, Role.PUBLISHER) else grants.licence

    def pass_of(self, announce_pass: str) -> Pass | None:
        """The pass, if it was issued, has not expired, and its holder may still download."""
        if not well_formed(announce_pass, PASS_PREFIX):
            return None
        known = self.passes.get(digest(announce_pass))
        if known is None or known.expires_at <= self._clock():
            return None
        return known if self.may(known.share_id, known.identity, Role.DOWNLOADER) else None

    def torrent(self, share_id: str, info_hash: bytes) -> bytes | None:
        """The first 20 bytes of a published torrent's infohash, given those or all 32; None for any other."""
        grants = self.shares.get(share_id)
        short = info_hash[:20]
        whole = grants.torrents.get(short) if grants is not None else None
        if whole is None or (len(info_hash) != 20 and info_hash != whole):
            return None
        return short

    def public_share_of(self, info_hash: bytes) -> str | None:
        """The public share that an anonymous peer with this torrent may take part in; None for all others.

        Where a licence has to be accepted, nobody is anonymous.
        """
        share_id = self.public_torrents.get(info_hash[:20])
        grants = self.shares.get(share_id) if share_id is not None else None
        if share_id is None or grants is None or grants.licence:
            return None
        return share_id if self.torrent(share_id, info_hash) is not None else None

    def member_number(self, identity: str) -> int:
        """A small number for an identity, stable while the process lives: what swarms store."""
        number = self._member_numbers.setdefault(identity, len(self._identities))
        if number == len(self._identities):
            self._identities.append(identity)
        return number

    def identity_of_number(self, number: int) -> str:
        """The inverse of ``member_number``."""
        return self._identities[number]

    def set_role(self, share_id: str, identity: str, role: Role | None) -> None:
        """Apply a committed grant or removal. Passes die with the right to download."""
        members = self.shares[share_id].members
        if role is None:
            members.pop(identity, None)
        else:
            members[identity] = role
        if role is None or not role.covers(Role.DOWNLOADER):
            self._drop_passes(share_id, identity)

    def set_licence(self, share_id: str, licence: str, accepted: set[str]) -> None:
        """Apply a committed keyring. Passes that were given under another licence live out their day."""
        grants = self.shares[share_id]
        grants.licence, grants.accepted = licence, accepted

    def add_torrents(self, share_id: str, info_hashes: Iterable[str]) -> None:
        """Make published torrents announceable; ``info_hashes`` in hex."""
        grants = self.shares[share_id]
        for each in info_hashes:
            whole = bytes.fromhex(each)
            grants.torrents[whole[:20]] = whole
            if grants.visibility is Visibility.PUBLIC:
                self.public_torrents.setdefault(whole[:20], share_id)

    def forget_expired(self) -> None:
        """Drop tokens and passes that are over; they are refused in any case."""
        now = self._clock()
        self.tokens = {key: each for key, each in self.tokens.items() if each.expires_at > now}
        self.passes = {key: each for key, each in self.passes.items() if each.expires_at > now}

    def _drop_passes(self, share_id: str, identity: str) -> None:
        dead = [key for key, each in self.passes.items() if each.share_id == share_id and each.identity == identity]
        for key in dead:
            del self.passes[key]
