"""What only owners do with a share's keys: who signs roots, who publishes, how many signatures that takes.

A root that needs more owners' signatures waits at the tracker as a proposal: every owner signs it on a machine of
their own. Who reads is in the keyring (``jobs.members``); any one owner signs that.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from p2pckpt import tracker_protocol as tp
from p2pckpt.errors import BadUsage, Conflict, VerificationFailed
from p2pckpt.jobs.shares import RACES, Shares
from p2pckpt.store.catalogue import KnownShare
from p2pckpt.tracker_protocol.signed import KeyringContent
from p2pckpt.trust import versions
from p2pckpt.trust.admission import TrustedShare
from p2pckpt.trust.identity import Identity
from p2pckpt.trust.versions import RootKeys

RENEW_WITHIN: Final = 60 * 24 * 3600
"""Seconds before its end from which a signed file is signed anew."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """A change of keys that waits for signatures."""

    root: bytes
    before: RootKeys
    after: RootKeys
    missing: int
    """Signatures that it still needs."""
    signed_by_us: bool

    @property
    def digest(self) -> str:
        """Names this proposal, with the signatures it has."""
        return hashlib.sha256(self.root).hexdigest()


class Owners:
    """Changes of roots. Lives on the daemon's loop."""

    def __init__(self, identity: Identity, shares: Shares) -> None:
        self._identity = identity
        self._shares = shares

    async def keys(self, share: KnownShare) -> RootKeys:
        """Who may sign what, as of now."""
        return versions.root_keys((await self._shares.refresh(share)).root_bytes)

    async def change(self, share: KnownShare, edit: Callable[[RootKeys], RootKeys], *, renew: bool = False) -> bool:
        """Publish the next root; False when it became a proposal, because others have to sign it as well.

        With ``renew`` also a root with the same keys is made, for a later expiry.
        """
        client, share_id = self._shares.client(share), share.share_id.hex()
        for _ in range(RACES):
            trusted = await self._shares.refresh(share, expired=renew)
            before = versions.root_keys(trusted.root_bytes)
            after = edit(before)
            if after == before and not renew:
                return True
            if self._identity.public_bytes not in after.owners:
                raise BadUsage("an owner can't remove itself: another owner has to")
            root = versions.next_root(trusted.root_bytes, after, self._identity)
            if versions.missing_signatures(trusted.root_bytes, root):
                await client.propose_root(share_id, root)
                return False
            try:
                await client.publish_root(share_id, self._bundle(trusted, root))
            except Conflict:
                continue
            await self._shares.refresh(share, expired=renew)
            return True
        raise Conflict(f"others keep changing {share.name}", next_step="try again")

    async def owns(self, share: KnownShare) -> bool:
        """Whether the signed root names us: the tracker's word on our role does not count here."""
        return self._identity.public_bytes in versions.root_keys((await self._shares.trusted(share)).root_bytes).owners

    async def set_owner(self, share: KnownShare, identity: bytes) -> bool:
        """Let somebody sign roots; False while other owners have to agree."""
        return await self.change(
            share, lambda k: replace(k, owners=k.owners | {identity}, publishers=k.publishers - {identity})
        )

    async def set_publisher(self, share: KnownShare, identity: bytes, role: tp.Role | None) -> bool:
        """Bring the root in line with a role below owner, or none; False while other owners have to agree."""
        publishes = role is not None and role.covers(tp.Role.PUBLISHER)

        def edit(keys: RootKeys) -> RootKeys:
            owners = keys.owners - {identity}
            publishers = keys.publishers | {identity} if publishes else keys.publishers - {identity}
            return RootKeys(owners, publishers, max(1, min(keys.threshold, len(owners))))

        return await self.change(share, edit)

    async def set_threshold(self, share: KnownShare, threshold: int) -> bool:
        """How many owners have to sign a change of keys; False while they have to agree to that."""
        return await self.change(share, lambda keys: replace(keys, threshold=threshold))

    async def proposals(self, share: KnownShare) -> list[Proposal]:
        """What waits for signatures, judged: each changes keys and nothing else. One that does more is left out."""
        roots = await self._shares.client(share).proposals(share.share_id.hex())
        if not roots:
            return []
        trusted = await self._shares.refresh(share, expired=True)
        found = []
        for root in roots:
            with contextlib.suppress(VerificationFailed):
                found.append(
                    Proposal(
                        root,
                        versions.root_keys(trusted.root_bytes),
                        versions.judge_proposal(trusted.root_bytes, root),
                        versions.missing_signatures(trusted.root_bytes, root),
                        versions.is_signed_by(root, self._identity.public_bytes),
                    )
                )
        return found

    async def sign(self, share: KnownShare, seen: Proposal) -> bool:
        """Sign what was seen; False when it needs still more signatures."""
        client, share_id = self._shares.client(share), share.share_id.hex()
        root = versions.sign_root(seen.root, self._identity)
        trusted = await self._shares.refresh(share)
        if versions.missing_signatures(trusted.root_bytes, root):
            await client.propose_root(share_id, root)
            return False
        await client.publish_root(share_id, self._bundle(trusted, root))
        await self._shares.refresh(share)
        return True

    async def withdraw(self, share: KnownShare) -> None:
        """Take our own proposal back; others' stay."""
        await self._shares.client(share).withdraw_proposal(share.share_id.hex())

    async def renew(self, share: KnownShare) -> bool:
        """Sign anew what runs out soon; False when the root does and other owners have to sign it, too."""
        trusted = await self._shares.trusted(share)
        soon = time.time() + RENEW_WITHIN
        if versions.expiry(trusted.targets_bytes) < soon:
            await self._shares.change_targets(
                share, lambda t: versions.sign_again(t.targets_bytes, self._identity), expired=True
            )
        if versions.expiry(trusted.keyring_bytes) < soon:
            await self._shares.change_keyring(share, _as_it_is, renew=True)
        if versions.expiry(trusted.root_bytes) >= soon:
            return True
        if await self.proposals(share):
            return False  # each takes the place of the present root: first things first
        return await self.change(share, lambda keys: keys, renew=True)

    def _bundle(self, trusted: TrustedShare, root: bytes) -> tp.PublishRoot:
        """The root with the files that must verify under it."""
        targets = versions.redelegate(trusted.targets_bytes, root, self._identity)
        keyring = b""
        if not versions.may_sign_keyring(targets, trusted.keyring_bytes):  # signed by an owner who goes
            keyring = versions.update_keyring(trusted.keyring_bytes, self._identity, trusted.keyring)
        return tp.PublishRoot(root, targets, keyring)


async def _as_it_is(trusted: TrustedShare) -> KeyringContent:
    return trusted.keyring
