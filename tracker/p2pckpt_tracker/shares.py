"""Shares from creation to the next version: checks, files, database, memory and events, in that order."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator
from dataclasses import replace

from sqlalchemy import Connection

from p2pckpt.tracker_protocol import (
    KEYRING_ROLE,
    CreateShare,
    PublishReply,
    PublishRoot,
    Role,
    TargetsChanged,
    Visibility,
)
from p2pckpt.tracker_protocol.audit_log import AUDIT_START, AuditAction

from .access_rules import AccessRules, ShareGrants
from .events import EventHub
from .held_shares import HeldShares, signed_anew, swap, unix
from .metadata import (
    SNAPSHOT_LIFETIME,
    TIMESTAMP_LIFETIME,
    TargetsFacts,
    check_first,
    check_keyring,
    check_root,
    check_targets,
    root_owners,
    utc_now,
)
from .proposals import Proposals
from .refusals import MetadataRefused
from .share_files import ShareFiles
from .store import acceptance_rows, audit, member_rows, share_rows
from .store.database import Database
from .store.share_rows import Share, Values


class ShareExists(Exception):
    """A share with this root is here already."""


class Shares:
    """All changes of root, targets and keyring go through here."""

    def __init__(
        self,
        database: Database,
        held: HeldShares,
        files: ShareFiles,
        proposals: Proposals,
        rules: AccessRules,
        hub: EventHub,
    ) -> None:
        self._database = database
        self._held = held
        self._files = files
        self._proposals = proposals
        self._rules = rules
        self._hub = hub

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
            online_key=self._files.online_key,
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
            snapshot_expires=unix(now + SNAPSHOT_LIFETIME),
            timestamp_version=1,
            timestamp_expires=unix(now + TIMESTAMP_LIFETIME),
            versions=0,
            last_number=0,
            created_at=unix(now),
            updated_at=unix(now),
            signed_seq=0,
            licence=keyring.licence,
        )

        def write_files() -> None:
            self._files.write(share_id, "root", 1, request.root)
            self._files.write(share_id, "targets", 1, request.targets)
            self._files.write(share_id, KEYRING_ROLE, 1, request.keyring)
            self._files.sign(share, now, AUDIT_START, request.root, request.targets, request.keyring)

        def commit(connection: Connection) -> bool:
            if share_rows.get_share(connection, share_id) is not None:
                return False
            share_rows.add_share(connection, share)
            member_rows.set_role(connection, share_id, caller, Role.OWNER)
            audit.record(connection, share_id, caller, AuditAction.CREATE, request.visibility)
            if share.licence:
                audit.record(connection, share_id, caller, AuditAction.LICENCE, share.licence)
            return True

        async with self._held.alone(share_id):
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
        async with self._held.hold(share_id) as (share, head):
            now = utc_now()

            def prepare() -> tuple[TargetsFacts, Share]:
                root, current, keyring = self._files.current(share)
                facts = check_targets(
                    root,
                    current,
                    targets,
                    keyring,
                    caller=caller,
                    last_number=share.last_number,
                    now=now,
                    earlier=self._files.earlier_targets(share, earlier),
                )
                self._files.check_uploads(share, facts)
                after = replace(
                    signed_anew(share, now, head),
                    targets_version=facts.version,
                    versions=facts.count,
                    last_number=facts.last_number,
                )
                self._files.write(share_id, "targets", facts.version, targets)
                self._files.sign(after, now, head, root, targets, keyring)
                return facts, after

            facts, after = await asyncio.to_thread(prepare)
            info_hashes = [each.info_hash for each in facts.added]

            def commit(connection: Connection) -> None:
                values: Values = {
                    "targets_version": after.targets_version,
                    "versions": after.versions,
                    "last_number": after.last_number,
                }
                swap(connection, share, after, values)
                share_rows.add_torrents(connection, share_id, info_hashes)
                for action, subject in _what_changed(facts):
                    audit.record(connection, share_id, caller, action, subject)

            await self._database.write(commit)
            self._rules.add_torrents(share_id, info_hashes)
            self._changed(after)
        return _reply(after)

    async def publish_keyring(self, share_id: str, caller: str, keyring: bytes) -> PublishReply:
        """Take a new keyring. Raises as ``publish_targets`` does."""
        async with self._held.hold(share_id) as (share, head):
            now = utc_now()

            def prepare() -> Share:
                root, targets, current = self._files.current(share)
                facts = check_keyring(root, targets, current, keyring, now=now)
                after = replace(signed_anew(share, now, head), keyring_version=facts.version, licence=facts.licence)
                self._files.write(share_id, KEYRING_ROLE, facts.version, keyring)
                self._files.sign(after, now, head, root, targets, keyring)
                return after

            after = await asyncio.to_thread(prepare)

            def commit(connection: Connection) -> set[str]:
                values: Values = {"keyring_version": after.keyring_version, "licence": after.licence}
                swap(connection, share, after, values)
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
        async with self._held.hold(share_id) as (share, head):
            now = utc_now()

            def prepare() -> Share:
                current, old_targets, old_keyring = self._files.current(share)
                root, targets, keyring = request.root, request.targets or old_targets, request.keyring or old_keyring
                facts = check_root(current, root, targets, online_key=self._files.online_key, now=now)
                after = replace(
                    signed_anew(share, now, head),
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
                    self._files.write(share_id, "targets", after.targets_version, targets)
                if request.keyring:
                    said = check_keyring(root, targets, old_keyring, keyring, now=now)
                    if said.licence != share.licence:
                        raise MetadataRefused("a new root comes without a new licence")
                    after = replace(after, keyring_version=said.version)
                    self._files.write(share_id, KEYRING_ROLE, after.keyring_version, keyring)
                self._files.write(share_id, "root", after.root_version, root)
                self._files.sign(after, now, head, root, targets, keyring)
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
                swap(connection, share, after, values)
                audit.record(connection, share_id, caller, AuditAction.ROOT, str(after.root_version))

            await self._database.write(commit)
            await asyncio.to_thread(self._proposals.clear, share_id)
            self._changed(after)
        return _reply(after)

    @contextlib.asynccontextmanager
    async def owners_held(self, share_id: str) -> AsyncIterator[frozenset[str]]:
        """Identities that the signed root names as owners; there is no other root until this ends.

        Raises MetadataRefused, StoreUnavailable, OSError.
        """
        async with self._held.hold(share_id) as (share, _):
            yield await asyncio.to_thread(lambda: root_owners(self._files.root(share)))

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


def _reply(share: Share) -> PublishReply:
    return PublishReply(share.targets_version, share.snapshot_version, share.timestamp_version)
