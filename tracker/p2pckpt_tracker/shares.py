"""Shares from creation to the next version: checks, files, database, memory and events, in that order.

One change of a share at a time: files are written under their final names before the database says that they
count, so two writers of one share must not overlap.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import structlog
from sqlalchemy import Connection

from p2pckpt.tracker_protocol import (
    KEYRING_ROLE,
    AccessChanged,
    BlobKind,
    CreateShare,
    PublishReply,
    PublishRoot,
    Role,
    RootProposed,
    TargetsChanged,
    Visibility,
)
from p2pckpt.tracker_protocol.audit_log import AUDIT_START, AuditAction, AuditHead

from .access_rules import AccessRules, ShareGrants
from .events import EventHub
from .metadata import (
    SNAPSHOT_LIFETIME,
    TIMESTAMP_LIFETIME,
    OnlineSigner,
    TargetsFacts,
    check_first,
    check_keyring,
    check_proposal,
    check_root,
    check_targets,
    root_owners,
    utc_now,
)
from .proposals import Proposals
from .refusals import MetadataRefused, VersionConflict
from .store import acceptance_rows, audit, member_rows, share_rows
from .store.blobs import Blobs, upload_of
from .store.database import Database, StoreUnavailable
from .store.share_rows import Share, Values
from .turns import Turns

_SNAPSHOT_MARGIN = timedelta(days=10)
_TIMESTAMP_MARGIN = timedelta(hours=12)
"""Signed anew when less than this is left."""
_FILE = re.compile(rf"([1-9][0-9]{{0,8}})\.(root|snapshot|targets|{KEYRING_ROLE})\.json")

_log = structlog.get_logger(__name__)


class ShareExists(Exception):
    """A share with this root is here already."""


class Shares:
    """All changes of signed files go through here."""

    def __init__(
        self,
        database: Database,
        blobs: Blobs,
        rules: AccessRules,
        hub: EventHub,
        signer: OnlineSigner,
        turns: Turns,
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._proposals = Proposals(blobs)
        self._rules = rules
        self._hub = hub
        self._signer = signer
        self._turns = turns

    async def create(self, caller: str, request: CreateShare) -> Share:
        """Make a share from its first files. Raises MetadataRefused, ShareExists, StoreUnavailable, OSError."""
        share_id = hashlib.sha256(request.root).hexdigest()
        now = utc_now()
        facts, keyring = await asyncio.to_thread(
            check_first,
            request.root,
            request.targets,
            request.keyring,
            caller=caller,
            online_key=self._signer.public,
            now=now,
        )
        share = Share(
            share_id=share_id,
            name=facts.name,
            torrent_name=facts.torrent_name,
            owner=facts.owner,
            visibility=request.visibility,
            root_version=1,
            targets_version=1,
            keyring_version=1,
            snapshot_version=1,
            snapshot_expires=_unix(now + SNAPSHOT_LIFETIME),
            timestamp_version=1,
            timestamp_expires=_unix(now + TIMESTAMP_LIFETIME),
            versions=0,
            last_number=0,
            created_at=_unix(now),
            updated_at=_unix(now),
            signed_seq=0,
            licence=keyring.licence,
        )

        def write_files() -> None:
            self._blobs.write_metadata(share_id, "1.root.json", request.root)
            self._blobs.write_metadata(share_id, "1.targets.json", request.targets)
            self._blobs.write_metadata(share_id, f"1.{KEYRING_ROLE}.json", request.keyring)
            self._sign(share, now, AUDIT_START, request.root, request.targets, request.keyring)

        def commit(connection: Connection) -> bool:
            if share_rows.get_share(connection, share_id) is not None:
                return False
            share_rows.add_share(connection, share)
            member_rows.set_role(connection, share_id, caller, Role.OWNER)
            audit.record(connection, share_id, caller, AuditAction.CREATE, request.visibility)
            if share.licence:
                audit.record(connection, share_id, caller, AuditAction.LICENCE, share.licence)
            return True

        async with self._turns.of(share_id):
            if share_id in self._rules.shares:
                raise ShareExists
            await asyncio.to_thread(write_files)
            if not await self._database.write(commit):
                raise ShareExists
            grants = ShareGrants(request.visibility, {caller: Role.OWNER}, licence=share.licence)
            self._rules.shares[share_id] = grants
        return share

    async def publish_targets(self, share_id: str, caller: str, targets: bytes, earlier: int = 0) -> PublishReply:
        """Take new targets; ``earlier`` is the number of those that listed the versions that are taken back.

        Raises MetadataRefused (VersionConflict when late), StoreUnavailable, OSError.
        """
        async with self._turns.of(share_id):
            share, head = await self._present(share_id)
            now = utc_now()

            def prepare() -> tuple[TargetsFacts, Share]:
                root, current, keyring = self._current_files(share)
                facts = check_targets(
                    root,
                    current,
                    targets,
                    keyring,
                    caller=caller,
                    last_number=share.last_number,
                    now=now,
                    earlier=self._earlier_targets(share, earlier),
                )
                self._check_uploads(share, facts)
                after = replace(
                    _signed_anew(share, now, head),
                    targets_version=facts.version,
                    versions=facts.count,
                    last_number=facts.last_number,
                )
                self._blobs.write_metadata(share_id, f"{facts.version}.targets.json", targets)
                self._sign(after, now, head, root, targets, keyring)
                return facts, after

            facts, after = await asyncio.to_thread(prepare)
            info_hashes = [each.info_hash for each in facts.added]

            def commit(connection: Connection) -> None:
                values: Values = {
                    "targets_version": after.targets_version,
                    "versions": after.versions,
                    "last_number": after.last_number,
                }
                _swap(connection, share, after, values)
                share_rows.add_torrents(connection, share_id, info_hashes)
                for action, subject in _what_changed(facts):
                    audit.record(connection, share_id, caller, action, subject)

            await self._database.write(commit)
            self._rules.add_torrents(share_id, info_hashes)
            self._changed(after)
        return _reply(after)

    async def publish_keyring(self, share_id: str, caller: str, keyring: bytes) -> PublishReply:
        """Take a new keyring. Raises as ``publish_targets`` does."""
        async with self._turns.of(share_id):
            share, head = await self._present(share_id)
            now = utc_now()

            def prepare() -> Share:
                root, targets, current = self._current_files(share)
                facts = check_keyring(root, targets, current, keyring, now=now)
                after = replace(_signed_anew(share, now, head), keyring_version=facts.version, licence=facts.licence)
                self._blobs.write_metadata(share_id, f"{facts.version}.{KEYRING_ROLE}.json", keyring)
                self._sign(after, now, head, root, targets, keyring)
                return after

            after = await asyncio.to_thread(prepare)

            def commit(connection: Connection) -> set[str]:
                values: Values = {"keyring_version": after.keyring_version, "licence": after.licence}
                _swap(connection, share, after, values)
                audit.record(connection, share_id, caller, AuditAction.KEYRING, str(after.keyring_version))
                if after.licence != share.licence:
                    audit.record(connection, share_id, caller, AuditAction.LICENCE, after.licence)
                return acceptance_rows.accepted(connection, share_id, after.licence)

            accepted = await self._database.write(commit)
            self._rules.set_licence(share_id, after.licence, accepted)
            self._changed(after)
        return _reply(after)

    async def publish_root(self, share_id: str, caller: str, request: PublishRoot) -> PublishReply:
        """Take the next root with what comes along; snapshot and timestamp are signed again, once for all of it.

        Raises as ``publish_targets`` does.
        """
        async with self._turns.of(share_id):
            share, head = await self._present(share_id)
            now = utc_now()

            def prepare() -> Share:
                current, old_targets, old_keyring = self._current_files(share)
                root, targets, keyring = request.root, request.targets or old_targets, request.keyring or old_keyring
                facts = check_root(current, root, targets, online_key=self._signer.public, now=now)
                after = replace(
                    _signed_anew(share, now, head),
                    root_version=share.root_version + 1,
                    name=facts.name,
                    owner=facts.owner,
                )
                if request.targets:
                    numbers = check_targets(
                        root, old_targets, targets, keyring, caller=caller, last_number=share.last_number, now=now
                    )
                    if numbers.added:
                        raise MetadataRefused("a new root comes without new versions")
                    after = replace(after, targets_version=numbers.version, versions=numbers.count)
                    self._blobs.write_metadata(share_id, f"{after.targets_version}.targets.json", targets)
                if request.keyring:
                    said = check_keyring(root, targets, old_keyring, keyring, now=now)
                    if said.licence != share.licence:
                        raise MetadataRefused("a new root comes without a new licence")
                    after = replace(after, keyring_version=said.version)
                    self._blobs.write_metadata(share_id, f"{after.keyring_version}.{KEYRING_ROLE}.json", keyring)
                self._blobs.write_metadata(share_id, f"{after.root_version}.root.json", root)
                self._sign(after, now, head, root, targets, keyring)
                return after

            after = await asyncio.to_thread(prepare)

            def commit(connection: Connection) -> None:
                values: Values = {
                    "root_version": after.root_version,
                    "targets_version": after.targets_version,
                    "keyring_version": after.keyring_version,
                    "versions": after.versions,
                    "name": after.name,
                    "owner": after.owner,
                }
                _swap(connection, share, after, values)
                audit.record(connection, share_id, caller, AuditAction.ROOT, str(after.root_version))

            await self._database.write(commit)
            await asyncio.to_thread(self._proposals.clear, share_id)
            self._changed(after)
        return _reply(after)

    async def propose_root(self, share_id: str, caller: str, root: bytes) -> None:
        """Keep a next root that lacks signatures, for other owners to see: one of each owner.

        Signatures of several under the same root are gathered. Raises as ``publish_targets`` does.
        """
        async with self._turns.of(share_id):
            share = await self._share(share_id)

            def prepare() -> None:
                current = self._current_files(share)[0]
                waiting = self._proposals.read(share_id, current)
                proposer, signed = check_proposal(
                    current, root, waiting, caller=caller, online_key=self._signer.public, now=utc_now()
                )
                self._proposals.write(share_id, proposer, signed)

            await asyncio.to_thread(prepare)
            await self._database.write(
                lambda connection: audit.record(
                    connection, share_id, caller, AuditAction.PROPOSAL, str(share.root_version + 1)
                )
            )
            self._hub.send(self._rules.owners(share_id), RootProposed(share_id))

    async def proposals(self, share_id: str) -> list[bytes]:
        """The next roots that wait for signatures. Raises MetadataRefused, StoreUnavailable, OSError."""
        async with self._turns.of(share_id):
            share = await self._share(share_id)
            return await asyncio.to_thread(
                lambda: list(self._proposals.read(share_id, self._current_files(share)[0]).values())
            )

    async def withdraw_proposal(self, share_id: str, caller: str) -> None:
        """Forget the caller's own. Raises StoreUnavailable, OSError."""
        async with self._turns.of(share_id):
            await asyncio.to_thread(self._proposals.remove, share_id, caller)
            await self._database.write(
                lambda connection: audit.record(connection, share_id, caller, AuditAction.PROPOSAL_WITHDRAWN)
            )
            self._hub.send(self._rules.owners(share_id), AccessChanged(share_id))

    @contextlib.asynccontextmanager
    async def owners_held(self, share_id: str) -> AsyncIterator[frozenset[str]]:
        """Identities that the signed root names as owners; there is no other root until this ends.

        Raises MetadataRefused, StoreUnavailable, OSError.
        """
        async with self._turns.of(share_id):
            share = await self._share(share_id)
            path = self._blobs.metadata_path(share_id, f"{share.root_version}.root.json")
            yield await asyncio.to_thread(lambda: root_owners(path.read_bytes()))

    async def metadata_file(self, share_id: str, file: str) -> tuple[Path, str] | None:
        """(path, entity tag) of a TUF file that counts; None for any other. Raises StoreUnavailable.

        A timestamp that has run out, because the machine slept for instance, is signed anew first.
        """
        share = await self._share(share_id)
        if file == "timestamp.json":
            if share.timestamp_expires <= _unix(utc_now()):
                share = await self.sign_again(share_id)
            number, role = share.timestamp_version, "timestamp"
        else:
            match = _FILE.fullmatch(file)
            if match is None:
                return None
            number, role = int(match[1]), match[2]
            if number > getattr(share, f"{role}_version"):
                return None
        name = f"{number}.{role}.json"
        return self._blobs.metadata_path(share_id, name), f'"{name}"'

    async def read_file(self, path: Path) -> bytes:
        """A file that ``metadata_file`` named, read off the event loop. Raises OSError."""
        return await asyncio.to_thread(path.read_bytes)

    async def sign_again(self, share_id: str) -> Share:
        """Sign snapshot and timestamp anew if one is due or the log has grown.

        Raises StoreUnavailable, OSError, MetadataRefused.
        """
        async with self._turns.of(share_id):
            share, head = await self._present(share_id)
            now = utc_now()
            fresh = share.signed_seq == head.seq and share.timestamp_expires > _unix(now + _TIMESTAMP_MARGIN)
            if fresh and share.snapshot_expires > _unix(now + _SNAPSHOT_MARGIN):
                return share
            after = _signed_anew(share, now, head)

            def write_files() -> None:
                root, targets, keyring = self._current_files(share)
                self._sign(after, now, head, root, targets, keyring)

            await asyncio.to_thread(write_files)
            await self._database.write(lambda connection: _swap(connection, share, after, {}))
        return after

    async def keep_fresh(self, every: float) -> None:
        """Sign timestamps before they run out, for ever; a failure is logged and tried again next time."""
        while True:
            for share_id in await self._due():
                try:
                    await self.sign_again(share_id)
                except (StoreUnavailable, OSError, MetadataRefused) as exc:
                    # One damaged share must not let the others' timestamps run out.
                    _log.warning("timestamp not signed", share=share_id, error=type(exc).__name__)
            await asyncio.sleep(every)

    async def _due(self) -> list[str]:
        now = utc_now()
        snapshot, timestamp = _unix(now + _SNAPSHOT_MARGIN), _unix(now + _TIMESTAMP_MARGIN)
        try:
            return await self._database.read(
                lambda connection: share_rows.due_for_signing(connection, snapshot, timestamp)
            )
        except StoreUnavailable as exc:
            _log.warning("timestamps not looked at", error=str(exc))
            return []

    async def _share(self, share_id: str) -> Share:
        return (await self._present(share_id))[0]

    async def _present(self, share_id: str) -> tuple[Share, AuditHead]:
        """A share and the end of its log. Rows that a change adds itself are signed with the next timestamp."""
        share, head = await self._database.read(
            lambda connection: (share_rows.get_share(connection, share_id), audit.head(connection, share_id))
        )
        if share is None:
            raise MetadataRefused("no such share")
        return share, head

    def _current_files(self, share: Share) -> tuple[bytes, bytes, bytes]:
        """Root, targets and keyring that count now."""
        numbered = (
            (share.root_version, "root"),
            (share.targets_version, "targets"),
            (share.keyring_version, KEYRING_ROLE),
        )
        root, targets, keyring = (
            self._blobs.metadata_path(share.share_id, f"{number}.{role}.json").read_bytes() for number, role in numbered
        )
        return root, targets, keyring

    def _earlier_targets(self, share: Share, number: int) -> bytes | None:
        """Targets that counted once; None for no such number."""
        if not 0 < number < share.targets_version:
            return None
        return self._blobs.metadata_path(share.share_id, f"{number}.targets.json").read_bytes()

    def _sign(self, share: Share, now: datetime, head: AuditHead, root: bytes, targets: bytes, keyring: bytes) -> None:
        snapshot = self._signer.snapshot(share.snapshot_version, root, targets, keyring, now)
        timestamp = self._signer.timestamp(share.timestamp_version, root, snapshot, now, head)
        self._blobs.write_metadata(share.share_id, f"{share.snapshot_version}.snapshot.json", snapshot)
        self._blobs.write_metadata(share.share_id, f"{share.timestamp_version}.timestamp.json", timestamp)
        # A client that has just read the previous timestamp still needs what that one names.
        self._blobs.remove_metadata(share.share_id, f"{share.snapshot_version - 3}.snapshot.json")
        self._blobs.remove_metadata(share.share_id, f"{share.timestamp_version - 3}.timestamp.json")

    def _check_uploads(self, share: Share, facts: TargetsFacts) -> None:
        for version in (*facts.added, *facts.restored):
            for upload in version.uploads:
                if not self._blobs.upload_path(share.share_id, upload).exists():
                    raise MetadataRefused(f"{upload} is not here, and v/{version.number} needs it")
            manifest = self._blobs.upload_path(share.share_id, upload_of(BlobKind.MANIFEST, version.manifest))
            if manifest.stat().st_size != version.length:
                raise MetadataRefused(f"the manifest of v/{version.number} has another length")

    def _changed(self, share: Share) -> None:
        members = self._rules.shares[share.share_id].members
        audience = set(members)
        if share.visibility is Visibility.PUBLIC:
            audience |= {each.identity for each in self._rules.passes.values() if each.share_id == share.share_id}
        self._hub.send(audience, TargetsChanged(share.share_id, share.targets_version))


def _what_changed(facts: TargetsFacts) -> list[tuple[AuditAction, str]]:
    """What the log says of new targets: action and subject of each row."""
    rows = [(AuditAction.PUBLISH, f"v{each.number}") for each in facts.added]
    rows += [(AuditAction.RETIRE, f"v{number}") for number in facts.retired]
    rows += [(AuditAction.RESTORE, f"v{each.number}") for each in facts.restored]
    rows += [(AuditAction.TAG, f"{tag} v{number}" if number else tag) for tag, number in facts.moved_tags]
    return rows or [(AuditAction.TARGETS, str(facts.version))]


def _signed_anew(share: Share, now: datetime, head: AuditHead) -> Share:
    return replace(
        share,
        snapshot_version=share.snapshot_version + 1,
        snapshot_expires=_unix(now + SNAPSHOT_LIFETIME),
        timestamp_version=share.timestamp_version + 1,
        timestamp_expires=_unix(now + TIMESTAMP_LIFETIME),
        updated_at=_unix(now),
        signed_seq=head.seq,
    )


def _swap(connection: Connection, before: Share, after: Share, values: Values) -> None:
    signed: Values = {
        "snapshot_version": after.snapshot_version,
        "snapshot_expires": after.snapshot_expires,
        "timestamp_version": after.timestamp_version,
        "timestamp_expires": after.timestamp_expires,
        "signed_seq": after.signed_seq,
    }
    if values:
        signed["updated_at"] = after.updated_at
    if not share_rows.swap_version(
        connection, before.share_id, "timestamp_version", before.timestamp_version, signed | values
    ):
        raise VersionConflict("the share was changed at the same time")


def _reply(share: Share) -> PublishReply:
    return PublishReply(share.targets_version, share.snapshot_version, share.timestamp_version)


def _unix(when: datetime) -> int:
    return int(when.timestamp())
