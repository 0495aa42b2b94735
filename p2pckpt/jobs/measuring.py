"""Steps and metrics of a share's versions, remembered apart from their manifests: a history has thousands of them."""

from __future__ import annotations

import asyncio
import contextlib

from p2pckpt.errors import P2pckptError
from p2pckpt.jobs.services import Services
from p2pckpt.store.catalogue import KnownShare, Measured
from p2pckpt.trust.admission import TrustedShare


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
    waiting = [n for n in sorted(trusted.targets.versions, reverse=True) if n not in known][:most]
    learned = 0
    for number in waiting:
        with contextlib.suppress(P2pckptError):
            manifest, _ = await services.shares.manifest(share, trusted, number)
            body, digest = manifest.body, trusted.target(number).manifest_sha256
            row = Measured(digest, body.step, dict(body.metrics))
            await asyncio.to_thread(services.catalogue.record_measured, share.share_id, number, row)
            learned += 1
    return learned
