"""Where the engine listens: one port for plain BitTorrent and one for TLS, the same on every address.

Listening on 0.0.0.0, libtorrent binds each interface by device and, with port 0, to a port of its own: neighbours on
this machine could not reach the LAN address, and peers could not be told one port. So addresses are listed and both
ports are chosen here.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Sequence
from typing import Final

from p2pckpt.errors import P2pckptError
from p2pckpt.tracker_protocol import Endpoint

_GRACE: Final = 0.3
"""Seconds in which another address may still succeed where one failed."""


class Listening:
    """What is listened on, how that went, and what a router mapped to it."""

    def __init__(self, addresses: Sequence[str], port: int, tls_port: int) -> None:
        """0 stands for a free port until ``choose``."""
        self.addresses = tuple(addresses)
        self.port = port
        self.tls_port = tls_port
        self._external: dict[bool, int] = {}
        """By whether it is for TLS."""
        self._external_address = ""

    def choose(self) -> None:
        """Settle on ports that are free on the first address. Blocks for an instant."""
        self._loop = asyncio.get_running_loop()
        self._done: dict[bool, asyncio.Future[None]] = {tls: self._loop.create_future() for tls in (False, True)}
        family = socket.AF_INET6 if ":" in self.addresses[0] else socket.AF_INET
        with contextlib.ExitStack() as stack:
            # both are held until both are known, or they might be one
            free = []
            for _ in range(2):
                probe = stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
                probe.bind((self.addresses[0], 0))
                free.append(int(probe.getsockname()[1]))
        self.port = self.port or free[0]
        self.tls_port = self.tls_port or free[1]

    @property
    def interfaces(self) -> str:
        """libtorrent's ``listen_interfaces``: TLS ports end in s."""
        both = ((self.port, ""), (self.tls_port, "s"))
        return ",".join(f"{bracket(address)}:{port}{mark}" for port, mark in both for address in self.addresses)

    async def wait(self) -> None:
        """Return once both ports are listened on somewhere. Raises ``P2pckptError`` when one is taken."""
        await asyncio.gather(*self._done.values())

    def report(self, *, tls: bool, error: str) -> None:
        """How listening on one address and port went; empty ``error`` for well."""
        done = self._done[tls]
        if done.done():
            return
        if not error:
            done.set_result(None)
        else:
            self._loop.call_later(_GRACE, self._refuse, tls, error)

    def mapped_port(self, external: int) -> None:
        """A router mapped a port to one of ours. It says to which only by its number: a router that chose another
        one is believed to have taken them in the order in which they are asked for, the plain one first."""
        tls = external == self.tls_port or (external != self.port and False in self._external)
        self._external[tls] = external

    def seen_as(self, address: str) -> None:
        """Peers or the router told this machine's address."""
        self._external_address = address

    def mapped(self, *, tls: bool) -> Endpoint | None:
        """The router's address and port that lead here, once it has mapped one."""
        port = self._external.get(tls, 0)
        return Endpoint(self._external_address, port) if port and self._external_address else None

    def _refuse(self, tls: bool, error: str) -> None:
        if not self._done[tls].done():
            setting = "tls_port" if tls else "port"
            self._done[tls].set_exception(
                P2pckptError(
                    f"peers can't connect: {error}",
                    next_step=f"choose another port: p2pckpt config set {setting} PORT",
                )
            )


def bracket(host: str) -> str:
    return f"[{host}]" if ":" in host else host
