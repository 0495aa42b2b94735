"""What the daemon answers about who shares in what: members, links, and what owners decide and sign."""

from __future__ import annotations

import asyncio

from msgspec.structs import replace

from p2pckpt import tracker_protocol as tp
from p2pckpt.control import access_messages as am
from p2pckpt.daemon.reports import version_detail
from p2pckpt.errors import NotAllowed
from p2pckpt.jobs.owners import Proposal
from p2pckpt.jobs.services import Services
from p2pckpt.jobs.shares import split_name
from p2pckpt.store.catalogue import KnownShare
from p2pckpt.tracker_protocol.signed import KeyringContent
from p2pckpt.trust import versions
from p2pckpt.trust.admission import TrustedShare
from p2pckpt.trust.identity import words


class Sharing:
    """One method a request of ``control.client``. Raises ``P2pckptError``s."""

    def __init__(self, services: Services) -> None:
        self._services = services

    # -- members

    async def members(self, name: str) -> list[am.MemberRow]:
        share = self._services.shares.find(name)
        return await self._member_rows(share)

    async def set_member(self, request: am.SetMemberRequest) -> am.MembersReply:
        members = self._services.members
        share = await self._services.shares.learn_role(self._services.shares.find(request.share))
        notes = await members.set(share, request.identity, request.role)
        return am.MembersReply(tuple(await self._member_rows(share)), tuple(notes))

    # -- links

    async def links(self, name: str) -> list[am.LinkRow]:
        share = self._services.shares.find(name)
        records = await self._services.shares.client(share).links(share.share_id.hex())
        return [
            am.LinkRow(
                r.link_id, share.name, r.role, r.expires_at, r.max_uses, r.uses, r.created_at, r.revoked, r.burnt
            )
            for r in records
        ]  # fmt: skip

    async def create_link(self, request: am.CreateLinkRequest) -> am.LinkReply:
        share = self._services.shares.find(request.share)
        link = await self._services.link_book.create(
            share,
            role=request.role,
            expires_at=request.expires_at,
            max_uses=request.max_uses,
            password=request.password,
        )
        found: tuple[str, ...] = ()
        if share.visibility == tp.Visibility.PUBLIC.value:
            trusted = await self._services.shares.trusted(share)
            if trusted.targets.versions:
                found = (await version_detail(self._services, share, trusted.targets.latest)).magnets
        return am.LinkReply(link.text, link.web_text, self._reach(link.tracker.hosts), found)

    async def link(self, name: str, link_id: str) -> am.LinkReply:
        """A link that was made before, whole; without ``link_id`` the one that only says where the share is."""
        share = self._services.shares.find(split_name(name)[0])
        book = self._services.link_book
        link = await book.again(share, link_id) if link_id else await book.plain(share)
        return am.LinkReply(link.text, link.web_text, self._reach(link.tracker.hosts))

    async def revoke_link(self, name: str, link_id: str) -> None:
        await self._services.link_book.revoke(self._services.shares.find(name), link_id)

    # -- what owners decide

    async def access(self, name: str) -> am.Access:
        shares = self._services.shares
        share = await shares.learn_role(shares.find(split_name(name)[0]))
        return await self._access(share, await shares.refresh(share))

    async def set_terms(self, request: am.TermsRequest) -> am.Access:
        """Sign what is asked for; what was asked for and is so already is signed no second time."""
        shares = self._services.shares
        share = await shares.learn_role(shares.find(request.share))
        if share.role != tp.Role.OWNER.value:
            raise NotAllowed(f"only an owner of {share.name} decides that", next_step="ask an owner")
        licence = request.licence
        if licence is not None and (len(licence) > tp.MAX_LICENCE or not licence.isprintable()):
            raise NotAllowed(f"a licence to accept is one line of at most {tp.MAX_LICENCE} characters")

        async def edit(trusted: TrustedShare) -> KeyringContent:
            content = trusted.keyring
            if request.swarm_tls is not None:
                content = replace(content, swarm_tls=request.swarm_tls)
            return replace(content, licence=licence) if licence is not None else content

        trusted = await shares.change_keyring(share, edit)
        if request.threshold is not None:
            await self._services.owners.set_threshold(share, request.threshold)
            trusted = await shares.trusted(share)
        return await self._access(share, trusted)

    async def sign(self, name: str, digest: str) -> am.SignReply:
        """Sign the change of keys that waits at a share."""
        shares = self._services.shares
        share = await shares.learn_role(shares.find(name))
        return am.SignReply(await self._services.members.sign(share, digest))

    async def withdraw(self, name: str) -> None:
        """Take that change back."""
        await self._services.owners.withdraw(self._services.shares.find(name))

    async def _access(self, share: KnownShare, trusted: TrustedShare) -> am.Access:
        keys = versions.root_keys(trusted.root_bytes)
        proposals: tuple[am.Proposal, ...] = ()
        if share.role == tp.Role.OWNER.value:
            proposals = tuple(map(_described, await self._services.owners.proposals(share)))
        files = trusted.root_bytes, trusted.targets_bytes, trusted.keyring_bytes
        return am.Access(
            share=trusted.terms.name,
            visibility=tp.Visibility(share.visibility),
            role=tp.Role(share.role),
            owners=_hex(keys.owners),
            publishers=_hex(keys.publishers),
            threshold=keys.threshold,
            epoch=trusted.keyring.newest,
            readers=len(trusted.keyring.readers),
            swarm_tls=trusted.terms.sealed and trusted.keyring.swarm_tls,
            licence=trusted.keyring.licence,
            fresh_until=trusted.fresh_until,
            signed_at=versions.expiry(trusted.targets_bytes) - int(versions.TARGETS_LIFETIME.total_seconds()),
            expires_at=min(map(versions.expiry, files)),
            proposals=proposals,
        )

    async def _member_rows(self, share: KnownShare) -> list[am.MemberRow]:
        # words of thousands take longer than the loop may be held up
        return await asyncio.to_thread(self._described_members, await self._services.members.all(share))

    def _described_members(self, members: list[tp.Member]) -> list[am.MemberRow]:
        return [
            am.MemberRow(
                identity=member.identity,
                words=words(bytes.fromhex(member.identity)),
                name=member.name,
                role=member.role,
                added_at=member.added_at,
                link_id=member.link_id,
                me=member.identity == self._services.identity.hex,
                accepted_at=member.accepted_at,
            )
            for member in members
        ]

    def _reach(self, hosts: tuple[str, ...]) -> str:
        public = self._services.config.text("public_address")
        if public:
            return f"whoever can reach {public}, and machines on this network"
        if all(host.startswith(("127.", "[::1]", "http://127.")) for host in hosts):
            return "only this machine: it has no other address"
        return (
            f"machines that can reach {', '.join(hosts)}; for others forward that port and the peer port "
            f"{self._services.swarms.port}, and set public_address"
        )


def _described(proposal: Proposal) -> am.Proposal:
    before, after = proposal.before, proposal.after
    return am.Proposal(
        owners_added=_hex(after.owners - before.owners),
        owners_removed=_hex(before.owners - after.owners),
        publishers_added=_hex(after.publishers - before.publishers),
        publishers_removed=_hex(before.publishers - after.publishers),
        threshold=after.threshold,
        missing=proposal.missing,
        signed=proposal.signed_by_us,
        digest=proposal.digest,
    )


def _hex(keys: frozenset[bytes]) -> tuple[str, ...]:
    return tuple(sorted(key.hex() for key in keys))
