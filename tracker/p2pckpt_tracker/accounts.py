"""Proof of an identity: single-use challenges, and what a login must have signed. The database is elsewhere."""

from __future__ import annotations

import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from p2pckpt.tracker_protocol import CHALLENGE_LIFETIME, RECEIVE_KEY_CONTEXT, LoginRequest, login_message

from .data_dir import fingerprint

MAX_NAME = 64
_OPEN_CHALLENGES = 10_000
_HEX64 = re.compile("[0-9a-f]{64}")
_HEX128 = re.compile("[0-9a-f]{128}")


class LoginRefused(Exception):
    """The login proves nothing; the text says what is wrong with it."""


def is_identity(text: str) -> bool:
    """Whether this is the hex form of a 32-byte public key."""
    return _HEX64.fullmatch(text) is not None


class Challenges:
    """Nonces handed out and not yet used. Kept in memory: a restart only makes a client ask again."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._open: OrderedDict[str, float] = OrderedDict()

    def new(self) -> str:
        """A fresh challenge; the oldest open one gives way when there are too many."""
        challenge = secrets.token_hex(32)
        self._open[challenge] = self._clock() + CHALLENGE_LIFETIME
        while len(self._open) > _OPEN_CHALLENGES:
            self._open.popitem(last=False)
        return challenge

    def use(self, challenge: str) -> bool:
        """Whether it is one of ours, in time, and for the first time."""
        deadline = self._open.pop(challenge, None)
        return deadline is not None and self._clock() <= deadline


class ShownCertificates:
    """Which certificates clients are shown when they are connected to this tracker, as SHA-256 in hex."""

    def __init__(self, own: str, proxies: Sequence[Path] = ()) -> None:
        """``own`` is empty without TLS; ``proxies`` are PEM files of what proxies in front show."""
        self._own = own
        self._proxies = tuple(proxies)

    def read(self) -> frozenset[str]:
        """All of them, the empty one when connections are plain. Files are read each time: certificates from an
        authority are renewed every few weeks. Raises OSError, ValueError."""
        proxies = frozenset(fingerprint(path) for path in self._proxies)
        return proxies | {self._own} if self._own or not proxies else proxies


def check_login(login: LoginRequest, tracker_id: str, certificates: frozenset[str]) -> None:
    """Verify both signatures of a login whose challenge has been used up. Raises LoginRefused.

    Tracker and certificate are signed as well, so that whoever a client talks to can't log in elsewhere in its name.
    """
    if not is_identity(login.identity) or not _HEX64.fullmatch(login.receive_key):
        raise LoginRefused("identity and receive key must be 64 hex digits")
    if not _HEX128.fullmatch(login.signature) or not _HEX128.fullmatch(login.receive_key_signature):
        raise LoginRefused("signatures must be 128 hex digits")
    if len(login.name) > MAX_NAME or not login.name.isprintable():
        raise LoginRefused(f"the name must be at most {MAX_NAME} printable characters")
    if login.certificate not in certificates:
        raise LoginRefused(
            "the login was made for another certificate than this tracker shows: somebody passes it on, or the tracker "
            "was not told which certificate the proxy before it has (--proxy-certificate)"
        )
    key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(login.identity))
    signed = login_message(tracker_id, login.challenge, login.certificate)
    receive_key = RECEIVE_KEY_CONTEXT + bytes.fromhex(login.receive_key)
    try:
        key.verify(bytes.fromhex(login.signature), signed)
        key.verify(bytes.fromhex(login.receive_key_signature), receive_key)
    except InvalidSignature:
        raise LoginRefused("a signature does not verify") from None
