"""Before a fetch: what a link or name stands for, what of it is on this disk, and what has to come from others."""

from __future__ import annotations

import asyncio
import contextlib
import fnmatch
import hashlib
import os
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from blake3 import blake3

from p2pckpt.access.client import licence_due
from p2pckpt.checkpoint.card import read_card
from p2pckpt.checkpoint.formats.dcp import is_metadata
from p2pckpt.checkpoint.licences import NO_LICENCE
from p2pckpt.checkpoint.manifest import Manifest
from p2pckpt.checkpoint.pieces import count
from p2pckpt.checkpoint.plan import missing_chunks, pieces_wanted, wire_bytes
from p2pckpt.control.messages import FetchPreview, FetchRequest, FileRow
from p2pckpt.errors import BadUsage, NotFound, P2pckptError, Stale, TrackerUnreachable
from p2pckpt.jobs.safety import as_warnings
from p2pckpt.jobs.services import Services
from p2pckpt.store.catalogue import ChunkLocation, KnownShare
from p2pckpt.store.checkout import free_bytes
from p2pckpt.trust import oms
from p2pckpt.trust.admission import TrustedShare, is_number
from p2pckpt.trust.sealing import EpochKeys
from p2pckpt.trust.versions import VersionTarget

_READ: Final = 4 << 20


@dataclass(frozen=True, slots=True)
class Source:
    """What is to be fetched, trusted."""

    share: KnownShare
    trusted: TrustedShare
    target: VersionTarget
    manifest: Manifest
    files: tuple[int, ...]
    """Indices of the files wanted."""
    licence_due: str = ""
    """What has to be accepted before anything is fetched."""
    own: bool = False
    """Whether we published it ourselves."""
    doubts: tuple[str, ...] = ()
    """Why this may not be the newest: what the user should know."""

    @property
    def mark(self) -> str:
        """Identifies this version and choice of files."""
        chosen = hashlib.sha256(repr(self.files).encode()).hexdigest()[:16]
        return f"{self.target.manifest_sha256} {chosen}"

    @property
    def size(self) -> int:
        return sum(self.manifest.body.files[number].size for number in self.files)


@dataclass(slots=True)
class OnDisk:
    """What needs no network."""

    in_place: set[int] = field(default_factory=set)
    """Files that are at the target already, whole and right."""
    adoptable: dict[int, tuple[Path, int]] = field(default_factory=dict)
    """Chunk → file and offset at the target that hold its bytes."""
    stored: set[int] = field(default_factory=set)
    """Chunks whose frames are durable in the store."""
    elsewhere: dict[int, tuple[bytes, ChunkLocation]] = field(default_factory=dict)
    """Chunks that the store has for another share: which, and where. Its keys open them; they can't be seeded here."""
    keys: dict[bytes, dict[int, EpochKeys]] = field(default_factory=dict)
    """Of those other shares."""
    conflicts: list[str] = field(default_factory=list)
    """Files at the target that would have to make way."""

    @property
    def chunks(self) -> set[int]:
        """All chunks that need not be fetched."""
        return self.stored | self.adoptable.keys() | self.elsewhere.keys()


async def resolve(services: Services, request: FetchRequest) -> Source:
    """Join if ``source`` is a link, judge the signed files, open the manifest. Fetches no content.

    With the tracker away, a version that was seen before is resolved from this disk. Where nobody vouches any more for
    what is newest, only a version that is named by its number is. Raises ``LicenceNotAccepted``, ``Stale``,
    ``BlockedKey``, ``KeyToReview``.
    """
    source = await find(services, request)
    if source.licence_due:
        raise licence_due(source.licence_due)
    return source


async def find(services: Services, request: FetchRequest) -> Source:
    """As ``resolve``, for who only looks: a licence that has to be accepted first is said, and keeps nobody out."""
    shares = services.shares
    share, selector = await services.entrance.enter(request.source, request.password)
    doubts: tuple[str, ...] = ()
    try:
        trusted = await shares.trusted(share, fresh=True)
    except (TrackerUnreachable, Stale) as exc:
        trusted = await shares.trusted(share)
        if isinstance(exc, Stale) and not is_number(selector):
            raise Stale(
                exc.fact,
                kept=exc.kept,
                next_step=f"p2pckpt get {share.name}@{trusted.resolve(selector)} takes the one that was known last",
            ) from exc
        day = time.strftime("%Y-%m-%d %H:%M", time.localtime(trusted.fresh_until))
        doubts = (f"freshness unknown: {exc.fact}; the tracker last vouched for these versions until {day}",)
    version = trusted.resolve(selector)
    await services.key_book.require(share, trusted, version)
    manifest, _ = await shares.manifest(share, trusted, version)
    await asyncio.to_thread(oms.check, manifest.body)
    await services.key_book.require_own_word(share, trusted, manifest)
    due = await services.entrance.licence_due(share, trusted, request.accept_licence)
    chosen = chosen_files(manifest, request.only)
    own = manifest.body.publisher == services.identity.public_bytes
    return Source(share, trusted, trusted.target(version), manifest, chosen, due, own, doubts)


def checkout_path(source: Source, request: FetchRequest) -> Path:
    """Where the checkout goes: ``to``, which front ends make absolute."""
    path = Path(request.to) if request.to else Path(request.base or Path.home()) / default_directory(source)
    if not path.is_absolute():
        raise BadUsage(f"{request.to!r} is no absolute path")
    if path.exists() and not path.is_dir():
        raise BadUsage(f"{path} is a file", next_step="choose another directory with --to DIR")
    return path


def default_directory(source: Source) -> str:
    """``sd15-v2`` or, for a named version, ``sd15-step-42000``."""
    base = source.trusted.terms.name.rpartition("/")[2]
    label = source.target.name or f"v{source.target.version}"
    return f"{base}-{''.join(c if c.isalnum() or c in '.+-_' else '-' for c in label)}"


async def look(
    services: Services,
    source: Source,
    path: Path,
    check: Callable[[], None] = lambda: None,
    *,
    borrow: bool = False,
) -> OnDisk:
    """Compare the target directory and the store with the manifest. ``check`` is called often, to be stopped by.

    With ``borrow`` what the store has for other shares counts, too.
    """
    found = OnDisk()
    gone = await asyncio.to_thread(_look_in_store, services, source, found)
    if gone:
        await services.swarms.forget(gone)
    if path.is_dir():
        for number in source.files:
            await services.compute(_look_at_file, source.manifest, number, path, found)
            check()
    if borrow:
        await asyncio.to_thread(_look_elsewhere, services, source, found)
        await _keep_what_opens(services, found)
    return found


def to_fetch(
    services: Services, source: Source, found: OnDisk, restore: Collection[bytes] = ()
) -> tuple[set[int], dict[int, set[int]]]:
    """Chunks that must come from others, and the pieces (by object) that are not durable here.

    ``restore`` names objects that are wanted whole, whatever the files need.
    """
    manifest = source.manifest
    needed = [number for number in source.files if number not in found.in_place]
    missing = missing_chunks(manifest, needed, found.chunks)
    restored = {index for index in range(manifest.object_count) if manifest.root(index) in restore}
    missing |= {n for n, index in enumerate(manifest.chunk_objects.tolist()) if index in restored} - found.stored
    pieces_of = dict(pieces_wanted(manifest, missing))
    pieces_of |= {index: set(range(count(int(manifest.object_lengths[index])))) for index in restored}
    wanted: dict[int, set[int]] = {}
    for index, pieces in pieces_of.items():
        row = services.catalogue.object(manifest.root(index))
        here = row.pieces if row is not None and services.layout.object(row.root).exists() else ()
        wanted[index] = {piece for piece in pieces if piece not in here}
    return missing, {index: pieces for index, pieces in wanted.items() if pieces}


async def preview(services: Services, request: FetchRequest) -> FetchPreview:
    """What ``get`` shows before anything is fetched."""
    source = await find(services, request)
    path = checkout_path(source, request)
    found = await look(services, source, path, borrow=not request.seed)
    _, wanted = await asyncio.to_thread(to_fetch, services, source, found)
    here = found.chunks
    manifest, rows, reused = source.manifest, [], 0
    for number in source.files:
        file = manifest.body.files[number]
        chunks = manifest.chunks_of(file).tolist()
        done = (
            file.size
            if number in found.in_place
            else sum(int(manifest.raw_lengths[chunk]) for chunk in chunks if chunk in here)
        )
        reused += done
        rows.append(FileRow(file.path, file.size, done, file.kind))
    wire = wire_bytes(manifest, wanted)
    in_place = sum(manifest.body.files[number].size for number in found.in_place)
    warnings = [*source.doubts, *await _card_problems(services, source)]
    warnings += as_warnings(manifest.body.findings, "the publisher's scan: ")
    return FetchPreview(
        share_id=source.share.share_id.hex(),
        share=source.trusted.terms.name,
        version=source.target.version,
        version_name=source.target.name,
        tags=tuple(t for t, v in source.trusted.targets.tags.items() if v == source.target.version),
        publisher=manifest.body.publisher.hex(),
        licence=manifest.body.licence,
        files=tuple(rows),
        size=source.size,
        reused=reused,
        wire_size=wire,
        disk_needed=wire + source.size - in_place,
        disk_free=free_bytes(path.parent),
        seeds=await _seeds(services, source),
        to=str(path),
        conflicts=tuple(found.conflicts),
        warnings=tuple(warnings),
        licence_due=source.licence_due,
    )


async def _card_problems(services: Services, source: Source) -> tuple[str, ...]:
    """What is wrong with the card; that no licence is named is known without it."""
    problems: tuple[str, ...] = () if source.manifest.body.licence else ("no licence is named",)
    if not source.target.card:
        return problems
    try:
        card = read_card(await services.shares.card(source.share, source.target.card))
    except P2pckptError:
        return problems  # the tracker is away, or its copy damaged: the card comes with the files
    return (*problems, *(problem for problem in card.problems if card.licence or problem != NO_LICENCE))


async def _seeds(services: Services, source: Source) -> int:
    """0 when the tracker does not say, or will not before the licence is accepted."""
    if source.licence_due:
        return 0
    info_hash = bytes.fromhex(source.target.infohash)
    found = await services.swarms.ask_seeds(source.share.share_id, source.share.tracker, [info_hash])
    return found.get(info_hash, 0)


def chosen_files(manifest: Manifest, only: Sequence[str]) -> tuple[int, ...]:
    """Indices of the files that ``only`` asks for: ``weights``, or globs on paths and names."""
    if not only:
        return tuple(range(len(manifest.body.files)))
    chosen = [
        number
        for number, file in enumerate(manifest.body.files)
        if any(_matches(file.path, file.kind, pattern) for pattern in only)
    ]
    if not chosen:
        raise NotFound(f"no file of this version matches {', '.join(only)}", next_step="p2pckpt show NAME --files")
    return tuple(chosen)


def _matches(path: str, kind: str, pattern: str) -> bool:
    if pattern == "weights":
        return kind != "opaque" or path.endswith(".index.json") or is_metadata(path)
    return fnmatch.fnmatch(path, pattern) or fnmatch.fnmatch(path.rpartition("/")[2], pattern)


def _look_in_store(services: Services, source: Source, found: OnDisk) -> set[bytes]:
    """Returns the objects that were deleted behind our back; the catalogue has forgotten them."""
    manifest, share_id = source.manifest, source.share.share_id
    gone: set[bytes] = set()
    present: set[bytes] = set()
    for number in source.files:
        for chunk in set(manifest.chunks_of(manifest.body.files[number]).tolist()):
            if chunk in found.stored:
                continue
            places = places_in_store(services, share_id, manifest, chunk)
            for root in {place.root for place in places} - present - gone:
                (present if services.layout.object(root).exists() else gone).add(root)
            if places and present.issuperset(place.root for place in places):
                found.stored.add(chunk)
    if gone:
        services.catalogue.forget_objects(gone)
    return gone


def _look_elsewhere(services: Services, source: Source, found: OnDisk) -> None:
    manifest, share_id = source.manifest, source.share.share_id
    here = found.chunks
    for number in source.files:
        for chunk in set(manifest.chunks_of(manifest.body.files[number]).tolist()) - here:
            other = services.catalogue.locate_elsewhere(share_id, manifest.chunk_id(chunk))
            if other is not None and services.layout.object(other[1].root).exists():
                found.elsewhere[chunk] = other


async def _keep_what_opens(services: Services, found: OnDisk) -> None:
    """Of the chunks that other shares have those for which their keys are here."""
    for share_id in {share_id for share_id, _ in found.elsewhere.values()}:
        share = services.catalogue.share(share_id)
        if share is not None:
            with contextlib.suppress(P2pckptError):
                found.keys[share_id] = services.shares.keys(share, await services.shares.trusted(share))

    def opens(share_id: bytes, place: ChunkLocation) -> bool:
        keys = found.keys.get(share_id, {}).get(place.sealed_epoch)
        return place.sealed_epoch == 0 or (keys is not None and bool(keys.content))

    found.elsewhere = {chunk: other for chunk, other in found.elsewhere.items() if opens(*other)}


def places_in_store(services: Services, share_id: bytes, manifest: Manifest, chunk: int) -> list[ChunkLocation]:
    """The frames in the store that give a chunk: its own, or with its base a delta; none where that is not enough."""
    own = services.catalogue.locate(share_id, manifest.chunk_id(chunk))
    if own is None or not own.delta:
        return [] if own is None else [own]
    base = int(manifest.bases[chunk]) - 1
    signed = manifest.root(int(manifest.chunk_objects[chunk])), int(manifest.frame_offsets[chunk])
    if base < 0 or signed != (own.root, own.offset):
        return []  # of another base: this manifest does not say which
    known = services.catalogue.locate(share_id, manifest.chunk_id(base))
    return [] if known is None or known.delta else [own, known]


def _look_at_file(manifest: Manifest, number: int, path: Path, found: OnDisk) -> None:
    """In a worker: which chunks of one file are at the target already."""
    entry = manifest.body.files[number]
    existing = path / entry.path
    if not os.path.lexists(existing):
        return
    if existing.is_symlink() or not existing.is_file():
        found.conflicts.append(entry.path)
        return
    chunks = manifest.chunks_of(entry).tolist()
    matched, offset = 0, 0
    with existing.open("rb") as file:
        for chunk in chunks:
            length = int(manifest.raw_lengths[chunk])
            data = file.read(length)
            if len(data) == length and blake3(data).digest() == manifest.chunk_id(chunk):
                found.adoptable[chunk] = (existing, offset)
                matched += 1
            offset += length
    executable = bool(existing.stat().st_mode & 0o100)
    if matched == len(chunks) and existing.stat().st_size == entry.size and executable == entry.executable:
        found.in_place.add(number)
    else:
        found.conflicts.append(entry.path)
