"""Checks a stated public address by dialling it: a member must not be able to point a swarm at somebody else.

Bounded on purpose, because it makes this host open connections that a member asked for: only global unicast
addresses, only ports from 1024 up, a few at a time, and answers are remembered for minutes.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable

from p2pckpt.tracker_protocol import Endpoint

from .peer_address import Realm, address

DEADLINE = 2.0
"""Seconds for one connection."""
AT_ONCE = 4
WAITING = 64
"""Dials queued or running; more are dropped, the daemon's next announce asks again."""
REMEMBERED = 600.0
"""Seconds that a verdict, good or bad, stands."""
VERDICTS = 10_000

_TRANSLATED = tuple(map(ipaddress.ip_network, ("64:ff9b::/96", "2002::/16", "2001::/32")))
"""NAT64, 6to4, Teredo: an IPv4 address inside, possibly a private one of this network."""

Dial = Callable[[Endpoint], Awaitable[bool]]


async def dial_tcp(where: Endpoint) -> bool:
    """Whether something accepts a TCP connection there within ``DEADLINE``; nothing is sent."""
    try:
        async with asyncio.timeout(DEADLINE):
            _, writer = await asyncio.open_connection(where.host, where.port)
    except (OSError, TimeoutError):
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True


def may_dial(where: Endpoint) -> bool:
    """Whether this endpoint is one the tracker is willing to dial at all."""
    found = address(where.host)
    if found is None or found.realm is not Realm.PUBLIC or not 1024 <= where.port < 65536:
        return False
    ip = ipaddress.ip_address(found.packed)
    return ip.is_global and not any(ip in network for network in _TRANSLATED)


class DialBack:
    """Remembers which stated endpoints answered."""

    def __init__(self, dial: Dial = dial_tcp, clock: Callable[[], float] = time.monotonic) -> None:
        self._dial = dial
        self._clock = clock
        self._verdicts: OrderedDict[Endpoint, tuple[bool, float]] = OrderedDict()
        self._running: dict[Endpoint, asyncio.Task[None]] = {}
        self._slots = asyncio.Semaphore(AT_ONCE)

    def proven(self, where: Endpoint) -> bool:
        """Whether a dial reached it within the last minutes. Costs a dictionary look-up."""
        return self._verdict(where) is True

    def ask(self, where: Endpoint, reached: Callable[[], None]) -> None:
        """Dial in the background unless a verdict stands; ``reached`` is called once, on success only."""
        if self._verdict(where) is not None or where in self._running:
            return
        if not may_dial(where) or len(self._running) >= WAITING:
            return
        task = asyncio.create_task(self._check(where, reached))
        self._running[where] = task
        task.add_done_callback(lambda _: self._running.pop(where, None))

    async def close(self) -> None:
        """Cancel what is still dialling."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _verdict(self, where: Endpoint) -> bool | None:
        known = self._verdicts.get(where)
        if known is None or known[1] < self._clock():
            return None
        return known[0]

    async def _check(self, where: Endpoint, reached: Callable[[], None]) -> None:
        async with self._slots:
            answer = await self._dial(where)
        self._verdicts[where] = (answer, self._clock() + REMEMBERED)
        self._verdicts.move_to_end(where)
        while len(self._verdicts) > VERDICTS:
            self._verdicts.popitem(last=False)
        if answer:
            reached()
