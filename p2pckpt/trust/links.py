"""Links: what one person sends to another, and what is derived from the secret inside.

``p2pckpt:SHARE?tr=HOST:PORT&pk=KEY#SECRET`` names the share by the hash of its root of trust, the tracker with its
certificate's hash, and after ``#`` what never reaches the tracker. ``https://HOST/s/SHARE#SECRET`` is the same for
trackers with a certificate that browsers accept. docs/format.md, "Links", has the bytes.
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import secrets
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qs, urlsplit

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from p2pckpt.errors import BadUsage
from p2pckpt.tracker_protocol import LINK_AUTH_CONTEXT, LINK_WRAP_CONTEXT

SCHEME: Final = "p2pckpt:"
_MAX_LENGTH: Final = 2048
_ID_BYTES: Final = 8
_SECRET_BYTES: Final = 24


@dataclass(frozen=True, slots=True)
class TrackerAddress:
    """Where a tracker answers, and which certificate it must show."""

    hosts: tuple[str, ...]
    """``host:port``, or ``http://host:port`` for plain HTTP on loopback; tried in order."""
    certificate: bytes = b""
    """SHA-256 of its certificate; empty: a certificate the system's authorities vouch for."""

    @property
    def urls(self) -> tuple[str, ...]:
        return tuple(host if "://" in host else f"https://{host}" for host in self.hosts)

    @property
    def text(self) -> str:
        """As the ``tracker`` setting writes it."""
        return ",".join(self.hosts) + (f"#{_base32(self.certificate)}" if self.certificate else "")

    @classmethod
    def parse(cls, text: str) -> TrackerAddress:
        """``host:port[,host:port…][#key]``. Raises ``BadUsage``."""
        hosts, _, key = text.strip().partition("#")
        return cls(tuple(_host(h) for h in hosts.split(",")), _unbase32(key, 32) if key else b"")


@dataclass(frozen=True, slots=True)
class LinkSecret:
    """The part after ``#``: which link it is, and the secret that opens it."""

    link_id: str
    secret: bytes

    @classmethod
    def generate(cls) -> LinkSecret:
        return cls(secrets.token_hex(_ID_BYTES), secrets.token_bytes(_SECRET_BYTES))

    @property
    def text(self) -> str:
        raw = bytes.fromhex(self.link_id) + self.secret
        return base64.urlsafe_b64encode(raw).decode().rstrip("=")

    def keys(self, password: str, salt: bytes) -> LinkKeys:
        """What the secret, and the password if the link has one, opens."""
        material = self.secret
        if salt:
            stretch = Argon2id(salt=salt, length=32, iterations=3, lanes=4, memory_cost=64 * 1024)
            material += stretch.derive(password.encode())
        return LinkKeys(
            auth=_expand(material, LINK_AUTH_CONTEXT, self.link_id),
            wrap=_expand(material, LINK_WRAP_CONTEXT, self.link_id),
        )


@dataclass(frozen=True, slots=True)
class LinkKeys:
    """``auth`` is shown to the tracker once, ``wrap`` never leaves the machine."""

    auth: bytes
    wrap: bytes

    @property
    def auth_hash(self) -> str:
        return hashlib.sha256(self.auth).hexdigest()


@dataclass(frozen=True, slots=True)
class Link:
    """A parsed link. Without a secret it names a public share, or one the reader is a member of already."""

    share_id: bytes
    tracker: TrackerAddress
    secret: LinkSecret | None = None
    version: int = 0
    """Pinned version; 0 for the newest."""
    at_least: int = 0
    """Signed targets are at least this version: the link's maker has seen it, so nobody can hide it from a reader."""

    @property
    def text(self) -> str:
        query = f"?tr={','.join(self.tracker.hosts)}"
        if self.tracker.certificate:
            query += f"&pk={_base32(self.tracker.certificate)}"
        if self.version:
            query += f"&v={self.version}"
        if self.at_least:
            query += f"&n={self.at_least}"
        return f"{SCHEME}{_base32(self.share_id)}{query}" + (f"#{self.secret.text}" if self.secret else "")

    @property
    def web_text(self) -> str:
        """The https form; empty for a tracker whose certificate only this link vouches for."""
        if self.tracker.certificate or self.tracker.hosts[0].startswith("http://"):
            return ""
        numbers = {"v": self.version, "n": self.at_least}
        query = "&".join(f"{name}={number}" for name, number in numbers.items() if number)
        query = f"?{query}" if query else ""
        fragment = f"#{self.secret.text}" if self.secret else ""
        return f"https://{self.tracker.hosts[0]}/s/{_base32(self.share_id)}{query}{fragment}"

    @classmethod
    def parse(cls, text: str) -> Link:
        """Either form. Raises ``BadUsage`` saying what is wrong with it, never repeating the secret."""
        text = text.strip()
        if len(text) > _MAX_LENGTH:
            raise BadUsage("this is too long to be a link")
        try:
            parts = urlsplit(text)
            strict = bool(parts.query)
            query = parse_qs(parts.query, keep_blank_values=True, strict_parsing=strict, max_num_fields=8)
        except ValueError as exc:
            raise BadUsage("this is no p2pckpt link", next_step="copy the whole link, quotes around it") from exc
        if parts.scheme == "p2pckpt":
            share, hosts = parts.path, query.get("tr", [""])[0]
            certificate = _unbase32(query["pk"][0], 32) if "pk" in query else b""
        elif parts.scheme == "https" and parts.path.startswith("/s/"):
            share, hosts, certificate = parts.path[3:], parts.netloc, b""
        else:
            raise BadUsage("this is no p2pckpt link", next_step="copy the whole link, quotes around it")
        if not hosts:
            raise BadUsage("the link names no tracker")
        version, at_least = (_number(query.get(name, ["0"])[0]) for name in ("v", "n"))
        return cls(
            _unbase32(share, 32),
            # a link that lost its # has the secret in here: errors must not repeat it
            TrackerAddress(tuple(_host(h, "what this link names") for h in hosts.split(",")), certificate),
            _secret(parts.fragment) if parts.fragment else None,
            version,
            at_least,
        )


def is_link(text: str) -> bool:
    """Whether ``text`` is meant as a link rather than a share's name."""
    return text.strip().startswith((SCHEME, "https://", "http://"))


def _host(text: str, name: str = "") -> str:
    """A checked ``host:port``; plain HTTP only where nobody else can listen. Errors call it ``name``."""
    name = name or repr(text[:60])
    plain = text.startswith("http://")
    bare = text.removeprefix("http://").removeprefix("https://").rstrip("/")
    try:
        parts = urlsplit(f"//{bare}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    is_bare = host and not (parts.path or parts.query or parts.fragment or parts.username)
    if not host or not is_bare or not all(c.isalnum() or c in ".-:_" for c in host):
        raise BadUsage(f"{name} is no tracker address", next_step="use HOST:PORT")
    if plain and not _is_loopback(host):
        raise BadUsage(f"{name} is not on this machine: plain http is only for trackers that are")
    netloc = f"[{host}]" if ":" in host else host
    return ("http://" if plain else "") + netloc + (f":{port}" if port else "")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise BadUsage("the link names a malformed version")
    return int(text)


def _secret(fragment: str) -> LinkSecret:
    try:
        raw = base64.b64decode(fragment + "=" * (-len(fragment) % 4), altchars=b"-_", validate=True)
    except ValueError as exc:  # binascii.Error is one, and so is what text beyond ASCII raises
        raise BadUsage("the link's secret part is malformed", next_step="copy the whole link") from exc
    if len(raw) != _ID_BYTES + _SECRET_BYTES:
        raise BadUsage("the link's secret part is cut off", next_step="copy the whole link, quotes around it")
    return LinkSecret(raw[:_ID_BYTES].hex(), raw[_ID_BYTES:])


def _expand(material: bytes, context: bytes, link_id: str) -> bytes:
    info = context + bytes.fromhex(link_id)
    return HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=info).derive(material)


def _base32(raw: bytes) -> str:
    return base64.b32encode(raw).decode().rstrip("=").lower()


def _unbase32(text: str, length: int) -> bytes:
    try:
        raw = base64.b32decode(text.encode("ascii").upper() + b"=" * (-len(text) % 8))
    except ValueError as exc:  # binascii.Error is one, and so is what text beyond ASCII raises
        raise BadUsage("the link is malformed or cut off", next_step="copy the whole link, quotes around it") from exc
    if len(raw) != length:
        raise BadUsage("the link is malformed or cut off", next_step="copy the whole link, quotes around it")
    return raw
