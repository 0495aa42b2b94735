"""Verifying what is held: a checkout's files and the store's frames against the signed manifest; repairing both."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from blake3 import blake3

from p2pckpt.checkpoint.manifest import Manifest
from p2pckpt.checkpoint.plan import pieces_of_chunk
from p2pckpt.control.messages import FetchRequest, Phase, VerifyRequest
from p2pckpt.errors import NotFound, VerificationFailed
from p2pckpt.jobs import model_signature
from p2pckpt.jobs.fetch import fetch
from p2pckpt.jobs.fetch_plan import chosen_files
from p2pckpt.jobs.progress import Progress
from p2pckpt.jobs.services import Services
from p2pckpt.jobs.shares import split_name
from p2pckpt.jobs.unpacking import Unpacker
from p2pckpt.store.catalogue import KnownShare, VersionRow
from p2pckpt.store.scrub import damaged_pieces
from p2pckpt.trust import oms

_SHOWN: int = 10
_READ: int = 4 << 20


@dataclass(slots=True)
class Damage:
    files: list[str] = field(default_factory=list)
    """Paths in the checkout, with what is wrong."""
    objects: set[bytes] = field(default_factory=set)
    """Objects of the store with at least one bad frame."""

    def __bool__(self) -> bool:
        return bool(self.files or self.objects)

    @property
    def text(self) -> str:
        parts = []
        if self.files:
            more = f" and {len(self.files) - _SHOWN} more" if len(self.files) > _SHOWN else ""
            parts.append(f"{len(self.files)} damaged files: {', '.join(self.files[:_SHOWN])}{more}")
        if self.objects:
            parts.append(f"{len(self.objects)} damaged objects in the store")
        return "; ".join(parts)


def find_version(services: Services, name: str) -> tuple[KnownShare, VersionRow]:
    """A held version by NAME[@VERSION] or by the path of its checkout. Raises ``NotFound``."""
    if name.startswith("/"):
        paths = (name, str(Path(name).resolve()))
        known = {share.share_id: share for share in services.catalogue.shares()}
        here = [row for row in services.catalogue.versions() if row.path in paths and row.share in known]
        if not here:
            raise NotFound(f"{name} is no checkout that this machine knows", next_step="p2pckpt ls")
        # a directory that is published again and again holds the newest of its versions
        newest = max(here, key=lambda row: row.version)
        return known[newest.share], newest
    share = services.shares.find(split_name(name)[0])
    rows = services.catalogue.versions(share.share_id)
    if not rows:
        raise NotFound(f"no version of {share.name} is on this machine", next_step=f"p2pckpt get {share.name}")
    return share, max(rows, key=lambda row: row.version)


async def verify(services: Services, request: VerifyRequest, progress: Progress) -> None:
    """Check one version's checkout and frames; with ``repair`` fetch and rewrite what is damaged.

    Raises ``VerificationFailed`` naming the damage when it was not repaired.
    """
    share, row = find_version(services, request.name)
    trusted = await services.shares.trusted(share)
    selector = "" if request.name.startswith("/") else split_name(request.name)[1]
    version = trusted.resolve(selector) if selector else row.version
    held = services.catalogue.version(share.share_id, version)
    if held is None:
        raise NotFound(f"version {version} of {share.name} is not on this machine", next_step="p2pckpt get")
    manifest, _ = await services.shares.manifest(share, trusted, version)
    files = chosen_files(manifest, held.only)
    size = sum(manifest.body.files[number].size for number in files)
    progress.update(share_id=share.share_id.hex(), share=share.name, version=version, path=held.path, size=size, done=0)
    progress.enter(Phase.CHECKING)
    keys = services.shares.keys(share, trusted)
    unpacker = Unpacker(manifest, keys, services.objects)
    damage = Damage()
    for number in files:
        await services.compute(_check_file, manifest, number, Path(held.path), damage, progress, request.full)
    await asyncio.to_thread(oms.check, manifest.body)
    own = manifest.body.publisher == services.identity.public_bytes
    if not held.only and await asyncio.to_thread(
        model_signature.is_damaged, Path(held.path), manifest.body, published_here=own
    ):
        damage.files.append(f"{oms.FILE} (is not what the publisher signed)")
    await services.compute(_check_frames, services, share, manifest, unpacker, damage, progress, held.held)
    if damage and not request.repair:
        raise VerificationFailed(
            damage.text,
            kept="nothing was changed",
            next_step=f"p2pckpt verify --repair {share.name}@{version}",
        )
    if damage:
        progress.warn(f"found {damage.text}")
        await _repair(services, share, held, damage, progress)


async def _repair(services: Services, share: KnownShare, row: VersionRow, damage: Damage, progress: Progress) -> None:
    """Forget bad pieces, then fetch: what is right on this disk is used, the rest comes from the swarm."""
    await asyncio.to_thread(_forget_damaged, services, damage.objects)
    await services.swarms.forget(damage.objects)
    source = f"{share.share_id.hex()}@{row.version}"
    # whatever is in its pickles, somebody decided to have this checkout
    request = FetchRequest(source=source, to=row.path, only=row.only, allow_unsafe_pickle=True)
    # of a version that was never whole here, what its files don't need is not fetched for the sake of the store
    await fetch(services, request, progress, restore=damage.objects if row.held else ())
    progress.note("repaired")


def _forget_damaged(services: Services, roots: set[bytes]) -> None:
    for root in roots:
        services.objects.forget(root)
        row = services.catalogue.object(root)
        if row is not None:
            # a frame that is bad on pieces that are right was published that way: fetched again, it says so again
            lost = damaged_pieces(services.layout.object(root), row, row.pieces) or set(row.pieces)
            services.catalogue.lose_pieces(root, lost)


def _check_file(
    manifest: Manifest, number: int, directory: Path, damage: Damage, progress: Progress, full: bool
) -> None:
    entry = manifest.body.files[number]
    path = directory / entry.path
    digest = hashlib.sha256() if full else None
    try:
        with path.open("rb") as file:
            bad = 0
            for chunk in manifest.chunks_of(entry).tolist():
                progress.checkpoint()
                data = file.read(int(manifest.raw_lengths[chunk]))
                bad += blake3(data).digest() != manifest.chunk_id(chunk)
                if digest is not None:
                    digest.update(data)
                progress.add(done=len(data))
            longer = bool(file.read(1))
    except OSError as exc:
        damage.files.append(f"{entry.path} ({exc.strerror})")
        return
    if bad or longer:
        damage.files.append(f"{entry.path} ({f'{bad} bad chunks' if bad else 'too long'})")
    elif digest is not None and digest.digest() != entry.sha256:
        damage.files.append(f"{entry.path} (SHA-256 differs)")
    elif bool(path.stat().st_mode & 0o100) != entry.executable:
        damage.files.append(f"{entry.path} (executable bit differs)")


def _check_frames(
    services: Services,
    share: KnownShare,
    manifest: Manifest,
    unpacker: Unpacker,
    damage: Damage,
    progress: Progress,
    held: bool,
) -> None:
    """Every frame that should be here is, opens, decodes and is its chunk: all of them if the version is ``held``."""
    for index in range(manifest.object_count):
        services.objects.forget(manifest.root(index))  # a file that was deleted or replaced stays readable while open
    for chunk in range(manifest.chunk_count):
        progress.checkpoint()
        location = services.catalogue.locate(share.share_id, manifest.chunk_id(chunk))
        root = manifest.root(int(manifest.chunk_objects[chunk])) if location is None else location.root
        if root in damage.objects:
            continue
        if location is None and not _is_covered(services, manifest, chunk):
            if held:
                damage.objects.add(root)
            continue
        try:
            unpacker.chunk(chunk, None if location is None or location.delta else location)
        except VerificationFailed:
            damage.objects.add(root)


def _is_covered(services: Services, manifest: Manifest, chunk: int) -> bool:
    """Whether the pieces under a chunk are here, though nothing says so of the chunk itself."""
    row = services.catalogue.object(manifest.root(int(manifest.chunk_objects[chunk])))
    return row is not None and row.pieces.covers(pieces_of_chunk(manifest, chunk))
