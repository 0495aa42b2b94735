"""Requests and replies about other people's keys: who is known, what the user decided, what is to be looked at.

As in ``messages``: times are Unix seconds, identities hex, and no logic lives here. Names are claims of their bearers,
unsanitised.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from p2pckpt.trust.known_keys import How, KeyState, Review


class KeyPlace(msgspec.Struct, frozen=True):
    """A key in one share."""

    share_id: str
    share: str
    """Its name; empty for a share that is not known here any more."""
    role: str
    """owner, publisher, member; empty for somebody who was one."""
    since: int
    how: How
    first_version: int = 0
    """The first that it signed there, as far as is known here; 0 for none."""
    review: Review = Review.NONE
    verified_at: int = 0
    """When its words were compared for this share alone; 0 for not."""


class Namesake(msgspec.Struct, frozen=True):
    """A verified key whose name another one goes by."""

    identity: str
    words: str
    name: str
    verified_at: int


class KeyRow(msgspec.Struct, frozen=True):
    """One key that is known here."""

    identity: str
    words: str
    name: str
    """What its bearer calls themselves, as a tracker says; empty where nobody said."""
    state: KeyState
    """Over all shares; in a preview, in that share."""
    first_seen: int
    how: How
    places: tuple[KeyPlace, ...] = ()
    verified_at: int = 0
    """When its words were compared; 0 for not."""
    everywhere: bool = False
    """Verified for every share, not only for those that ``places`` say."""
    blocked_at: int = 0
    reason: str = ""
    namesakes: tuple[Namesake, ...] = ()
    """Not empty: perhaps an old friend's new key, perhaps somebody who takes their name."""


class KeyAction(StrEnum):
    VERIFY = "verify"
    BLOCK = "block"
    DISMISS = "dismiss"
    """It was looked at and is to be asked about no more; it stays unverified."""
    FORGET = "forget"
    """Take every decision back."""


class DecideKeyRequest(msgspec.Struct, frozen=True, kw_only=True):
    """``POST /v1/keys`` → list of KeyRow, as ``GET /v1/keys``: what the user decided about a key."""

    identity: str
    action: KeyAction
    share: str = ""
    """With verify: where that counts, by name or id; empty for everywhere."""
    first_word: str = ""
    """With verify: of the key, as the person told it. Another one is refused."""
    reason: str = ""
    """With block."""


class KeysChanged(msgspec.Struct, frozen=True, tag="keys"):
    """An event: something about known keys is different."""

    to_review: int
    """Keys that somebody should look at."""
