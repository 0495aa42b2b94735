"""Leaving a share, as front ends ask for it: what it would mean, and doing it, also over a restart."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

import structlog

from p2pckpt import tracker_protocol as tp
from p2pckpt.access.pool import BESIDE
from p2pckpt.control import access_messages as am
from p2pckpt.control import messages as m
from p2pckpt.control.pin_messages import pinned
from p2pckpt.daemon.feed import Feed
from p2pckpt.daemon.job_table import JobTable
from p2pckpt.daemon.runs import Runs
from p2pckpt.errors import NotFound, P2pckptError
from p2pckpt.jobs.leaving import delete_left
from p2pckpt.jobs.services import Services
from p2pckpt.jobs.shares import split_name
from p2pckpt.store.catalogue import KnownShare
from p2pckpt.trust import versions
from p2pckpt.trust.admission import TrustedShare

_log = structlog.get_logger(__name__)
_NAMED: Final = 8
"""Versions that are named one by one."""


class Leaving:
    """Lives on the daemon's loop. ``remove`` takes a job off the table, without its data; ``left`` hears of each share
    that is not known here any more."""

    def __init__(
        self,
        services: Services,
        feed: Feed,
        jobs: JobTable,
        remove: Callable[[str], Awaitable[None]],
        read_no_more: Callable[[bytes], Awaitable[None]],
        left: Callable[[bytes], None],
        runs: Runs,
    ) -> None:
        self._services = services
        self._feed = feed
        self._jobs = jobs
        self._remove = remove
        self._read_no_more = read_no_more
        self._left = left
        self._runs = runs

    async def plan(self, name: str) -> am.LeavePlan:
        """What leaving would mean. Changes nothing, and needs no tracker."""
        share = self._services.shares.find(split_name(name)[0])
        trusted: TrustedShare | None = None
        with contextlib.suppress(P2pckptError):
            trusted = await self._services.shares.trusted(share)
        alone = await self._alone(share, trusted) if trusted is not None else ()
        pins = tuple(sorted(await asyncio.to_thread(self._services.catalogue.pinned, share.share_id)))
        link = ""
        with contextlib.suppress(P2pckptError):
            link = (await self._services.link_book.plain(share)).text
        return am.LeavePlan(
            share_id=share.share_id.hex(),
            share=share.name,
            role=tp.Role(share.role),
            jobs=tuple(job.id for job in self._jobs_of(share)),
            stored=await asyncio.to_thread(self._services.catalogue.share_bytes, share.share_id),
            alone=alone,
            consequences=tuple(self._consequences(share, trusted, alone, pins)),
            link=link,
            pinned=pins,
        )

    async def leave(self, name: str, *, unpin: bool = False) -> am.LeaveReply:
        """Forget the share, end its jobs, and delete its data; returns once all of that is done.

        Raises ``NotAllowed``, and changes nothing, where versions are pinned and nobody said ``unpin``.
        """
        share = self._services.shares.find(split_name(name)[0])
        await asyncio.to_thread(self._begin, share, unpin)
        jobs = [job.id for job in self._jobs_of(share)]  # those, too, that came while it was decided
        _log.info(f"left {share.name}", share=share.share_id.hex())
        self._left(share.share_id)
        await self._runs.left(share.name, share.share_id.hex())
        self._feed.send(m.ShareRemoved(share.share_id.hex()))
        await self._end(share.share_id, jobs)
        return am.LeaveReply(share.share_id.hex(), share.name, await delete_left(self._services, share.share_id))

    async def go_on(self, in_background: Callable[[Coroutine[Any, Any, None]], None]) -> None:
        """Finish what the last daemon began. Returns once its jobs are gone: they must not go on."""
        for share_id in await asyncio.to_thread(self._services.catalogue.leaving):
            await self._end(share_id, [job.id for job in self._jobs.jobs() if job.share_id == share_id.hex()])
            in_background(self._delete(share_id))

    # -- inside

    def _begin(self, share: KnownShare, unpin: bool) -> None:
        catalogue = self._services.catalogue
        with catalogue.transaction():
            if (pins := catalogue.pinned(share.share_id)) and not unpin:
                raise pinned(share.name, pins, f"p2pckpt leave {share.name} --unpin")
            catalogue.begin_leaving(share.share_id)

    async def _end(self, share_id: bytes, jobs: list[str]) -> None:
        for job_id in jobs:
            with contextlib.suppress(NotFound):  # somebody removed it meanwhile
                await self._remove(job_id)
        await self._read_no_more(share_id)
        self._services.swarms.forget_share(share_id)

    async def _delete(self, share_id: bytes) -> None:
        try:
            await delete_left(self._services, share_id)
        except P2pckptError as exc:
            _log.warning("what a share had is not deleted yet", share=share_id.hex(), reason=exc.fact)

    def _jobs_of(self, share: KnownShare) -> list[m.Job]:
        """Also those that do not know the share by its id yet."""
        return [
            job
            for job in self._jobs.jobs()
            if job.share_id == share.share_id.hex()
            or (not job.share_id and job.share == share.name and not job.state.ended)
        ]

    async def _alone(self, share: KnownShare, trusted: TrustedShare) -> tuple[int, ...]:
        """Versions that are whole here and that nobody else is known to seed."""
        rows = [row for row in self._services.catalogue.versions(share.share_id) if row.held]
        found = await self._services.swarms.ask_seeds(share.share_id, share.tracker, [row.info_hash for row in rows])
        return tuple(sorted(row.version for row in rows if not found.get(row.info_hash, 0)))

    def _consequences(
        self, share: KnownShare, trusted: TrustedShare | None, alone: tuple[int, ...], pins: tuple[int, ...]
    ) -> list[str]:
        lines: list[str] = []
        if pins:
            lines.append(f"! Pinned here, to be kept: {_named(pins)}. Leaving deletes that, too.")
        if alone:
            lines.append(f"! Nobody else is known to seed {_named(alone)}: nobody could fetch that any more.")
        if trusted is not None:
            lines += self._of_keys(trusted)
        if share.tracker == BESIDE:
            lines.append(
                "! Its tracker runs beside this daemon, and the next daemon starts it only for shares it knows."
            )
        if self._services.catalogue.removals_due(share.share_id):
            lines.append("! Somebody's right to read is being taken away, and that would not be finished from here.")
        if share.role != tp.Role.OWNER.value and share.visibility != tp.Visibility.PUBLIC.value:
            lines.append("The owners see you as a member until they remove you; until then you may come back.")
        run = self._runs.known(share.name, share.share_id.hex())
        if run.watching:
            lines.append(f"! The saves in {run.path} are published no more.")
        lines.append("Its jobs end, and its objects on this machine are deleted.")
        lines.append("No checkout and no published folder is touched, and no key of yours.")
        return lines

    def _of_keys(self, trusted: TrustedShare) -> list[str]:
        keys, me = versions.root_keys(trusted.root_bytes), bytes.fromhex(self._services.identity.hex)
        if me not in keys.owners:
            return []
        lines = []
        if not (keys.owners | keys.publishers) - {me}:
            lines.append("! Nobody else can publish: there would be no new version unless you come back.")
        if keys.owners == {me}:
            lines.append(
                "! Nobody else owns it: nobody could let people in, or renew its signatures once they run out."
            )
            lines.append("With your identity and a link to it you can come back: keep both.")
        return lines


def _named(versions: tuple[int, ...]) -> str:
    return ", ".join(f"v{number}" for number in versions[:_NAMED]) + (" and more" if len(versions) > _NAMED else "")
