"""Rows and details for front ends, derived from the catalogue, the trusted files and the swarms."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from p2pckpt import tracker_protocol as tp
from p2pckpt.checkpoint.manifest import Manifest
from p2pckpt.checkpoint.pieces import PieceSet
from p2pckpt.checkpoint.plan import PIECE_LENGTH
from p2pckpt.control import messages as m
from p2pckpt.daemon.access_watch import Tally
from p2pckpt.daemon.peers import peers_of
from p2pckpt.errors import P2pckptError
from p2pckpt.jobs.magnets import magnets
from p2pckpt.jobs.measuring import measured
from p2pckpt.jobs.progress import Progress
from p2pckpt.jobs.safety import as_warnings
from p2pckpt.jobs.seeding import file_numbers
from p2pckpt.jobs.services import Services
from p2pckpt.jobs.shares import split_name
from p2pckpt.store.catalogue import KnownShare
from p2pckpt.store.checkout import partial_directory
from p2pckpt.swarm.torrent import Torrent
from p2pckpt.trust import links, oms
from p2pckpt.trust.admission import TrustedShare
from p2pckpt.trust.identity import words

_CELLS: Final = 1024
_CARD_BYTES: Final = 256 << 10
_PEERS: Final = 200
_ASKED: Final = 200
"""Versions whose seeds the tracker is asked for."""
_FILES: Final = 1000
_AT_MOST_254: Final = bytes(min(count, 254) for count in range(256))


async def share_row(services: Services, share: KnownShare, tally: Tally) -> m.ShareRow:
    """One share as lists show it; what was never fetched counts as nothing."""
    try:
        trusted: TrustedShare | None = await services.shares.trusted(share)
    except P2pckptError:
        trusted = None
    held = services.catalogue.versions(share.share_id)
    latest = trusted.targets.versions.get(trusted.targets.latest) if trusted is not None else None
    return m.ShareRow(
        share_id=share.share_id.hex(),
        name=share.name,
        role=tp.Role(share.role),
        visibility=tp.Visibility(share.visibility),
        owner=trusted.terms.owner if trusted is not None else "",
        tracker=share.tracker,
        versions=len(trusted.targets.versions) if trusted is not None else 0,
        latest=latest.version if latest is not None else 0,
        size=latest.size if latest is not None else 0,
        stored=await asyncio.to_thread(services.catalogue.share_bytes, share.share_id),
        tags=trusted.targets.tags if trusted is not None else {},
        seeds=max((services.swarms.known_seeds(row.info_hash) for row in held), default=0),
        members=tally.members,
        updated_at=latest.published_at if latest is not None else 0,
        requests=tally.requests,
        proposals=tally.proposals,
        measured=await asyncio.to_thread(services.catalogue.count_measured, share.share_id),
        pinned=tuple(sorted(await asyncio.to_thread(services.catalogue.pinned, share.share_id))),
    )


async def version_rows(services: Services, share: KnownShare, trusted: TrustedShare) -> tuple[m.VersionRow, ...]:
    """Every signed version, newest first; seeds of the newest of them."""
    targets = sorted(trusted.targets.versions.values(), key=lambda target: -target.version)
    hashes = [bytes.fromhex(target.infohash) for target in targets[:_ASKED]]
    seeds = await services.swarms.ask_seeds(share.share_id, share.tracker, hashes)
    known = await measured(services, share, trusted)
    held = {row.version for row in services.catalogue.versions(share.share_id) if row.held}
    pinned = services.catalogue.pinned(share.share_id)
    return tuple(
        m.VersionRow(
            version=target.version,
            name=target.name,
            tags=tuple(sorted(tag for tag, version in trusted.targets.tags.items() if version == target.version)),
            published_at=target.published_at,
            publisher=target.publisher,
            size=target.size,
            wire_size=target.torrent_size,
            files=target.files,
            held=target.version in held,
            info_hash=target.infohash,
            seeds=seeds.get(bytes.fromhex(target.infohash), -1),
            step=known[target.version].step if target.version in known else None,
            metrics=known[target.version].metrics if target.version in known else {},
            manifest=target.manifest_sha256,
            pinned=target.version in pinned,
        )
        for target in targets
    )


async def version_detail(services: Services, share: KnownShare, version: int) -> m.VersionDetail:
    """What a manifest says, for people."""
    trusted = await services.shares.trusted(share)
    manifest, _ = await services.shares.manifest(share, trusted, version)
    target, body = trusted.target(version), manifest.body
    row = next(row for row in await version_rows(services, share, trusted) if row.version == version)
    await asyncio.to_thread(oms.check, body)
    hashes = [target.infohash, *(entry.info_hash.hex() for entry in body.torrents if entry.info_hash)]
    card = b""
    if target.card:
        try:
            card = await services.shares.card(share, target.card)
        except P2pckptError:
            card = b""  # the tracker is away: everything else can still be shown
    return m.VersionDetail(
        share_id=share.share_id.hex(),
        share=share.name,
        version=row,
        publisher=body.publisher.hex(),
        encoder=body.encoder,
        licence=body.licence,
        base_model=body.base_model,
        card=card[:_CARD_BYTES].decode("utf-8", "replace"),
        files=tuple(m.FileRow(f.path, f.size, f.size if row.held else 0, f.kind) for f in body.files),
        directories=body.directories,
        tensors=tuple(
            m.TensorRow(t.name, t.dtype, t.shape, t.parameters, body.files[t.file].path) for t in body.tensors
        ),
        parameters=sum(t.parameters for t in body.tensors),
        chunks=manifest.chunk_count,
        objects=manifest.object_count,
        stored=manifest.stored,
        info_hashes=tuple(dict.fromkeys(hashes)),
        warnings=as_warnings(body.findings, "the publisher's scan: "),
        magnets=await magnets(services, share, trusted, target, manifest),
        publisher_words=words(body.publisher),
        signing_key=oms.public_key(body),
        bases=tuple([found for name in body.base_model if (found := await _base(services, name)) is not None]),
    )


async def _base(services: Services, name: str) -> m.BaseShare | None:
    """The share that a card means by ``name``: NAME[@VERSION], with ``p2pckpt:`` before it or not, an id, or a link."""
    plain, selector = split_name(name.removeprefix(links.SCHEME))
    with contextlib.suppress(P2pckptError):
        link = links.Link.parse(name)
        plain, selector = link.share_id.hex(), str(link.version) if link.version else ""
    try:
        share = services.shares.find(plain)
    except P2pckptError:
        return None
    try:
        version = (await services.shares.trusted(share)).resolve(selector)
    except P2pckptError:
        version = 0
    return m.BaseShare(name, share.name, version)


async def job_detail(services: Services, progress: Progress) -> m.JobDetail:
    """Pieces, peers, files and log of one job."""
    job = progress.job
    manifest: Manifest | None = None
    pieces, count = b"", 0
    if job.share_id and job.version:
        share = services.catalogue.share(bytes.fromhex(job.share_id))
        try:
            if share is not None:
                trusted = await services.shares.trusted(share)
                manifest, _ = await services.shares.manifest(share, trusted, job.version)
                pieces, count = await asyncio.to_thread(_piece_cells, services, manifest, _arrived(services, job))
        except P2pckptError:
            manifest = None  # a publish that is not signed yet has no manifest
    copies, spread = b"", 0
    if manifest is not None and not job.state.ended:
        copies, spread = await _copies(services, job, manifest)
    return m.JobDetail(
        job=job,
        pieces=pieces,
        piece_count=count,
        piece_size=PIECE_LENGTH,
        peers=(await peers_of(services, job.id))[:_PEERS],
        files=await asyncio.to_thread(_files, manifest, job) if manifest is not None else (),
        log=tuple(progress.log),
        copies=copies,
        spread=spread,
    )


async def _copies(services: Services, job: m.Job, manifest: Manifest) -> tuple[bytes, int]:
    """``JobDetail.copies`` and ``JobDetail.spread``."""
    mine = [joined.torrent for joined in services.swarms.all() if job.id in joined.wanted]
    answers = await asyncio.gather(*(services.swarms.engine.availability(torrent.info_hash) for torrent in mine))
    if not any(answers):
        return b"", 0
    return await asyncio.to_thread(_copies_in_cells, mine, answers, manifest)


def _copies_in_cells(
    torrents: list[Torrent], answers: list[tuple[bytes, ...]], manifest: Manifest
) -> tuple[bytes, int]:
    of_object: dict[bytes, bytes] = {}
    for torrent, answer in zip(torrents, answers, strict=True):
        if answer:
            of_object.update((root, answer[file]) for root, file in file_numbers(torrent).items())
    parts = []
    for index in range(manifest.object_count):
        counts = of_object.get(manifest.root(index))
        nobody = b"\xff" * -(-int(manifest.object_lengths[index]) // PIECE_LENGTH)
        parts.append(nobody if counts is None else counts.translate(_AT_MOST_254))
    whole = b"".join(parts)
    counted = whole.translate(None, b"\xff")
    if not counted:
        return b"", 0
    rarest = min(counted)
    spread = rarest * 1000 + 1000 * (len(counted) - counted.count(rarest)) // len(counted)
    cells = min(_CELLS, len(whole))
    return bytes(min(whole[c * len(whole) // cells : (c + 1) * len(whole) // cells]) for c in range(cells)), spread


def _piece_cells(services: Services, manifest: Manifest, arrived: Mapping[bytes, PieceSet]) -> tuple[bytes, int]:
    """The pieces of the version's objects, as at most ``_CELLS`` cells: 0…200 by how many are durable, 255 where some
    have ``arrived``, by object, and are not."""
    present: list[bool] = []
    fresh: list[bool] = []
    for index in range(manifest.object_count):
        root = manifest.root(index)
        row, new = services.catalogue.object(root), arrived.get(root)
        count = -(-int(manifest.object_lengths[index]) // PIECE_LENGTH)
        here = [row is not None and piece in row.pieces for piece in range(count)]
        present += here
        fresh += [piece in new and not here[piece] for piece in range(count)] if new is not None else [False] * count
    cells = min(_CELLS, len(present))
    shades = bytearray()
    for cell in range(cells):
        part = slice(cell * len(present) // cells, (cell + 1) * len(present) // cells)
        shades.append(255 if any(fresh[part]) else 200 * sum(present[part]) // len(present[part]))
    return bytes(shades), len(present)


def _arrived(services: Services, job: m.Job) -> dict[bytes, PieceSet]:
    """Object → pieces that its torrent received since they were last made durable."""
    return {
        root: joined.arrived[file]
        for joined in services.swarms.all()
        if job.id in joined.wanted and joined.arrived
        for root, file in file_numbers(joined.torrent).items()
        if file in joined.arrived
    }


def _files(manifest: Manifest, job: m.Job) -> tuple[m.FileRow, ...]:
    """Files with what of them is on disk: exact at the ends, by allocated blocks in between."""
    partial = partial_directory(Path(job.path)) / "files"
    rows = []
    for file in manifest.body.files[:_FILES]:
        if job.state.ended or job.kind is m.JobKind.PUBLISH:
            done = file.size if job.state is not m.JobState.FAILED else 0
        else:
            try:
                done = min(file.size, (partial / file.path).stat().st_blocks * 512)
            except OSError:
                done = 0
        rows.append(m.FileRow(file.path, file.size, done, file.kind))
    return tuple(rows)
