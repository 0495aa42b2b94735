"""Members: who reads a share, in which role, and the new epoch that begins when somebody goes.

Signed files change only for the person the owner named, and for those whom a link's secret vouches for: a tracker
that invents members gets no key sealed and no key signed. Access is cut at the tracker first; then the keyring gets
an epoch more, sealed to those who remain. What is to be done is noted before: a machine that dies in between, or loses
its tracker, finishes it later.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable
from typing import Final

import structlog
from msgspec.structs import replace

from p2pckpt import tracker_protocol as tp
from p2pckpt.errors import BadUsage, Conflict, NotAllowed, NotFound, VerificationFailed
from p2pckpt.jobs.link_book import LinkBook
from p2pckpt.jobs.owners import Owners
from p2pckpt.jobs.shares import Shares
from p2pckpt.store.catalogue import Catalogue, KnownShare, RemovalRow
from p2pckpt.tracker_protocol.signed import KeyringContent, Reader
from p2pckpt.trust import keyrings, versions
from p2pckpt.trust.admission import TrustedShare
from p2pckpt.trust.identity import PUBLIC_PREFIX, Identity, PublicIdentity

_log = structlog.get_logger(__name__)
_IDENTITY: Final = re.compile(r"[0-9a-f]{64}")
OnList = Callable[[KnownShare, list[tp.Member]], Awaitable[None]]


async def _nobody(share: KnownShare, members: list[tp.Member]) -> None:
    """Listens where nobody does."""


class Members:
    """Lives on the daemon's loop."""

    def __init__(
        self, identity: Identity, catalogue: Catalogue, shares: Shares, owners: Owners, link_book: LinkBook
    ) -> None:
        self._identity = identity
        self._catalogue = catalogue
        self._shares = shares
        self._owners = owners
        self._links = link_book
        self._changing = asyncio.Lock()
        """Held while members change: what one owner asks for is done one thing after the other."""
        self._on_list: OnList = _nobody

    def on_list(self, listener: OnList) -> None:
        """Await ``listener`` with every list of members that a tracker gave."""
        self._on_list = listener

    async def all(self, share: KnownShare) -> list[tp.Member]:
        members = await self._shares.client(share).members(share.share_id.hex())
        await self._on_list(share, members)
        return members

    async def requests(self, share: KnownShare) -> list[tuple[tp.AccessRequest, PublicIdentity]]:
        """Who asks to be let in, as the tracker says: their keys prove nothing until somebody compared them.

        Raises ``UntrustedKey`` for a receive key that the one who asks has not signed.
        """
        found = []
        for request in await self._shares.client(share).requests(share.share_id.hex()):
            try:
                keys = [
                    bytes.fromhex(k) for k in (request.identity, request.receive_key, request.receive_key_signature)
                ]
            except ValueError as exc:
                raise VerificationFailed("the tracker's list of requests can't be read") from exc
            found.append((request, PublicIdentity(*keys).checked()))
        return found

    async def set(self, share: KnownShare, who: str, role: tp.Role | None) -> list[str]:
        """Add, change or (None) remove a member; returns what the owner should know about it.

        ``who`` is a public key as ``key show`` prints it, or the hex of somebody who is a member.
        """
        public = PublicIdentity.parse(who) if who.startswith(PUBLIC_PREFIX) else None
        identity = public.identity.hex() if public is not None else who
        if not _IDENTITY.fullmatch(identity):
            raise BadUsage(f"{who[:60]!r} is no public key", next_step="ask for the output of: p2pckpt key show")
        await self._shares.refresh(share)
        if not await self._owners.owns(share):
            # the tracker refuses by itself
            await self._shares.client(share).set_member(share.share_id.hex(), identity, role)
            return []
        if identity == self._identity.hex and role is not tp.Role.OWNER:
            raise BadUsage("an owner can't remove itself", kept="nothing was changed", next_step="ask another owner")
        async with self._changing:
            if role is None or await self._reads_less(share, identity, role):
                return await self._begin_to_take(share, identity, role)
            self._catalogue.forget_removals(share.share_id, [identity])  # the owner has thought better of it
            return await self._give(share, identity, public, role)

    async def finish_removals(self, share: KnownShare) -> None:
        """What was begun when this machine stopped, or lost its tracker."""
        async with self._changing:
            if due := self._catalogue.removals_due(share.share_id):
                await self._take(share, due)

    async def sign(self, share: KnownShare, digest: str) -> bool:
        """Sign the change of keys that waits; False when it needs still more signatures.

        Raises ``Conflict`` when it is another one than was seen.
        """
        found = [each for each in await self._owners.proposals(share) if each.digest == digest]
        if not found:
            raise Conflict("that change of keys waits no more", kept="nothing was signed", next_step="look at it again")
        proposal = found[0]
        in_force = await self._owners.sign(share, proposal)
        if in_force:
            await self._settle_owners(share)
            async with self._changing:
                for key in proposal.before.owners - proposal.after.owners:
                    await self._begin_to_take(share, key.hex(), None)
        return in_force

    # -- giving

    async def _give(self, share: KnownShare, identity: str, public: PublicIdentity | None, role: tp.Role) -> list[str]:
        """Somebody vouches for the key, it gets what it may, and then the tracker lets it in: it can read at once."""
        client, share_id, notes = self._shares.client(share), share.share_id.hex(), list[str]()
        trusted = await self._shares.trusted(share)
        public = public or await self._known(share, trusted, identity)
        if public is None and (trusted.terms.sealed or role.covers(tp.Role.PUBLISHER)):
            raise NotAllowed(
                "nothing vouches for this member's key but the tracker, so nothing was sealed to it or signed for it",
                kept="nothing was changed",
                next_step="ask them for: p2pckpt key show -q, and name them by that",
            )
        key = bytes.fromhex(identity)
        owners = self._owners
        in_force = await (
            owners.set_owner(share, key) if role is tp.Role.OWNER else owners.set_publisher(share, key, role)
        )
        if not in_force:
            notes.append(f"the change of keys waits for another owner: p2pckpt access sign {share.name}")
            role = min(role, tp.Role.DOWNLOADER, key=lambda r: r.rank)
        if trusted.terms.sealed and public is not None:
            await self._seal_to(share, public, role)
        await client.set_member(share_id, identity, role)
        if role is tp.Role.OWNER:
            await self._settle_owners(share)
        return notes

    async def _seal_to(self, share: KnownShare, public: PublicIdentity, role: tp.Role) -> None:
        async def edit(trusted: TrustedShare) -> KeyringContent:
            present = trusted.keyring.readers.get(public.identity.hex())
            if present == keyrings.reader_of(public, role):
                return trusted.keyring
            keys = self._shares.newest_keys(share, trusted)
            return keyrings.with_reader(trusted.keyring, keys, public, role, share.share_id)

        await self._shares.change_keyring(share, edit)

    async def _known(self, share: KnownShare, trusted: TrustedShare, identity: str) -> PublicIdentity | None:
        """Keys of a member that were seen before, or that a link's secret vouches for."""
        reader = trusted.keyring.readers.get(identity)
        if reader is not None:
            return PublicIdentity(bytes.fromhex(identity), bytes.fromhex(reader.receive_key), b"")
        for member in await self.all(share):
            if member.identity == identity and (joined := self._links.joined(trusted, member)) is not None:
                return joined[0]
        return None

    async def _settle_owners(self, share: KnownShare) -> None:
        """Every owner that the root names is one at the tracker, too, and can open what owners keep of links."""
        trusted = await self._shares.refresh(share)
        owners = {key.hex() for key in (await self._owners.keys(share)).owners}

        async def edit(trusted: TrustedShare) -> KeyringContent:
            content = trusted.keyring
            for identity in owners & content.readers.keys():
                reader = content.readers[identity]
                if reader.role is not tp.Role.OWNER:
                    public = PublicIdentity(bytes.fromhex(identity), bytes.fromhex(reader.receive_key), b"")
                    keys = self._shares.newest_keys(share, trusted)
                    content = keyrings.with_reader(content, keys, public, tp.Role.OWNER, share.share_id)
            complete = all(owners & content.readers.keys() == box.keys() for box in content.links.values())
            return content if complete else self._links.for_owners(trusted, content)

        if trusted.terms.sealed:
            await self._shares.change_keyring(share, edit)
        client, share_id = self._shares.client(share), share.share_id.hex()
        for member in await self.all(share):
            if member.identity in owners and member.role is not tp.Role.OWNER:
                await client.set_member(share_id, member.identity, tp.Role.OWNER)

    # -- taking

    async def _reads_less(self, share: KnownShare, identity: str, role: tp.Role) -> bool:
        """Whether the change takes somebody's right to read content, as far as anybody knows that they have it."""
        if role.covers(tp.Role.DOWNLOADER):
            return False
        reader = (await self._shares.trusted(share)).keyring.readers.get(identity)
        if reader is not None:
            return reader.role.covers(tp.Role.DOWNLOADER)
        member = next((m for m in await self.all(share) if m.identity == identity), None)
        return member is not None and (member.role.covers(tp.Role.DOWNLOADER) or bool(member.link_id))

    async def _begin_to_take(self, share: KnownShare, identity: str, role: tp.Role | None) -> list[str]:
        """Note what is to be done, then cut access at the tracker, and go on with the rest."""
        client, share_id = self._shares.client(share), share.share_id.hex()
        member = next((m for m in await self.all(share) if m.identity == identity), None)
        trusted = await self._shares.trusted(share)
        if member is None and identity not in trusted.keyring.readers:
            raise NotFound(f"{identity[:12]} is no member of {share.name}", next_step=f"p2pckpt member ls {share.name}")
        key, link = bytes.fromhex(identity), member.link_id if member is not None else ""
        if key in versions.root_keys(trusted.root_bytes).owners and not await self._owners.set_publisher(
            share, key, role
        ):
            return [f"an owner goes when another owner has signed that, too: p2pckpt access sign {share.name}"]
        row = RemovalRow(share.share_id, identity, role.value if role is not None else "", link)
        self._catalogue.note_removal(row)
        try:
            if link and trusted.terms.sealed:
                # first: it would let them in again under another name
                await client.revoke_link(share_id, link)
            await client.set_member(share_id, identity, role)
        except NotFound:
            pass  # gone already
        except (BadUsage, Conflict, NotAllowed):  # refused: nothing has changed
            self._catalogue.forget_removals(share.share_id, [identity])
            raise
        return await self._take(share, self._catalogue.removals_due(share.share_id))

    async def _take(self, share: KnownShare, due: list[RemovalRow]) -> list[str]:
        """The tracker, the root, their links, the keys: each may have been done before."""
        client, share_id, notes = self._shares.client(share), share.share_id.hex(), list[str]()
        sealed = (await self._shares.trusted(share)).terms.sealed
        for row in due:
            role = tp.Role(row.role) if row.role else None
            if row.link and sealed:
                with contextlib.suppress(NotFound):
                    await client.revoke_link(share_id, row.link)
                notes.append(f"the link they joined by ({row.link}) was revoked with them")
            with contextlib.suppress(NotFound):
                await client.set_member(share_id, row.identity, role)
            if not await self._owners.set_publisher(share, bytes.fromhex(row.identity), role):
                notes.append(f"their key may sign until another owner agrees: p2pckpt access sign {share.name}")
        if sealed:
            notes += await self._rotate(share, due)
        self._catalogue.forget_removals(share.share_id, [row.identity for row in due])
        return notes

    async def _rotate(self, share: KnownShare, due: list[RemovalRow]) -> list[str]:
        """Begin an epoch: whoever remains gets its keys, and so does whoever joins by a link that is still open.

        Who remains is what owners signed, less what was just decided. Of the tracker only those are heard of who came
        by a link since, and only with its proof; neither that somebody is gone nor that somebody is back is its to say.
        """
        taken = {row.identity: row.role for row in due}
        strangers: list[str] = []

        async def edit(trusted: TrustedShare) -> KeyringContent:
            content, strangers[:] = trusted.keyring, []
            gone = {identity for identity, role in taken.items() if not role}
            removed = gone | set(content.removed)
            readers = {
                identity: Reader(_at_most(reader.role, taken.get(identity, "")), reader.receive_key)
                for identity, reader in content.readers.items()
                if identity not in gone
            }
            for member in await self.all(share):
                if member.identity in readers or member.identity in removed:
                    continue
                joined = self._links.joined(trusted, member)
                if joined is None:
                    strangers.append(member.name or member.identity[:8])
                else:
                    role = _at_most(_at_most(joined[1], member.role.value), taken.get(member.identity, ""))
                    readers[member.identity] = keyrings.reader_of(joined[0], role)
            dead = set(content.dead_links) | {row.link for row in due if row.link}
            if any(content.readers[each].role is tp.Role.OWNER for each in taken.keys() & content.readers.keys()):
                dead |= content.links.keys()  # an owner could open every one of them
            present = self._shares.newest_keys(share, trusted)
            content, _ = keyrings.new_epoch(content, present, readers, share.share_id)
            content = replace(
                content,
                removed=tuple(sorted(removed - readers.keys())),
                dead_links=tuple(sorted(dead & content.links.keys())),
            )
            return self._links.for_owners(trusted, content)

        trusted = await self._shares.change_keyring(share, edit)
        await self._links.settle(share, trusted)
        _log.info("new epoch", share=share.share_id.hex(), epoch=trusted.keyring.newest)
        notes = [f"later versions are sealed with new keys (epoch {trusted.keyring.newest})"]
        if strangers:
            notes.append(
                f"{', '.join(strangers)} got none of them: nothing but the tracker vouches for their keys; "
                f"add them anew with: p2pckpt member add {share.name} KEY"
            )
        return notes


def _at_most(role: tp.Role, bound: str) -> tp.Role:
    """The lower of two roles; an empty bound is none."""
    return min(role, tp.Role(bound), key=lambda each: each.rank) if bound else role
