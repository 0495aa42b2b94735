"""Whom this machine has nothing to do with: a list of addresses that survives restarts and can be taken back.

BitTorrent knows peers by address alone, so a ban holds for everybody behind it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from ipaddress import ip_network
from pathlib import Path
from typing import Final

import msgspec
import structlog

from p2pckpt import atomic
from p2pckpt.control.health_messages import BanRequest, BanRow
from p2pckpt.errors import BadUsage, NotFound, disk_error
from p2pckpt.swarm.engine import IpNetwork

_log = structlog.get_logger(__name__)
_WIDEST: Final = {4: 8, 6: 16}
"""Shortest prefix by family: more than that is no peer, but the wish to have none."""
_LONGEST_NOTE: Final = 200
_MOST: Final = 10_000


class Bans:
    """Lives on the daemon's loop. ``apply`` is the engine's ``ban``."""

    def __init__(self, path: Path, apply: Callable[[Sequence[IpNetwork]], None]) -> None:
        self._path = path
        self._apply = apply
        self._rows: dict[str, BanRow] = {}
        self._saving = asyncio.Lock()
        """Held by whoever changes the list, from looking at it to having written it."""

    def load(self) -> None:
        """Read the list and hand it to the engine; one that can't be read is put aside and told of in the log."""
        try:
            rows = msgspec.json.decode(self._path.read_bytes(), type=list[BanRow])
            self._rows = {str(parse(row.network)): row for row in rows}
        except FileNotFoundError:
            return
        except (OSError, msgspec.MsgspecError, BadUsage) as exc:
            aside = self._path.with_suffix(".unreadable")
            _log.error("the list of bans can't be read: nobody is banned", reason=str(exc), kept=str(aside))
            self._path.replace(aside)
        self._apply(self._networks())

    def rows(self) -> tuple[BanRow, ...]:
        """Newest first."""
        return tuple(sorted(self._rows.values(), key=lambda row: -row.since))

    async def add(self, request: BanRequest) -> BanRow:
        """Cut every connection with an address and refuse new ones. Raises ``BadUsage``."""
        network = str(parse(request.address))
        async with self._saving:
            if network in self._rows:
                return self._rows[network]
            if len(self._rows) >= _MOST:
                raise BadUsage(f"there are {_MOST:,} bans already", next_step="p2pckpt peers unban ADDRESS")
            row = BanRow(_shown(network), int(time.time()), request.note[:_LONGEST_NOTE])
            await self._change({**self._rows, network: row})
        _log.info(f"banned {row.network}", note=row.note)
        return row

    async def remove(self, network: str) -> None:
        """Take a ban back. Raises ``NotFound``."""
        key = str(parse(network))
        async with self._saving:
            if key not in self._rows:
                raise NotFound(f"{network} is not banned", next_step="p2pckpt peers bans")
            await self._change({name: row for name, row in self._rows.items() if name != key})
        _log.info(f"no longer banned: {_shown(key)}")

    async def _change(self, rows: dict[str, BanRow]) -> None:
        try:
            await asyncio.to_thread(atomic.write, self._path, msgspec.json.encode(list(rows.values())))
        except OSError as exc:
            raise disk_error(exc, self._path, kept="the bans as they were") from exc
        self._rows = rows
        self._apply(self._networks())

    def _networks(self) -> list[IpNetwork]:
        return [ip_network(name) for name in self._rows]


def parse(text: str) -> IpNetwork:
    """What ``address``, ``address:port``, ``[address]:port`` or ``network/bits`` means. Raises ``BadUsage``."""
    text = text.strip()
    host = text
    if text.startswith("["):
        host = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        host = text.partition(":")[0]
    try:
        network = ip_network(host, strict=False)
    except ValueError as exc:
        raise BadUsage(f"{text!r} is no address", next_step="write it as p2pckpt peers ls prints it") from exc
    if network.prefixlen < _WIDEST[network.version]:
        raise BadUsage(f"{text} is too much to ban", next_step="name a smaller network, or stop the daemon")
    return network


def _shown(network: str) -> str:
    """A single address without its number of bits."""
    parsed = ip_network(network)
    return str(parsed[0]) if parsed.num_addresses == 1 else network
