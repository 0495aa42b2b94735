"""Verifying what is held: a checkout's files and the store's frames against the signed manifest; repairing both."""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from blake3 import blake3

from p2pckpt.checkpoint.manifest import Manifest
from p2pckpt.checkpoint.plan import pieces_of_chunk
from p2pckpt.control.health_messages import Outcome
from p2pckpt.control.messages import FetchRequest, Phase, VerifyRequest
from p2pckpt.errors import NotFound, P2pckptError, UntrustedKey, VerificationFailed
from p2pckpt.jobs import model_signature
from p2pckpt.jobs.fetch import fetch
from p2pckpt.jobs.fetch_plan import chosen_files
from p2pckpt.jobs.progress import Progress
from p2pckpt.jobs.safety import as_warnings, scan_files
from p2pckpt.jobs.services import Services
from p2pckpt.jobs.shares import split_name
from p2pckpt.jobs.unpacking import Unpacker
from p2pckpt.jobs.verify_findings import Findings, Keep
from p2pckpt.store.catalogue import KnownShare, VersionRow
from p2pckpt.store.scrub import damaged_pieces
from p2pckpt.trust import oms
from p2pckpt.trust.admission import TrustedShare


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


async def verify(services: Services, request: VerifyRequest, progress: Progress, keep: Keep) -> None:
    """Check one version's checkout and frames; with ``repair`` fetch and rewrite what is damaged.

    ``keep`` gets the report when everything was looked at, and again after a repair. Raises ``VerificationFailed``
    naming the damage when it was not repaired.
    """
    findings = Findings(request)
    try:
        share, held = await _look(services, request, progress, findings)
    finally:
        await asyncio.to_thread(keep, findings.report(progress))
    if findings and not request.repair:
        raise VerificationFailed(
            findings.text,
            kept="nothing was changed",
            next_step=f"p2pckpt verify --repair {share.name}@{held.version}",
        )
    if findings:
        progress.warn(f"found {findings.text}")
        await _repair(services, share, held, findings, progress)
        findings.repaired()
        await asyncio.to_thread(keep, findings.report(progress))


async def _look(
    services: Services, request: VerifyRequest, progress: Progress, findings: Findings
) -> tuple[KnownShare, VersionRow]:
    share, row = find_version(services, request.name)
    progress.update(share_id=share.share_id.hex(), share=share.name)
    progress.enter(Phase.CHECKING)
    try:
        trusted = await services.shares.trusted(share)
        selector = "" if request.name.startswith("/") else split_name(request.name)[1]
        version = trusted.resolve(selector, retired=True) if selector else row.version
        held = services.catalogue.version(share.share_id, version)
        if held is None:
            raise NotFound(f"version {version} of {share.name} is not on this machine", next_step="p2pckpt get")
        manifest, _ = await services.shares.manifest(share, trusted, version)
        await asyncio.to_thread(oms.check, manifest.body)
    except (VerificationFailed, UntrustedKey) as exc:
        findings.check("signature", Outcome.BAD, exc.fact)
        raise
    _tell_signatures(findings, trusted, manifest)
    files = chosen_files(manifest, held.only) if held.path else ()  # a snapshot that was published leaves only frames
    size = sum(manifest.body.files[number].size for number in files) if held.path else manifest.size
    progress.update(version=version, path=held.path, size=size, done=0)
    for number in files:
        await services.compute(_check_file, manifest, number, Path(held.path), findings, progress, request.full)
    if held.path:
        _tell_files(findings, len(files), request.full)
        own = manifest.body.publisher == services.identity.public_bytes
        await asyncio.to_thread(_check_model_signature, Path(held.path), manifest, held, own, findings)
    else:
        findings.check("files", Outcome.SKIPPED, "no checkout on this machine")
    locate = partial(services.catalogue.locate, share.share_id)
    unpacker = Unpacker(manifest, services.shares.keys(share, trusted), services.objects, locate)
    await services.compute(_check_frames, services, share, manifest, unpacker, findings, progress, held.held)
    if held.path:
        await services.compute(_scan, manifest, files, Path(held.path), findings, progress)
    progress.update(done=size)
    return share, held


def _tell_signatures(findings: Findings, trusted: TrustedShare, manifest: Manifest) -> None:
    version = manifest.body.version
    by, what = manifest.body.publisher.hex()[:8], trusted.content(version)[0][:8]
    since = "; it was retired since" if trusted.is_retired(version) else ""
    findings.check("signature", Outcome.OK, f"{by} signed version {version}, manifest {what}{since}")
    day = time.strftime("%Y-%m-%d %H:%M", time.localtime(trusted.fresh_until))
    chain = "its keys lead back to the root that names the share"
    if trusted.fresh_until > time.time():
        findings.check("chain", Outcome.OK, f"{chain}; the tracker vouches until {day}")
    else:
        findings.check("chain", Outcome.WARN, f"{chain}; nobody has vouched since {day} that nothing newer is there")


def _tell_files(findings: Findings, count: int, full: bool) -> None:
    bad, what = len(findings.files), "size, mode and SHA-256" if full else "size and mode"
    text = f"{count - bad:,} of {count:,}: {what}" + (f"; {bad:,} damaged" if bad else "")
    findings.check("files", Outcome.BAD if bad else Outcome.OK, text)
    bad, count = findings.bad_chunks, findings.chunks
    text = f"{count - bad:,} of {count:,} are what was signed" + (f"; {bad:,} are not" if bad else "")
    findings.check("chunks", Outcome.BAD if bad else Outcome.OK, text)


def _check_model_signature(
    directory: Path, manifest: Manifest, held: VersionRow, own: bool, findings: Findings
) -> None:
    if held.only or manifest.body.model_signature is None or not (directory / oms.FILE).exists():
        findings.check(oms.FILE, Outcome.SKIPPED, "none here")
    elif model_signature.is_damaged(directory, manifest.body, published_here=own):
        findings.bad_file(oms.FILE, "is not what the publisher signed", ())
        findings.check(oms.FILE, Outcome.BAD, "is not what the publisher signed")
    else:
        findings.check(oms.FILE, Outcome.OK, "is what the publisher signed")


def _scan(manifest: Manifest, files: Sequence[int], directory: Path, findings: Findings, progress: Progress) -> None:
    """What the pickles of the checkout would import: known to whoever wanted it here, and worth being said again."""
    places = [(manifest.body.files[n].path, directory / manifest.body.files[n].path) for n in files]
    here = [(path, place) for path, place in places if place.is_file()]
    try:
        found = scan_files(here, progress.checkpoint)
    except P2pckptError as exc:
        findings.check("pickles", Outcome.WARN, f"not all could be looked into: {exc.fact}")
        return
    if found:
        findings.check("pickles", Outcome.WARN, "; ".join(as_warnings(tuple(map(str, found)))))
    else:
        findings.check("pickles", Outcome.OK, f"nothing known to be bad in {len(here):,} files")


async def _repair(
    services: Services, share: KnownShare, row: VersionRow, findings: Findings, progress: Progress
) -> None:
    """Forget bad pieces, then fetch: what is right on this disk is used, the rest comes from the swarm."""
    await asyncio.to_thread(_forget_damaged, services, findings.objects)
    await services.swarms.forget(findings.objects)
    source = f"{share.share_id.hex()}@{row.version}"
    # of a version that was never whole here, what its files don't need is not fetched for the sake of the store
    restore = findings.objects if row.held else ()
    with tempfile.TemporaryDirectory(dir=services.layout.packing) as scratch:
        # whatever is in its pickles, somebody decided to have this checkout
        to = row.path or str(Path(scratch, "files"))
        request = FetchRequest(source=source, to=to, only=row.only, allow_unsafe_pickle=True)
        await fetch(services, request, progress, restore=restore, placed=findings.placed)
    if not row.path:
        services.catalogue.record_version(row)
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
    manifest: Manifest, number: int, directory: Path, findings: Findings, progress: Progress, full: bool
) -> None:
    entry = manifest.body.files[number]
    path = directory / entry.path
    digest = hashlib.sha256() if full else None
    chunks: list[int] = manifest.chunks_of(entry).tolist()
    offset, bad, short = 0, 0, 0
    try:
        with path.open("rb") as file:
            for chunk in chunks:
                progress.checkpoint()
                length = int(manifest.raw_lengths[chunk])
                data = file.read(length)
                got = blake3(data).digest()
                if got != manifest.chunk_id(chunk):
                    bad += 1
                    short += len(data) < length
                    if len(data) == length:
                        findings.bad_chunk(entry.path, chunk, offset, manifest.chunk_id(chunk), got)
                if digest is not None:
                    digest.update(data)
                offset += length
                progress.add(done=len(data))
            longer = bool(file.read(1))
        size, mode = path.stat().st_size, path.stat().st_mode
    except OSError as exc:
        findings.looked_at(len(chunks), len(chunks))
        findings.bad_file(entry.path, exc.strerror or "can't be read", chunks)
        return
    findings.looked_at(len(chunks), bad)
    if bad:
        findings.bad_file(entry.path, f"{bad} bad chunks", chunks, row=False)
        if short:
            findings.bad_length(entry.path, f"ends at {size:,} of {entry.size:,} bytes")
    elif longer:
        findings.bad_file(entry.path, "too long", chunks)
    elif digest is not None and digest.digest() != entry.sha256:
        findings.bad_file(entry.path, "SHA-256 differs", chunks)
    elif bool(mode & 0o100) != entry.executable:
        findings.bad_file(entry.path, "executable bit differs", chunks)


def _check_frames(
    services: Services,
    share: KnownShare,
    manifest: Manifest,
    unpacker: Unpacker,
    findings: Findings,
    progress: Progress,
    held: bool,
) -> None:
    """Every frame that should be here is, opens, decodes and is its chunk: all of them if the version is ``held``."""
    for index in range(manifest.object_count):
        services.objects.forget(manifest.root(index))  # a file that was deleted or replaced stays readable while open
    looked = 0
    for chunk in range(manifest.chunk_count):
        progress.checkpoint()
        location = services.catalogue.locate(share.share_id, manifest.chunk_id(chunk))
        if location is not None and location.delta:
            location = None  # perhaps to another base: this version's own frame counts
        root = manifest.root(int(manifest.chunk_objects[chunk])) if location is None else location.root
        if root in findings.objects:
            continue
        offset = int(manifest.frame_offsets[chunk]) if location is None else location.offset
        if location is None and not _is_covered(services, manifest, chunk):
            if held:
                findings.bad_object(root, "pieces are missing", chunk, offset, manifest.chunk_id(chunk))
            continue
        looked += 1
        try:
            unpacker.chunk(chunk, location)
        except VerificationFailed as exc:
            findings.bad_object(root, exc.fact, chunk, offset, manifest.chunk_id(chunk))
    if bad := len(findings.objects):
        findings.check("store", Outcome.BAD, f"{bad:,} of {manifest.object_count:,} objects are damaged")
    elif looked:
        findings.check("store", Outcome.OK, f"{looked:,} of {manifest.chunk_count:,} frames open and are their chunks")
    else:
        findings.check("store", Outcome.SKIPPED, "nothing of it is in the store")


def _is_covered(services: Services, manifest: Manifest, chunk: int) -> bool:
    """Whether the pieces under a chunk are here, though nothing says so of the chunk itself."""
    row = services.catalogue.object(manifest.root(int(manifest.chunk_objects[chunk])))
    return row is not None and row.pieces.covers(pieces_of_chunk(manifest, chunk))
