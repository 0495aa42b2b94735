"""What is remembered of other people's keys, and what follows from it: no files and no network in here.

A share's signed root says who may publish in it; this is about the person who receives. A key is known once it owns,
publishes or signed in a share that this machine knows, or stands in its members' list. What somebody calls themselves
is a claim, shown as such: only a key whose words were compared is verified, and only its name means anything.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

MAX_NAME: Final = 64
"""Characters of a claimed name that are kept."""
MAX_REASON: Final = 200
_LOOKALIKES: Final = {
    ord(character): letter
    for letter, characters in {
        "a": "\u0430\u03b1",
        "b": "\u0432\u03b2",
        "c": "\u0441",
        "d": "\u0501",
        "e": "\u0435\u03b5",
        "g": "\u0261",
        "h": "\u043d\u04bb",
        "j": "\u0458",
        "k": "\u043a\u03ba",
        "l": "i\u0131\u0456\u03b9\u04cf1|!",
        "m": "\u043c",
        "n": "\u043f",
        "o": "\u043e\u03bf0",
        "p": "\u0440\u03c1",
        "r": "\u0433",
        "s": "\u0455",
        "t": "\u0442\u03c4",
        "u": "\u03c5",
        "v": "\u03bd\u0475",
        "w": "\u03c9\u051d",
        "x": "\u0445\u03c7",
        "y": "\u0443\u03b3",
    }.items()
    for character in characters
}
"""Cyrillic and Greek letters, digits and signs that are drawn like Latin letters (a choice from UTS #39)."""


class How(StrEnum):
    """How a key came to be known."""

    LINK = "link"
    """With a share that was joined by a link."""
    SHARE = "share"
    """In a share that was known already."""
    MEMBERS = "members"
    """In a members' list, which is the tracker's word."""
    HAND = "hand"
    """Somebody gave the key itself."""


class Review(StrEnum):
    """Why a person should look at a key."""

    NONE = ""
    PUBLISHER = "publisher"
    """It signed a version in a share where others had signed all before."""
    OWNER = "owner"
    """It became an owner of a share that was known."""
    NAME = "name"
    """It publishes under the name of a key that was verified."""


HOW_TEXT: Final = {
    How.LINK: "with a share you joined by link",
    How.SHARE: "in a share that was known",
    How.MEMBERS: "in a list of members",
    How.HAND: "named by you",
}
REVIEW_TEXT: Final = {
    Review.PUBLISHER: "signs where others signed all versions before",
    Review.OWNER: "became an owner",
    Review.NAME: "publishes under the name of a key that you verified",
}


class KeyState(StrEnum):
    """What a person decided about a key, or should."""

    OWN = "own"
    VERIFIED = "verified"
    UNVERIFIED = "unverified"
    REVIEW = "review"
    BLOCKED = "blocked"


@dataclass(frozen=True, slots=True)
class Verified:
    """The words were compared."""

    share: bytes
    """Where that counts; empty for everywhere."""
    at: int
    name: str
    """What the key called itself then."""


@dataclass(frozen=True, slots=True)
class Place:
    """A key in one share."""

    share: bytes
    role: str
    """``owner``, ``publisher`` or ``member``; empty for one that was something before."""
    since: int
    how: How
    first_version: int = 0
    """The first version it signed there, as far as is known here; 0 for none."""
    review: Review = Review.NONE


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """All that is remembered of one key. Times are Unix seconds."""

    identity: bytes
    name: str
    """What its bearer called themselves last; from the tracker, and cleaned only when shown."""
    first_seen: int
    how: How
    verified: tuple[Verified, ...] = ()
    blocked_at: int = 0
    """0 for not."""
    reason: str = ""
    places: tuple[Place, ...] = ()

    def is_verified(self, share: bytes) -> bool:
        """Whether the words were compared for this share, or for everywhere."""
        return any(each.share in (b"", share) for each in self.verified)

    def state(self, share: bytes | None = None) -> KeyState:
        """In one share, or over all."""
        if self.blocked_at:
            return KeyState.BLOCKED
        if any(place.review and share in (None, place.share) for place in self.places):
            return KeyState.REVIEW
        if self.verified if share is None else self.is_verified(share):
            return KeyState.VERIFIED
        return KeyState.UNVERIFIED


def likeness(name: str) -> str:
    """What a name looks like: two names that a reader may take for the same have the same likeness.

    Case, accents, spaces and punctuation count for nothing, and letters that are drawn alike are one.
    """
    folded = unicodedata.normalize("NFKD", name[:MAX_NAME]).casefold()
    return "".join(character for character in folded.translate(_LOOKALIKES) if character.isalnum())


def namesakes(record: KeyRecord, others: Iterable[KeyRecord]) -> list[KeyRecord]:
    """Verified keys whose name this one goes by, though it is another key; none for one that is verified itself."""
    alike = likeness(record.name)
    if not alike or record.verified:
        return []
    return [
        other
        for other in others
        if other.identity != record.identity and any(likeness(each.name) == alike for each in other.verified)
    ]
