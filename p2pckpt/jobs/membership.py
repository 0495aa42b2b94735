"""Sees to it that every torrent is in the engine as its share asks: plain, or with a certificate that counts.

One task for each tracker gets certificates, renews them, and replaces them when somebody lost the right to download.
A torrent without a certificate that counts stays out of its swarm until there is one: nothing falls back to plain.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from p2pckpt.access.certificates import Certificates
from p2pckpt.access.pool import Trackers
from p2pckpt.errors import NotAllowed, NotFound, P2pckptError
from p2pckpt.jobs.joined import why
from p2pckpt.swarm.engine import TlsCredentials

_log = structlog.get_logger(__name__)

_RETRY: Final = 2.0
"""Seconds until a tracker that did not answer is asked again."""
_RETRY_REFUSED: Final = 60.0
"""…and one that refused: owners change their minds."""
_LONGEST: Final = 60.0
"""Seconds between two looks at the clocks: one may have been set, or the machine has slept."""

Settle = Callable[[bytes], Awaitable[None]]
"""Bring the torrents of a share in line with ``credentials``."""
Leave = Callable[[bytes, str], Awaitable[None]]
"""Take the torrents of a share out of their swarms and say why."""


class Membership:
    """Which shares want certificates, and those they have. Lives on the daemon's loop."""

    def __init__(self, trackers: Trackers, settle: Settle, leave: Leave) -> None:
        self._certificates = Certificates(trackers)
        self._settle = settle
        self._leave = leave
        self._wants: dict[bytes, bool] = {}
        """Whether the swarms of a share are for members with certificates."""
        self._tracker_of: dict[bytes, str] = {}
        self._trouble: dict[bytes, str] = {}
        """Why a share has no certificate, as it was logged."""
        self._due: dict[str, asyncio.Event] = {}

    def credentials(self, share_id: bytes) -> TlsCredentials | None:
        """What torrents of this share should be in the engine with; None for plain connections.

        Raises ``NotAllowed`` while nothing will do: there is no certificate that counts yet.
        """
        if not self._wants.get(share_id, False):
            return None
        held = self._certificates.held(share_id)
        if held is None:
            raise NotAllowed("there is no certificate yet")
        return TlsCredentials(held.authority, held.certificate, held.key)

    def learn(self, share_id: bytes, tracker: str, *, tls: bool) -> bool:
        """What the signed keyring of a share says of its swarms; whether that is news."""
        before = self._wants.get(share_id)
        self._wants[share_id], self._tracker_of[share_id] = tls, tracker
        return before is not None and before is not tls

    def wake(self, tracker: str) -> None:
        """A torrent waits for a certificate, or may."""
        if tracker in self._due:
            self._due[tracker].set()

    def authority_is(self, share_id: bytes, generation: int) -> None:
        """The tracker's word on which generation of a share's authority counts."""
        if self._certificates.outdate(share_id, generation):
            self.wake(self._tracker_of.get(share_id, ""))

    def revoked(self, share_id: bytes) -> None:
        """This member is none any more."""
        self._certificates.forget(share_id)

    def forget(self, share_id: bytes) -> None:
        """This machine has left the share: no certificate is wanted for it."""
        self._certificates.forget(share_id)
        for known in (self._wants, self._tracker_of, self._trouble):
            known.pop(share_id, None)

    async def keep(self, tracker: str) -> None:
        """Keep the certificates of one tracker's shares in order, for ever."""
        due = self._due[tracker] = asyncio.Event()
        due.set()
        pause = 0.0
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await due.wait()
            due.clear()
            try:
                pause = await self._tend(tracker)
            except Exception:
                _log.exception("certificates were not tended")
                pause = _RETRY

    async def _tend(self, tracker: str) -> float:
        """Once over all shares; how long nothing will be due."""
        pause = _LONGEST
        for share_id, at in list(self._tracker_of.items()):
            if at == tracker and self._wants.get(share_id, False):
                pause = min(pause, await self._tend_share(share_id, tracker))
        return pause

    async def _tend_share(self, share_id: bytes, tracker: str) -> float:
        try:
            await self._certificates.get(share_id, tracker)
        except (NotAllowed, NotFound) as exc:
            self._certificates.forget(share_id)
            await self._leave(share_id, why(exc))
            return _RETRY_REFUSED
        except P2pckptError as exc:
            if self._trouble.get(share_id) != exc.fact:
                self._trouble[share_id] = exc.fact
                _log.warning("no certificate", share=share_id.hex()[:12], reason=exc.fact)
            # torrents of an authority that does not count any more must not go on serving whom it was replaced against
            await self._settle(share_id)
            return _RETRY
        self._trouble.pop(share_id, None)
        await self._settle(share_id)
        return max(0.1, self._certificates.due_in(share_id))
