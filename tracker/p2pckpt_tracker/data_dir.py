"""The tracker's directory: its lock, its keys and its certificate, all readable by the owner only."""

from __future__ import annotations

import datetime
import fcntl
import hashlib
import ipaddress
import os
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.x509.oid import NameOID

_CERTIFICATE_YEARS = 20
"""Clients pin the certificate, so its end is no protection, and an early one would only break links."""


class DataDirInUse(Exception):
    """Another tracker runs on this directory: two would each hold half of every swarm."""


class DataDir:
    """Names in the data directory; making one creates the directory with mode 0700."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        root.chmod(0o700)
        self.database = root / "tracker.db"
        """Journal files that SQLite puts beside it take over its mode."""
        self.online_key = root / "tracker.key"
        self.certificate = root / "tls.pem"
        self.certificate_key = root / "tls.key"
        self.blobs = root / "blobs"
        self._lock: int | None = None

    def create_database(self) -> Path:
        """The database file, made empty with mode 0600 if there is none."""
        self.database.touch(mode=0o600)
        return self.database

    def lock(self) -> None:
        """Take the directory for this process until it ends. Raises DataDirInUse."""
        descriptor = os.open(self.root / "tracker.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise DataDirInUse(f"another tracker is running on {self.root}") from None
        self._lock = descriptor

    def unlock(self) -> None:
        """Give the directory back."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def load_online_key(self) -> Ed25519PrivateKey:
        """The key that signs snapshots and timestamps, made at first use. Raises ValueError for another kind."""
        if not self.online_key.exists():
            write_secret(self.online_key, _pem(Ed25519PrivateKey.generate()))
        key = serialization.load_pem_private_key(self.online_key.read_bytes(), None)
        if not isinstance(key, Ed25519PrivateKey):
            raise ValueError(f"{self.online_key} is no Ed25519 key")
        return key

    def own_certificate(self) -> tuple[Path, Path]:
        """(certificate, key) of the self-signed pair, made at first use."""
        if not (self.certificate.exists() and self.certificate_key.exists()):
            for leftover in (self.certificate, self.certificate_key):
                leftover.unlink(missing_ok=True)
            key = ec.generate_private_key(ec.SECP256R1())
            write_secret(self.certificate_key, _pem(key))
            write_secret(self.certificate, _self_signed(key))
        return self.certificate, self.certificate_key


def server_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """TLS 1.2 or newer with this certificate. Raises OSError, ssl.SSLError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, key)
    return context


def fingerprint(certificate: Path) -> str:
    """SHA-256 of the (first) certificate in DER, hex: what clients pin."""
    parsed = x509.load_pem_x509_certificates(certificate.read_bytes())[0]
    return hashlib.sha256(parsed.public_bytes(serialization.Encoding.DER)).hexdigest()


def write_secret(path: Path, data: bytes) -> None:
    """Create a file that must not exist, mode 0600, and put it on the disk. Raises FileExistsError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _pem(key: Ed25519PrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _self_signed(key: ec.EllipticCurvePrivateKey) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "p2pckpt tracker")])
    # A day back, for clients whose clocks run behind.
    start = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    names = [
        x509.DNSName("localhost"),
        x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
        x509.IPAddress(ipaddress.ip_address("::1")),
    ]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=365 * _CERTIFICATE_YEARS))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM)
