"""Which versions are whole, and which one the next may be a delta to."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Final

from p2pckpt.errors import NotFound, TrackerUnreachable, VerificationFailed
from p2pckpt.jobs.delta_base import DeltaBase
from p2pckpt.jobs.services import Services
from p2pckpt.jobs.unpacking import Unpacker
from p2pckpt.store.catalogue import KnownShare
from p2pckpt.trust.admission import TrustedShare

KEYFRAME_EVERY: Final = 8
"""Versions from one whole one to the next, at most. Whoever comes new fetches a whole one and a delta, never more."""


async def base_for(
    services: Services, share: KnownShare, trusted: TrustedShare, tags: Sequence[str]
) -> DeltaBase | None:
    """The newest version without deltas, if it is whole in this store and the next one may be a delta to it.

    A version that gets a tag is one that people are sent to: they should not have to fetch two. What somebody signed
    and nobody can read, or has any more, is passed over, and with the tracker away there is none: neither stops the
    next version. One that was retired will do while it is whole here: the versions that are deltas to it keep what they
    need of it.
    """
    if tags:
        return None
    newest = max(trusted.targets.versions, default=0)
    held = {row.version for row in services.catalogue.versions(share.share_id) if row.held}
    for number in range(newest, max(0, newest - KEYFRAME_EVERY + 1), -1):
        if number not in held | trusted.targets.versions.keys():
            continue
        try:
            manifest, _ = await services.shares.manifest(share, trusted, number)
        except (VerificationFailed, NotFound):
            continue
        except TrackerUnreachable:
            return None
        if manifest.bases.any():
            continue
        if number not in held:
            return None
        locate = partial(services.catalogue.locate, share.share_id)
        unpacker = Unpacker(manifest, services.shares.keys(share, trusted), services.objects, locate)
        return await asyncio.to_thread(DeltaBase, manifest, unpacker)
    return None
