from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest
import zstandard
from blake3 import blake3

from p2pckpt.checkpoint.manifest import (
    MAX_CHUNK,
    MAX_OBJECTS,
    MAX_PACKED,
    BadManifest,
    Body,
    ChunkTable,
    FileEntry,
    Manifest,
    ModelSignature,
    ObjectTable,
    TensorEntry,
    TorrentEntry,
    pack,
    u32,
    u64,
    unpack,
)
from p2pckpt.checkpoint.plan import missing_chunks, pieces_wanted, wire_bytes
from p2pckpt.errors import VerificationFailed
from tests.fuzz.mutate import mutations

CHUNKS = [b"first chunk", b"second, shared", b"third", b"a delta to third"]
LENGTHS = [len(chunk) for chunk in CHUNKS]


def sample_body(**changes: Any) -> Body:
    """A small manifest with everything in it: a shared chunk, a delta, an empty file, two objects and torrents."""
    sizes = [LENGTHS[0] + LENGTHS[1], LENGTHS[1] + LENGTHS[2] + LENGTHS[3], 0]
    fields: dict[str, Any] = {
        "format": 1,
        "share_id": b"s" * 32,
        "version": 3,
        "name": "step-3000",
        "created_at": 1_700_000_000,
        "publisher": b"p" * 32,
        "encoder": "p2pckpt 0.1.0",
        "parent": 2,
        "files": (
            FileEntry("model.safetensors", sizes[0], False, b"\1" * 32, "safetensors", 0, 2),
            FileEntry("run/train.sh", sizes[1], True, b"\2" * 32, "opaque", 2, 3),
            FileEntry("run/wanted", sizes[2], False, b"\3" * 32, "opaque", 5, 0),
        ),
        "directories": ("logs", "run/cache"),
        "sequence": u32([0, 1, 1, 2, 3]),
        "tensors": (
            TensorEntry("weight", "U8", (3, 3), 0, 0, 9),
            TensorEntry("scalar", "U8", (), 0, 24, 1),
            TensorEntry("none", "U8", (0,), 1, 0, 0),
        ),
        "chunks": ChunkTable(
            ids=b"".join(blake3(chunk).digest() for chunk in CHUNKS),
            raw_lengths=u32(LENGTHS),
            objects=u32([0, 0, 1, 1]),
            offsets=u64([0, 40, 0, 64]),
            lengths=u32([40, 60, 64, 36]),
            bases=u32([0, 0, 0, 3]),
        ),
        "objects": ObjectTable(
            roots=b"a" * 32 + b"b" * 32,
            lengths=u64([100, 100]),
            torrents=u32([0, 1]),
            sealed_versions=u32([3, 1]),
            sealed_epochs=u32([2, 1]),
        ),
        "torrents": (TorrentEntry(b"", 3), TorrentEntry(b"t" * 32, 1)),
        "metrics": {"loss": 0.25, "accuracy": 1.0},
        "step": 3000,
        "tags": ("stable",),
        "card": b"c" * 32,
        "licence": "Apache-2.0",
        "base_model": ("someone/base",),
        "findings": (),
    }
    return Body(**(fields | changes))


def empty_body(**changes: Any) -> Body:
    """A manifest without files."""
    nothing: dict[str, Any] = {
        "files": (),
        "directories": (),
        "sequence": b"",
        "tensors": (),
        "chunks": ChunkTable(b"", b"", b"", b"", b"", b""),
        "objects": ObjectTable(b"", b"", b"", b"", b""),
        "torrents": (),
    }
    return sample_body(**(nothing | changes))


def with_chunks(**changes: bytes) -> Body:
    return sample_body(chunks=msgspec.structs.replace(sample_body().chunks, **changes))


def with_objects(**changes: bytes) -> Body:
    return sample_body(objects=msgspec.structs.replace(sample_body().objects, **changes))


def with_file(number: int, **changes: Any) -> Body:
    files = list(sample_body().files)
    files[number] = msgspec.structs.replace(files[number], **changes)
    return sample_body(files=tuple(files))


def with_tensor(**changes: Any) -> Body:
    tensors = sample_body().tensors
    return sample_body(tensors=(msgspec.structs.replace(tensors[0], **changes), *tensors[1:]))


def compressed(packed: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=1).compress(packed)


SAMPLE = pack(sample_body())
PACKED = msgspec.msgpack.encode(sample_body())


# -- what is as it should be


@pytest.mark.parametrize(
    "body",
    [sample_body(), empty_body(), empty_body(directories=("only", "empty/ones")), sample_body(step=None, metrics={})],
    ids=["full", "empty", "directories alone", "nothing known"],
)
def test_a_manifest_is_read_back_as_it_was_packed(body: Body) -> None:
    data = pack(body)
    read = unpack(data)
    assert read.body == body
    assert pack(read.body) == data


def test_columns_are_read_as_numbers() -> None:
    manifest = unpack(SAMPLE)
    assert manifest.raw_lengths.tolist() == LENGTHS
    assert manifest.chunk_objects.tolist() == [0, 0, 1, 1]
    assert manifest.frame_offsets.tolist() == [0, 40, 0, 64]
    assert manifest.frame_lengths.tolist() == [40, 60, 64, 36]
    assert manifest.bases.tolist() == [0, 0, 0, 3]
    assert manifest.object_lengths.tolist() == [100, 100]
    assert manifest.object_torrents.tolist() == [0, 1]
    assert (manifest.sealed_versions.tolist(), manifest.sealed_epochs.tolist()) == ([3, 1], [2, 1])
    assert (manifest.chunk_count, manifest.object_count) == (4, 2)
    assert (manifest.size, manifest.stored) == (sum(file.size for file in manifest.body.files), 200)
    assert manifest.chunk_id(1) == blake3(CHUNKS[1]).digest()
    assert manifest.root(1) == b"b" * 32


def test_places_are_every_use_of_a_chunk_in_file_order() -> None:
    manifest = unpack(SAMPLE)
    first, second, third = LENGTHS[0], LENGTHS[1], LENGTHS[2]
    expected = [(0, 0, 0), (0, first, 1), (1, 0, 1), (1, second, 2), (1, second + third, 3)]
    assert list(manifest.places()) == expected
    assert list(manifest.places([1])) == expected[2:]
    assert list(manifest.places([2, 0])) == expected[:2]


def test_numbers_are_packed_in_little_endian() -> None:
    assert u32([1, 0xFFFFFFFF]) == bytes.fromhex("01000000ffffffff")
    assert u64([1 << 40]) == bytes.fromhex("0000000000010000")
    with pytest.raises((OverflowError, ValueError)):
        u32([-1])
    with pytest.raises((OverflowError, ValueError)):
        u32([1 << 32])


def test_the_json_form_names_everything() -> None:
    shown = json.loads(json.dumps(unpack(SAMPLE).as_json()))
    assert shown.keys() == set(Body.__struct_fields__) - {"sequence", "model_signature"}
    assert shown["share_id"] == "73" * 32
    assert [file["chunks"] for file in shown["files"]] == [[0, 1], [1, 2, 3], []]
    assert [chunk["base"] for chunk in shown["chunks"]] == [None, None, None, 2]
    assert shown["torrents"] == [{"info_hash": "", "version": 3}, {"info_hash": "74" * 32, "version": 1}]
    assert shown["tensors"][0] == {
        "name": "weight", "dtype": "U8", "shape": [3, 3], "file": 0, "offset": 0, "length": 9,
    }  # fmt: skip


def test_a_model_signature_is_there_or_takes_no_room() -> None:
    signed = sample_body(model_signature=ModelSignature(b"k" * 33, b"s" * 64, b"d" * 70))
    assert unpack(pack(signed)).body == signed
    assert unpack(pack(signed)).as_json()["model_signature"]["key"] == (b"k" * 33).hex()
    assert b"model_signature" in msgspec.msgpack.encode(signed)
    assert b"model_signature" not in msgspec.msgpack.encode(sample_body())


def test_parameters_are_the_product_of_the_shape() -> None:
    assert [tensor.parameters for tensor in sample_body().tensors] == [9, 1, 0]


# -- contradictions

VIOLATIONS: dict[str, tuple[Callable[[], Body], str]] = {
    "a model key cut off": (
        lambda: sample_body(model_signature=ModelSignature(b"k", b"s" * 64, b"d" * 70)),
        "malformed",
    ),
    "no signature of the model key": (
        lambda: sample_body(model_signature=ModelSignature(b"k" * 33, b"", b"d" * 70)),
        "malformed",
    ),
    "a model signature without end": (
        lambda: sample_body(model_signature=ModelSignature(b"k" * 33, b"s" * 64, b"d" * 73)),
        "malformed",
    ),
    "a newer format": (lambda: sample_body(format=2), "newer"),
    "no share": (lambda: sample_body(share_id=b""), "no share"),
    "half a share": (lambda: sample_body(share_id=b"s" * 16), "no share"),
    "no publisher": (lambda: sample_body(publisher=b"p" * 31), "no share"),
    "version 0": (lambda: sample_body(version=0), "no share"),
    "an id cut off": (lambda: with_chunks(ids=sample_body().chunks.ids[:-1]), "differ"),
    "an id too many": (lambda: with_chunks(ids=sample_body().chunks.ids + b"x" * 32), "differ"),
    "a column cut off": (lambda: with_chunks(lengths=u32([40, 60, 64, 36])[:-1]), "cut off"),
    "a column too short": (lambda: with_chunks(lengths=u32([40, 60, 64])), "differ"),
    "offsets of half the width": (lambda: with_chunks(offsets=u32([0, 40, 0, 64])), "differ"),
    "bases missing": (lambda: with_chunks(bases=b""), "differ"),
    "objects missing": (lambda: with_chunks(objects=u32([0, 0, 1])), "differ"),
    "a root cut off": (lambda: with_objects(roots=b"a" * 63), "differ"),
    "sealing versions missing": (lambda: with_objects(sealed_versions=u32([3])), "differ"),
    "sealing epochs missing": (lambda: with_objects(sealed_epochs=b""), "differ"),
    "carriers missing": (lambda: with_objects(torrents=u32([0])), "differ"),
    "lengths cut off": (lambda: with_objects(lengths=u64([100, 100])[:-1]), "cut off"),
    "an empty chunk": (lambda: with_chunks(raw_lengths=u32([0, *LENGTHS[1:]])), "empty or larger"),
    "a huge chunk": (lambda: with_chunks(raw_lengths=u32([MAX_CHUNK + 1, *LENGTHS[1:]])), "empty or larger"),
    "a chunk in no object": (lambda: with_chunks(objects=u32([0, 0, 1, 2])), "does not name"),
    "a frame too long": (lambda: with_chunks(lengths=u32([40, 61, 64, 36])), "beyond the end"),
    "a frame behind the object": (lambda: with_chunks(offsets=u64([0, 101, 0, 64])), "beyond the end"),
    "a frame around the corner": (lambda: with_chunks(offsets=u64([0, (1 << 64) - 40, 0, 64])), "beyond the end"),
    "a base that is missing": (lambda: with_chunks(bases=u32([0, 0, 0, 5])), "base is missing"),
    "a base that is a delta": (lambda: with_chunks(bases=u32([0, 0, 4, 1])), "itself a delta"),
    "a chunk that is its own base": (lambda: with_chunks(bases=u32([1, 0, 0, 0])), "itself a delta"),
    "a carrier that is not named": (lambda: with_objects(torrents=u32([0, 2])), "does not name"),
    "no carriers at all": (lambda: sample_body(torrents=()), "does not name"),
    "a malformed infohash": (
        lambda: sample_body(torrents=(TorrentEntry(b"", 3), TorrentEntry(b"t" * 20, 1))),
        "malformed infohash",
    ),
    "a chunk of a file that is missing": (lambda: sample_body(sequence=u32([0, 1, 1, 2, 4])), "does not have"),
    "chunks of files and none at all": (
        lambda: empty_body(
            files=(FileEntry("a", 1, False, b"\1" * 32, "opaque", 0, 1),), sequence=u32([0]), tensors=()
        ),
        "does not have",
    ),
    "a sequence cut off": (lambda: sample_body(sequence=u32([0, 1, 1, 2, 3])[:-2]), "cut off"),
    "a sequence too short": (lambda: sample_body(sequence=u32([0, 1, 1, 2])), "not all there"),
    "a sequence too long": (lambda: sample_body(sequence=u32([0, 1, 1, 2, 3, 3])), "belong to no file"),
    "a run that starts elsewhere": (lambda: with_file(1, first=1), "malformed"),
    "a negative run": (lambda: with_file(2, count=-1), "malformed"),
    "a run beyond all numbers": (lambda: with_file(2, count=1 << 62), "not all there"),
    "a file that is larger than its chunks": (lambda: with_file(0, size=26), "do not add up"),
    "a file of negative size": (lambda: with_file(2, size=-1), "malformed"),
    "an empty file that is not": (lambda: with_file(2, size=5), "do not add up"),
    "a digest that is none": (lambda: with_file(0, sha256=b"\1" * 31), "malformed"),
    "a path that climbs": (lambda: with_file(0, path="../model.safetensors"), "part"),
    "an absolute path": (lambda: with_file(0, path="/etc/passwd"), "relative"),
    "a path nested without end": (lambda: with_file(0, path="d/" * 1000 + "f"), "parts"),
    "a path twice": (lambda: with_file(1, path="model.safetensors"), "twice"),
    "paths that differ in case": (lambda: with_file(1, path="Model.safetensors"), "one file on some systems"),
    "a directory that climbs": (lambda: sample_body(directories=("a/../../b",)), "part"),
    "a directory that is a file": (lambda: sample_body(directories=("model.safetensors",)), "twice|both"),
    "a directory below a file": (lambda: sample_body(directories=("model.safetensors/x",)), "both"),
    "a tensor of no file": (lambda: with_tensor(file=3), "outside its file"),
    "a tensor of file -1": (lambda: with_tensor(file=-1), "outside its file"),
    "a tensor behind its file": (lambda: with_tensor(offset=20), "outside its file"),
    "a tensor before its file": (lambda: with_tensor(offset=-1), "outside its file"),
    "a tensor of negative length": (lambda: with_tensor(offset=5, length=-1), "outside its file"),
    "a negative extent": (lambda: with_tensor(shape=(3, -3)), "shape"),
    "a metric that is no number": (lambda: sample_body(metrics={"loss": math.nan}), "metric"),
    "an infinite metric": (lambda: sample_body(metrics={"loss": -math.inf}), "metric"),
}


@pytest.mark.parametrize("violation", VIOLATIONS)
def test_a_manifest_that_contradicts_itself_is_neither_packed_nor_read(violation: str) -> None:
    make, reason = VIOLATIONS[violation]
    with pytest.raises(VerificationFailed, match=reason):
        pack(make())
    with pytest.raises(VerificationFailed, match=reason):
        unpack(compressed(msgspec.msgpack.encode(make())))


def test_more_objects_than_anybody_has_are_refused() -> None:
    count = MAX_OBJECTS + 1
    objects = ObjectTable(bytes(32 * count), bytes(8 * count), bytes(4 * count), bytes(4 * count), bytes(4 * count))
    with pytest.raises(BadManifest, match="objects, more than"):
        Manifest(empty_body(objects=objects, torrents=(TorrentEntry(b"", 3),)))


# -- bytes that are no manifest


def test_a_frame_that_claims_a_huge_size_is_refused_by_its_header() -> None:
    # magic; single segment with an 8-byte content size; the size; one empty last block
    bomb = bytes.fromhex("28b52ffd") + b"\xe0" + (1 << 40).to_bytes(8, "little") + bytes.fromhex("010000")
    with pytest.raises(BadManifest, match=f"{1 << 40} bytes, more than {MAX_PACKED}"):
        unpack(bomb)


def test_a_frame_that_keeps_its_size_to_itself_is_refused() -> None:
    silent = zstandard.ZstdCompressor(write_content_size=False).compress(PACKED)
    with pytest.raises(BadManifest, match="how large"):
        unpack(silent)


@pytest.mark.parametrize("claimed", [4999, 5001])
def test_a_frame_that_is_longer_or_shorter_than_it_claims_is_refused(claimed: int) -> None:
    honest = compressed(bytes(5000))
    # sizes from 256 to 65,791 are written less 256, in two bytes
    lying = honest.replace((5000 - 256).to_bytes(2, "little"), (claimed - 256).to_bytes(2, "little"))
    assert zstandard.get_frame_parameters(lying).content_size == claimed
    with pytest.raises(BadManifest):
        unpack(lying)


REST: dict[str, bytes] = {
    "nothing": b"",
    "no zstd": b"not a manifest",
    "cut off": SAMPLE[:-1],
    "something behind it": SAMPLE + b"\0",
    "a second frame behind it": SAMPLE + SAMPLE,
    "a skippable frame": bytes.fromhex("502a4d1804000000") + b"skip",
    "no msgpack": compressed(b"\xc1"),
    "empty msgpack": compressed(b""),
    "msgpack with more behind it": compressed(PACKED + b"\0"),
    "an array": compressed(msgspec.msgpack.encode([1, 2, 3])),
    "an unknown field": compressed(msgspec.msgpack.encode(msgspec.to_builtins(sample_body()) | {"more": 1})),
    "a missing field": compressed(
        msgspec.msgpack.encode({k: v for k, v in msgspec.msgpack.decode(PACKED).items() if k != "licence"})
    ),
    "a string that is no UTF-8": compressed(PACKED.replace(b"step-3000", b"step-\xff000")),
    "a path that is no UTF-8": compressed(PACKED.replace(b"run/wanted", b"run/w\xc3\x28ted")),
    "nested arrays": compressed(PACKED.replace(b"\xa7metrics\x82", b"\xa7metrics" + b"\x91" * 5000)),
}


@pytest.mark.parametrize("name", REST)
def test_bytes_that_are_no_manifest_are_refused(name: str) -> None:
    data = REST[name]
    assert data != SAMPLE
    with pytest.raises(BadManifest):
        unpack(data)


# -- fuzzing


def test_damage_to_the_packed_bytes_is_refused_or_gives_a_manifest_that_holds() -> None:
    outcomes = {"read": 0, "refused": 0}
    corpus = [PACKED, msgspec.msgpack.encode(empty_body(directories=("d",)))]
    for packed in mutations(corpus, 4000, seed=1):
        try:
            manifest = unpack(compressed(packed))
        except VerificationFailed:
            outcomes["refused"] += 1
            continue
        outcomes["read"] += 1
        assert_holds(manifest)
    assert min(outcomes.values()) > 100


def test_damage_to_the_compressed_bytes_is_refused_or_gives_a_manifest_that_holds() -> None:
    refused = 0
    for data in mutations([SAMPLE], 3000, seed=2):
        try:
            assert_holds(unpack(data))
        except VerificationFailed:
            refused += 1
    assert refused > 2000


def test_damage_to_single_numbers_is_refused_or_gives_a_manifest_that_holds() -> None:
    random = Random(3)
    interesting = [0, 1, 2, 3, 4, 5, 24, 25, 26, 99, 100, 1 << 20, MAX_CHUNK, (1 << 31), (1 << 32) - 1]
    outcomes = {"read": 0, "refused": 0}
    for _ in range(3000):
        body = msgspec.to_builtins(sample_body(), builtin_types=(bytes,))
        for _ in range(random.choice([1, 1, 2])):
            _change_a_number(body, random, interesting)
        try:
            assert_holds(unpack(compressed(msgspec.msgpack.encode(body))))
            outcomes["read"] += 1
        except VerificationFailed:
            outcomes["refused"] += 1
    assert min(outcomes.values()) > 100


def _change_a_number(body: dict[str, Any], random: Random, values: list[int]) -> None:
    value = random.choice([*values, -1])
    match random.randrange(5):
        case 0:
            row = list(body["chunks"])
            column = random.randrange(1, 6)
            row[column] = _replaced(row[column], 8 if column == 3 else 4, random, value)
            body["chunks"] = row
        case 1:
            row = list(body["objects"])
            column = random.randrange(1, 5)
            row[column] = _replaced(row[column], 8 if column == 1 else 4, random, value)
            body["objects"] = row
        case 2:
            body["sequence"] = _replaced(body["sequence"], 4, random, value)
        case 3:
            files = [list(row) for row in body["files"]]
            random.choice(files)[random.choice([1, 5, 6])] = value
            body["files"] = files
        case _:
            tensors = [list(row) for row in body["tensors"]]
            random.choice(tensors)[random.choice([3, 4, 5])] = value
            body["tensors"] = tensors


def _replaced(column: bytes, width: int, random: Random, value: int) -> bytes:
    at = random.randrange(len(column) // width) * width
    return column[:at] + (value % (1 << 8 * width)).to_bytes(width, "little") + column[at + width :]


def assert_holds(manifest: Manifest) -> None:
    """Everything that other code takes for granted about a manifest that was read."""
    again = unpack(pack(manifest.body))
    assert again.body == manifest.body
    sizes = [0] * len(manifest.body.files)
    for file, offset, chunk in manifest.places():
        assert offset == sizes[file]
        sizes[file] += int(manifest.raw_lengths[chunk])
    assert sizes == [file.size for file in manifest.body.files]
    everything = missing_chunks(manifest, range(len(sizes)), set())
    for index, pieces in pieces_wanted(manifest, everything).items():
        assert all(0 <= piece << 20 <= int(manifest.object_lengths[index]) for piece in pieces)
    assert wire_bytes(manifest, pieces_wanted(manifest, everything)) >= 0
    for tensor in manifest.body.tensors:
        assert 0 <= tensor.offset <= tensor.offset + tensor.length <= sizes[tensor.file]
        assert tensor.file >= 0
        assert tensor.parameters >= 0
    json.dumps(manifest.as_json())


# -- vectors


def vectors() -> Any:
    return json.loads((Path(__file__).parents[2] / "vectors" / "manifest.json").read_text())


def test_the_vectors_are_read_as_they_say() -> None:
    accepted = vectors()["accepted"]
    assert len(accepted) > 3
    for vector in accepted:
        manifest = unpack(bytes.fromhex(vector["packed"]))
        assert json.loads(json.dumps(manifest.as_json())) == vector["manifest"]
        assert msgspec.msgpack.encode(manifest.body).hex() == vector["msgpack"]
        assert unpack(compressed(bytes.fromhex(vector["msgpack"]))).body == manifest.body


def test_what_the_vectors_refuse_is_refused() -> None:
    refused = vectors()["refused"]
    assert len(refused) > 50
    for vector in refused:
        data = bytes.fromhex(vector["packed"]) if "packed" in vector else compressed(bytes.fromhex(vector["msgpack"]))
        with pytest.raises(VerificationFailed):
            unpack(data)
