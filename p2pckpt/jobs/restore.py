"""Restoring: the newest version of a run whose signature and every chunk verify, and that a trainer can load.

One version after the other is fetched like any other (this store, what lies at the target, the swarm) and looked at as
a save before any of it is at the target; what does not verify, can't be had or does not pass is passed over with its
reason.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Final

from p2pckpt.control.messages import FetchRequest, Phase
from p2pckpt.control.run_messages import Restored, RestoreRequest, Tried
from p2pckpt.errors import (
    NoSeeds,
    NotFound,
    TrackerUnreachable,
    UnsafeContent,
    UntrustedKey,
    VerificationFailed,
)
from p2pckpt.jobs import restore_place, saves
from p2pckpt.jobs.fetch import fetch
from p2pckpt.jobs.progress import Progress
from p2pckpt.jobs.restore_place import Place
from p2pckpt.jobs.services import Services
from p2pckpt.jobs.shares import split_name
from p2pckpt.store.catalogue import KnownShare
from p2pckpt.store.checkout import partial_directory
from p2pckpt.trust.admission import TrustedShare

Writing = Callable[[Path, int], AbstractAsyncContextManager[None]]
"""Entered while a directory is restored into, and the version: whoever watches it should not take it for a new save."""

_PASSED_OVER: Final = (VerificationFailed, UnsafeContent, UntrustedKey, NoSeeds, NotFound, TrackerUnreachable)
"""Why another version is taken; the last of these when parts of it are neither here nor to be had."""
_TOLD: Final = 5
"""Versions whose reasons an error names."""
_POLL: Final = 1.0
"""Seconds between two looks at whether anything still arrives."""


class _NotFinite(VerificationFailed):
    """Whole, but with NaN or infinity in it; there are models in which these are no fault."""


async def restore(services: Services, request: RestoreRequest, progress: Progress, writing: Writing) -> Restored:
    """Run one restore to its end; ``request.source`` names a share that is known here.

    Raises ``VerificationFailed`` with the reasons when no version can be restored, and at once what has nothing to do
    with a version: ``NoSpace``, ``NotAllowed``, ``BadUsage`` for a directory that holds something else.
    """
    name, selector = split_name(request.source)
    share = services.shares.find(name)
    progress.enter(Phase.CONTACTING)
    trusted = await _trusted(services, share, progress)
    newest = trusted.resolve(selector)
    tried: list[Tried] = []
    remedy = f"p2pckpt verify {trusted.terms.name}@v{newest} --repair"
    for version in sorted((v for v in trusted.targets.versions if v <= newest), reverse=True):
        label = restore_place.label_of(trusted, trusted.target(version))
        target = await asyncio.to_thread(restore_place.place_for, request, label)
        try:
            place = await restore_place.look(services, request, share, trusted, version, target, label)
            async with writing(target, version):
                return await _restore(services, request, progress, share, version, label, place, tuple(tried))
        except _PASSED_OVER as exc:
            if not tried and isinstance(exc, _NotFinite):
                remedy = f"p2pckpt run restore {trusted.terms.name} --allow-nonfinite GLOB"
            tried.append(Tried(version, exc.fact))
            progress.warn(f"v{version} was passed over: {exc.fact}")
            await services.swarms.leave(progress.job.id)
            await asyncio.to_thread(shutil.rmtree, partial_directory(target), ignore_errors=True)
    reasons = "; ".join(f"v{each.version}: {each.why}" for each in tried[:_TOLD])
    raise VerificationFailed(
        f"no version of {trusted.terms.name} up to v{newest} could be restored: {reasons}",
        kept="everything that verified, in the store",
        next_step=remedy,
    )


async def _trusted(services: Services, share: KnownShare, progress: Progress) -> TrustedShare:
    """With the tracker away, or frozen, what was known last is better than nothing: a run that stands still costs."""
    try:
        return await services.shares.trusted(share, fresh=True)
    except (TrackerUnreachable, VerificationFailed) as exc:
        trusted = await services.shares.trusted(share)
        day = time.strftime("%Y-%m-%d %H:%M", time.localtime(trusted.fresh_until))
        progress.warn(f"there may be newer versions: {exc.fact}; the tracker last vouched for these until {day}")
        return trusted


async def _restore(
    services: Services,
    request: RestoreRequest,
    progress: Progress,
    share: KnownShare,
    version: int,
    label: str,
    place: Place,
    tried: tuple[Tried, ...],
) -> Restored:
    def inspect(places: Mapping[str, Path]) -> None:
        checked = saves.check_places(label, places, request.allow_nonfinite, progress.checkpoint)
        if checked.problems:
            unsound = _NotFinite if checked.nonfinite else VerificationFailed
            raise unsound(f"it is no sound save: {'; '.join(checked.problems[:3])}")
        if aside := place.clear():
            progress.warn(f"what an earlier save left in {place.path} was moved to {aside}")

    # that it may run commands was known to whoever published it: a trainer's own files do, and dangerous ones are not
    fetching = FetchRequest(source=f"{share.share_id.hex()}@{version}", to=str(place.path), seed=request.seed)
    await _with_patience(fetch(services, fetching, progress, inspect=inspect), progress, request.patience)
    progress.update(path=str(place.path))
    return Restored(version, place.manifest.body.step, str(place.entry), tried)


async def _with_patience(work: Coroutine[Any, Any, None], progress: Progress, patience: float) -> None:
    """``work``, given up when it waits for others and nothing arrives for so many seconds. Raises ``NoSeeds``."""
    task = asyncio.ensure_future(work)
    seen, since = (0, 0), time.monotonic()
    try:
        while not (await asyncio.wait({task}, timeout=_POLL))[0]:
            job = progress.job
            here = (job.wire_done, job.done)
            if job.phase not in (Phase.CONNECTING, Phase.DOWNLOADING) or here != seen:
                seen, since = here, time.monotonic()
            elif time.monotonic() - since >= patience:
                raise NoSeeds(f"a part of it is not here, and for {patience:.0f} s nobody sent any of it")
        task.result()
    finally:
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
