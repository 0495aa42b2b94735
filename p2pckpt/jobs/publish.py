"""Publishing: a directory becomes a signed version of a share, seeded from this machine.

Scan, pack (``packing``), describe it in a manifest, build its torrent, sign, hand the signed files to the tracker by
compare-and-swap, seed. A publish that was killed is simply run again: what it packed is found by the look-up.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from p2pckpt import __version__, atomic
from p2pckpt import tracker_protocol as tp
from p2pckpt.checkpoint import manifest as mf
from p2pckpt.checkpoint.card import Card, read_card
from p2pckpt.checkpoint.merkle import FileTree
from p2pckpt.checkpoint.plan import MAX_TORRENTS, PIECE_LENGTH
from p2pckpt.control.messages import Phase
from p2pckpt.control.publish_messages import PublishRequest
from p2pckpt.errors import BadUsage, ChangedWhileReading, Conflict, NotFound, P2pckptError, VerificationFailed
from p2pckpt.jobs import model_signature
from p2pckpt.jobs.delta_base import DeltaBase
from p2pckpt.jobs.folder import card_warnings, default_name, describe, places, readme_of
from p2pckpt.jobs.keyframes import base_for
from p2pckpt.jobs.packing import Packed, Packer
from p2pckpt.jobs.progress import Progress
from p2pckpt.jobs.safety import as_warnings, require_publishable, scan_files
from p2pckpt.jobs.scanning import Scan, scan
from p2pckpt.jobs.seeding import seed
from p2pckpt.jobs.services import Services
from p2pckpt.jobs.shares import check_name, is_share_id
from p2pckpt.store.catalogue import KnownShare, VersionRow
from p2pckpt.swarm import torrent as torrents
from p2pckpt.trust import oms, sealing, versions
from p2pckpt.trust.admission import TrustedShare
from p2pckpt.trust.sealing import EpochKeys

STABLE: Final = "stable"
"""The tag of the newest save of a run that was found to be whole and sound."""
_RACES: Final = 20
_MAX_VERSION_NAME: Final = 100


async def publish(
    services: Services, request: PublishRequest, tracker: str, progress: Progress, earlier_link: Callable[[str], str]
) -> None:
    """Run one publish to its end: the version is signed, registered and seeded when this returns.

    ``earlier_link`` gives the link of an earlier publish to the share of that id, or nothing.
    """
    directory = Path(request.snapshot or request.path)
    if len(request.version_name) > _MAX_VERSION_NAME or not request.version_name.isprintable():
        raise BadUsage(f"a version's name has at most {_MAX_VERSION_NAME} printable characters")
    progress.enter(Phase.SCANNING)
    if request.card is not None:
        await asyncio.to_thread(describe, directory, request.card)
    found = await asyncio.to_thread(scan, directory)
    if request.expected and found.fingerprint != request.expected:
        raise ChangedWhileReading(f"{directory} was written to after it was looked at", kept="nothing was published")
    for warning in found.warnings:
        progress.warn(warning)
    progress.update(size=found.size, done=0, wire_done=0, reused=0)
    findings = await asyncio.to_thread(scan_files, places(found), progress.checkpoint)
    require_publishable(findings, allow=request.allow_unsafe_pickle)
    recorded = tuple(map(str, findings))
    for text in as_warnings(recorded):
        progress.warn(text)
    readme = await asyncio.to_thread(readme_of, directory, found)
    card = read_card(readme)
    share = await _share(services, request, tracker, card, progress)
    trusted = await services.shares.refresh(share)
    progress.update(share_id=share.share_id.hex(), share=share.name, publisher=services.identity.hex)
    draft = _Draft(request, share, found, recorded, Packed(), readme, card)
    async with services.leaning.publishing(share):
        while not await _pack_and_sign(services, draft, trusted, progress):
            # somebody was removed meanwhile: what was packed with keys that they have is packed again
            progress.note(f"the keys of {share.name} changed; packing again with the new ones")
            trusted = await services.shares.refresh(share)
    link = await _link(services, request, share, earlier_link(share.share_id.hex()))
    progress.update(link=link, wire_size=progress.job.wire_done, phase=Phase.NONE)


async def _pack_and_sign(services: Services, draft: _Draft, trusted: TrustedShare, progress: Progress) -> bool:
    """Make a version of it and seed it; False when the epoch that it is sealed with ended before it was signed."""
    share = draft.share
    keys = services.shares.newest_keys(share, trusted) if trusted.terms.sealed else None
    version = max(trusted.targets.versions, default=0) + 1
    progress.update(version=version, version_name=draft.request.version_name)
    progress.enter(Phase.PACKING)
    base = await base_for(services, share, trusted, draft.request.tags) if draft.request.delta else None
    packed = await asyncio.to_thread(_pack, services, share, version, keys, draft.found, base, progress)
    for warning in packed.warnings:
        progress.warn(warning)
    draft = replace(draft, packed=packed)
    if await _is_latest(services, draft, trusted):
        latest = trusted.target(trusted.targets.latest)
        progress.update(version=latest.version, version_name=latest.name)
        progress.warn(f"nothing changed since version {latest.version}: no new version was made")
        await _remember(services, draft, trusted, latest)
        await seed(services, progress.job.id, share, latest.version)
        return True
    signed = await _sign_and_register(services, draft, trusted, keys, progress)
    if signed is None:
        return False
    await _seed(services, draft, signed, progress)
    return True


@dataclass(frozen=True, slots=True)
class _Draft:
    """A version but for its number and what follows from it."""

    request: PublishRequest
    share: KnownShare
    found: Scan
    findings: tuple[str, ...]
    """What the scan of its pickles says, as the manifest records it."""
    packed: Packed
    readme: bytes
    """README.md as published, at most 256 KiB of it; empty without one."""
    card: Card


@dataclass(frozen=True, slots=True)
class _Signed:
    torrent: torrents.Torrent
    manifest: mf.Manifest
    others: tuple[bytes, ...]
    """Infohashes of the older torrents that carry the rest."""


async def _share(
    services: Services, request: PublishRequest, tracker: str, card: Card, progress: Progress
) -> KnownShare:
    name = check_name(request.name or default_name(Path(request.path)))
    share = await services.shares.own(name)
    if share is None and is_share_id(name):
        raise NotFound(
            "the share of this run is not known here any more", next_step="p2pckpt run watch DIR --name NAME"
        )
    public = (share.visibility if share is not None else request.to) == tp.Visibility.PUBLIC.value
    if not card.licence and public and not request.allow_no_licence:
        raise BadUsage(
            "a public share needs a licence, and no README.md here names one",
            kept="nothing was published",
            next_step="add 'license: apache-2.0' to its front matter, or use --allow-no-licence",
        )
    for problem in card_warnings(card, Path(request.path)):
        progress.warn(problem)
    if share is None:
        progress.enter(Phase.REGISTERING)
        share = await services.shares.create(name, request.to, tracker)
    elif request.path and request.to.value != share.visibility:
        progress.note(f"{name} stays {share.visibility}")
    return share


def _pack(
    services: Services,
    share: KnownShare,
    version: int,
    keys: EpochKeys | None,
    found: Scan,
    base: DeltaBase | None,
    progress: Progress,
) -> Packed:
    if keys is not None:
        _forget_unpublished(services, share, keys.epoch)
    packer = Packer(
        layout=services.layout,
        catalogue=services.catalogue,
        share_id=share.share_id,
        sealer=sealing.FrameSealer(keys.content, share.share_id, version) if keys else None,
        sealed_version=version,
        sealed_epoch=keys.epoch if keys else 0,
        pool=services.pool,
        workers=services.workers,
        progress=progress,
        base=base,
    )
    return packer.run(found.files)


def _forget_unpublished(services: Services, share: KnownShare, epoch: int) -> None:
    """Objects that no version names, sealed in an epoch that has ended: whoever was removed then has their keys."""
    roots = services.catalogue.unpublished(share.share_id, epoch)
    services.catalogue.forget_objects(roots)
    for root in roots:
        services.layout.object(root).unlink(missing_ok=True)


async def _sign_and_register(
    services: Services, draft: _Draft, trusted: TrustedShare, keys: EpochKeys | None, progress: Progress
) -> _Signed | None:
    """Sign and hand over; when somebody else was first, number and sign again on top of theirs.

    None when the epoch that the draft is sealed with has ended.
    """
    share, client = draft.share, services.shares.client(draft.share)
    share_id = share.share_id.hex()
    for _ in range(_RACES):
        progress.enter(Phase.SIGNING)
        version = max(trusted.targets.versions, default=0) + 1
        progress.update(version=version)
        signed, sealed, target = await asyncio.to_thread(_describe, services, draft, trusted, keys, version)
        targets = versions.publish_version(trusted.targets_bytes, services.identity, target, _tags(draft.request))
        progress.enter(Phase.REGISTERING)
        await client.put_blob(share_id, tp.BlobKind.MANIFEST, target.manifest_sha256, sealed)
        await client.put_blob(share_id, tp.BlobKind.TORRENT, target.infohash, signed.torrent.data)
        for info_hash in signed.others:
            if info_hash.hex() not in trusted.targets.torrents:  # of a version that was retired: it may be gone there
                other = await services.shares.torrent(share, info_hash)
                await client.put_blob(share_id, tp.BlobKind.TORRENT, info_hash.hex(), other.data)
        if draft.readme:
            await client.put_blob(share_id, tp.BlobKind.CARD, target.card, draft.readme)
        try:
            await client.publish_targets(share_id, targets)
        except Conflict:
            trusted = await services.shares.refresh(share)
            if keys is not None and trusted.keyring.newest != keys.epoch:
                return None
            progress.note(f"somebody published version {version} first; going on top of it")
            continue
        await services.shares.refresh(share)
        await asyncio.to_thread(_record, services, draft, signed.torrent, target)
        if not draft.request.snapshot and not await asyncio.to_thread(
            model_signature.renew, Path(draft.request.path), signed.manifest.body
        ):
            progress.warn(f"{oms.FILE} in {draft.request.path} can't be written: it stays an earlier version's")
        if oms.is_taken(signed.manifest.body):
            progress.warn(f"{oms.FILE} travels as it is: this version gets no model signature of yours")
        return signed
    raise Conflict(
        f"others keep publishing to {share.name}", kept="everything packed", next_step="share again in a while"
    )


def _describe(
    services: Services, draft: _Draft, trusted: TrustedShare, keys: EpochKeys | None, version: int
) -> tuple[_Signed, bytes, versions.VersionTarget]:
    """Manifest, torrent and target of this version; the manifest and torrent are written to the store."""
    carried = _carriers(services, draft, trusted.targets.torrents)
    body = oms.signed(_body(services, draft, trusted, version, carried), services.identity)
    sealed = sealing.seal_manifest(mf.pack(body), keys, draft.share.share_id, version)
    tree = FileTree(PIECE_LENGTH)
    tree.update(sealed)
    root, layer = tree.finish()
    own = [_torrent_file(services, o.root) for o in draft.packed.objects if carried[o.root] is None]
    torrent = torrents.build(
        trusted.terms.torrent_name,
        torrents.TorrentFile(root, len(sealed), layer),
        own,
        private=trusted.terms.sealed,
    )
    path = services.layout.manifest(torrent.info_hash)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    atomic.write(path, sealed)
    atomic.write(services.layout.torrent(torrent.info_hash), torrent.data)
    card = hashlib.sha256(draft.readme).hexdigest() if draft.readme else ""
    others = tuple(dict.fromkeys(c[0] for c in carried.values() if c is not None))
    target = versions.VersionTarget(
        version=version,
        manifest_sha256=hashlib.sha256(sealed).hexdigest(),
        manifest_length=len(sealed),
        infohash=torrent.info_hash.hex(),
        torrent_length=len(torrent.data),
        torrent_size=torrent.size,
        name=draft.request.version_name,
        published_at=body.created_at,
        publisher=services.identity.hex,
        epoch=keys.epoch if keys else 0,
        size=draft.found.size,
        files=len(draft.found.files),
        card=card,
        leans_on=tuple(each.hex() for each in others),
    )
    return _Signed(torrent, mf.Manifest(body), others), sealed, target


def _carriers(services: Services, draft: _Draft, offered: Collection[str]) -> dict[bytes, tuple[bytes, int] | None]:
    """Object → (infohash, version) of the older torrent that carries it; None: this version's own torrent does.

    With more than ``MAX_TORRENTS`` older torrents this version carries everything that is whole here itself, and
    otherwise what is in a torrent that is neither here nor among those ``offered``: it may be nowhere any more.
    """
    share_id = draft.share.share_id
    carriers = {
        o.root: services.catalogue.carrier(share_id, o.root) if o.reused else None for o in draft.packed.objects
    }
    left = {carrier for carrier in carriers.values() if carrier is not None}
    if len(left) < MAX_TORRENTS:
        left = {one for one in left if one[0].hex() not in offered and not services.layout.torrent(one[0]).exists()}
    for root, carrier in carriers.items():
        row = services.catalogue.object(root) if carrier in left else None
        if row is not None and row.complete:
            carriers[root] = None
    return carriers


def _body(
    services: Services,
    draft: _Draft,
    trusted: TrustedShare,
    version: int,
    carried: dict[bytes, tuple[bytes, int] | None],
) -> mf.Body:
    packed, request, card = draft.packed, draft.request, draft.card
    numbers = {chunk.id: number for number, chunk in enumerate(packed.chunks, start=1)}
    torrent_rows = [mf.TorrentEntry(b"", version)]
    index: dict[tuple[bytes, int] | None, int] = {None: 0}
    for carrier in carried.values():
        if carrier is not None and carrier not in index:
            index[carrier] = len(torrent_rows)
            torrent_rows.append(mf.TorrentEntry(*carrier))
    return mf.Body(
        format=mf.FORMAT,
        share_id=draft.share.share_id,
        version=version,
        name=request.version_name,
        created_at=int(time.time()),
        publisher=services.identity.public_bytes,
        encoder=f"p2pckpt {__version__}",
        parent=trusted.targets.latest if trusted.targets.versions else 0,
        files=tuple(packed.files),
        directories=draft.found.directories,
        sequence=mf.u32(packed.sequence),
        tensors=tuple(packed.tensors),
        chunks=mf.ChunkTable(
            ids=b"".join(c.id for c in packed.chunks),
            raw_lengths=mf.u32([c.raw_length for c in packed.chunks]),
            objects=mf.u32([c.object for c in packed.chunks]),
            offsets=mf.u64([c.offset for c in packed.chunks]),
            lengths=mf.u32([c.length for c in packed.chunks]),
            bases=mf.u32([numbers[c.base] if c.base else 0 for c in packed.chunks]),
        ),
        objects=mf.ObjectTable(
            roots=b"".join(o.root for o in packed.objects),
            lengths=mf.u64([o.length for o in packed.objects]),
            torrents=mf.u32([index[carried[o.root]] for o in packed.objects]),
            sealed_versions=mf.u32([o.sealed_version for o in packed.objects]),
            sealed_epochs=mf.u32([o.sealed_epoch for o in packed.objects]),
        ),
        torrents=tuple(torrent_rows),
        metrics=dict(request.metrics),
        step=request.step,
        tags=_tags(request),
        card=hashlib.sha256(draft.readme).digest() if draft.readme else b"",
        licence=card.licence,
        base_model=card.base_model,
        findings=draft.findings,
    )


def _tags(request: PublishRequest) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*request.tags, *((STABLE,) if request.passed else ()))))


async def _link(services: Services, request: PublishRequest, share: KnownShare, earlier: str) -> str:
    """The link to send; empty where only an owner could make one."""
    public = share.visibility == tp.Visibility.PUBLIC.value
    if share.role != tp.Role.OWNER.value and not public:
        return ""
    if not (request.expires_at or request.max_uses or request.password):
        return (await services.link_book.default(share, earlier)).text
    link = await services.link_book.create(
        share, expires_at=request.expires_at, max_uses=request.max_uses, password=request.password
    )
    return link.text


async def _is_latest(services: Services, draft: _Draft, trusted: TrustedShare) -> bool:
    """Whether the newest version is this directory, described as asked for: shared twice, or killed after signing."""
    if not trusted.targets.versions:
        return False
    request = draft.request
    try:
        manifest, _ = await services.shares.manifest(draft.share, trusted, trusted.targets.latest)
    except VerificationFailed:
        return False  # whatever somebody signed there must not stop the next version
    before = manifest.body
    asked = (request.version_name, request.metrics, request.step, _tags(request))
    if any(asked) and asked != (before.name, before.metrics, before.step, before.tags):
        return False

    def shape(files: Sequence[mf.FileEntry]) -> list[tuple[str, int, bool, bytes]]:
        return [(file.path, file.size, file.executable, file.sha256) for file in files]

    return before.directories == draft.found.directories and shape(before.files) == shape(draft.packed.files)


def _torrent_file(services: Services, root: bytes) -> torrents.TorrentFile:
    row = services.catalogue.object(root)
    if row is None:
        raise P2pckptError(f"object {root.hex()[:12]} vanished from the store", next_step="p2pckpt scrub")
    return torrents.TorrentFile(root, row.length, row.layer)


async def _remember(services: Services, draft: _Draft, trusted: TrustedShare, target: versions.VersionTarget) -> None:
    """Note a version that was signed before: a daemon that is killed between signing and noting leaves this to do."""
    manifest, _ = await services.shares.manifest(draft.share, trusted, target.version)
    torrent = await services.shares.torrent(draft.share, bytes.fromhex(target.infohash))
    rows = [services.catalogue.object(manifest.root(index)) for index in range(manifest.object_count)]
    held = all(row is not None and row.complete for row in rows)
    await asyncio.to_thread(_record, services, draft, torrent, target, held=held)
    if not draft.request.snapshot:
        await asyncio.to_thread(model_signature.renew, Path(draft.request.path), manifest.body)


def _record(
    services: Services, draft: _Draft, torrent: torrents.Torrent, target: versions.VersionTarget, *, held: bool = True
) -> None:
    path = "" if draft.request.snapshot else draft.request.path
    with services.catalogue.transaction():
        services.catalogue.record_carriers(
            draft.share.share_id, ((file.root, torrent.info_hash, target.version) for file in torrent.objects)
        )
        services.catalogue.record_version(
            VersionRow(draft.share.share_id, target.version, torrent.info_hash, held, path)
        )


async def _seed(services: Services, draft: _Draft, signed: _Signed, progress: Progress) -> None:
    share = draft.share
    job = progress.job.id
    tls = (await services.shares.trusted(share)).swarm_tls
    await services.swarms.join(job, share.share_id, share.tracker, signed.torrent, {}, 0, tls=tls)
    for info_hash in signed.others:
        torrent = await services.shares.torrent(share, info_hash)
        await services.swarms.join(job, share.share_id, share.tracker, torrent, {}, 0, tls=tls)
