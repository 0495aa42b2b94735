"""The links of a share: making them, and what its owners keep of each.

An owner has to wrap the keys of a new epoch for links that are still open, and to know those who joined by one, long
after the link was sent and perhaps on another machine. So a box with the link's secret is in the signed keyring,
sealed to the owners: the tracker can neither read nor replace it.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import os
from typing import Final

import msgspec
from msgspec.structs import replace

from p2pckpt import tracker_protocol as tp
from p2pckpt.errors import BadUsage, NotAllowed, NotFound, P2pckptError, VerificationFailed
from p2pckpt.jobs.shares import Shares
from p2pckpt.store.catalogue import KnownShare
from p2pckpt.tracker_protocol.signed import KeyringContent
from p2pckpt.trust import keyrings, links, sealing
from p2pckpt.trust.admission import TrustedShare
from p2pckpt.trust.identity import Identity, PublicIdentity
from p2pckpt.trust.sealing import EpochKeys

_BOX: Final = b"p2pckpt link box v1\0"


class LinkBox(msgspec.Struct, frozen=True, array_like=True):
    """What owners keep of a link."""

    secret: bytes
    """Shows that somebody joined by it: their binding is an HMAC under it."""
    wrap: bytes
    """The key that content keys are wrapped under, password included."""
    role: tp.Role


class LinkBook:
    """Lives on the daemon's loop."""

    def __init__(self, identity: Identity, shares: Shares) -> None:
        self._identity = identity
        self._shares = shares

    async def default(self, share: KnownShare, earlier: str) -> links.Link:
        """The link that a publish hands out: ``earlier`` again, while it is good, with today's addresses.

        Shares for members only get one without a secret: it says where, and lets nobody in.
        """
        if share.visibility == tp.Visibility.MEMBERS.value:
            return await self.plain(share)
        secret = links.Link.parse(earlier).secret if earlier else None
        if secret is not None:
            records = await self._shares.client(share).links(share.share_id.hex())
            dead = (await self._shares.trusted(share)).keyring.dead_links
            if any(r.link_id == secret.link_id and not r.revoked and r.link_id not in dead for r in records):
                return await self._link(share, secret)
        return await self.create(share)

    async def plain(self, share: KnownShare) -> links.Link:
        """A link that says where the share is, and lets nobody in."""
        return await self._link(share, None)

    async def create(
        self,
        share: KnownShare,
        *,
        role: tp.Role = tp.Role.DOWNLOADER,
        expires_at: int = 0,
        max_uses: int = 0,
        password: str = "",
        version: int = 0,
    ) -> links.Link:
        """A link to send. Public shares need no secret; else one is registered at the tracker by its hash alone."""
        if share.visibility == tp.Visibility.PUBLIC.value:
            return await self._link(share, None, version)
        if share.role != tp.Role.OWNER.value:
            raise NotAllowed(f"only an owner of {share.name} makes links", next_step="ask an owner for one")
        secret = links.LinkSecret.generate()
        salt = os.urandom(16) if password else b""
        opened = await asyncio.to_thread(secret.keys, password, salt)
        box = LinkBox(secret.secret, opened.wrap, role)

        async def edit(trusted: TrustedShare) -> KeyringContent:
            sealed = self._sealed(share.share_id, secret.link_id, box, trusted.keyring)
            return replace(trusted.keyring, links=trusted.keyring.links | {secret.link_id: sealed})

        trusted = await self._shares.change_keyring(share, edit)
        await self._shares.client(share).create_link(
            share.share_id.hex(),
            tp.CreateLink(
                link_id=secret.link_id,
                auth_hash=opened.auth_hash,
                wrapped_keys=_wrapped(box, self._newest(share, trusted), share.share_id),
                role=role,
                expires_at=expires_at,
                max_uses=max_uses,
                password_salt=salt.hex(),
            ),
        )
        now = await self._shares.refresh(share)
        if now.keyring.newest != trusted.keyring.newest:  # somebody was removed meanwhile
            await self.settle(share, now)
        return await self._link(share, secret, version)

    async def again(self, share: KnownShare, link_id: str) -> links.Link:
        """A link that is still open, once more: owners keep what is in it, but no password."""
        trusted = await self._shares.refresh(share)
        records = await self._shares.client(share).links(share.share_id.hex())
        box = self.box(trusted, link_id)
        if box is None or not any(record.link_id == link_id for record in records):
            raise NotFound(f"no link {link_id[:16]} of {share.name}", next_step=f"p2pckpt link ls {share.name}")
        dead = any(record.link_id == link_id and record.revoked for record in records)
        if dead or link_id in trusted.keyring.dead_links:
            raise BadUsage(f"link {link_id} lets nobody in any more", next_step=f"p2pckpt link new {share.name}")
        return await self._link(share, links.LinkSecret(link_id, box.secret))

    async def revoke(self, share: KnownShare, link_id: str) -> None:
        """Nobody joins through it any more, and it gets no newer keys. Who did join is still known by it."""
        await self._shares.client(share).revoke_link(share.share_id.hex(), link_id)

        async def edit(trusted: TrustedShare) -> KeyringContent:
            content = trusted.keyring
            known = {link_id} & content.links.keys()
            return replace(content, dead_links=tuple(sorted(known | set(content.dead_links))))

        if (await self._shares.trusted(share)).terms.sealed:
            await self._shares.change_keyring(share, edit)

    async def settle(self, share: KnownShare, trusted: TrustedShare) -> None:
        """Give open links the newest epoch's keys, and have the tracker close those that the keyring calls dead.

        What is open is for the keyring to say: a tracker that calls a link open again gets no newer keys for it.
        """
        client, share_id, keys = self._shares.client(share), share.share_id.hex(), self._newest(share, trusted)
        for record in await client.links(share_id):
            box = self.box(trusted, record.link_id)
            if record.revoked or box is None:
                continue
            if record.link_id in trusted.keyring.dead_links:
                await client.revoke_link(share_id, record.link_id)
            else:
                await client.rewrap_link(share_id, record.link_id, _wrapped(box, keys, share.share_id))

    def box(self, trusted: TrustedShare, link_id: str) -> LinkBox | None:
        """What we keep of a link; None for one that no owner boxed for us."""
        sealed = trusted.keyring.links.get(link_id, {}).get(self._identity.hex)
        if sealed is None:
            return None
        try:
            context = _context(trusted.share_id, link_id)
            plain = sealing.open_sealed(self._identity.receiving, base64.b64decode(sealed), context)
            return msgspec.msgpack.decode(plain, type=LinkBox)
        except (ValueError, msgspec.MsgspecError) as exc:
            raise VerificationFailed(f"what the keyring keeps of link {link_id} can't be read") from exc

    def joined(self, trusted: TrustedShare, member: tp.Member) -> tuple[PublicIdentity, tp.Role] | None:
        """A member who proved to have a link's secret, with the link's role; None for anybody else.

        The tracker names members: the binding shows that this very key came with the secret, which it does not have.
        """
        box = self.box(trusted, member.link_id) if member.link_id else None
        if box is None:
            return None
        try:
            public = PublicIdentity(
                bytes.fromhex(member.identity),
                bytes.fromhex(member.receive_key),
                bytes.fromhex(member.receive_key_signature),
            ).checked()
            sealing.seal_to(public.receive_key, b"", b"")  # one that nothing can be sealed to must not stop the others
        except (ValueError, P2pckptError):
            return None
        proof = sealing.bind(box.secret, tp.LINK_BIND_CONTEXT, public.identity, public.receive_key)
        return (public, box.role) if hmac.compare_digest(proof.hex(), member.binding) else None

    def for_owners(self, trusted: TrustedShare, content: KeyringContent) -> KeyringContent:
        """``content`` with every link's box sealed to all its owners, and nobody else."""
        boxes = {link_id: box for link_id in content.links if (box := self.box(trusted, link_id)) is not None}
        sealed = {link_id: self._sealed(trusted.share_id, link_id, box, content) for link_id, box in boxes.items()}
        return replace(content, links=sealed)

    def _sealed(self, share_id: bytes, link_id: str, box: LinkBox, content: KeyringContent) -> dict[str, str]:
        plain, context = msgspec.msgpack.encode(box), _context(share_id, link_id)
        return {
            identity: base64.b64encode(sealing.seal_to(bytes.fromhex(reader.receive_key), plain, context)).decode()
            for identity, reader in content.readers.items()
            if reader.role is tp.Role.OWNER
        }

    def _newest(self, share: KnownShare, trusted: TrustedShare) -> EpochKeys:
        return self._shares.newest_keys(share, trusted)

    async def _link(self, share: KnownShare, secret: links.LinkSecret | None, version: int = 0) -> links.Link:
        trusted = await self._shares.trusted(share)
        return links.Link(
            share.share_id,
            self._shares.public_address(share),
            secret,
            version,
            trusted.targets.metadata_version,
        )


def _wrapped(box: LinkBox, keys: EpochKeys, share_id: bytes) -> bytes:
    plain = msgspec.msgpack.encode(keyrings.for_role(keys, box.role))
    return sealing.wrap(box.wrap, plain, tp.LINK_WRAP_CONTEXT + share_id)


def _context(share_id: bytes, link_id: str) -> bytes:
    return _BOX + share_id + link_id.encode()
