"""Reading a share's audit log: every page fetched and verified, the newest rows kept for whoever asked."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass

from p2pckpt.jobs.shares import Shares
from p2pckpt.store.catalogue import KnownShare
from p2pckpt.store.layout import StoreLayout
from p2pckpt.tracker_protocol.audit_log import AUDIT_START, MAX_LOG_PAGE, AuditHead, AuditRow
from p2pckpt.trust import audit


@dataclass(frozen=True, slots=True)
class VerifiedLog:
    """A log whose chain holds, which nobody cut since it was signed or seen."""

    rows: tuple[AuditRow, ...]
    """The newest of those asked for, oldest first."""
    head: AuditHead
    signed: audit.SignedHead


async def read_log(
    shares: Shares, layout: StoreLayout, share: KnownShare, *, since: int = 0, limit: int = 1000, anew: bool = False
) -> VerifiedLog:
    """Verify a share's whole log; keep its newest ``limit`` rows from Unix time ``since`` on.

    ``anew`` forgets the end that this machine saw before: after the tracker was restored from an older backup.
    Raises ``VerificationFailed``, ``NotAllowed`` for who is no owner.
    """
    client, share_id = shares.client(share), share.share_id.hex()
    directory = layout.trusted_files(share.share_id)
    await client.log(share_id, 0, 1)  # makes the tracker sign the end of the log, which the timestamp then names
    await shares.refresh(share)
    signed = await asyncio.to_thread(audit.signed_head, directory)
    seen = AUDIT_START if anew else await asyncio.to_thread(audit.seen_head, directory)
    verifier = audit.LogVerifier(share.share_id, signed.log, seen)
    kept: deque[AuditRow] = deque(maxlen=limit)
    after: int | None = 0
    while after is not None:
        page = await client.log(share_id, after, MAX_LOG_PAGE)
        for row in page.rows:
            verifier.take(row)
            if row.at >= since:
                kept.append(row)
        # a page that leads nowhere ends the log: a tracker can't keep us asking
        after = page.next if page.next == verifier.head.seq and page.rows else None
    verifier.end()
    await asyncio.to_thread(audit.remember, directory, verifier.head)
    return VerifiedLog(tuple(kept), verifier.head, signed)
