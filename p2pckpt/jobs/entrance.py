"""How this machine gets into shares of others: by a link, by asking to be let in, and what has to be accepted first."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import msgspec

from p2pckpt import tracker_protocol as tp
from p2pckpt.access.client import TrackerClient
from p2pckpt.access.pool import BESIDE, Trackers
from p2pckpt.errors import (
    Conflict,
    NotAllowed,
    NotFound,
    TrackerUnreachable,
    UntrustedKey,
    VerificationFailed,
)
from p2pckpt.jobs.shares import Shares, split_name
from p2pckpt.store.catalogue import Catalogue, KnownShare
from p2pckpt.trust import links, sealing
from p2pckpt.trust.admission import TrustedShare
from p2pckpt.trust.identity import Identity
from p2pckpt.trust.sealing import EpochKeys


class Entrance:
    """Lives on the daemon's loop."""

    def __init__(self, identity: Identity, catalogue: Catalogue, trackers: Trackers, shares: Shares) -> None:
        self._identity = identity
        self._catalogue = catalogue
        self._trackers = trackers
        self._shares = shares

    async def enter(self, source: str, password: str = "") -> tuple[KnownShare, str]:
        """The share that a link or ``NAME[@SELECTOR]`` means, joined if it is a link, and the selector.

        Raises ``NotAllowed`` for a link that is spent, and what ``Shares.find`` raises.
        """
        if links.is_link(source):
            link = links.Link.parse(source)
            return await self._join(link, password), str(link.version) if link.version else ""
        name, selector = split_name(source)
        return self._shares.find(name), selector

    def whereabouts(self, source: str) -> tuple[bytes, str]:
        """Id and tracker of the share behind a link, or of one known here."""
        if links.is_link(source):
            link = links.Link.parse(source)
            return link.share_id, self._trackers.text_of(link.tracker)
        share = self._shares.find(split_name(source)[0])
        return share.share_id, share.tracker

    async def ask_for_access(self, share_id: bytes, tracker: str, message: str) -> None:
        """Ask the owners of a share to be let in; nothing tells whether there is such a share."""
        await self._trackers.client(tracker).request_access(share_id.hex(), message)

    async def is_let_in(self, share_id: bytes, tracker: str) -> bool:
        """Whether we are a member by now and have the keys: owners add somebody first, and seal keys to them then."""
        record = await self._trackers.client(tracker).share(share_id.hex())
        share = KnownShare(share_id, record.name, tracker, record.visibility.value, record.role.value, {})
        trusted = await self._shares.refresh(share)
        return bool(trusted.keys) or not trusted.terms.sealed

    async def licence_due(self, share: KnownShare, trusted: TrustedShare, accepted: str = "") -> str:
        """What we have to accept before anything is fetched, as the owner signed it; empty for nothing.

        ``accepted`` is what the user has agreed to: the tracker is told if that is the very text. Raises ``Conflict``
        when it is another one.
        """
        licence = trusted.keyring.licence
        if not licence:
            return ""
        client, share_id = self._shares.client(share), share.share_id.hex()
        try:
            if not (await client.share(share_id)).licence_due:
                return ""
        except TrackerUnreachable:
            return ""  # what is on this machine can still be used, and nothing else will arrive
        if not accepted:
            return licence
        if accepted != licence:
            raise Conflict(f"the licence has changed: it is {licence} now", next_step="look at it and try again")
        await client.accept_licence(share_id, licence)
        return ""

    # -- inside

    async def _join(self, link: links.Link, password: str = "") -> KnownShare:
        """The share behind a link, redeemed when it carries a secret. Raises ``NotAllowed`` for one that is spent."""
        known = self._catalogue.share(link.share_id)
        if known is not None and known.role == tp.Role.OWNER.value:
            return known  # we have more than any link gives
        self._check_not_leaving(link.share_id)
        tracker = self._trackers.text_of(link.tracker)
        if known is not None and tracker != known.tracker and not _same_tracker(known.tracker, link.tracker):
            raise UntrustedKey(
                f"{known.name} is known here at another tracker than this link names",
                kept="the share as it is known",
                next_step="ask the sender, by a way you trust, whether the share has moved",
            )
        client = self._trackers.client(tracker)
        keys: dict[int, EpochKeys] = dict(known.keys) if known is not None else {}
        if link.secret is not None:
            keys |= await self._redeem(client, link, link.secret, password)
        try:
            record = await client.share(link.share_id.hex())
        except NotFound as exc:
            raise NotFound(
                "the tracker has no such share, or none for you",
                next_step='ask its owner to let you in: p2pckpt get "LINK" --request',
            ) from exc
        share = KnownShare(link.share_id, record.name, tracker, record.visibility.value, record.role.value, keys)
        trusted = await self._shares.refresh(share)
        if trusted.targets.metadata_version < link.at_least:
            raise VerificationFailed(
                "the tracker holds back versions that were there when this link was made",
                kept="nothing was fetched",
                next_step="ask the sender, and whoever runs the tracker",
            )
        share = replace(share, name=trusted.terms.name)
        self._check_not_leaving(link.share_id)
        self._catalogue.record_share(share)
        return share

    def _check_not_leaving(self, share_id: bytes) -> None:
        if share_id in self._catalogue.leaving():
            raise Conflict("this share was left, and its data is still being deleted", next_step="try again soon")

    async def _redeem(
        self, client: TrackerClient, link: links.Link, secret: links.LinkSecret, password: str
    ) -> dict[int, EpochKeys]:
        info = await client.link_info(secret.link_id)
        if info.share_id != link.share_id.hex():
            raise VerificationFailed("the tracker says this link belongs to another share")
        if info.password_salt and not password:
            raise NotAllowed("this link asks for a password", next_step="p2pckpt get LINK --password-stdin")
        opened = await asyncio.to_thread(secret.keys, password, bytes.fromhex(info.password_salt))
        public = self._identity.public
        binding = sealing.bind(secret.secret, tp.LINK_BIND_CONTEXT, public.identity, public.receive_key)
        reply = await client.redeem(secret.link_id, tp.RedeemLink(opened.auth.hex(), binding.hex()))
        if reply.share_id != link.share_id.hex():
            raise VerificationFailed("the tracker says this link belongs to another share")
        if not reply.wrapped_keys:
            return {}
        plain = sealing.unwrap(opened.wrap, reply.wrapped_keys, tp.LINK_WRAP_CONTEXT + link.share_id)
        try:
            keys = msgspec.msgpack.decode(plain, type=EpochKeys)
        except msgspec.MsgspecError as exc:
            raise VerificationFailed("the keys in this link can't be read") from exc
        return {keys.epoch: keys}


def _same_tracker(known: str, named: links.TrackerAddress) -> bool:
    """Whether a link leads to the tracker where a share is known: by its certificate, since addresses change."""
    if known == BESIDE:
        return False
    before = links.TrackerAddress.parse(known)
    if before.certificate or named.certificate:
        return before.certificate == named.certificate
    return bool({*before.hosts} & {*named.hosts})
