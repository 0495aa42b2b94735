"""Shares this machine owns or joined: finding them by name, joining by link, their trusted files, keys, members.

The bridge between what the tracker says (``access``), what signatures prove (``trust``) and what is kept
(``store.catalogue``). Everything that leaves here has passed ``trust.admission``.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import re
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import msgspec

from p2pckpt import atomic
from p2pckpt import tracker_protocol as tp
from p2pckpt.access.client import TrackerClient
from p2pckpt.access.pool import BESIDE, Trackers
from p2pckpt.checkpoint.manifest import Manifest, unpack
from p2pckpt.errors import (
    BadUsage,
    Conflict,
    NotAllowed,
    NotFound,
    P2pckptError,
    TrackerUnreachable,
    VerificationFailed,
)
from p2pckpt.store.catalogue import Catalogue, KnownShare
from p2pckpt.store.layout import StoreLayout
from p2pckpt.swarm import torrent as torrents
from p2pckpt.trust import admission, links, sealing, versions
from p2pckpt.trust.admission import TrustedShare
from p2pckpt.trust.identity import PUBLIC_PREFIX, Identity, PublicIdentity
from p2pckpt.trust.sealing import EpochKeys

_NAME: Final = re.compile(r"[\w][\w.+-]*(/[\w][\w.+-]*)*")
_MAX_NAME: Final = 100
_SHORTEST_ID: Final = 8
"""Digits of a share's id that may stand for it."""
_RACES: Final = 20
"""Times a change of signed files is rebased on somebody else's before giving up."""


def check_name(name: str) -> str:
    """A share's name, or ``BadUsage``: letters, digits and ``._+-``, parts joined by ``/``."""
    if len(name) > _MAX_NAME or not _NAME.fullmatch(name):
        raise BadUsage(f"{name[:60]!r} is no name for a share: letters, digits, '.', '_', '-' and '/'")
    return name


def split_name(text: str) -> tuple[str, str]:
    """``NAME[@SELECTOR]`` as its two parts."""
    name, _, selector = text.partition("@")
    return name, selector


class Shares:
    """All shares of this home. Lives on the daemon's loop; blocking parts go to threads."""

    def __init__(self, identity: Identity, catalogue: Catalogue, layout: StoreLayout, trackers: Trackers) -> None:
        self._identity = identity
        self._catalogue = catalogue
        self._layout = layout
        self._trackers = trackers
        self._locks: defaultdict[bytes, asyncio.Lock] = defaultdict(asyncio.Lock)

    # -- finding

    def known(self) -> list[KnownShare]:
        return self._catalogue.shares()

    def find(self, name: str) -> KnownShare:
        """By name or by the first digits of the id. Raises ``NotFound``, or ``BadUsage`` when several match."""
        found = [s for s in self.known() if s.name == name]
        if not found and len(name) >= _SHORTEST_ID:
            found = [s for s in self.known() if s.share_id.hex().startswith(name.lower())]
        if not found:
            raise NotFound(f"no share {name!r} is known here", next_step="p2pckpt ls --shares")
        if len(found) > 1:
            ids = ", ".join(share.share_id.hex()[:12] for share in found)
            raise BadUsage(f"{len(found)} shares are called {name!r}", next_step=f"use one of their ids: {ids}")
        return found[0]

    async def own(self, name: str) -> KnownShare | None:
        """The share called ``name``, or whose id it begins, that we may publish to, if there is one.

        Shares we joined are asked for our role: an owner may have made us a publisher since.
        """
        by_id = name.lower() if len(name) >= _SHORTEST_ID else "-"
        for share in self.known():
            if share.name == name or share.share_id.hex().startswith(by_id):
                if share.role != tp.Role.OWNER.value:
                    with contextlib.suppress(P2pckptError):  # what is not to be learned now is as it was
                        share = await self.learn_role(share)
                if share.role in (tp.Role.PUBLISHER.value, tp.Role.OWNER.value):
                    return share
        return None

    async def learn_role(self, share: KnownShare) -> KnownShare:
        """What the tracker says we may do in a share, remembered."""
        record = await self.client(share).share(share.share_id.hex())
        if record.role.value != share.role:
            share = replace(share, role=record.role.value)
            self._catalogue.record_share(share)
        return share

    def client(self, share: KnownShare) -> TrackerClient:
        return self._trackers.client(share.tracker)

    def plain_link(self, share: KnownShare) -> links.Link:
        """A link that says where the share is, and lets nobody in."""
        return links.Link(share.share_id, self._trackers.public_address(share.tracker))

    # -- making and joining

    async def create(self, name: str, visibility: tp.Visibility, tracker: str) -> KnownShare:
        """A new share of ours at ``tracker``, its first signed files there and here."""
        client = self._trackers.client(tracker)
        info = client.info or await client.connect()
        hosts = self._trackers.public_address(tracker).text
        root, targets, keyring = await asyncio.to_thread(
            lambda: versions.new_share(
                self._identity,
                check_name(name),
                sealed=visibility is not tp.Visibility.PUBLIC,
                online_key=bytes.fromhex(info.online_key),
                trackers=[hosts],
            )
        )
        share_id = versions.share_id(root)
        await client.create_share(tp.CreateShare(root, targets, keyring, visibility))
        share = KnownShare(share_id, name, tracker, visibility.value, tp.Role.OWNER.value, {})
        self._catalogue.record_share(share)
        await self.refresh(share)
        return share

    async def join(self, link: links.Link, password: str = "") -> KnownShare:
        """The share behind a link, redeemed when it carries a secret. Raises ``NotAllowed`` for one that is spent."""
        known = self._catalogue.share(link.share_id)
        if known is not None and known.role == tp.Role.OWNER.value:
            return known
        tracker = link.tracker.text
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
        trusted = await self.refresh(share)
        share = replace(share, name=trusted.terms.name)
        self._catalogue.record_share(share)
        return share

    def whereabouts(self, source: str) -> tuple[bytes, str]:
        """Id and tracker of the share behind a link, or of one known here."""
        if links.is_link(source):
            link = links.Link.parse(source)
            return link.share_id, link.tracker.text
        share = self.find(split_name(source)[0])
        return share.share_id, share.tracker

    async def ask_for_access(self, share_id: bytes, tracker: str, message: str) -> None:
        """Ask the owners of a share to be let in; nothing tells whether there is such a share."""
        await self._trackers.client(tracker).request_access(share_id.hex(), message)

    async def is_let_in(self, share_id: bytes, tracker: str) -> bool:
        """Whether we are a member by now and have the keys: owners add somebody first, and seal keys to them then."""
        record = await self._trackers.client(tracker).share(share_id.hex())
        share = KnownShare(share_id, record.name, tracker, record.visibility.value, record.role.value, {})
        trusted = await self.refresh(share)
        return bool(trusted.keys) or not trusted.terms.sealed

    async def licence_due(self, share: KnownShare, trusted: TrustedShare, accepted: str = "") -> str:
        """What we have to accept before anything is fetched, as the owner signed it; empty for nothing.

        ``accepted`` is what the user has agreed to: the tracker is told if that is the very text. Raises ``Conflict``
        when it is another one.
        """
        licence = await asyncio.to_thread(versions.licence_to_accept, trusted.keyring_bytes)
        if not licence:
            return ""
        client, share_id = self.client(share), share.share_id.hex()
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

    async def requests(self, share: KnownShare) -> list[tuple[tp.AccessRequest, PublicIdentity]]:
        """Who asks to be let in, as the tracker says: their keys prove nothing until somebody compared them.

        Raises ``UntrustedKey`` for a receive key that the one who asks has not signed.
        """
        found = []
        for request in await self.client(share).requests(share.share_id.hex()):
            try:
                keys = [
                    bytes.fromhex(k) for k in (request.identity, request.receive_key, request.receive_key_signature)
                ]
            except ValueError as exc:
                raise VerificationFailed("the tracker's list of requests can't be read") from exc
            found.append((request, PublicIdentity(*keys).checked()))
        return found

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
            return {keys.epoch: keys for keys in msgspec.msgpack.decode(plain, type=list[EpochKeys])}
        except msgspec.MsgspecError as exc:
            raise VerificationFailed("the keys in this link can't be read") from exc

    # -- trusted files

    async def refresh(self, share: KnownShare) -> TrustedShare:
        """Ask the tracker what is new and judge it (``trust.admission``)."""
        client, loop = self.client(share), asyncio.get_running_loop()

        def fetch(name: str) -> bytes:
            wanted = client.metadata(share.share_id.hex(), name)
            return asyncio.run_coroutine_threadsafe(wanted, loop).result()

        async with self._locks[share.share_id]:
            return await asyncio.to_thread(
                admission.refresh, share.share_id, self._layout.trusted_files(share.share_id), fetch, self._identity
            )

    async def trusted(self, share: KnownShare, *, fresh: bool = False) -> TrustedShare:
        """What is known of a share; asks the tracker when nothing is, or when ``fresh``."""
        if not fresh:
            try:
                return await asyncio.to_thread(
                    admission.load, share.share_id, self._layout.trusted_files(share.share_id), self._identity
                )
            except NotFound:
                pass
        return await self.refresh(share)

    def keys(self, share: KnownShare, trusted: TrustedShare) -> dict[int, EpochKeys]:
        """Content keys from the keyring and from the link we came by."""
        return {**share.keys, **trusted.keys}

    async def manifest(self, share: KnownShare, trusted: TrustedShare, version: int) -> tuple[Manifest, bytes]:
        """A version's manifest, opened and checked, and the bytes that were signed."""
        target = trusted.target(version)
        path = self._layout.manifest(bytes.fromhex(target.infohash))
        sealed = await asyncio.to_thread(_read, path)
        if sealed is None or hashlib.sha256(sealed).hexdigest() != target.manifest_sha256:
            client, name = self.client(share), target.manifest_sha256
            sealed = await client.blob(share.share_id.hex(), tp.BlobKind.MANIFEST, name, tp.MAX_MANIFEST)
            if len(sealed) != target.manifest_length or hashlib.sha256(sealed).hexdigest() != name:
                raise VerificationFailed("the tracker's copy of the manifest is not the one that was signed")
            await asyncio.to_thread(_keep, path, sealed)
        keys, share_id = self.keys(share, trusted), share.share_id
        manifest = await asyncio.to_thread(lambda: unpack(sealing.open_manifest(sealed, keys, share_id, version)))
        if manifest.body.share_id != share_id or manifest.body.version != version:
            raise VerificationFailed("the manifest is of another share or version than was signed")
        return manifest, sealed

    async def torrent(self, share: KnownShare, info_hash: bytes) -> torrents.Torrent:
        """A torrent of the share by its signed infohash, from the store or the tracker."""
        path = self._layout.torrent(info_hash)
        data = await asyncio.to_thread(_read, path)
        if data is not None:
            try:
                return await asyncio.to_thread(torrents.parse, data, info_hash)
            except VerificationFailed:
                pass  # damaged on this disk: fetch it again
        client = self.client(share)
        data = await client.blob(share.share_id.hex(), tp.BlobKind.TORRENT, info_hash.hex(), tp.MAX_TORRENT)
        torrent = await asyncio.to_thread(torrents.parse, data, info_hash)
        terms = (await self.trusted(share)).terms
        if (torrent.name, torrent.private) != (terms.torrent_name, terms.sealed):
            raise VerificationFailed("the torrent is named or flagged otherwise than the share's signed terms say")
        await asyncio.to_thread(_keep, path, torrent.data)
        return torrent

    async def card(self, share: KnownShare, sha256: str) -> bytes:
        """README.md of a version, as signed."""
        data = await self.client(share).blob(share.share_id.hex(), tp.BlobKind.CARD, sha256, tp.MAX_CARD)
        if hashlib.sha256(data).hexdigest() != sha256:
            raise VerificationFailed("the tracker's copy of the card is not the one that was signed")
        return data

    async def announce_urls(self, share: KnownShare) -> list[str]:
        """Where stock clients announce in the swarms of a public share; nothing when its tracker does not say."""
        if share.visibility != tp.Visibility.PUBLIC.value:
            return []
        try:
            told = (await self.client(share).connect()).announce_url
        except P2pckptError:
            return []
        if not told:
            return []
        bases = [told]
        if share.tracker == BESIDE:  # we reach it by loopback; others do where links say
            hosts = [host.rpartition(":")[0] for host in self._trackers.public_address(share.tracker).hosts]
            bases = [f"http://{host}:{urlsplit(told).port}/announce" for host in hosts]
        return [f"{base}/{tp.PUBLIC_PASS}" for base in bases]

    # -- changing signed files

    async def move_tag(self, share: KnownShare, tag: str, version: int | None) -> TrustedShare:
        """Sign and publish a moved tag, on top of whatever others publish meanwhile."""
        if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,63}", tag) or re.fullmatch(r"v?[0-9]+", tag):
            raise BadUsage(f"{tag[:60]!r} is no tag: lower case letters, digits, '.', '_', '-', and no plain number")
        if tag == "latest":
            raise BadUsage("'latest' moves by itself", next_step="choose another tag, such as 'stable'")
        for _ in range(_RACES):
            trusted = await self.refresh(share)
            if version is not None:
                trusted.target(version)
            elif tag not in trusted.targets.tags:
                raise NotFound(f"{share.name} has no tag {tag!r}", next_step=f"p2pckpt show {share.name}")
            targets = versions.move_tag(trusted.targets_bytes, self._identity, tag, version)
            try:
                await self.client(share).publish_targets(share.share_id.hex(), targets)
            except Conflict:
                continue
            return await self.refresh(share)
        raise Conflict(f"others keep publishing to {share.name}", next_step="try again")

    # -- members and links

    async def members(self, share: KnownShare) -> list[tp.Member]:
        return await self.client(share).members(share.share_id.hex())

    async def set_member(self, share: KnownShare, who: str, role: tp.Role | None) -> list[tp.Member]:
        """Add, change or remove a member, and bring the keyring and the publishers' keys in line.

        ``who`` is a public key as ``key show`` prints it, or the hex of somebody who is a member. Signed files change
        only for the person the owner named: a tracker that invents members gets no key sealed and no key signed.
        """
        public = PublicIdentity.parse(who) if who.startswith(PUBLIC_PREFIX) else None
        identity = public.identity.hex() if public is not None else who
        if not re.fullmatch(r"[0-9a-f]{64}", identity):
            raise BadUsage(f"{who[:60]!r} is no public key", next_step="ask for the output of: p2pckpt key show")
        if role is tp.Role.OWNER and share.role == role.value:
            raise BadUsage("a share has one owner for now", next_step="use the role publisher")
        client, share_id = self.client(share), share.share_id.hex()
        await client.set_member(share_id, identity, role)
        if share.role == tp.Role.OWNER.value:
            await self._set_publisher(share, bytes.fromhex(identity), role)
            await self._set_reader(share, identity, public, role)
        return await client.members(share_id)

    async def _set_publisher(self, share: KnownShare, identity: bytes, role: tp.Role | None) -> None:
        """The root names who may sign versions."""
        trusted = await self.refresh(share)
        before = versions.publishers(trusted.root_bytes)
        after = before | {identity} if role is not None and role.covers(tp.Role.PUBLISHER) else before - {identity}
        if after == before:
            return
        client, share_id = self.client(share), share.share_id.hex()
        if before - after:
            # what a leaving publisher signed last must verify under the new root: sign it again ourselves, first
            await client.publish_targets(share_id, versions.sign_again(trusted.targets_bytes, self._identity))
        root = versions.set_publishers(trusted.root_bytes, self._identity, sorted(after))
        await client.publish_root(share_id, root)
        await self.refresh(share)

    async def _set_reader(
        self, share: KnownShare, identity: str, public: PublicIdentity | None, role: tp.Role | None
    ) -> None:
        """The keyring holds the content keys, sealed to each reader. Who came by a link has them from the link."""
        for _ in range(_RACES):
            trusted = await self.refresh(share)
            keys = self.keys(share, trusted)
            epochs = [_sealed_to(epoch, keys[epoch.epoch], identity, public, role, trusted) for epoch in trusted.epochs]
            if epochs == list(trusted.epochs):
                return
            keyring = versions.update_keyring(trusted.keyring_bytes, self._identity, epochs)
            try:
                await self.client(share).publish_keyring(share.share_id.hex(), keyring)
            except Conflict:
                continue
            await self.refresh(share)
            return

    async def default_link(self, share: KnownShare, earlier: str) -> links.Link:
        """The link that a publish hands out: ``earlier`` again, while it is good, with today's addresses.

        Shares for members only get one without a secret: it says where, and lets nobody in.
        """
        address = self._trackers.public_address(share.tracker)
        if share.visibility == tp.Visibility.MEMBERS.value:
            return self.plain_link(share)
        secret = links.Link.parse(earlier).secret if earlier else None
        if secret is not None:
            records = await self.client(share).links(share.share_id.hex())
            if any(record.link_id == secret.link_id and not record.revoked for record in records):
                return links.Link(share.share_id, address, secret)
        return await self.create_link(share)

    async def create_link(
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
        address = self._trackers.public_address(share.tracker)
        if share.visibility == tp.Visibility.PUBLIC.value:
            return links.Link(share.share_id, address, None, version)
        if share.role != tp.Role.OWNER.value:
            raise NotAllowed(f"only an owner of {share.name} makes links", next_step="ask an owner for one")
        trusted = await self.trusted(share)
        secret = links.LinkSecret.generate()
        salt = os.urandom(16) if password else b""
        opened = await asyncio.to_thread(secret.keys, password, salt)
        given = [k if role.covers(tp.Role.DOWNLOADER) else _view_only(k) for k in self.keys(share, trusted).values()]
        wrapped = sealing.wrap(opened.wrap, msgspec.msgpack.encode(given), tp.LINK_WRAP_CONTEXT + share.share_id)
        await self.client(share).create_link(
            share.share_id.hex(),
            tp.CreateLink(
                link_id=secret.link_id,
                auth_hash=opened.auth_hash,
                wrapped_keys=wrapped,
                role=role,
                expires_at=expires_at,
                max_uses=max_uses,
                password_salt=salt.hex(),
            ),
        )
        return links.Link(share.share_id, address, secret, version)


def _view_only(keys: EpochKeys) -> EpochKeys:
    """The same epoch for somebody who may only view."""
    return EpochKeys(keys.epoch, keys.view, b"")


def _sealed_to(
    epoch: versions.SealedEpoch,
    keys: EpochKeys,
    identity: str,
    public: PublicIdentity | None,
    role: tp.Role | None,
    trusted: TrustedShare,
) -> versions.SealedEpoch:
    """``epoch`` with or without an entry for one member; all other entries stay as they are."""
    sealed = {name: entry for name, entry in epoch.sealed.items() if name != identity or role is not None}
    if role is not None and public is not None:
        given = keys if role.covers(tp.Role.DOWNLOADER) else _view_only(keys)
        sealed[identity] = versions.seal_epoch(given, [public], trusted.share_id).sealed[identity]
    return versions.SealedEpoch(epoch.epoch, sealed)


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _keep(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    atomic.write(path, data)
