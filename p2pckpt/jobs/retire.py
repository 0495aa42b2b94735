"""Retiring versions: out of the signed targets first, off this machine's disk when nobody can take them back any more.

What a retired version has here is kept until it is due. Until then ``take_back`` lists it again under its number, which
is no other version's: the tracker compares it with what was listed before, and readers with what they have seen.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from itertools import groupby
from operator import attrgetter
from typing import Final

from p2pckpt.control.run_messages import Retention
from p2pckpt.errors import NotAllowed, NotFound, P2pckptError, TrackerUnreachable
from p2pckpt.jobs.handing_in import hand_in
from p2pckpt.jobs.measuring import learn, measured
from p2pckpt.jobs.removal import Place, begun, needed_besides, on_disk
from p2pckpt.jobs.retention import PINNED, Candidate, judge
from p2pckpt.jobs.services import Services
from p2pckpt.store.catalogue import Catalogue, KnownShare
from p2pckpt.store.retired import RetiredRow
from p2pckpt.trust import versions
from p2pckpt.trust.admission import TrustedShare

UNDO: Final = 24 * 3600
"""Seconds in which what was retired, or unpinned since, can be taken back."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A share's versions as a policy sees them, newest first."""

    candidates: tuple[Candidate, ...]
    kept: dict[int, str]
    """Why, by number; empty for a version that goes."""

    @property
    def retired(self) -> tuple[int, ...]:
        return tuple(number for number, why in self.kept.items() if not why)

    def but_for(self, pinned: Collection[int]) -> Judged:
        """The same with versions kept that were pinned since."""
        return replace(self, kept=self.kept | dict.fromkeys(pinned, PINNED))


@dataclass(frozen=True, slots=True)
class TakenBack:
    """What became of the versions that were to be listed again."""

    numbers: tuple[int, ...]
    """Newest first."""
    left: dict[int, P2pckptError]
    """Why the others stay retired, by number."""


async def look(
    services: Services, share: KnownShare, retention: Retention, damaged: Collection[int]
) -> tuple[TrustedShare, Judged]:
    """Apply a policy to what the share offers now; changes nothing.

    ``damaged`` are versions that are not whole here though the catalogue says so. Raises ``NotAllowed`` for who is no
    owner: publishers add, and can't take away.
    """
    trusted = await services.shares.refresh(share)
    if not await services.owners.owns(share):
        raise NotAllowed(
            f"versions of {share.name} are retired by its owners",
            kept="every version",
            next_step=f"ask one: p2pckpt member ls {share.name}",
        )
    targets = trusted.targets
    await learn(services, share, trusted, len(targets.versions))
    known = await measured(services, share, trusted)
    held = {row.version for row in await asyncio.to_thread(services.catalogue.versions, share.share_id) if row.held}
    pinned = await asyncio.to_thread(services.catalogue.pinned, share.share_id)
    candidates = tuple(
        Candidate(
            number=number,
            step=known[number].step if number in known else None,
            metrics=known[number].metrics if number in known else {},
            tags=[tag for tag, tagged in targets.tags.items() if tagged == number],
            verified=number in held and number not in damaged,
            pinned=number in pinned,
        )
        for number in sorted(targets.versions, reverse=True)
    )
    return trusted, Judged(candidates, judge(candidates, retention))


async def weigh(
    services: Services, share: KnownShare, numbers: Collection[int], in_use: Iterable[Place]
) -> tuple[dict[int, int], int]:
    """Bytes of this disk that only one of these versions needs, by number, and those that go if all of them do.

    What was retired before needs nothing, unless it is pinned: it goes by itself.
    """
    places = {number: (share.share_id, number) for number in numbers}
    gone = {*places.values(), *((row.share, row.version) for row in going(services.catalogue))}
    needed = await needed_besides(services, gone, in_use)
    needs = {number: await begun(services, place) - needed for number, place in places.items()}

    def count() -> tuple[dict[int, int], int]:
        users = Counter(name for names in needs.values() for name in names)
        sizes = {name: on_disk(services.layout, name) for name in users}
        alone = {number: sum(sizes[n] for n in names if users[n] == 1) for number, names in needs.items()}
        return alone, sum(sizes.values())

    return await asyncio.to_thread(count)


async def retire(
    services: Services, share: KnownShare, trusted: TrustedShare, numbers: Collection[int], due: int
) -> set[int]:
    """Sign and publish the targets without these versions, whatever others publish meanwhile; which ones those are.

    ``trusted`` lists them; what was pinned here since they were judged stays. From ``due`` on, Unix seconds, what they
    have here may be deleted. Raises ``Conflict`` when one of them was given a tag since.
    """
    listed = trusted.targets.metadata_version
    entries = await asyncio.to_thread(versions.entries, trusted.targets_bytes, numbers)

    def note() -> set[int]:
        with services.catalogue.transaction():  # a pin comes before it, or pins what is retired
            retired = set(numbers) - services.catalogue.pinned(share.share_id)
            services.catalogue.note_retired(
                RetiredRow(share.share_id, number, listed, entries[number], due) for number in retired
            )
            return retired

    retired = await asyncio.to_thread(note)
    if retired:
        await services.shares.change_targets(
            share, lambda now: versions.retire(now.targets_bytes, services.identity, retired)
        )
    return retired


def going(catalogue: Catalogue, share: bytes | None = None) -> list[RetiredRow]:
    """What was retired and is deleted once it is due, first what is due first: nothing that is pinned."""
    pinned = {(row.share, row.version) for row in catalogue.pins()}
    return [row for row in catalogue.retired(share) if (row.share, row.version) not in pinned]


async def give_up(services: Services, share: KnownShare) -> None:
    """Let what was retired earlier be due now, too, but for what is pinned."""
    now = int(time.time())

    def note() -> None:
        with services.catalogue.transaction():
            rows = going(services.catalogue, share.share_id)
            services.catalogue.note_retired(replace(row, due=min(row.due, now)) for row in rows)

    await asyncio.to_thread(note)


async def take_back(services: Services, share: KnownShare) -> TakenBack:
    """List again what was retired from this machine and is pinned or not due: each that can be, whatever others lack.

    Raises ``NotFound`` for nothing, and what the newest version lacks when none can be. With the tracker away it ends
    there, and the rest is for the next time.
    """
    trusted = await services.shares.refresh(share)
    pinned = services.catalogue.pinned(share.share_id)
    rows = [
        row
        for row in services.catalogue.retired(share.share_id)
        if (row.due > time.time() or row.version in pinned) and trusted.is_retired(row.version)
    ]
    if not rows:
        raise NotFound(
            f"nothing of {share.name} was retired here that could be taken back",
            next_step=f"p2pckpt show {share.name} lists what there is",
        )
    left: dict[int, P2pckptError] = {}
    by_listing = attrgetter("listed")
    for listed, group in groupby(sorted(rows, key=by_listing, reverse=True), key=by_listing):
        await _take_back(services, share, trusted, listed, {row.version: row.entry for row in group}, left)
    numbers = tuple(sorted({row.version for row in rows} - left.keys(), reverse=True))
    if not numbers:
        raise left[max(left)]
    return TakenBack(numbers, left)


async def _take_back(
    services: Services,
    share: KnownShare,
    trusted: TrustedShare,
    listed: int,
    entries: dict[int, bytes],
    left: dict[int, P2pckptError],
) -> None:
    """List those of ``entries`` again that can be, all from the ``listed`` targets; why others can't goes to
    ``left``."""

    def again(now: TrustedShare) -> bytes:
        return versions.restore(now.targets_bytes, services.identity, entries)

    targets = versions.parse_targets(again(trusted)).versions
    for number in sorted(entries, reverse=True):
        try:
            await hand_in(services, share, trusted, targets[number])
        except TrackerUnreachable:
            raise
        except P2pckptError as exc:
            left[number] = exc
            del entries[number]
    if not entries:
        return
    try:
        await services.shares.change_targets(share, again, earlier=listed)
    except TrackerUnreachable:
        raise
    except P2pckptError as exc:
        left.update(dict.fromkeys(entries, exc))
        return
    await asyncio.to_thread(services.catalogue.forget_retired, share.share_id, entries)


async def settle(services: Services, share: KnownShare, numbers: Collection[int]) -> set[int]:
    """Which of these noted versions are out of the targets; the others are not noted any more.

    They are listed because retiring them failed, or somebody took them back. With the tracker away only those count as
    retired that were when it answered last, and nothing is forgotten.
    """
    try:
        trusted = await services.shares.refresh(share)
    except P2pckptError:
        trusted = await services.shares.trusted(share)
        return {number for number in numbers if trusted.is_retired(number)}
    listed = trusted.targets.versions.keys() & set(numbers)
    await asyncio.to_thread(services.catalogue.forget_retired, share.share_id, listed)
    return set(numbers) - listed
