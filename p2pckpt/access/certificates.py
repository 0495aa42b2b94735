"""Our certificates for the swarms of shares: asked for at the tracker, renewed at half of their life, held in memory.

A private key is made for each certificate, never leaves this process but for the engine, and is never written.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from p2pckpt import tracker_protocol as tp
from p2pckpt.access.pool import Trackers
from p2pckpt.errors import VerificationFailed

_JITTER: Final = 0.05
"""Part of a life by which renewals are spread, so that a share's members do not all come at once."""
_SHORTEST_LIFE: Final = 1.0
"""Seconds; a tracker that gives less is not asked more often."""


@dataclass(frozen=True, slots=True)
class MemberCertificate:
    """What peers of one share want to see; all PEM."""

    authority: str
    certificate: str
    key: str = field(repr=False)
    generation: int


@dataclass(slots=True)
class _Held:
    certificate: MemberCertificate
    renew_at: tuple[float, float]
    """On the wall clock and on the monotonic one; whichever comes first. The wall clock may be set, and the monotonic
    one stands still while the machine sleeps."""
    wall: float
    """When it came, on the wall clock."""


class Certificates:
    """One certificate for each share. Lives on the daemon's loop."""

    def __init__(
        self,
        trackers: Trackers,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._trackers = trackers
        self._wall = wall
        self._monotonic = monotonic
        self._held: dict[bytes, _Held] = {}
        self._needed: dict[bytes, int] = {}
        """The newest generation of each share's authority that we heard of."""

    def held(self, share_id: bytes) -> MemberCertificate | None:
        """The certificate for this share; None when there is none, or its authority was replaced."""
        held = self._held.get(share_id)
        outdated = held is None or held.certificate.generation < self._needed.get(share_id, 0)
        return None if held is None or outdated else held.certificate

    async def get(self, share_id: bytes, tracker: str) -> MemberCertificate:
        """The one that is held, or a new one where there is none or half of its life is over.

        Raises ``NotAllowed`` or ``NotFound`` when this member may not download, other ``P2pckptError``s when the
        tracker can't be asked; a certificate that is held stays then.
        """
        present = self.held(share_id)
        if present is not None and self.due_in(share_id) > 0:
            return present
        key = ec.generate_private_key(ec.SECP256R1())
        public = key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        wall, monotonic = self._wall(), self._monotonic()
        reply = await self._trackers.client(tracker).certificate(share_id.hex(), public)
        made = await asyncio.to_thread(_checked, reply, key)
        half = max(_SHORTEST_LIFE, reply.expires_at - reply.issued_at) * random.uniform(0.5 - _JITTER, 0.5 + _JITTER)
        self._needed[share_id] = made.generation  # also when it is a lower one: a tracker restored from a backup
        self._held[share_id] = _Held(made, (wall + half, monotonic + half), wall)
        return made

    def due_in(self, share_id: bytes) -> float:
        """Seconds until the certificate should be renewed; none are left where there is no usable one."""
        if self.held(share_id) is None:
            return 0
        held = self._held[share_id]
        if self._wall() < held.wall:  # the clock was set back: the other one tells
            return max(0, held.renew_at[1] - self._monotonic())
        return max(0, min(held.renew_at[0] - self._wall(), held.renew_at[1] - self._monotonic()))

    def outdate(self, share_id: bytes, generation: int) -> bool:
        """The share's authority is of this generation now; whether what is held is void by that."""
        self._needed[share_id] = max(generation, self._needed.get(share_id, 0))
        return share_id in self._held and self.held(share_id) is None

    def forget(self, share_id: bytes) -> None:
        """This member is none any more, as far as is known."""
        self._held.pop(share_id, None)


def _checked(reply: tp.CertificateReply, key: ec.EllipticCurvePrivateKey) -> MemberCertificate:
    """One authority, one certificate that it gave to this key, and nothing else that a PEM file may hold."""
    try:
        authority = x509.load_pem_x509_certificate(reply.authority.encode())
        certificate = x509.load_pem_x509_certificate(reply.certificate.encode())
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature) as exc:
        raise VerificationFailed("the tracker gave a certificate that can't be used") from exc
    if certificate.public_key() != key.public_key():
        raise VerificationFailed("the tracker gave a certificate for another key")
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return MemberCertificate(_pem(authority), _pem(certificate), secret.decode(), reply.generation)


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()
