"""People with keys, and a tracker's shelf of signed files that checks nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp

from p2pckpt.errors import NotFound
from p2pckpt.trust import admission, versions
from p2pckpt.trust.admission import TrustedShare
from p2pckpt.trust.identity import Identity, model_key_of_old
from p2pckpt.trust.versions import VersionTarget
from p2pckpt_tracker.metadata import OnlineSigner


def person(name: str) -> Identity:
    """An identity in memory; the same name gives the same keys."""
    seed = hashlib.sha256(name.encode()).digest()
    signing = Ed25519PrivateKey.from_private_bytes(seed)
    receiving = X25519PrivateKey.from_private_bytes(hashlib.sha256(seed).digest())
    return Identity(signing, receiving, name, 1_700_000_000, model_key_of_old(signing))


OWNER, PUBLISHER, STRANGER = person("owner"), person("publisher"), person("stranger")


def target(version: int, **fields: Any) -> VersionTarget:
    """What is signed about a version; hashes follow from the number."""
    plain: dict[str, Any] = {
        "version": version,
        "manifest_sha256": hashlib.sha256(f"manifest {version}".encode()).hexdigest(),
        "manifest_length": 1000 + version,
        "infohash": hashlib.sha256(f"torrent {version}".encode()).hexdigest(),
        "torrent_length": 2000 + version,
        "torrent_size": 1 << 24,
        "name": f"step-{version}000",
        "published_at": 1_700_000_000 + version,
        "publisher": OWNER.hex,
        "epoch": 1,
        "size": 1 << 25,
        "files": 3,
        "card": "",
    }
    return VersionTarget(**(plain | fields))


def with_publishers(root: bytes, *publishers: Identity) -> bytes:
    """The root after ``root``, signed by its owner, which lets these publish and nobody else but owners."""
    keys = versions.root_keys(root)
    return versions.next_root(root, replace(keys, publishers=frozenset(p.public_bytes for p in publishers)), OWNER)


class Shelf:
    """A share's files as a tracker keeps them: ``files`` is what ``fetch`` serves, and anything may be put there."""

    def __init__(self, owner: Identity = OWNER, *, name: str = "cars/sd15", sealed: bool = True) -> None:
        self.signer = OnlineSigner(Ed25519PrivateKey.generate())
        self.root, self.targets, self.keyring = versions.new_share(
            owner,
            name,
            sealed=sealed,
            online_key=bytes.fromhex(self.signer.public),
            trackers=["tracker.example:443"],
        )
        self.share_id = versions.share_id(self.root)
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        self._signed = 0
        self.put()

    def put(
        self,
        *,
        root: bytes | None = None,
        targets: bytes | None = None,
        keyring: bytes | None = None,
        timestamp_made: datetime | None = None,
        snapshot_made: datetime | None = None,
    ) -> None:
        """Put these files up, and sign a snapshot and a timestamp that name them."""
        self.root = root or self.root
        self.targets = targets or self.targets
        self.keyring = keyring or self.keyring
        self._signed += 1
        now = datetime.now(UTC).replace(microsecond=0)
        snapshot = self.signer.snapshot(self._signed, self.root, self.targets, self.keyring, snapshot_made or now)
        timestamp = self.signer.timestamp(self._signed, self.root, snapshot, timestamp_made or now)
        self.files |= {
            f"{number(self.root, Root)}.root.json": self.root,
            f"{number(self.targets, Targets)}.targets.json": self.targets,
            f"{number(self.keyring, Targets)}.keyring.json": self.keyring,
            f"{self._signed}.snapshot.json": snapshot,
            "timestamp.json": timestamp,
        }

    def publish(self, signer: Identity, new: VersionTarget, tags: Sequence[str] = ()) -> None:
        self.put(targets=versions.publish_version(self.targets, signer, new, tags))

    def fetch(self, name: str) -> bytes:
        self.asked.append(name)
        if name not in self.files:
            raise NotFound(f"no file {name}")
        return self.files[name]

    def refresh(self, directory: Path, identity: Identity = OWNER) -> TrustedShare:
        return admission.refresh(self.share_id, directory, self.fetch, identity)


def number(data: bytes, kind: type[Root | Targets | Snapshot | Timestamp]) -> int:
    """The version of a signed file."""
    return int(Metadata[Any].from_bytes(data).signed.version)
