"""A share's files on the disk: those that owners and publishers signed, what they name, and what the tracker signs."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from p2pckpt.tracker_protocol import KEYRING_ROLE, BlobKind
from p2pckpt.tracker_protocol.audit_log import AuditHead

from .metadata import OnlineSigner, TargetsFacts
from .refusals import MetadataRefused
from .store.blobs import Blobs, upload_of
from .store.share_rows import Share


class ShareFiles:
    """All methods but ``path`` do disk I/O, and raise OSError."""

    def __init__(self, blobs: Blobs, signer: OnlineSigner) -> None:
        self._blobs = blobs
        self._signer = signer
        self.online_key = signer.public
        """What the tracker signs with, in hex, as roots have to name it."""

    def path(self, share_id: str, name: str) -> Path:
        """Where a TUF file lies or would lie; timestamps are numbered, too."""
        return self._blobs.metadata_path(share_id, name)

    def current(self, share: Share) -> tuple[bytes, bytes, bytes]:
        """Root, targets and keyring that count now."""
        numbered = (
            (share.root_version, "root"),
            (share.targets_version, "targets"),
            (share.keyring_version, KEYRING_ROLE),
        )
        root, targets, keyring = (
            self.path(share.share_id, f"{number}.{role}.json").read_bytes() for number, role in numbered
        )
        return root, targets, keyring

    def root(self, share: Share) -> bytes:
        """The root that counts now."""
        return self.path(share.share_id, f"{share.root_version}.root.json").read_bytes()

    def earlier_targets(self, share: Share, number: int) -> bytes | None:
        """Targets that counted once; None for no such number."""
        if not 0 < number < share.targets_version:
            return None
        return self.path(share.share_id, f"{number}.targets.json").read_bytes()

    def write(self, share_id: str, role: str, version: int, data: bytes) -> None:
        """A root, targets or keyring that are about to count."""
        self._blobs.write_metadata(share_id, f"{version}.{role}.json", data)

    def sign(self, share: Share, now: datetime, head: AuditHead, root: bytes, targets: bytes, keyring: bytes) -> None:
        """Sign the snapshot and the timestamp of which ``share`` has the numbers, over these files and this log."""
        snapshot = self._signer.snapshot(share.snapshot_version, root, targets, keyring, now)
        timestamp = self._signer.timestamp(share.timestamp_version, root, snapshot, now, head)
        self.write(share.share_id, "snapshot", share.snapshot_version, snapshot)
        self.write(share.share_id, "timestamp", share.timestamp_version, timestamp)
        # A client that has just read the previous timestamp still needs what that one names.
        self._blobs.remove_metadata(share.share_id, f"{share.snapshot_version - 3}.snapshot.json")
        self._blobs.remove_metadata(share.share_id, f"{share.timestamp_version - 3}.timestamp.json")

    def check_uploads(self, share: Share, facts: TargetsFacts) -> None:
        """Whether everything that versions name which are new, or come back, is here. Raises MetadataRefused."""
        for version in (*facts.added, *facts.restored):
            for upload in version.uploads:
                if not self._blobs.upload_path(share.share_id, upload).exists():
                    raise MetadataRefused(f"{upload} is not here, and v/{version.number} needs it")
            manifest = self._blobs.upload_path(share.share_id, upload_of(BlobKind.MANIFEST, version.manifest))
            if manifest.stat().st_size != version.length:
                raise MetadataRefused(f"the manifest of v/{version.number} has another length")
