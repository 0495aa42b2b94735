"""Hosts in network namespaces: a LAN behind a router that masquerades, and one host outside.

    P  192.168.77.2 ─┐
                     ├─ 192.168.77.1  R  203.0.113.1 ─── 203.0.113.9  C
    B  192.168.77.3 ─┘

Needs root and the tools ``ip`` and ``nft``. Unix sockets don't care about network namespaces, so a test talks to
every daemon from where it is.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Final

from ...support.debian import CannotInstall, install
from ...support.homes import Home

PUBLIC: Final = "203.0.113.1"
OUTSIDE: Final = "203.0.113.9"
LAN: Final = {"p": "192.168.77.2", "b": "192.168.77.3"}
_TOOLS: Final = {"ip": "iproute2", "nft": "nftables"}
_HOSTS: Final = ("r", *LAN, "c")
_REFUSED: Final = "reject with tcp reset"

_RULES: Final = """
table ip lab {{
  counter forwarded {{ }}
  counter outward {{ }}
  chain prerouting {{
    type nat hook prerouting priority dstnat;
    {forwards}
  }}
  chain postrouting {{
    type nat hook postrouting priority srcnat;
    oifname "wan" masquerade
  }}
  chain forward {{
    type filter hook forward priority filter; policy drop;
    # what the bridge passes on comes through here too where br_netfilter is loaded
    iifname "lan" oifname "lan" accept
    ct state established,related accept
    {refusals}
    iifname "lan" oifname "wan" counter name outward accept
    ct status dnat accept
  }}
  chain input {{
    type filter hook input priority filter; policy accept;
    iifname "wan" meta l4proto tcp {unasked}
  }}
}}
"""


class CannotBuild(Exception):
    """This machine makes no network namespaces, or has no tools for them; says why."""


class Lab:
    """The topology, taken down when the block ends.

    ``forward`` are TCP ports of the router's outside address that lead to P; connections to them are counted.
    ``refuse`` are LAN addresses that may not open connections to the outside; those of the others are counted.
    A ``silent`` router drops what comes unasked from outside, as most do, instead of refusing it.
    """

    def __init__(self, *, forward: Sequence[int] = (), refuse: Sequence[str] = (), silent: bool = False) -> None:
        ports = ", ".join(map(str, forward))
        rule = f'iifname "wan" tcp dport {{ {ports} }} counter name forwarded dnat to {LAN["p"]}' if ports else ""
        refusals = [f"ip saddr {address} meta l4proto tcp ct state new {_REFUSED}" for address in refuse]
        unasked = "drop" if silent else _REFUSED
        self._rules = _RULES.format(forwards=rule, refusals="\n    ".join(refusals), unasked=unasked)
        self._tag = secrets.token_hex(3)

    def __enter__(self) -> Lab:
        try:
            self._build()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._remove()

    def inside(self, host: str) -> tuple[str, ...]:
        """What to put before a command to run it on ``host``."""
        return ("ip", "netns", "exec", self._namespace(host))

    def counted(self, name: str) -> int:
        """Connections that were forwarded (``forwarded``), or opened from the LAN to the outside (``outward``)."""
        listing = _run(*self.inside("r"), "nft", "--json", "list", "counter", "ip", "lab", name)
        (packets,) = [each["counter"]["packets"] for each in json.loads(listing)["nftables"] if "counter" in each]
        return int(packets)

    def can_dial(self, host: str, address: str, port: int) -> bool:
        """Whether ``host`` can open a TCP connection to that address."""
        script = f"import socket; socket.create_connection(({address!r}, {port}), 3).close()"
        command = [*self.inside(host), sys.executable, "-c", script]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    def _namespace(self, host: str) -> str:
        return f"p2pckpt-{self._tag}-{host}"

    def _build(self) -> None:
        for host in _HOSTS:
            _run("ip", "netns", "add", self._namespace(host))
            self._ip(host, "link set lo up")
        self._ip("r", "link add name lan type bridge")
        for host, address in LAN.items():
            self._ip("r", f"link add name to-{host} type veth peer name eth0 netns {self._namespace(host)}")
            self._ip("r", f"link set to-{host} master lan up")
            self._ip(host, f"address add {address}/24 dev eth0")
            self._ip(host, "link set eth0 up")
        self._ip("r", "address add 192.168.77.1/24 dev lan")
        self._ip("r", "link set lan up")
        self._ip("r", f"link add name wan type veth peer name eth0 netns {self._namespace('c')}")
        self._ip("r", f"address add {PUBLIC}/24 dev wan")
        self._ip("r", "link set wan up")
        self._ip("c", f"address add {OUTSIDE}/24 dev eth0")
        self._ip("c", "link set eth0 up")
        for host in LAN:
            self._ip(host, "route add default via 192.168.77.1")
        _run(*self.inside("r"), "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
        _run(*self.inside("r"), "nft", "-f", "-", stdin=self._rules)

    def _ip(self, host: str, command: str) -> None:
        _run("ip", "-netns", self._namespace(host), *command.split())

    def _remove(self) -> None:
        for host in _HOSTS:
            name = self._namespace(host)
            pids = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True, check=False)
            for pid in pids.stdout.split():
                os.kill(int(pid), signal.SIGKILL)
            subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)


class HomeOn(Home):
    """A daemon on a host of the lab, its tracker too."""

    def __init__(self, lab: Lab, host: str, path: Path, **settings: object) -> None:
        super().__init__(path)
        self.set(listen="0.0.0.0", tracker_listen="0.0.0.0", **settings)
        self._prefix = lab.inside(host)


def prepare() -> None:
    """Return once labs can be built: the tools are there (on Debian they are installed), namespaces can be made.

    Raises ``CannotBuild``.
    """
    if not sys.platform.startswith("linux"):
        raise CannotBuild("network namespaces are Linux's")
    if os.geteuid() != 0:
        raise CannotBuild("network namespaces need root")
    missing = [package for tool, package in _TOOLS.items() if shutil.which(tool) is None]
    if missing:
        try:
            install(missing)
        except CannotInstall as exc:
            raise CannotBuild(str(exc)) from exc
    name = f"p2pckpt-{secrets.token_hex(3)}-try"
    try:
        _run("ip", "netns", "add", name)
        _run("ip", "netns", "exec", name, "nft", "add table ip try")
    except RuntimeError as exc:
        raise CannotBuild(f"no network namespaces can be made here: {exc}") from exc
    finally:
        subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)


def _run(*command: str, stdin: str = "") -> str:
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout
