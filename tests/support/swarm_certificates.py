"""Swarm authorities and member certificates as the tracker makes them, and the wrong ones that peers must refuse."""

from __future__ import annotations

import time

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from p2pckpt.swarm.engine import TlsCredentials
from p2pckpt_tracker.certificates import Authority, issue, new_authority

HOUR = 3600
DAY = 24 * HOUR


class SwarmAuthority:
    """The authority of one share."""

    def __init__(self, share: str = "ab" * 32, *, authority: Authority | None = None) -> None:
        self._authority = authority or new_authority(share, 1, int(time.time()))

    @property
    def pem(self) -> str:
        return self._authority.certificate

    def member(self, torrent_name: str, *, issued: int = 0, lifetime: int = DAY, trust: str = "") -> TlsCredentials:
        """Credentials of a new member. ``issued`` is in seconds from now; certificates begin an hour earlier.

        ``trust`` replaces the authority that this member believes in.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        public = key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        secret = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        now = int(time.time()) + issued
        certificate = issue(self._authority, public, "cd" * 32, torrent_name, now, now + lifetime)
        return TlsCredentials(trust or self.pem, certificate, secret.decode())
