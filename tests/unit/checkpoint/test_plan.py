"""From chunks wanted to pieces wanted, and pieces as bitmaps, held against plain sets and bytes."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pckpt.checkpoint.manifest import ChunkTable, FileEntry, Manifest, ObjectTable, TorrentEntry, u32, u64
from p2pckpt.checkpoint.pieces import PieceSet, count
from p2pckpt.checkpoint.plan import (
    PIECE_LENGTH,
    missing_chunks,
    pieces_of_chunk,
    pieces_under,
    pieces_wanted,
    wire_bytes,
)
from tests.unit.checkpoint.test_manifest import empty_body

FRAMES = st.integers(1, 3 * PIECE_LENGTH) | st.sampled_from([1, PIECE_LENGTH - 1, PIECE_LENGTH, PIECE_LENGTH + 1])


@dataclass(frozen=True)
class Laid:
    """A manifest and where its frames were laid."""

    manifest: Manifest
    frames: list[tuple[int, int, int]]
    """(object, offset, length) by chunk."""


@st.composite
def laid_out(draw: st.DrawFn) -> Laid:
    """A manifest of one to three objects full of frames, some of which are deltas, and files over the chunks."""
    frames: list[tuple[int, int, int]] = []
    lengths: list[int] = []
    for number in range(draw(st.integers(1, 3))):
        offset = 0
        for length in draw(st.lists(FRAMES, min_size=1, max_size=6)):
            frames.append((number, offset, length))
            offset += length
        lengths.append(offset)
    chunks = len(frames)
    alone = draw(st.sets(st.integers(0, chunks - 1), min_size=1))
    bases = [
        0 if chunk in alone else draw(st.sampled_from([0, *(base + 1 for base in sorted(alone))]))
        for chunk in range(chunks)
    ]
    runs = draw(st.lists(st.lists(st.integers(0, chunks - 1), max_size=6), min_size=1, max_size=4))
    files, position = [], 0
    for number, run in enumerate(runs):
        files.append(FileEntry(f"file{number}", 10 * len(run), False, bytes(32), "opaque", position, len(run)))
        position += len(run)
    body = empty_body(
        files=tuple(files),
        sequence=u32([chunk for run in runs for chunk in run]),
        chunks=ChunkTable(
            ids=b"".join(chunk.to_bytes(32, "big") for chunk in range(chunks)),
            raw_lengths=u32([10] * chunks),
            objects=u32([frame[0] for frame in frames]),
            offsets=u64([frame[1] for frame in frames]),
            lengths=u32([frame[2] for frame in frames]),
            bases=u32(bases),
        ),
        objects=ObjectTable(
            roots=b"".join(number.to_bytes(32, "big") for number in range(len(lengths))),
            lengths=u64(lengths),
            torrents=u32([0] * len(lengths)),
            sealed_versions=u32([1] * len(lengths)),
            sealed_epochs=u32([1] * len(lengths)),
        ),
        torrents=(TorrentEntry(b"", 1),),
    )
    return Laid(Manifest(body), frames)


# -- which pieces


@given(st.integers(0, 1 << 45), st.integers(1, 1 << 32))
def test_pieces_under_a_frame_cover_it_and_no_piece_too_many(offset: int, length: int) -> None:
    pieces = pieces_under(offset, length)
    assert pieces[0] * PIECE_LENGTH <= offset < (pieces[0] + 1) * PIECE_LENGTH
    assert pieces[-1] * PIECE_LENGTH < offset + length <= (pieces[-1] + 1) * PIECE_LENGTH


@given(laid_out(), st.data())
def test_wanted_pieces_are_those_that_hold_a_byte_of_a_wanted_frame(laid: Laid, data: st.DataObject) -> None:
    chunks = data.draw(st.sets(st.integers(0, len(laid.frames) - 1)))
    expected: dict[int, set[int]] = {}
    for number, offset, length in (laid.frames[chunk] for chunk in chunks):
        touched = {
            byte // PIECE_LENGTH for byte in (*range(offset, offset + length, PIECE_LENGTH), offset + length - 1)
        }
        expected.setdefault(number, set()).update(touched)
    assert pieces_wanted(laid.manifest, chunks) == expected
    for chunk in chunks:
        assert set(pieces_of_chunk(laid.manifest, chunk)) <= expected[laid.frames[chunk][0]]


@given(laid_out())
def test_wanting_every_chunk_wants_every_piece_and_every_byte(laid: Laid) -> None:
    manifest = laid.manifest
    wanted = pieces_wanted(manifest, range(manifest.chunk_count))
    lengths = manifest.object_lengths.tolist()
    assert wanted == {number: set(range(count(length))) for number, length in enumerate(lengths)}
    assert wire_bytes(manifest, wanted) == sum(lengths) == manifest.stored


@given(laid_out(), st.data())
def test_wire_bytes_count_each_piece_once_and_the_last_as_short_as_it_is(laid: Laid, data: st.DataObject) -> None:
    chunks = data.draw(st.sets(st.integers(0, len(laid.frames) - 1)))
    wanted = pieces_wanted(laid.manifest, chunks)
    total = 0
    for number, pieces in wanted.items():
        content = bytes(int(laid.manifest.object_lengths[number]))
        total += sum(len(content[piece * PIECE_LENGTH : (piece + 1) * PIECE_LENGTH]) for piece in pieces)
    assert wire_bytes(laid.manifest, wanted) == total
    frames = sum(laid.frames[chunk][2] for chunk in chunks)
    assert frames <= total <= frames + 2 * PIECE_LENGTH * len(chunks)


def test_wanting_nothing_costs_nothing() -> None:
    manifest = Manifest(empty_body())
    assert pieces_wanted(manifest, []) == {}
    assert wire_bytes(manifest, {}) == 0
    assert missing_chunks(manifest, [], set()) == set()


# -- which chunks


@given(laid_out(), st.data())
def test_missing_are_the_chunks_of_the_files_and_the_bases_they_need(laid: Laid, data: st.DataObject) -> None:
    manifest = laid.manifest
    numbers = data.draw(st.sets(st.integers(0, len(manifest.body.files) - 1)))
    present = data.draw(st.sets(st.integers(0, manifest.chunk_count - 1)))
    missing = missing_chunks(manifest, numbers, present)
    used = {chunk for number in numbers for chunk in manifest.chunks_of(manifest.body.files[number]).tolist()}
    assert missing & present == set()
    assert used - present <= missing
    # whatever is to be decoded has its base at hand
    bases = {int(manifest.bases[chunk]) - 1 for chunk in missing if manifest.bases[chunk]}
    assert bases <= missing | present
    # and nothing comes that neither a file nor a delta asks for
    assert missing <= used | bases


def test_the_base_of_a_delta_that_is_present_is_not_fetched() -> None:
    body = empty_body(
        files=(FileEntry("f", 10, False, bytes(32), "opaque", 0, 1),),
        sequence=u32([1]),
        chunks=ChunkTable(bytes(64), u32([10, 10]), u32([0, 0]), u64([0, 5]), u32([5, 5]), u32([0, 1])),
        objects=ObjectTable(bytes(32), u64([10]), u32([0]), u32([0]), u32([0])),
        torrents=(TorrentEntry(b"", 1),),
    )
    manifest = Manifest(body)
    assert missing_chunks(manifest, [0], set()) == {0, 1}
    assert missing_chunks(manifest, [0], {0}) == {1}
    assert missing_chunks(manifest, [0], {1}) == set()
    assert msgspec.structs.asdict(body)["sequence"] == u32([1])


# -- bitmaps


@given(st.sets(st.integers(0, 5000)), st.sets(st.integers(0, 5000)))
def test_a_piece_set_is_a_set(first: set[int], more: set[int]) -> None:
    pieces = PieceSet()
    pieces.add(first)
    pieces.add(more)
    both = first | more
    assert list(pieces) == sorted(both)
    assert len(pieces) == len(both)
    assert all(piece in pieces for piece in both)
    assert not any(piece in pieces for piece in range(0, 5001, 97) if piece not in both)
    assert pieces.covers(both)
    assert pieces.covers([]) and not pieces.covers([*both, 5001])
    assert list(PieceSet(bytes(pieces))) == sorted(both)


@given(st.binary(max_size=100))
def test_a_bitmap_is_read_least_significant_bit_first(bitmap: bytes) -> None:
    expected = [8 * at + bit for at, byte in enumerate(bitmap) for bit in range(8) if byte >> bit & 1]
    assert list(PieceSet(bitmap)) == expected
    assert bytes(PieceSet(bitmap)) == bitmap.rstrip(b"\0")


@pytest.mark.parametrize(
    ("length", "pieces"),
    [(1, 1), (PIECE_LENGTH, 1), (PIECE_LENGTH + 1, 2), (16 * PIECE_LENGTH, 16), (16 * PIECE_LENGTH + 1, 17), (0, 0)],
)
def test_an_object_has_as_many_pieces_as_it_fills(length: int, pieces: int) -> None:
    assert count(length) == pieces
    assert list(PieceSet.full(length)) == list(range(pieces))
