"""Which address a peer has, and who is told about it. Decisions only: no sockets, no state.

A peer's address is what its connection comes from, or what a trusted proxy says it came from; nothing the
peer writes into a request can change it. A daemon, which is authenticated, may state more addresses; the
rules below decide which of them are believed and which askers see them.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence
from enum import IntEnum
from functools import lru_cache
from typing import NamedTuple

from p2pckpt.tracker_protocol import MAX_ADDRESSES, Endpoint

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_FORWARDED_LIMIT = 32
"""Entries of X-Forwarded-For looked at; more than any real chain of proxies."""


_LAN = tuple(
    ipaddress.ip_network(each)
    for each in (
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "169.254.0.0/16",
        "100.64.0.0/10",  # carrier-grade NAT, also overlay networks
        "198.18.0.0/15",
        "fc00::/7",
    )
)
"""Listed here and not taken from ``is_private``: that also has the documentation ranges, which stand for public
addresses in tests and laboratories."""


class Realm(IntEnum):
    """From where an address can be dialled."""

    PUBLIC = 0
    LAN = 1
    """Private, unique local, carrier-grade NAT, IPv4 link-local."""
    LOOPBACK = 2

    @property
    def reachable(self) -> tuple[Realm, ...]:
        """The realms that an asker observed in this one can dial: a LAN host also reaches the internet."""
        return tuple(Realm)[: self + 1]


class Address(NamedTuple):
    """A usable unicast address."""

    text: str
    packed: bytes
    """4 or 16 bytes, network order."""
    realm: Realm
    near: bytes
    """Equal for hosts taken to be neighbours: same public IPv4 address, LAN /24, IPv6 /64, or this host."""

    def compact(self, port: int) -> bytes:
        """BEP 23 / BEP 7 form: address, then port, 6 or 18 bytes."""
        return self.packed + port.to_bytes(2, "big")


@lru_cache(maxsize=1 << 16)
def address(text: str) -> Address | None:
    """The address a literal stands for; None for what no peer can be dialled at (multicast, 0.0.0.0, names).

    IPv4-mapped IPv6 becomes IPv4. IPv6 link-local is refused: without its zone, nobody else could use it.
    """
    try:
        ip = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    if ip.is_loopback:
        return Address(str(ip), ip.packed, Realm.LOOPBACK, b"loopback")
    if ip.is_multicast or int(ip) < 1 << 24 or (ip.version == 4 and int(ip) >= 0xF0000000):
        return None
    if isinstance(ip, ipaddress.IPv6Address) and (ip.is_link_local or ip.is_site_local or ip.scope_id):
        return None
    realm = Realm.LAN if any(ip in network for network in _LAN) else Realm.PUBLIC
    if ip.version == 6:
        near = b"6" + ip.packed[:8]
    elif realm is Realm.LAN:
        near = b"4" + ip.packed[:3]
    else:
        near = b"4" + ip.packed
    return Address(str(ip), ip.packed, realm, near)


def endpoint(compact: bytes) -> Endpoint:
    """The inverse of ``Address.compact``."""
    ip = ipaddress.ip_address(compact[:-2])
    return Endpoint(host=str(ip), port=int.from_bytes(compact[-2:], "big"))


def trusted(networks: Sequence[str]) -> tuple[Network, ...]:
    """Parse ``--trusted-proxy`` values. Raises ValueError with the value that is no network."""
    return tuple(ipaddress.ip_network(each, strict=False) for each in networks)


def observed(peer: str, forwarded: Sequence[str], proxies: Sequence[Network]) -> Address | None:
    """The address a request comes from.

    ``peer`` is the socket's remote host and ``forwarded`` the values of all X-Forwarded-For headers in order.
    The headers count only when the socket's peer is a trusted proxy; then entries are read from the right,
    and the first one that is not itself a trusted proxy is the client. Whatever stands left of it was written
    by the client. An entry that is no address ends the search at the last proxy that could be believed.
    """
    here = address(peer.partition("%")[0])
    if not proxies or not forwarded or here is None or not _among(here, proxies):
        return here
    entries = [entry.strip() for value in forwarded for entry in value.split(",")]
    for entry in reversed(entries[-_FORWARDED_LIMIT:]):
        there = address(_without_port(entry))
        if there is None:
            return here
        here = there
        if not _among(there, proxies):
            return there
    return here


def _among(who: Address, networks: Sequence[Network]) -> bool:
    ip = ipaddress.ip_address(who.packed)
    return any(ip.version == network.version and ip in network for network in networks)


def _without_port(entry: str) -> str:
    if entry.startswith("["):
        return entry[1:].partition("]")[0]
    return entry.partition(":")[0] if entry.count(":") == 1 else entry


class Reach(NamedTuple):
    """How others can dial one peer."""

    outward: tuple[tuple[Realm, bytes], ...]
    """Compact endpoints for every asker who can dial that realm."""
    near: tuple[tuple[bytes, bytes], ...] = ()
    """(neighbourhood, compact endpoint): for askers whose observed address has that ``near``."""
    unproven: tuple[Endpoint, ...] = ()
    """Stated public endpoints that must be dialled back before anybody hears of them."""

    def for_asker(self, asker: Address) -> list[bytes]:
        """The compact endpoints that an asker observed at this address is told, nearest first."""
        found = [compact for near, compact in self.near if near == asker.near]
        found += [compact for realm, compact in self.outward if realm <= asker.realm]
        return list(dict.fromkeys(found))


def reach(
    seen: Address, port: int, stated: Sequence[Endpoint], proven: Callable[[Endpoint], bool] = lambda _: False
) -> Reach:
    """Sort a daemon's addresses by audience.

    - ``seen`` with ``port`` always counts, within its realm.
    - A stated loopback address counts when the daemon itself is seen on loopback: it shares our host.
    - A stated LAN address is for askers in its own subnet, and for those seen where the daemon is seen.
    - A stated public address counts when it is the one seen, when the daemon is on the tracker's own host
      (where the real one can't be seen), or when ``proven`` says that dialling it back reached a listener.
    """
    outward: dict[tuple[Realm, bytes], None] = {}
    near: dict[tuple[bytes, bytes], None] = {}
    unproven: dict[Endpoint, None] = {}
    for each in stated[:MAX_ADDRESSES]:
        where = address(each.host)
        if where is None or not 0 < each.port < 65536:
            continue
        compact = where.compact(each.port)
        if where.realm is Realm.LOOPBACK:
            if seen.realm is Realm.LOOPBACK:
                outward[Realm.LOOPBACK, compact] = None
        elif where.realm is Realm.LAN:
            near[seen.near, compact] = None
            near[where.near, compact] = None
        elif where.packed == seen.packed or seen.realm is Realm.LOOPBACK or proven(each):
            outward[Realm.PUBLIC, compact] = None
        else:
            unproven[each] = None
    outward[seen.realm, seen.compact(port)] = None
    return Reach(tuple(outward), tuple(near), tuple(unproven))
