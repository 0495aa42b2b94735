"""Steps and metrics of a share's versions, remembered apart from their manifests: a history has thousands of them."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

from p2pckpt.checkpoint.manifest import Body
from p2pckpt.errors import P2pckptError
from p2pckpt.jobs.services import Services
from p2pckpt.store.catalogue import KnownShare, Measured
from p2pckpt.trust.admission import TrustedShare

_MOST: Final = 256
"""Metrics of a version that are remembered, by name: whoever publishes may write any number of them."""
_LONGEST: Final = 100
"""Characters of a metric's name."""
_LAST_STEP: Final = 1 << 53
"""What is beyond is no step of any training, and no number that every reader of JSON takes."""
_TRIED: Final = 4
"""Manifests that are looked into for each that is to be learned from: some can't be opened, now or ever."""


async def measured(services: Services, share: KnownShare, trusted: TrustedShare) -> dict[int, Measured]:
    """What is remembered of the versions that are signed now."""
    known = await asyncio.to_thread(services.catalogue.measured, share.share_id)
    targets = trusted.targets.versions
    return {n: row for n, row in known.items() if n in targets and row.manifest == targets[n].manifest_sha256}


async def learn(services: Services, share: KnownShare, trusted: TrustedShare, most: int) -> int:
    """Look into the manifests of the newest versions that nothing is remembered of; how many there were.

    Those that are not here come from the tracker. What can't be opened is left for another time.
    """
    known = await measured(services, share, trusted)
    waiting = [n for n in sorted(trusted.targets.versions, reverse=True) if n not in known]
    learned = 0
    for number in waiting[: _TRIED * most]:
        if learned == most:
            break
        with contextlib.suppress(P2pckptError):
            manifest, _ = await services.shares.manifest(share, trusted, number)
            row = _noted(trusted.target(number).manifest_sha256, manifest.body)
            await asyncio.to_thread(services.catalogue.record_measured, share.share_id, number, row)
            learned += 1
    return learned


def _noted(digest: str, body: Body) -> Measured:
    step = body.step if body.step is not None and 0 <= body.step <= _LAST_STEP else None
    names = [name for name in sorted(body.metrics) if len(name) <= _LONGEST][:_MOST]
    return Measured(digest, step, {name: body.metrics[name] for name in names})
