"""Which member is behind an address, as the tracker says: asked for while somebody looks at peers, and not else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import Final

from p2pckpt.access.pool import Trackers
from p2pckpt.errors import P2pckptError

_FRESH: Final = 15.0
"""Seconds for which an answer is good."""


class Acquaintances:
    """Lives on the daemon's loop."""

    def __init__(self, trackers: Trackers) -> None:
        self._trackers = trackers
        self._known: dict[bytes, dict[str, str]] = {}
        """By share: address and port → identity; empty for addresses that several announced."""
        self._asked_at: dict[bytes, float] = {}
        self._asking: set[asyncio.Task[None]] = set()

    def who(self, shares: Iterable[bytes], address: str) -> str:
        """Identity of the one member who announced ``address`` in these shares; empty when that is not known."""
        found = {self._known.get(share_id, {}).get(address) for share_id in shares} - {None}
        return (found.pop() or "") if len(found) == 1 else ""

    def ask(self, shares: Iterable[tuple[bytes, str]]) -> None:
        """Have what is known of these shares, given with their trackers, brought up to date for the next look."""
        for share_id, tracker in dict(shares).items():
            if time.monotonic() - self._asked_at.get(share_id, -_FRESH) >= _FRESH:
                self._asked_at[share_id] = time.monotonic()
                task = asyncio.get_running_loop().create_task(self._ask(share_id, tracker))
                self._asking.add(task)
                task.add_done_callback(self._asking.discard)

    async def _ask(self, share_id: bytes, tracker: str) -> None:
        try:
            peers = await self._trackers.client(tracker).share_peers(share_id.hex())
        except P2pckptError:
            self._known.pop(share_id, None)  # away, or it does not tell: then nobody says who that is
            return
        known: dict[str, str] = {}
        for peer in peers:
            host = f"[{peer.address.host}]" if ":" in peer.address.host else peer.address.host
            address = f"{host}:{peer.address.port}"
            known[address] = peer.identity if known.get(address, peer.identity) == peer.identity else ""
        self._known[share_id] = known
