"""Next roots that wait for other owners' signatures: at most one of each owner, beside the share's TUF files."""

from __future__ import annotations

import asyncio

from p2pckpt.tracker_protocol import AccessChanged, RootProposed
from p2pckpt.tracker_protocol.audit_log import AuditAction

from .access_rules import AccessRules
from .events import EventHub
from .held_shares import HeldShares
from .metadata import check_proposal, follows, utc_now
from .share_files import ShareFiles
from .store import audit
from .store.blobs import Blobs
from .store.database import Database

_PREFIX, _SUFFIX = "proposal.", ".json"


class Proposals:
    """Owners make, see and withdraw them; any new root ends them all."""

    def __init__(
        self,
        database: Database,
        held: HeldShares,
        files: ShareFiles,
        blobs: Blobs,
        rules: AccessRules,
        hub: EventHub,
    ) -> None:
        self._database = database
        self._held = held
        self._files = files
        self._blobs = blobs
        self._rules = rules
        self._hub = hub

    async def propose(self, share_id: str, caller: str, root: bytes) -> None:
        """Keep a next root that lacks signatures, for other owners to see: one of each owner.

        Signatures of several under the same root are gathered. Raises MetadataRefused (VersionConflict when late),
        StoreUnavailable, OSError.
        """
        async with self._held.hold(share_id) as (share, _):

            def prepare() -> None:
                current = self._files.root(share)
                waiting = self._read(share_id, current)
                proposer, signed = check_proposal(
                    current, root, waiting, caller=caller, online_key=self._files.online_key, now=utc_now()
                )
                # in place of what this owner proposed before
                self._blobs.write_metadata(share_id, _file(proposer), signed)

            await asyncio.to_thread(prepare)
            await self._database.write(
                lambda connection: audit.record(
                    connection, share_id, caller, AuditAction.PROPOSAL, str(share.root_version + 1)
                )
            )
            self._hub.send(self._rules.owners(share_id), RootProposed(share_id))

    async def waiting(self, share_id: str) -> list[bytes]:
        """The next roots that wait for signatures. Raises MetadataRefused, StoreUnavailable, OSError."""
        async with self._held.hold(share_id) as (share, _):
            return await asyncio.to_thread(lambda: list(self._read(share_id, self._files.root(share)).values()))

    async def withdraw(self, share_id: str, caller: str) -> None:
        """Forget the caller's own. Raises StoreUnavailable, OSError."""
        async with self._held.alone(share_id):
            await asyncio.to_thread(self._blobs.remove_metadata, share_id, _file(caller))
            await self._database.write(
                lambda connection: audit.record(connection, share_id, caller, AuditAction.PROPOSAL_WITHDRAWN)
            )
            self._hub.send(self._rules.owners(share_id), AccessChanged(share_id))

    def clear(self, share_id: str) -> None:
        """Forget all of a share that the caller holds. Blocks; raises OSError."""
        for path in self._blobs.metadata_files(share_id, _PREFIX):
            path.unlink(missing_ok=True)

    def _read(self, share_id: str, root: bytes) -> dict[str, bytes]:
        """By who made them, those that would follow this root. Raises MetadataRefused for a damaged file."""
        found = {
            path.name.removeprefix(_PREFIX).removesuffix(_SUFFIX): path.read_bytes()
            for path in self._blobs.metadata_files(share_id, _PREFIX)
        }
        return {proposer: data for proposer, data in found.items() if follows(root, data)}


def _file(proposer: str) -> str:
    return f"{_PREFIX}{proposer}{_SUFFIX}"
