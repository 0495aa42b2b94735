"""Files with next roots that wait for signatures: at most one of each owner, beside the share's TUF files."""

from __future__ import annotations

from .metadata import follows
from .store.blobs import Blobs

_PREFIX, _SUFFIX = "proposal.", ".json"


class Proposals:
    """All methods do disk I/O, and raise OSError."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs

    def read(self, share_id: str, root: bytes) -> dict[str, bytes]:
        """By who made them, those that would follow this root. Raises MetadataRefused for a damaged file."""
        found = {
            path.name.removeprefix(_PREFIX).removesuffix(_SUFFIX): path.read_bytes()
            for path in self._blobs.metadata_files(share_id, _PREFIX)
        }
        return {proposer: data for proposer, data in found.items() if follows(root, data)}

    def write(self, share_id: str, proposer: str, root: bytes) -> None:
        """Keep it in place of what this owner proposed before."""
        self._blobs.write_metadata(share_id, f"{_PREFIX}{proposer}{_SUFFIX}", root)

    def remove(self, share_id: str, proposer: str) -> None:
        """One that is gone already is fine."""
        self._blobs.remove_metadata(share_id, f"{_PREFIX}{proposer}{_SUFFIX}")

    def clear(self, share_id: str) -> None:
        """Forget all of a share."""
        for path in self._blobs.metadata_files(share_id, _PREFIX):
            path.unlink(missing_ok=True)
