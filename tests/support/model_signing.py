"""The public ``model_signing`` command line, as its users run it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

_COMMAND = [sys.executable, "-m", "model_signing"]


def verifier(directory: Path, key: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """What ``model_signing verify key`` says of ``directory`` and the ``model.sig`` in it; ``key`` is a PEM file."""
    where = [str(directory), "--signature", str(directory / "model.sig"), "--public_key", str(key)]
    return subprocess.run([*_COMMAND, "verify", "key", *where, *options], capture_output=True, text=True, check=False)


def sign_elsewhere(directory: Path, key: Path) -> None:
    """Sign ``directory`` with a key made now; its public half is written to ``key``."""
    private = ec.generate_private_key(ec.SECP256R1())
    secret = key.with_suffix(".private")
    secret.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    key.write_bytes(private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    where = [str(directory), "--signature", str(directory / "model.sig"), "--private_key", str(secret)]
    subprocess.run([*_COMMAND, "sign", "key", *where], check=True, capture_output=True)
