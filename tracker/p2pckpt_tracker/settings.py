"""What ``serve`` was asked to do, checked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from p2pckpt.tracker_protocol import CERTIFICATE_LIFETIME

from .peer_address import Network


@dataclass(frozen=True, slots=True)
class Listen:
    """A host and port to listen on; port 0 lets the system choose."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Settings:
    """One tracker's settings."""

    data: Path
    listen: Listen
    announce_listen: Listen | None
    """BEP 3 announces over plain HTTP; None for off."""
    ops_listen: Listen | None
    """Health and metrics; None for off."""
    announce_url: str = ""
    """What clients are told; empty for one made from ``announce_listen``."""
    tls_certificate: Path | None = None
    """With ``tls_key``: a certificate from elsewhere in place of the self-signed one."""
    tls_key: Path | None = None
    plain_http: bool = False
    proxy_certificates: tuple[Path, ...] = ()
    """What proxies that end TLS in front of this tracker show, PEM: clients sign it when they log in."""
    trusted_proxies: tuple[Network, ...] = ()
    only_listed: bool = True
    """Whether only listed identities may create shares."""
    owners: tuple[str, ...] = ()
    """Identities to list at start."""
    ready_file: Path | None = None
    interval: int = 900
    """Seconds between a peer's announces."""

    certificate_lifetime: int = CERTIFICATE_LIFETIME
    """Seconds that a member's certificate is valid."""

    @property
    def peer_lifetime(self) -> int:
        """Seconds without an announce after which a peer is dropped: two intervals with their jitter."""
        return 2 * (self.interval + self.interval // 10) + 1


def parse_listen(text: str) -> Listen:
    """``HOST:PORT`` or ``[IPV6]:PORT``. Raises ValueError."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise ValueError(f"{text!r} is not HOST:PORT")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(f"{text!r}: put an IPv6 address in brackets")
    if not host:
        raise ValueError(f"{text!r} lacks the host")
    return Listen(host, int(port))
