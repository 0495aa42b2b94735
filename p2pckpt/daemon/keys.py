"""What the daemon answers about keys: who is known, and what follows from a decision for the jobs that run."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import Mapping, Sequence
from typing import Final

from msgspec.structs import replace

from p2pckpt.control import key_messages as km
from p2pckpt.control import messages as m
from p2pckpt.daemon.feed import Feed
from p2pckpt.daemon.job_table import JobTable
from p2pckpt.errors import BadUsage, BlockedKey, P2pckptError
from p2pckpt.jobs.key_book import News, called
from p2pckpt.jobs.services import Services
from p2pckpt.store.catalogue import KnownShare
from p2pckpt.trust import identity_file, versions
from p2pckpt.trust.identity import words
from p2pckpt.trust.known_keys import KeyRecord, KeyState, Review, namesakes

_IDENTITY: Final = re.compile("[0-9a-f]{64}")


class Keys:
    """One method a request of ``control.client``. Raises ``P2pckptError``s."""

    def __init__(self, services: Services, feed: Feed, jobs: JobTable) -> None:
        self._services = services
        self._feed = feed
        self._jobs = jobs
        services.key_book.listen(self._changed)

    async def own(self) -> m.KeyInfo:
        """This machine's identity, and what hangs on it."""
        own, keys_dir = self._services.identity, self._services.config.keys_dir
        owned = []
        for share in self._services.shares.known():
            with contextlib.suppress(P2pckptError):  # never looked at: nothing is known of its keys
                keys = versions.root_keys((await self._services.shares.trusted(share)).root_bytes)
                if own.public_bytes in keys.owners:
                    owned.append(m.OwnedShare(share.share_id.hex(), share.name, len(keys.owners), keys.threshold))
        return m.KeyInfo(
            own.hex,
            words(own.public_bytes),
            own.public.text,
            own.name,
            own.created_at,
            await asyncio.to_thread(identity_file.describe, keys_dir),
            await asyncio.to_thread(identity_file.last_backup, keys_dir),
            tuple(owned),
        )

    async def known(self) -> list[km.KeyRow]:
        """Everybody else, by the time they were first seen."""
        records = await self._services.key_book.records()
        shares = {share.share_id: share for share in self._services.shares.known()}
        return await asyncio.to_thread(lambda: [key_row(record, records, shares) for record in records])

    async def row(self, identity: str, share_id: bytes) -> km.KeyRow | None:
        """One key as it stands in a share; None for our own and for one that nothing is known of."""
        records = await self._services.key_book.records()
        record = next((each for each in records if each.identity.hex() == identity), None)
        shares = {share.share_id: share for share in self._services.shares.known()}
        return key_row(record, records, shares, share_id) if record is not None else None

    async def described(self, preview: m.FetchPreview) -> m.FetchPreview:
        """A preview with what is known of whoever signed the version."""
        share_id = bytes.fromhex(preview.share_id)
        spelt = words(bytes.fromhex(preview.publisher))
        if (share := self._services.catalogue.share(share_id)) is not None:
            await self.learn_names(share)
        row = await self.row(preview.publisher, share_id)
        warnings = preview.warnings if row is None else (*preview.warnings, *oddities(row))
        return replace(preview, publisher_words=spelt, publisher_key=row, warnings=warnings)

    async def learn_names(self, share: KnownShare) -> None:
        """What those who sign in a share call themselves, if that is not known: only a claim, but people know it."""
        if await self._services.key_book.has_nameless(share.share_id):
            with contextlib.suppress(P2pckptError):  # viewers are told no names
                await self._services.members.all(share)

    async def note_all(self) -> None:
        """Whoever is in the shares known here, as of the last look at them; what comes later is compared with that."""
        for share in self._services.shares.known():
            with contextlib.suppress(P2pckptError):
                await self._services.key_book.note(share, await self._services.shares.trusted(share))

    async def decide(self, request: km.DecideKeyRequest) -> list[km.KeyRow]:
        if not _IDENTITY.fullmatch(request.identity):
            raise BadUsage(f"{request.identity[:60]!r} is no key", next_step="p2pckpt trust ls")
        book, shares = self._services.key_book, self._services.shares
        identity = bytes.fromhex(request.identity)
        match request.action:
            case km.KeyAction.VERIFY:
                share = shares.find(request.share).share_id if request.share else b""
                await book.verify(identity, share, request.first_word)
            case km.KeyAction.BLOCK:
                await book.block(identity, request.reason)
                await self.enforce()
            case km.KeyAction.DISMISS:
                await book.dismiss(identity)
            case km.KeyAction.FORGET:
                await book.forget(identity, [share.share_id for share in shares.known()])
        return await self.known()

    async def enforce(self, share_id: str = "") -> None:
        """End what fetches and offers versions that somebody blocked stands behind, of one share or of all."""
        for job in self._jobs.jobs():
            running = not job.state.ended or job.state is m.JobState.SEEDING
            if not (running and job.share_id and job.version and share_id in ("", job.share_id)):
                continue
            share = self._services.catalogue.share(bytes.fromhex(job.share_id))
            if share is None:
                continue
            try:
                trusted = await self._services.shares.trusted(share)
                publisher = bytes.fromhex(job.publisher)
                await self._services.key_book.require(share, trusted, job.version, publisher)
                manifest, _ = await self._services.shares.manifest(share, trusted, job.version)
                await self._services.key_book.require_own_word(share, trusted, manifest)
            except BlockedKey as refusal:
                await self._jobs.refuse(job.id, refusal)
            except P2pckptError:
                continue  # what is not signed yet, or can't be looked at now, is judged when it goes on

    def _changed(self, news: Sequence[News]) -> None:
        self._feed.send(km.KeysChanged(self._services.key_book.to_review))
        for each in news:
            self._feed.send(m.Notice("warning", _sentence(each)))


def key_row(
    record: KeyRecord,
    everybody: Sequence[KeyRecord],
    shares: Mapping[bytes, KnownShare],
    share: bytes | None = None,
) -> km.KeyRow:
    """What front ends are told of a key; its state is that in ``share``, or over all."""
    counting = [each for each in record.verified if share is None or each.share in (b"", share)]
    alone = {each.share: each.at for each in record.verified}
    return km.KeyRow(
        identity=record.identity.hex(),
        words=words(record.identity),
        name=record.name,
        state=record.state(share),
        first_seen=record.first_seen,
        how=record.how,
        places=tuple(
            km.KeyPlace(
                place.share.hex(),
                shares[place.share].name if place.share in shares else "",
                place.role,
                place.since,
                place.how,
                place.first_version,
                place.review,
                alone.get(place.share, 0),
            )
            for place in record.places
        ),
        verified_at=max((each.at for each in counting), default=0),
        everywhere=b"" in alone,
        blocked_at=record.blocked_at,
        reason=record.reason,
        namesakes=tuple(
            km.Namesake(
                other.identity.hex(),
                words(other.identity),
                other.verified[0].name,
                max(each.at for each in other.verified),
            )
            for other in namesakes(record, everybody)
        ),
    )


def oddities(row: km.KeyRow) -> tuple[str, ...]:
    """What somebody should know of a key before they take what it signed; a row of one share."""
    found = [
        f"{row.name!r} is the name of another key that you verified on {_day(other.verified_at)}: {other.words}; this "
        f"one is {row.words}, first seen on {_day(row.first_seen)}"
        for other in row.namesakes
    ]
    if row.state is KeyState.REVIEW and not row.namesakes:
        found.append(f"signed by a key that is new in this share: {row.words}, first seen on {_day(row.first_seen)}")
    return tuple(found)


def _day(moment: int) -> str:
    return time.strftime("%Y-%m-%d", time.localtime(moment))


def _sentence(news: News) -> str:
    who, digits = called(news.record), news.record.identity.hex()[:12]
    match news.review:
        case Review.PUBLISHER:
            fact = f"{news.share}@v{news.version} is signed by a key that never signed there before, {who}"
        case Review.OWNER:
            fact = f"{news.share} has a new owner, {who}"
        case _:
            fact = f"{who} publishes in {news.share} under the name of a key that you verified"
    return f"{fact}: p2pckpt trust show {digits}"
