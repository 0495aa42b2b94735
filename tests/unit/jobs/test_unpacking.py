from __future__ import annotations

import resource
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from blake3 import blake3
from msgspec import structs

from p2pckpt.checkpoint.codec import frame as codec
from p2pckpt.checkpoint.manifest import ChunkTable, FileEntry, Manifest, ObjectTable, TorrentEntry, u32, u64
from p2pckpt.errors import NotAllowed, VerificationFailed
from p2pckpt.jobs.unpacking import Unpacker
from p2pckpt.store.objects import ObjectWriter
from p2pckpt.trust.sealing import EpochKeys
from tests.contract.nodes import noise
from tests.support.homes import flip_bit, write_files
from tests.unit.checkpoint.test_manifest import empty_body
from tests.unit.jobs.workshop import KEYS, SHARE, Workshop, manifest_of_packed, unpacked

FILES = {f"file{number}": noise(f"unpack {number}", 20_000 + 7 * number) for number in range(12)}


@pytest.fixture
def manifest(workshop: Workshop, tmp_path: Path) -> Manifest:
    return manifest_of_packed(workshop.pack(write_files(tmp_path / "in", FILES)))


def chunk_bytes(number: int) -> bytes:
    return FILES[sorted(FILES)[number]]


def test_every_chunk_comes_out_as_it_went_in(workshop: Workshop, manifest: Manifest) -> None:
    assert unpacked(workshop, manifest) == FILES


def test_what_is_handed_out_lasts_until_the_next_chunk(workshop: Workshop, manifest: Manifest) -> None:
    unpacker = workshop.unpacker(manifest)
    first = unpacker.chunk(0)
    kept = bytes(first)
    unpacker.chunk(1)
    assert bytes(unpacker.chunk(0)) == kept


def test_threads_do_not_share_what_they_are_handed(workshop: Workshop, manifest: Manifest) -> None:
    unpacker = workshop.unpacker(manifest)
    barrier = threading.Barrier(6)

    def unpack(worker: int) -> bool:
        barrier.wait()
        return all(
            blake3(unpacker.chunk(number)).digest() == manifest.chunk_id(number)
            for turn in range(10)
            for number in range(worker % 3, manifest.chunk_count, 1 + turn % 3)
        )

    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(unpack, range(6)))


@pytest.mark.parametrize("at", ["nonce", "body", "tag"])
def test_a_tampered_frame_is_refused_with_the_names_of_object_and_chunk(
    workshop: Workshop, manifest: Manifest, at: str
) -> None:
    start, length = int(manifest.frame_offsets[3]), int(manifest.frame_lengths[3])
    offset = {"nonce": start + 3, "body": start + length // 2, "tag": start + length - 1}[at]
    flip_bit(workshop.layout.object(manifest.root(0)), offset)
    unpacker = workshop.unpacker(manifest)
    with pytest.raises(VerificationFailed) as refused:
        unpacker.chunk(3)
    assert manifest.root(0).hex()[:12] in refused.value.fact
    assert manifest.chunk_id(3).hex()[:12] in refused.value.fact
    assert "verify --repair" in refused.value.next_step
    assert bytes(unpacker.chunk(2)) == chunk_bytes(2)


def test_a_tampered_plain_frame_is_refused_by_its_hash(workshop: Workshop, tmp_path: Path) -> None:
    manifest = manifest_of_packed(workshop.pack(write_files(tmp_path / "in", FILES), keys=None))
    flip_bit(workshop.layout.object(manifest.root(0)), int(manifest.frame_offsets[3]) + 1000)
    with pytest.raises(VerificationFailed, match="decodes to other bytes"):
        workshop.unpacker(manifest).chunk(3)


def test_frames_that_were_exchanged_are_refused(workshop: Workshop, manifest: Manifest) -> None:
    """Both are sealed under one key, so only the chunk's hash tells them apart."""
    columns = manifest.body.chunks
    offsets, lengths = manifest.frame_offsets.tolist(), manifest.frame_lengths.tolist()
    raw = manifest.raw_lengths.tolist()
    for column in (offsets, lengths, raw):
        column[4], column[5] = column[5], column[4]
    files = list(manifest.body.files)
    for number in (4, 5):
        files[number] = structs.replace(files[number], size=raw[number])
    chunks = structs.replace(columns, offsets=u64(offsets), lengths=u32(lengths), raw_lengths=u32(raw))
    swapped = Manifest(structs.replace(manifest.body, chunks=chunks, files=tuple(files)))
    with pytest.raises(VerificationFailed, match="decodes to other bytes"):
        workshop.unpacker(swapped).chunk(4)


def test_a_frame_that_claims_another_length_is_refused(workshop: Workshop, manifest: Manifest) -> None:
    raw = manifest.raw_lengths.tolist()
    raw[0] += 1
    first = structs.replace(manifest.body.files[0], size=raw[0])
    body = structs.replace(
        manifest.body,
        chunks=structs.replace(manifest.body.chunks, raw_lengths=u32(raw)),
        files=(first, *manifest.body.files[1:]),
    )
    with pytest.raises(VerificationFailed, match="claims"):
        workshop.unpacker(Manifest(body)).chunk(0)


def test_an_object_that_is_cut_off_or_missing_is_named(workshop: Workshop, manifest: Manifest) -> None:
    path = workshop.layout.object(manifest.root(0))
    unpacker = workshop.unpacker(manifest)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 1)
    with pytest.raises(VerificationFailed, match="cut off"):
        unpacker.chunk(manifest.chunk_count - 1)
    path.unlink()
    workshop.objects.forget(manifest.root(0))
    with pytest.raises(VerificationFailed, match="missing"):
        unpacker.chunk(0)


@pytest.mark.parametrize(
    "keys",
    [{}, {3: KEYS}, {2: EpochKeys(2, KEYS.view, b"")}],
    ids=["no keys", "keys of another epoch", "keys of a viewer"],
)
def test_without_the_content_key_nothing_opens(
    workshop: Workshop, manifest: Manifest, keys: dict[int, EpochKeys]
) -> None:
    with pytest.raises(NotAllowed, match="content key"):
        workshop.unpacker(manifest, keys).chunk(0)


def test_a_wrong_content_key_opens_nothing(workshop: Workshop, manifest: Manifest) -> None:
    with pytest.raises(VerificationFailed, match="does not open"):
        workshop.unpacker(manifest, {2: EpochKeys(2, KEYS.view, b"d" * 32)}).chunk(0)


def test_a_chunk_is_taken_from_where_the_store_has_it(workshop: Workshop, manifest: Manifest) -> None:
    """The manifest of another machine may name objects that were never here."""
    roots = structs.replace(manifest.body.objects, roots=b"x" * 32)
    elsewhere = Manifest(structs.replace(manifest.body, objects=roots))
    unpacker = workshop.unpacker(elsewhere)
    with pytest.raises(VerificationFailed, match="missing"):
        unpacker.chunk(0)
    location = workshop.catalogue.locate(SHARE, manifest.chunk_id(0))
    assert bytes(unpacker.chunk(0, location)) == chunk_bytes(0)


# -- deltas


def delta_manifest(workshop: Workshop, base: bytes, raw: bytes, frame: bytes) -> Manifest:
    """Two chunks in a plain object: a base, and a delta to it."""
    writer = ObjectWriter(workshop.layout, "delta")
    first = codec.encode(base, "BF16")
    offsets = [writer.append(first), writer.append(frame)]
    written = writer.finish()
    written.commit()
    return Manifest(
        empty_body(
            files=(FileEntry("f", len(raw), False, bytes(32), "opaque", 0, 1),),
            sequence=u32([1]),
            chunks=ChunkTable(
                blake3(base).digest() + blake3(raw).digest(),
                u32([len(base), len(raw)]),
                u32([0, 0]),
                u64(offsets),
                u32([len(first), len(frame)]),
                u32([0, 1]),
            ),
            objects=ObjectTable(written.root, u64([written.length]), u32([0]), u32([0]), u32([0])),
            torrents=(TorrentEntry(b"", 1),),
        )
    )


def test_a_delta_is_decoded_with_its_base(workshop: Workshop) -> None:
    base = noise("base", 10_000)
    raw = bytes([base[0] ^ 1]) + base[1:]
    frame = codec.encode_delta(raw, base, "BF16", alone=1 << 30)
    assert frame is not None
    manifest = delta_manifest(workshop, base, raw, frame)
    unpacker = Unpacker(manifest, {}, workshop.objects)
    assert bytes(unpacker.chunk(1)) == raw
    assert bytes(unpacker.chunk(0)) == base


def test_a_delta_that_is_none_or_hides_one_is_refused(workshop: Workshop) -> None:
    base = noise("base", 10_000)
    manifest = delta_manifest(workshop, base, base, codec.encode(base, "BF16"))
    with pytest.raises(VerificationFailed, match="do not belong together"):
        Unpacker(manifest, {}, workshop.objects).chunk(1)


# -- what hostile publishers sign


def lying(manifest: Manifest, **columns: bytes) -> Manifest:
    """The same manifest with other columns of its chunks."""
    body = manifest.body
    return Manifest(structs.replace(body, chunks=structs.replace(body.chunks, **columns)))


def test_every_error_names_the_file_and_the_chunk(workshop: Workshop, tmp_path: Path) -> None:
    files = {"a/first.bin": noise("first", 70_000), "second.bin": noise("second", 50_000)}
    manifest = manifest_of_packed(workshop.pack(write_files(tmp_path / "in", files)))
    chunk = manifest.chunks_of(manifest.body.files[1]).tolist()[0]
    lies = {
        "frames of other chunks": {"offsets": u64([0] * manifest.chunk_count)},
        "frames that begin in the middle": {"offsets": u64((manifest.frame_offsets // 2).tolist())},
        "frames that are cut off": {"lengths": u32((manifest.frame_lengths - 1).tolist())},
        "frames without anything": {"lengths": u32([0] * manifest.chunk_count)},
        "chunks that hash otherwise": {"ids": manifest.chunk_id(0)[::-1] * manifest.chunk_count},
    }
    for name, columns in lies.items():
        liar = lying(manifest, **columns)
        with pytest.raises(VerificationFailed) as caught:
            workshop.unpacker(liar).chunk(chunk)
        named = f"chunk {liar.chunk_id(chunk).hex()[:12]} of second.bin in object"
        assert caught.value.fact.startswith(named), name
        assert caught.value.next_step


def test_a_frame_that_claims_more_than_its_chunk_could_need_is_not_even_read(
    workshop: Workshop, tmp_path: Path
) -> None:
    manifest = manifest_of_packed(workshop.pack(write_files(tmp_path / "in", {"f": noise("f", 50_000)})))
    body = manifest.body
    huge = structs.replace(body.objects, lengths=u64([1 << 40] * manifest.object_count))
    chunks = structs.replace(body.chunks, lengths=u32([0xFFFFFFFF] * manifest.chunk_count))
    liar = Manifest(structs.replace(body, objects=huge, chunks=chunks))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(VerificationFailed, match="longer than that of such a chunk can be"):
        workshop.unpacker(liar).chunk(0)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 << 10
