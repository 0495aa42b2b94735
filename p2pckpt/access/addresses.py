"""Where this machine can be reached: its addresses on each interface, told apart by how far they carry."""

from __future__ import annotations

import ipaddress
import socket
from typing import Final
from urllib.parse import urlsplit

import psutil

from p2pckpt.tracker_protocol import MAX_ADDRESSES, Endpoint

_VIRTUAL: Final = ("docker", "br-", "veth", "virbr", "cni", "flannel")
"""Interfaces whose addresses nobody outside this machine can use."""


def machine_addresses() -> list[str]:
    """Addresses of interfaces that are up: global ones first, then LAN, loopback last."""
    found: list[ipaddress.IPv4Address | ipaddress.IPv6Address] = []
    up = {name for name, stats in psutil.net_if_stats().items() if stats.isup}
    for name, addresses in psutil.net_if_addrs().items():
        if name not in up or name.startswith(_VIRTUAL):
            continue
        for address in addresses:
            if address.family in (socket.AF_INET, socket.AF_INET6):
                parsed = ipaddress.ip_address(address.address.partition("%")[0])
                if not parsed.is_link_local and not parsed.is_unspecified:
                    found.append(parsed)
    return [str(a) for a in sorted(found, key=lambda a: (a.is_loopback, not a.is_global, a.version, int(a)))]


def listening_addresses(listen: str) -> list[str]:
    """Addresses that a socket bound to ``listen`` answers on."""
    if listen in ("", "0.0.0.0", "::"):
        addresses = machine_addresses()
        return [a for a in addresses if listen != "0.0.0.0" or ":" not in a]
    return [listen]


def endpoints(
    listen: str, port: int, public_address: str, mapped: Endpoint | None, *, public_port: int = 0
) -> list[Endpoint]:
    """What the daemon tells trackers: the configured and the mapped address, then its own interfaces'.

    ``public_port`` replaces the port in ``public_address``, which is that of plain connections.
    """
    stated = _stated(public_address, port) if public_address else []
    if public_port:
        stated = [Endpoint(each.host, public_port) for each in stated]
    if mapped is not None:
        stated.append(mapped)
    stated += [Endpoint(address, port) for address in listening_addresses(listen)]
    return list(dict.fromkeys(stated))[:MAX_ADDRESSES]


def _stated(public_address: str, port: int) -> list[Endpoint]:
    """What ``HOST``, ``HOST:PORT`` or ``[IPV6]:PORT`` stands for; nothing for anything else."""
    is_bare_ipv6 = public_address.count(":") > 1 and not public_address.startswith("[")
    try:
        parts = urlsplit(f"//[{public_address}]" if is_bare_ipv6 else f"//{public_address}")
        host, own_port = parts.hostname or "", parts.port
    except ValueError:
        return []
    return [Endpoint(address, own_port or port) for address in _resolve(host)] if host else []


def _resolve(host: str) -> list[str]:
    try:
        return list(dict.fromkeys(str(info[4][0]) for info in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)))
    except (OSError, ValueError):  # what can't be a name at all is a ValueError
        return []
