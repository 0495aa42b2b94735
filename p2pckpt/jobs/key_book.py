"""Whose keys this machine knows, and what the user decided about them: noted as shares are looked at, asked before
anything is fetched or seeded.

The signed root decides who may publish in a share (``trust.admission``); nothing here lets anybody in. It refuses whom
the user blocked, and tells of keys that turn up where others signed before.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from p2pckpt import tracker_protocol as tp
from p2pckpt.checkpoint.manifest import Manifest
from p2pckpt.checkpoint.terminal_text import clean
from p2pckpt.errors import BadUsage, BlockedKey, KeyToReview, NotFound
from p2pckpt.store.catalogue import KnownShare
from p2pckpt.store.known_keys import KnownKeys
from p2pckpt.trust import versions
from p2pckpt.trust.admission import TrustedShare
from p2pckpt.trust.identity import words
from p2pckpt.trust.known_keys import (
    MAX_NAME,
    MAX_REASON,
    How,
    KeyRecord,
    KeyState,
    Place,
    Review,
    Verified,
    namesakes,
)

_MOST_MEMBERS: Final = 2000
"""Of one share, that are remembered, and as many again that were: the tracker says who is a member, and could invent
any number."""


@dataclass(frozen=True, slots=True)
class News:
    """A key that somebody should look at."""

    record: KeyRecord
    share: str
    review: Review
    version: int
    """The first that it signed; 0 where that is not the reason."""


class KeyBook:
    """Lives on the daemon's loop; what touches the disk runs in threads."""

    def __init__(
        self, own: bytes, known: KnownKeys, *, waits: Callable[[], bool], now: Callable[[], float] = time.time
    ) -> None:
        self._own = own
        self._known = known
        self._waits = waits
        self._now = now
        self._noted: dict[bytes, tuple[bytes, bytes]] = {}
        """Share → root and targets that were noted last."""
        self._blocked = known.blocked()
        self.to_review = known.to_review()
        """Keys that somebody should look at."""
        self._heard: Callable[[Sequence[News]], None] = lambda news: None

    def listen(self, listener: Callable[[Sequence[News]], None]) -> None:
        """Call ``listener`` on the loop whenever something changed, with the keys to be looked at anew, if any."""
        self._heard = listener

    # -- noting who is there

    async def note(self, share: KnownShare, trusted: TrustedShare) -> None:
        """Whoever owns, publishes or signed in a share is known from now on."""
        seen = trusted.root_bytes, trusted.targets_bytes
        if self._noted.get(share.share_id) != seen:
            changed, news = await asyncio.to_thread(self._note, share, trusted)
            self._noted[share.share_id] = seen
            if changed:
                await self._tell(news)

    async def note_members(self, share: KnownShare, members: Iterable[tp.Member]) -> None:
        """What members call themselves, as the tracker says."""
        changed, news = await asyncio.to_thread(self._note_members, share, list(members)[:_MOST_MEMBERS])
        if changed:
            await self._tell(news)

    def _note(self, share: KnownShare, trusted: TrustedShare) -> tuple[bool, list[News]]:
        known, share_id, now = self._known, share.share_id, int(self._now())
        keys = versions.root_keys(trusted.root_bytes)
        roles = dict.fromkeys(keys.publishers, "publisher") | dict.fromkeys(keys.owners, "owner")
        first_versions: dict[bytes, int] = {}
        for number, target in sorted(trusted.targets.versions.items()):
            first_versions.setdefault(bytes.fromhex(target.publisher), number)
        own_word = self._own in versions.root_signers(trusted.root_bytes)
        news: list[News] = []
        with known.transaction():
            met, before, listed = known.has_met(share_id), known.places_in(share_id), known.listed(share_id)
            here = {
                key: Place(
                    share_id, roles.get(key, ""), now, How.SHARE if met else How.LINK, first_versions.get(key, 0)
                )
                for key in (roles.keys() | first_versions.keys()) - {self._own}
            }
            for key, found in here.items():
                record, old = known.one(key), before.get(key)
                place = found if old is None else replace(old, role=found.role, first_version=found.first_version)
                if met and not own_word and not (record and (record.blocked_at or record.is_verified(share_id))):
                    place = replace(place, review=_why(place, old, signed_before=bool(listed)))
                if place == old:
                    continue
                known.know(key, now, place.how)
                known.place(key, place)
                if place.review and (old is None or place.review != old.review):
                    record = known.one(key)
                    assert record is not None
                    news.append(News(record, share.name, place.review, place.first_version))
            for key in before.keys() - here.keys():
                if before[key].role in ("owner", "publisher"):
                    known.place(key, replace(before[key], role=""))
            known.list_versions(share_id, _signers(trusted, trusted.targets.versions.keys() - listed.keys()))
            known.meet(share_id, now)
            return known.places_in(share_id) != before, news

    def _note_members(self, share: KnownShare, members: Sequence[tp.Member]) -> tuple[bool, list[News]]:
        known, share_id, now, news, changed = self._known, share.share_id, int(self._now()), list[News](), False
        with known.transaction():
            names, places = known.names_in(share_id), known.places_in(share_id)
            for member in members:
                try:
                    key = bytes.fromhex(member.identity)
                except ValueError:
                    continue
                name = clean(member.name, MAX_NAME)
                if len(key) != 32 or key == self._own or (key in places and names.get(key) == name):
                    continue
                changed = True
                known.know(key, now, How.MEMBERS)
                known.name(key, name)
                place = places.get(key) or Place(share_id, "member", now, How.MEMBERS)
                known.place(key, place)
                record = known.one(key)
                assert record is not None
                signs = place.first_version or place.role in ("owner", "publisher")
                if signs and not place.review and not record.blocked_at and self._namesakes(record):
                    known.place(key, replace(place, review=Review.NAME))
                    news.append(News(record, share.name, Review.NAME, 0))
            listed = {member.identity for member in members}
            for key, place in places.items():
                if place.role == "member" and key.hex() not in listed:
                    changed = True
                    known.place(key, replace(place, role=""))
            if changed:
                known.forget_members(share_id, _MOST_MEMBERS)
        return changed, news

    async def _tell(self, news: Sequence[News] = ()) -> None:
        self._blocked, self.to_review = await asyncio.to_thread(
            lambda: (self._known.blocked(), self._known.to_review())
        )
        self._heard(news)

    # -- asking

    async def require(self, share: KnownShare, trusted: TrustedShare, version: int, publisher: bytes = b"") -> None:
        """Raise ``BlockedKey`` if the user blocked whoever stands behind a version, and ``KeyToReview`` if new keys
        are to wait and its publisher is one.

        Somebody who is blocked stands behind what they published, and behind a whole share while its root has too few
        signatures besides theirs. ``publisher`` is what is known of a version that was retired.
        """
        name = f"{share.name}@v{version}"
        if not (publisher and trusted.is_retired(version)):
            publisher = bytes.fromhex(trusted.target(version).publisher)
        if publisher == self._own:
            return
        if self._blocked:
            behind = await asyncio.to_thread(self._blocked_behind, trusted, publisher)
            if behind is not None:
                raise await asyncio.to_thread(self._refusal, name, *behind)
        if not self._waits():
            return
        record = await self.record(publisher)
        state = record.state(share.share_id) if record is not None else KeyState.UNVERIFIED
        if record is None or state is KeyState.VERIFIED:
            return
        others = await asyncio.to_thread(self._namesakes, record)
        if state is KeyState.REVIEW or others:
            raise KeyToReview(
                f"{name} is signed by a key that you have not looked at yet: {called(record)}",
                kept="nothing was fetched",
                next_step=f"look at it: p2pckpt trust show {publisher.hex()[:12]}; then verify, dismiss or block it",
            )

    async def require_own_word(self, share: KnownShare, trusted: TrustedShare, manifest: Manifest) -> None:
        """Raise ``BlockedKey`` for a version that nothing but a blocked key's list says is its publisher's.

        A publisher signs the list of all versions, and could put another's name to one. Their own model signature
        proves it theirs (``oms.check`` was called), and so does a list that somebody else signed.
        """
        body = manifest.body
        if not self._blocked or body.publisher == self._own or body.model_signature is not None:
            return
        signers = versions.list_signers(trusted.root_bytes, trusted.targets_bytes)
        listed = await asyncio.to_thread(self._known.listed, share.share_id)
        if signers <= self._blocked and listed.get(body.version, min(signers)) in self._blocked:
            name = f"{share.name}@v{body.version}"
            did = "was seen in no list but one signed by"
            raise await asyncio.to_thread(self._refusal, name, min(signers), did)

    def _blocked_behind(self, trusted: TrustedShare, publisher: bytes) -> tuple[bytes, str] | None:
        """Who of those that are blocked stands behind a version, and what they did."""
        blocked = self._blocked
        if publisher in blocked:
            return publisher, "is signed by"
        root_signers = versions.root_signers(trusted.root_bytes)
        threshold = versions.root_keys(trusted.root_bytes).threshold
        if root_signers & blocked and len(root_signers - blocked) < threshold:
            return min(root_signers & blocked), "is of a share whose keys are signed by"
        return None

    def _refusal(self, name: str, key: bytes, did: str) -> BlockedKey:
        record = self._known.one(key)
        assert record is not None
        when = time.strftime("%Y-%m-%d", time.localtime(record.blocked_at))
        why = f": {record.reason}" if record.reason else ""
        return BlockedKey(
            f"{name} {did} {called(record)}, whom you blocked on {when}{why}",
            kept="what is on this disk; nothing more is fetched or offered",
            next_step=f"p2pckpt trust forget {key.hex()[:12]} takes the block back",
        )

    async def record(self, identity: bytes) -> KeyRecord | None:
        """What is remembered of one key."""
        return await asyncio.to_thread(self._known.one, identity)

    async def has_nameless(self, share_id: bytes) -> bool:
        """Whether somebody owns or publishes in a share whose name was never heard."""

        def look() -> bool:
            names = self._known.names_in(share_id)
            places = self._known.places_in(share_id)
            return any(places[key].role in ("owner", "publisher") and not name for key, name in names.items())

        return await asyncio.to_thread(look)

    async def records(self) -> list[KeyRecord]:
        return await asyncio.to_thread(self._known.all)

    def _namesakes(self, record: KeyRecord) -> list[KeyRecord]:
        return namesakes(record, (each for each in self._known.all() if each.verified)) if record.name else []

    # -- deciding

    async def verify(self, identity: bytes, share: bytes, first_word: str) -> KeyRecord:
        """The user compared the words and typed the first one; for one share, or (empty) for everywhere.

        Raises ``BadUsage`` for another word, for a blocked key, and for everywhere where the name is somebody else's.
        """
        spelt = words(identity)
        if first_word.strip().casefold() != spelt.partition("-")[0]:
            raise BadUsage(
                f"{first_word[:20]!r} is not the first word of this key",
                kept="it is as it was",
                next_step=f"compare all of them with the person: {spelt}",
            )
        record = await self._decidable(identity)
        if record.blocked_at:
            raise BadUsage(
                f"{called(record)} is blocked", next_step=f"p2pckpt trust forget {identity.hex()[:12]}, then verify it"
            )
        if not share and (others := await asyncio.to_thread(self._namesakes, record)):
            raise BadUsage(
                f"{called(record)} goes by the name of another key that you verified: {called(others[0])}",
                kept="it is as it was",
                next_step="verify it for one share, or forget the other key first",
            )
        verified = Verified(share, int(self._now()), record.name)
        await asyncio.to_thread(self._known.verify, identity, verified)
        return await self._decided(identity)

    async def block(self, identity: bytes, reason: str) -> KeyRecord:
        """Nothing that this key signs is taken any more."""
        await self._decidable(identity)
        await asyncio.to_thread(self._known.block, identity, int(self._now()), clean(reason, MAX_REASON))
        return await self._decided(identity)

    async def dismiss(self, identity: bytes) -> KeyRecord:
        """The user has seen that a key is new; it stays unverified."""
        await self._decidable(identity)
        await asyncio.to_thread(self._known.settle, identity)
        return await self._decided(identity)

    async def forget(self, identity: bytes, shares: Iterable[bytes]) -> None:
        """Take decisions back; a key that is nothing in any of ``shares`` is forgotten altogether."""
        if await self.record(identity) is None:
            raise NotFound(f"no key {identity.hex()[:12]} is known", next_step="p2pckpt trust ls")
        await asyncio.to_thread(self._known.forget, identity, list(shares))
        await self._tell()

    async def _decidable(self, identity: bytes) -> KeyRecord:
        if identity == self._own:
            raise BadUsage("this is your own key", kept="nothing was changed")
        await asyncio.to_thread(self._known.know, identity, int(self._now()), How.HAND)
        record = await self.record(identity)
        assert record is not None
        return record

    async def _decided(self, identity: bytes) -> KeyRecord:
        await self._tell()
        record = await self.record(identity)
        assert record is not None
        return record


def _signers(trusted: TrustedShare, fresh: Collection[int]) -> dict[int, bytes]:
    """Whose list new versions came in: their publisher's, or else anybody's who signed it."""
    if not fresh:
        return {}
    signers = versions.list_signers(trusted.root_bytes, trusted.targets_bytes)
    publishers = {number: bytes.fromhex(trusted.targets.versions[number].publisher) for number in fresh}
    return {number: key if key in signers else min(signers) for number, key in publishers.items()}


def _why(place: Place, old: Place | None, *, signed_before: bool) -> Review:
    """Whether a key in a share that was known is a reason to look."""
    if signed_before and place.first_version and not (old and old.first_version):
        return Review.PUBLISHER
    if place.role == "owner" and (old is None or old.role != "owner"):
        return Review.OWNER
    return old.review if old is not None else Review.NONE


def called(record: KeyRecord) -> str:
    """Somebody in a sentence: the name they go by and the words of their key, or the words alone."""
    spelt = words(record.identity)
    return f"{record.name!r} ({spelt})" if record.name else spelt
