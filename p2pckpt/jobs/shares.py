"""Shares this machine owns or joined: finding and making them, their trusted files and keys, and changing those.

The bridge between what the tracker says (``access``), what signatures prove (``trust``) and what is kept
(``store.catalogue``). Everything that leaves here has passed ``trust.admission``.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from p2pckpt import atomic
from p2pckpt import tracker_protocol as tp
from p2pckpt.access.client import TrackerClient
from p2pckpt.access.pool import Trackers
from p2pckpt.checkpoint.manifest import Manifest, unpack
from p2pckpt.errors import (
    BadUsage,
    Conflict,
    NotAllowed,
    NotFound,
    P2pckptError,
    UntrustedKey,
    VerificationFailed,
)
from p2pckpt.store.catalogue import Catalogue, KnownShare
from p2pckpt.store.layout import StoreLayout
from p2pckpt.swarm import torrent as torrents
from p2pckpt.tracker_protocol.signed import KeyringContent
from p2pckpt.trust import admission, keyrings, links, sealing, versions
from p2pckpt.trust.admission import TrustedShare
from p2pckpt.trust.identity import Identity
from p2pckpt.trust.sealing import EpochKeys
from p2pckpt.trust.share_names import is_share_name

_SHORTEST_ID: Final = 8
"""Digits of a share's id that may stand for it."""
_REFRESHED_AT_ONCE: Final = 8
"""Shares whose tracker is asked at once: each keeps a thread that waits for what the loop fetches, for which name
servers are asked in threads, too."""
RACES: Final = 20
"""Times a change of signed files is rebased on somebody else's before giving up."""


OnRefresh = Callable[["KnownShare", TrustedShare], Awaitable[None]]


async def _nobody(share: KnownShare, trusted: TrustedShare) -> None:
    """Listens where nobody does."""


def check_name(name: str) -> str:
    """A share's name, or ``BadUsage``: letters, digits and ``._+-``, parts joined by ``/``."""
    if not is_share_name(name):
        raise BadUsage(f"{name[:60]!r} is no name for a share: letters, digits, '.', '_', '-' and '/'")
    return name


def is_share_id(name: str) -> bool:
    """Whether ``name`` is written as a share's whole id, which is no name for a new one."""
    return re.fullmatch("[0-9a-f]{64}", name) is not None


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
        self._refreshing = asyncio.Semaphore(_REFRESHED_AT_ONCE)
        self._on_refresh: OnRefresh = _nobody

    def on_refresh(self, listener: OnRefresh) -> None:
        """Await ``listener`` with everything that a refresh brought, before anything is done with it."""
        self._on_refresh = listener

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
            if self._catalogue.share(share.share_id) is not None:  # it may have been left while the tracker was asked
                self._catalogue.record_share(share)
        return share

    def client(self, share: KnownShare) -> TrackerClient:
        return self._trackers.client(share.tracker)

    def public_address(self, share: KnownShare) -> links.TrackerAddress:
        """What links say of the share's tracker."""
        return self._trackers.public_address(share.tracker)

    # -- making

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

    # -- trusted files

    async def refresh(self, share: KnownShare, *, expired: bool = False) -> TrustedShare:
        """Ask the tracker what is new and judge it (``trust.admission``).

        With ``expired`` what has run out since it was looked at last is taken, for owners who are about to renew it.
        """
        client, loop = self.client(share), asyncio.get_running_loop()

        def fetch(name: str) -> bytes:
            wanted = client.metadata(share.share_id.hex(), name)
            return asyncio.run_coroutine_threadsafe(wanted, loop).result()

        at = await asyncio.to_thread(self._last_good_moment, share) if expired else None
        arguments = share.share_id, self._layout.trusted_files(share.share_id), fetch, self._identity, at
        async with self._locks[share.share_id], self._refreshing:
            try:
                try:
                    trusted = await asyncio.to_thread(admission.refresh, *arguments)
                except (UntrustedKey, VerificationFailed):
                    # keys that change while we read make old and new files meet: what is wrong is so twice
                    trusted = await asyncio.to_thread(admission.refresh, *arguments)
            except FileNotFoundError as exc:
                raise NotFound(f"{share.name} was left while it was asked about") from exc
            await self._on_refresh(share, trusted)
            return trusted

    def _last_good_moment(self, share: KnownShare) -> datetime:
        known = admission.load(share.share_id, self._layout.trusted_files(share.share_id), self._identity)
        signed = known.root_bytes, known.targets_bytes, known.keyring_bytes
        ends = min(known.fresh_until, *map(versions.expiry, signed))
        return datetime.fromtimestamp(ends - 1, UTC)

    async def trusted(self, share: KnownShare, *, fresh: bool = False) -> TrustedShare:
        """What is known of a share; asks the tracker when nothing is, or when ``fresh``."""
        if not fresh:
            with contextlib.suppress(NotFound):
                return await self.look(share)
        return await self.refresh(share)

    async def look(self, share: KnownShare) -> TrustedShare:
        """What the files on this disk say of a share. Raises ``NotFound`` when it was never asked about."""
        directory = self._layout.trusted_files(share.share_id)
        return await asyncio.to_thread(admission.load, share.share_id, directory, self._identity)

    def keys(self, share: KnownShare, trusted: TrustedShare) -> dict[int, EpochKeys]:
        """Content keys of every epoch that we can reach, from the keyring and from the link we came by."""
        return keyrings.open_epochs(trusted.keyring, self._identity, share.share_id, share.keys)

    def newest_keys(self, share: KnownShare, trusted: TrustedShare) -> EpochKeys:
        """What new versions are sealed with. Raises ``NotAllowed`` without the newest epoch's content key."""
        keys = self.keys(share, trusted).get(trusted.keyring.newest)
        if keys is None or not keys.content:
            raise NotAllowed(
                f"this machine has no content key of {share.name}", next_step="ask an owner to add you again"
            )
        return keys

    async def manifest(self, share: KnownShare, trusted: TrustedShare, version: int) -> tuple[Manifest, bytes]:
        """A version's manifest, opened and checked, and the bytes that were signed; also of one that was retired."""
        name, info_hash = trusted.content(version)
        path = self._layout.manifest(bytes.fromhex(info_hash))
        sealed = await asyncio.to_thread(_read, path)
        if sealed is None or hashlib.sha256(sealed).hexdigest() != name:
            sealed = await self.client(share).blob(share.share_id.hex(), tp.BlobKind.MANIFEST, name, tp.MAX_MANIFEST)
            if hashlib.sha256(sealed).hexdigest() != name:
                raise VerificationFailed("the tracker's copy of the manifest is not the one that was signed")
            await asyncio.to_thread(_keep, path, sealed)
        keys, share_id = self.keys(share, trusted), share.share_id
        manifest = await asyncio.to_thread(lambda: unpack(sealing.open_manifest(sealed, keys, share_id, version)))
        if manifest.body.share_id != share_id or manifest.body.version != version:
            raise VerificationFailed("the manifest is of another share or version than was signed")
        target = trusted.targets.versions.get(version)
        if target is not None and manifest.body.publisher.hex() != target.publisher:
            raise VerificationFailed("the manifest names another publisher than was signed")
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

    # -- changing signed files

    async def move_tag(self, share: KnownShare, tag: str, version: int | None) -> TrustedShare:
        """Sign and publish a moved tag, on top of whatever others publish meanwhile."""
        if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,63}", tag) or re.fullmatch(r"v?[0-9]+", tag):
            raise BadUsage(f"{tag[:60]!r} is no tag: lower case letters, digits, '.', '_', '-', and no plain number")
        if tag == "latest":
            raise BadUsage("'latest' moves by itself", next_step="choose another tag, such as 'stable'")

        def edit(trusted: TrustedShare) -> bytes:
            if version is not None:
                trusted.target(version)
            elif tag not in trusted.targets.tags:
                raise NotFound(f"{share.name} has no tag {tag!r}", next_step=f"p2pckpt show {share.name}")
            return versions.move_tag(trusted.targets_bytes, self._identity, tag, version)

        return await self.change_targets(share, edit)

    async def change_targets(
        self, share: KnownShare, edit: Callable[[TrustedShare], bytes], *, expired: bool = False, earlier: int = 0
    ) -> TrustedShare:
        """Publish the targets that ``edit`` signs, in a thread, made again on top of what others publish meanwhile.

        ``earlier`` is the number of the targets that listed retired versions which ``edit`` takes back.
        """
        for _ in range(RACES):
            targets = await asyncio.to_thread(edit, await self.refresh(share, expired=expired))
            try:
                await self.client(share).publish_targets(share.share_id.hex(), targets, earlier)
            except Conflict:
                continue
            return await self.refresh(share, expired=expired)
        raise Conflict(f"others keep publishing to {share.name}", next_step="try again")

    async def change_keyring(
        self,
        share: KnownShare,
        edit: Callable[[TrustedShare], Awaitable[KeyringContent]],
        *,
        renew: bool = False,
    ) -> TrustedShare:
        """Sign and publish the keyring that ``edit`` makes, made again on top of what other owners publish meanwhile.

        One that says the same as before is published only to ``renew`` it.
        """
        for _ in range(RACES):
            trusted = await self.refresh(share, expired=renew)
            content = await edit(trusted)
            if content == trusted.keyring and not renew:
                return trusted
            keyring = versions.update_keyring(trusted.keyring_bytes, self._identity, content)
            try:
                await self.client(share).publish_keyring(share.share_id.hex(), keyring)
            except Conflict:
                continue
            return await self.refresh(share, expired=renew)
        raise Conflict(f"others keep changing {share.name}", next_step="try again")


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _keep(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    atomic.write(path, data)
