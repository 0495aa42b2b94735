"""The certificate authority of one share's swarms, and the certificates it gives to members. ECDSA P-256.

No table and no clock here: rows are ``store.authority_rows``'. Certificates name the torrent (libtorrent compares the
DNS name with it) and the member; they open swarms and nothing else, since only peers of that share trust the authority.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

MAX_PUBLIC_KEY = 256
"""Bytes of a public key that is looked at; one on P-256 has 91."""
_AUTHORITY_LIFETIME = timedelta(days=365 * 20)
_CLOCK_SLACK = timedelta(hours=1)
"""Certificates begin this much earlier, for peers whose clocks run behind."""
_MAX_COMMON_NAME = 64


class CannotIssue(Exception):
    """No certificate is given for this public key or torrent name."""


class Authority(NamedTuple):
    """One generation of a share's authority."""

    generation: int
    certificate: str
    """PEM."""
    key: bytes
    """PKCS #8, DER."""


def new_authority(share_id: str, generation: int, now: int) -> Authority:
    """An authority with a fresh key. ``now`` in Unix seconds."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(f"p2pckpt {share_id[:32]} {generation}")
    start = datetime.fromtimestamp(now, UTC)
    usage = x509.KeyUsage(
        digital_signature=False, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=True, crl_sign=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start - timedelta(days=1))
        .not_valid_after(start + _AUTHORITY_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Authority(generation, _pem(certificate), secret)


def issue(authority: Authority, public_key: bytes, identity: str, torrent_name: str, now: int, until: int) -> str:
    """A member's certificate, PEM, valid from an hour before ``now`` to ``until`` (Unix seconds).

    ``public_key`` is DER (SubjectPublicKeyInfo). Raises CannotIssue for anything but P-256.
    """
    if not torrent_name.isascii() or "*" in torrent_name:  # libtorrent takes "*" for any torrent
        raise CannotIssue("the torrents' name is none that a certificate can carry")
    member_key = _public_key(public_key)
    signer = serialization.load_der_private_key(authority.key, None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    issuer = x509.load_pem_x509_certificate(authority.certificate.encode())
    purposes = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(_name(identity))
        .issuer_name(issuer.subject)
        .public_key(member_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.fromtimestamp(now, UTC) - _CLOCK_SLACK)
        .not_valid_after(datetime.fromtimestamp(until, UTC))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(torrent_name)]), critical=False)
        .sign(signer, hashes.SHA256())
    )
    return _pem(certificate)


def _public_key(data: bytes) -> ec.EllipticCurvePublicKey:
    if len(data) > MAX_PUBLIC_KEY:
        raise CannotIssue("the public key is too long")
    try:
        key = serialization.load_der_public_key(data)
    except (ValueError, UnsupportedAlgorithm):
        raise CannotIssue("the public key can't be read") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise CannotIssue("the public key is not on P-256")
    return key


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:_MAX_COMMON_NAME])])


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()
