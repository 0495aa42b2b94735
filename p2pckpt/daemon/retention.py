"""Retention as front ends and runs ask for it: what a policy keeps, retiring the rest, taking it back, deleting it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

import structlog

from p2pckpt.control import messages as m
from p2pckpt.control.run_messages import PruneReply, PruneRequest, PruneRow, Retention
from p2pckpt.daemon.job_table import JobTable
from p2pckpt.daemon.verify_reports import VerifyReports
from p2pckpt.errors import BadUsage, P2pckptError
from p2pckpt.jobs import retire
from p2pckpt.jobs.removal import Place, remove_versions
from p2pckpt.jobs.retention import best, check
from p2pckpt.jobs.services import Services
from p2pckpt.jobs.shares import split_name
from p2pckpt.store.catalogue import KnownShare
from p2pckpt.store.checkout import free_bytes
from p2pckpt.store.retired import RetiredRow
from p2pckpt.tracker_protocol import Role

_log = structlog.get_logger(__name__)

BEST: Final = "best"
"""The tag of the version that a run's policy finds best."""
_ROOM: Final = 2
"""Versions as large as the newest for which there has to be room: else what was retired first goes before its time."""
_ROUND: Final = 10.0
"""Seconds between two looks at what is due."""
_RETRY: Final = 600.0
"""Seconds until what failed for one share is tried again."""


class Retaining:
    """Lives on the daemon's loop. ``remove`` takes a job off the table, without its data; ``in_use`` names the versions
    that jobs work on; ``policy_of`` gives the policy of a share that is a run here; ``forget`` has nobody look into a
    version any more."""

    def __init__(
        self,
        services: Services,
        jobs: JobTable,
        remove: Callable[[str], Awaitable[None]],
        in_use: Callable[[], set[Place]],
        reports: VerifyReports,
        policy_of: Callable[[KnownShare], Retention],
        forget: Callable[[bytes, int], Awaitable[None]],
    ) -> None:
        self._services = services
        self._jobs = jobs
        self._remove = remove
        self._in_use = in_use
        self._reports = reports
        self._policy_of = policy_of
        self._forget = forget
        self._turn = asyncio.Lock()
        self._waiting: dict[bytes, float] = {}
        """Share → when what failed for it is tried again."""

    async def prune(self, request: PruneRequest) -> PruneReply:
        """Retire what a policy does not keep, or with ``dry_run`` only tell. Raises ``BadUsage`` without a policy."""
        share = self._services.shares.find(split_name(request.name)[0])
        retention = request.retention if request.retention is not None else self._policy_of(share)
        check(retention)
        if retention.keeps_all:
            raise BadUsage(
                f"nothing says which versions of {share.name} to keep",
                kept="every version",
                next_step=f"p2pckpt run prune {share.name} --keep-last 5 --keep-every 1000 -n",
            )
        async with self._turn:
            trusted, judged = await retire.look(self._services, share, retention, await self.damaged(share))
            doomed = set(judged.retired)
            if request.at_once:
                doomed |= {row.version for row in retire.going(self._services.catalogue, share.share_id)}
            alone, together = await retire.weigh(self._services, share, doomed, self._working_on())
            due = int(time.time()) + (0 if request.at_once else retire.UNDO)
            if judged.retired and not request.dry_run:
                retired = await retire.retire(self._services, share, trusted, judged.retired, due)
                _log.info(f"retired {_named(retired)} of {share.name}")
                if pinned := set(judged.retired) - retired:  # while it was weighed
                    judged = judged.but_for(pinned)
                    alone, together = await retire.weigh(self._services, share, doomed - pinned, self._working_on())
            if request.at_once and not request.dry_run:
                await retire.give_up(self._services, share)
                self._waiting.pop(share.share_id, None)
        if request.at_once and not request.dry_run:
            await self.delete_due()
        targets = trusted.targets.versions
        return PruneReply(
            rows=tuple(
                PruneRow(
                    version=each.number,
                    name=targets[each.number].name,
                    step=each.step,
                    keep=judged.kept[each.number],
                    freed=alone.get(each.number, 0),
                )
                for each in judged.candidates
            ),
            freed=together,
            undo_until=due if judged.retired and not (request.dry_run or request.at_once) else 0,
        )

    async def undo(self, name: str) -> PruneReply:
        """Offer again what was retired from this machine and is still here; the reply's rows are those versions."""
        share = self._services.shares.find(split_name(name)[0])
        async with self._turn:
            back = await retire.take_back(self._services, share)
            trusted, judged = await retire.look(self._services, share, Retention(), await self.damaged(share))
        _log.info(f"took back {_named(back.numbers)} of {share.name}")
        for number, exc in back.left.items():
            _log.warning(f"v{number} of {share.name} can't be taken back", reason=exc.fact)
        return PruneReply(
            rows=tuple(
                PruneRow(each.number, trusted.target(each.number).name, each.step, "taken back", 0)
                for each in judged.candidates
                if each.number in back.numbers
            ),
            freed=0,
            undo_until=0,
            left={number: exc.fact for number, exc in back.left.items()},
        )

    async def apply(self, share: KnownShare, retention: Retention) -> None:
        """After a save was published: ``best`` moves to the best one, and what the run's policy does not keep is
        retired. Failing is logged, and raises nothing: the next save does it."""
        if retention.keeps_all:
            return
        try:
            check(retention)
            async with self._turn:
                trusted, judged = await retire.look(self._services, share, retention, await self.damaged(share))
                leading = best(judged.candidates, retention)[:1]
                if leading and trusted.targets.tags.get(BEST) != leading[0].number:
                    await self._services.shares.move_tag(share, BEST, leading[0].number)
                    trusted, judged = await retire.look(self._services, share, retention, await self.damaged(share))
                # only owners retire: a publisher's run leaves it to one of theirs
                if judged.retired and share.role == Role.OWNER.value:
                    due = int(time.time()) + retire.UNDO
                    retired = await retire.retire(self._services, share, trusted, judged.retired, due)
                    _log.info(f"retired {_named(retired)} of {share.name}")
        except P2pckptError as exc:
            _log.warning(f"no version of {share.name} was retired", reason=exc.fact)

    async def delete_for_ever(self) -> None:
        """Delete what becomes due, for as long as the daemon runs."""
        while True:
            try:
                await self.delete_due()
            except Exception:
                _log.exception("deleting what was retired broke")
            await asyncio.sleep(_ROUND)

    async def delete_due(self) -> int:
        """Delete what can't be taken back any more; bytes freed.

        What a publish leans on or a job is fetching waits for the next time.
        """
        async with self._turn:
            due = await self._due()
            return sum([await self._delete(share, due) for share in self._services.shares.known()])

    async def damaged(self, share: KnownShare) -> set[int]:
        """Versions in whose objects the last verify found damage that is there still."""
        last = {
            job.version: job
            for job in self._jobs.jobs()
            if job.kind is m.JobKind.VERIFY and job.share_id == share.share_id.hex() and job.state.ended
        }
        suspects = [job for job in last.values() if job.state is m.JobState.FAILED]
        reports = [await asyncio.to_thread(self._reports.newest, [job.id]) for job in suspects]
        return {report.version for report in reports if report is not None and report.damaged_objects}

    # -- inside

    async def _due(self) -> list[RetiredRow]:
        """What can't be taken back any more; of each run that lacks room for its next saves also what went first."""
        rows = await asyncio.to_thread(retire.going, self._services.catalogue)
        due = [row for row in rows if row.due <= time.time()]
        for share in self._services.shares.known() if len(due) < len(rows) else ():
            waiting = [row for row in rows if row.share == share.share_id and row not in due]
            if waiting and await self._lacks_room(share):
                _log.warning(f"the disk is nearly full: v{waiting[0].version} of {share.name} can't be taken back")
                due.append(waiting[0])
        return due

    async def _lacks_room(self, share: KnownShare) -> bool:
        targets = (await self._services.shares.trusted(share)).targets
        newest = targets.versions.get(targets.latest)
        free = await asyncio.to_thread(free_bytes, self._services.layout.root)
        return newest is not None and free < _ROOM * newest.size

    async def _delete(self, share: KnownShare, due: list[RetiredRow]) -> int:
        working = self._working_on()
        numbers = {row.version for row in due if row.share == share.share_id}
        numbers -= {version for of, version in working if of == share.share_id}
        if not numbers or self._waiting.get(share.share_id, 0) > time.monotonic():
            return 0
        try:
            gone = await retire.settle(self._services, share, numbers)
            async with self._services.leaning.deleting(share) as may_delete:
                # a pin may have come while the tracker was asked: that version stays, and the others go
                gone -= await asyncio.to_thread(self._services.catalogue.pinned, share.share_id)
                if not (gone and may_delete):
                    return 0
                for job in self._jobs.jobs():
                    of_them = job.share_id == share.share_id.hex() and job.version in gone
                    if of_them and job.kind is not m.JobKind.VERIFY:
                        await self._remove(job.id)
                for version in gone:
                    await self._forget(share.share_id, version)
                freed = await remove_versions(self._services, share, gone, self._in_use())
        except P2pckptError as exc:
            self._waiting[share.share_id] = time.monotonic() + _RETRY
            _log.warning(f"what was retired of {share.name} is not deleted yet", reason=exc.fact)
            return 0
        _log.info(f"deleted what {_named(gone)} of {share.name} had here", bytes=freed)
        return freed

    def _working_on(self) -> set[Place]:
        """Versions that jobs are fetching or publishing; a job that only seeds ends with its version."""
        return {
            (bytes.fromhex(job.share_id), job.version)
            for job in self._jobs.jobs()
            if job.kind is not m.JobKind.VERIFY and job.share_id and job.version and not job.state.ended
        }


def _named(numbers: Iterable[int]) -> str:
    """Newest first."""
    return ", ".join(f"v{number}" for number in sorted(numbers, reverse=True)) or "nothing"
