from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from blake3 import blake3

from p2pckpt.checkpoint.codec import frame as codec
from p2pckpt.checkpoint.manifest import Manifest, TensorEntry
from p2pckpt.checkpoint.merkle import root_of
from p2pckpt.checkpoint.pieces import PieceSet
from p2pckpt.checkpoint.plan import OBJECT_TARGET
from p2pckpt.errors import Cancelled, ChangedWhileReading, NoSpace, P2pckptError
from p2pckpt.jobs import encoding, packing
from p2pckpt.jobs.packing import Packed
from p2pckpt.jobs.progress import Progress
from p2pckpt.jobs.scanning import scan
from p2pckpt.store.catalogue import ObjectRow
from p2pckpt.trust.sealing import EpochKeys, FrameSealer
from tests.contract.nodes import noise
from tests.support.homes import small_disk, write_files
from tests.support.training import later, safetensors, weights
from tests.unit.checkpoint.builders import gguf_bytes, safetensors_bytes, torch_bytes
from tests.unit.jobs.workshop import KEYS, SHARE, Workshop, manifest_of_packed, new_progress, unpacked

MIB = 1 << 20
SMALL = 4096
"""Bytes of the vectors beside the matrices of a run's checkpoints."""
FILES = {
    "model.safetensors": safetensors_bytes(),
    "legacy/model.pt": torch_bytes(),
    "small.gguf": gguf_bytes(),
    "README.md": b"---\nlicense: mit\n---\n# A model\n",
    "empty": b"",
    "log.txt": b"step 1\n" * 5000,
}


def assert_consistent(workshop: Workshop, packed: Packed, files: dict[str, bytes]) -> None:
    """Everything that is said of what was packed is true of the bytes in the store."""
    assert [file.path for file in packed.files] == sorted(files)
    manifest = manifest_of_packed(packed)
    assert unpacked(workshop, manifest) == files
    for file in packed.files:
        assert (file.size, file.sha256) == (len(files[file.path]), hashlib.sha256(files[file.path]).digest())
    for made in packed.objects:
        data = workshop.layout.object(made.root).read_bytes()
        assert (root_of(data), len(data)) == (made.root, made.length)
        row = workshop.catalogue.object(made.root)
        assert row is not None
        assert row.complete
        assert (row.sealed_version, row.sealed_epoch) == (made.sealed_version, made.sealed_epoch)
    ids = [chunk.id for chunk in packed.chunks]
    assert len(set(ids)) == len(ids)
    for chunk in packed.chunks:
        found = workshop.catalogue.locate(SHARE, chunk.id)
        assert found is not None
        assert (found.root, found.offset, found.length, found.raw_length) == (
            packed.objects[chunk.object].root,
            chunk.offset,
            chunk.length,
            chunk.raw_length,
        )
    assert workshop.packing_files() == []


def few_in_flight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "_IN_FLIGHT", 100_000)
    monkeypatch.setattr(packing, "_IN_FLIGHT_A_WORKER", 0)
    monkeypatch.setattr(encoding, "_UNIT", 50_000)


# -- what is packed


def test_files_are_packed_in_order_and_come_out_as_they_were(workshop: Workshop, tmp_path: Path) -> None:
    progress = new_progress()
    packed = workshop.pack(write_files(tmp_path / "in", FILES), progress=progress)
    assert_consistent(workshop, packed, FILES)
    size = sum(map(len, FILES.values()))
    assert (progress.job.done, packed.new_size + progress.job.reused) == (size, size)
    assert progress.job.wire_done == sum(made.length for made in packed.objects)
    kinds = {file.path: file.kind for file in packed.files}
    assert kinds == {
        "model.safetensors": "safetensors", "legacy/model.pt": "torch_zip", "small.gguf": "gguf",
        "README.md": "opaque", "empty": "opaque", "log.txt": "opaque",
    }  # fmt: skip


def test_tensors_are_listed_with_their_files(workshop: Workshop, tmp_path: Path) -> None:
    packed = workshop.pack(write_files(tmp_path / "in", FILES))
    named = {(packed.files[tensor.file].path, tensor.name) for tensor in packed.tensors}
    assert ("model.safetensors", "layer.0.weight") in named
    assert ("small.gguf", "output.weight") in named
    weight = next(t for t in packed.tensors if t.name == "embed.weight" and t.dtype == "F32")
    assert (weight.shape, weight.length) == ((96, 64), 96 * 64 * 4)


def test_chunks_of_one_run_are_packed_once(workshop: Workshop, tmp_path: Path) -> None:
    files = {"a.safetensors": safetensors_bytes(), "b/copy.safetensors": safetensors_bytes()}
    progress = new_progress()
    packed = workshop.pack(write_files(tmp_path / "in", files), progress=progress)
    assert_consistent(workshop, packed, files)
    half = len(packed.sequence) // 2
    assert packed.sequence[:half] == packed.sequence[half:]
    assert packed.new_size == len(files["a.safetensors"])
    assert progress.job.reused == len(files["a.safetensors"])


def test_one_chunk_many_times_over_is_packed_once(workshop: Workshop, tmp_path: Path) -> None:
    files = {f"zeros{number}": bytes(60_000) for number in range(40)}
    packed = workshop.pack(write_files(tmp_path / "in", files))
    assert_consistent(workshop, packed, files)
    assert packed.sequence == [0] * 40
    assert len(packed.chunks) == 1


def test_a_second_version_packs_only_what_is_new(workshop: Workshop, tmp_path: Path) -> None:
    directory = write_files(tmp_path / "in", FILES)
    first = workshop.pack(directory)
    again = workshop.pack(directory, version=2)
    assert (again.new_size, all(made.reused for made in again.objects)) == (0, True)
    assert [(c.id, c.offset, c.length) for c in again.chunks] == [(c.id, c.offset, c.length) for c in first.chunks]

    changed = FILES | {"README.md": b"# Another card\n", "more.bin": noise("more", 100_000)}
    progress = new_progress()
    packed = workshop.pack(write_files(tmp_path / "in", changed), version=3, progress=progress)
    assert_consistent(workshop, packed, changed)
    assert packed.new_size == 15 + 100_000
    assert [made.sealed_version for made in packed.objects if not made.reused] == [3]
    assert {made.sealed_version for made in packed.objects if made.reused} == {1}
    assert progress.job.reused == sum(map(len, changed.values())) - packed.new_size


def test_new_chunks_around_reused_ones_are_named_where_they_really_are(workshop: Workshop, tmp_path: Path) -> None:
    old = {f"b{number}": noise(f"old {number}", 50_000) for number in range(3)}
    workshop.pack(write_files(tmp_path / "old", old))
    new = {f"{letter}{number}": noise(f"{letter}{number}", 50_000) for number in range(3) for letter in "ac"}
    packed = workshop.pack(write_files(tmp_path / "in", old | new), version=2)
    assert_consistent(workshop, packed, old | new)
    assert sorted(made.reused for made in packed.objects) == [False, True]


def test_another_share_reuses_nothing(workshop: Workshop, tmp_path: Path) -> None:
    directory = write_files(tmp_path / "in", FILES)
    first = workshop.pack(directory)
    other = workshop.pack(directory, share=b"t" * 32)
    assert other.new_size == first.new_size
    assert {made.root for made in other.objects}.isdisjoint(made.root for made in first.objects)


def test_frames_of_public_shares_are_plain(workshop: Workshop, tmp_path: Path) -> None:
    packed = workshop.pack(write_files(tmp_path / "in", FILES), keys=None)
    assert {(made.sealed_version, made.sealed_epoch) for made in packed.objects} == {(0, 0)}
    assert unpacked(workshop, manifest_of_packed(packed), {}) == FILES
    chunk = packed.chunks[0]
    frame = workshop.objects.read(packed.objects[chunk.object].root, chunk.offset, chunk.length)
    assert blake3(codec.decode(frame, max_raw=1 << 25)).digest() == chunk.id


def test_frames_of_other_shares_open_with_their_key_alone(workshop: Workshop, tmp_path: Path) -> None:
    packed = workshop.pack(write_files(tmp_path / "in", FILES), version=5)
    chunk = packed.chunks[0]
    stored = workshop.objects.read(packed.objects[chunk.object].root, chunk.offset, chunk.length)
    frame = FrameSealer(KEYS.content, SHARE, 5).open(stored)
    assert len(stored) == len(frame) + 28
    assert blake3(codec.decode(frame, max_raw=1 << 25)).digest() == chunk.id


def test_nothing_to_pack_makes_no_object(workshop: Workshop, tmp_path: Path) -> None:
    packed = workshop.pack(write_files(tmp_path / "in", {"empty": b"", "also/empty": b""}))
    assert (packed.objects, packed.chunks, packed.sequence) == ([], [], [])
    assert [file.size for file in packed.files] == [0, 0]


# -- objects


def test_objects_are_filled_in_order_until_they_hold_16_mib(workshop: Workshop, tmp_path: Path) -> None:
    assert OBJECT_TARGET == 16 * MIB
    files = {f"part{number}": os.urandom(13 * MIB) for number in range(3)}
    packed = workshop.pack(write_files(tmp_path / "in", files))
    lengths = [made.length for made in packed.objects]
    assert len(lengths) == 3
    assert all(16 * MIB <= length < 17 * MIB for length in lengths[:-1])
    ends = [0] * len(lengths)
    place = (0, 0)
    for chunk in packed.chunks:
        assert chunk.offset == ends[chunk.object]
        assert (chunk.object, chunk.offset) >= place
        place = (chunk.object, chunk.offset)
        ends[chunk.object] += chunk.length
    assert ends == lengths
    assert_consistent(workshop, packed, files)


def test_many_small_objects_are_all_made_durable(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "OBJECT_TARGET", 50_000)
    files = {f"file{number:02}": noise(f"small {number}", 30_000) for number in range(40)}
    packed = workshop.pack(write_files(tmp_path / "in", files))
    assert len(packed.objects) == 20
    assert_consistent(workshop, packed, files)


def test_memory_in_flight_is_bounded(workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few_in_flight(monkeypatch)
    files = {"large": noise("large", 3 * MIB)}
    assert_consistent(workshop, workshop.pack(write_files(tmp_path / "in", files)), files)


# -- files that change, stores that lost something


class _Meddling(Progress):
    """Does something to the files once, in the middle of packing."""

    def __init__(self, meddle: Callable[[], None], after: int) -> None:
        super().__init__(new_progress().job, lambda job_id: None)
        self._meddle = meddle
        self._after = after

    def checkpoint(self) -> None:
        self._after -= 1
        if self._after == 0:
            self._meddle()
        super().checkpoint()


def _truncate(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(1000)


def _grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def _touch(path: Path) -> None:
    os.utime(path, ns=(1, 1))


def _replace(path: Path) -> None:
    path.with_name("new").write_bytes(path.read_bytes())
    path.with_name("new").replace(path)


CHANGES: list[Callable[[Path], None]] = [_truncate, _grow, _touch, _replace, Path.unlink]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_file_that_changes_while_it_is_read_is_named(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], None]
) -> None:
    few_in_flight(monkeypatch)
    files = {"first": noise("first", 300_000), "second": noise("second", 2 * MIB)}
    directory = write_files(tmp_path / "in", files)
    progress = _Meddling(lambda: change(directory / "second"), after=12)
    with pytest.raises(ChangedWhileReading, match="second"):
        workshop.pack(directory, progress=progress)
    assert workshop.packing_files() == []


def test_a_file_that_is_gone_before_it_is_read_is_named(workshop: Workshop, tmp_path: Path) -> None:
    directory = write_files(tmp_path / "in", FILES)
    files = scan(directory).files
    (directory / "log.txt").unlink()
    with pytest.raises(P2pckptError, match=r"log\.txt can't be read"):
        workshop.packer().run(files)


def test_what_was_packed_before_a_failure_is_used_again(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "OBJECT_TARGET", 100_000)
    files = {f"file{number}": noise(f"again {number}", 150_000) for number in range(6)}
    directory = write_files(tmp_path / "in", files)
    with pytest.raises(ChangedWhileReading):
        workshop.pack(directory, progress=_Meddling(lambda: _touch(directory / "file5"), after=3))
    progress = new_progress()
    packed = workshop.pack(directory, progress=progress)
    assert_consistent(workshop, packed, files)
    assert progress.job.reused >= 4 * 150_000


def test_a_cancelled_run_leaves_nothing_half_written(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "OBJECT_TARGET", 100_000)
    files = {f"file{number}": noise(f"cancel {number}", 150_000) for number in range(6)}
    directory = write_files(tmp_path / "in", files)
    progress = new_progress()
    meddling = _Meddling(progress.stop, after=4)
    monkeypatch.setattr(meddling, "_stop", progress._stop)
    with pytest.raises(Cancelled):
        workshop.pack(directory, progress=meddling)
    assert workshop.packing_files() == []
    assert_consistent(workshop, workshop.pack(directory), files)


def test_objects_that_vanished_from_the_store_are_packed_again(workshop: Workshop, tmp_path: Path) -> None:
    directory = write_files(tmp_path / "in", FILES)
    first = workshop.pack(directory)
    for made in first.objects:
        workshop.layout.object(made.root).unlink()
        workshop.objects.forget(made.root)
    packed = workshop.pack(directory, version=2)
    assert packed.new_size == first.new_size
    assert not any(made.reused for made in packed.objects)
    assert_consistent(workshop, packed, FILES)
    assert all(workshop.catalogue.object(made.root) is None for made in first.objects)


def test_a_chunk_that_is_here_only_as_a_delta_is_packed_whole(workshop: Workshop, tmp_path: Path) -> None:
    """Its base may be unknown to who receives the new version."""
    directory = write_files(tmp_path / "in", {"file": b"content of a single chunk"})
    chunk = blake3(b"content of a single chunk").digest()
    root = root_of(b"delta")
    workshop.layout.object(root).parent.mkdir()
    workshop.layout.object(root).write_bytes(b"delta")
    workshop.catalogue.record_object(ObjectRow(root, 5, 1, 1, PieceSet.full(5), b""))
    workshop.catalogue.record_chunks(SHARE, root, [(chunk, 0, 5, 25, True)])
    packed = workshop.pack(directory)
    assert not packed.objects[0].reused
    assert unpacked(workshop, manifest_of_packed(packed)) == {"file": b"content of a single chunk"}


def test_a_full_disk_is_said_to_be_full(tmp_path: Path) -> None:
    directory = write_files(tmp_path / "in", {"large": noise("full", 3 * MIB)})
    with small_disk(tmp_path / "disk", 1 * MIB) as disk:
        workshop = Workshop(disk / "store")
        with pytest.raises(NoSpace):
            workshop.pack(directory)
        assert workshop.packing_files() == []
        known = {workshop.layout.object(root) for root, _ in workshop.catalogue.object_roots()}
        assert {path for path in workshop.layout.objects.rglob("*") if path.is_file()} == known
        workshop.close()


def test_a_viewer_cannot_read_what_was_packed(workshop: Workshop, tmp_path: Path) -> None:
    packed = workshop.pack(write_files(tmp_path / "in", FILES))
    with pytest.raises(P2pckptError, match="content key"):
        unpacked(workshop, manifest_of_packed(packed), {KEYS.epoch: EpochKeys(KEYS.epoch, KEYS.view, b"")})


# -- deltas


def steps(tmp_path: Path, count: int, drift: float = 1e-4) -> list[tuple[Path, dict[str, bytes]]]:
    """Directories of a run's checkpoints, each a few steps after the one before, and what is in them."""
    tensors, made = weights(), []
    for number in range(count):
        files = {"model.safetensors": safetensors(tensors), "trainer.json": b'{"step": %d}' % number}
        made.append((write_files(tmp_path / f"step-{number}", files), files))
        tensors = later(tensors, number, drift)
    return made


@pytest.mark.parametrize("keys", [KEYS, None], ids=["sealed", "public"])
def test_a_later_step_is_packed_as_differences_to_an_earlier_one(
    workshop: Workshop, tmp_path: Path, keys: EpochKeys | None
) -> None:
    (first, _), (second, files), (third, later_files) = steps(tmp_path, 3)
    whole = manifest_of_packed(workshop.pack(first, keys=keys))
    for directory, content in ((second, files), (third, later_files)):  # both are differences to the first
        packed = workshop.pack(directory, version=2, keys=keys, base=whole)
        manifest = manifest_of_packed(packed, version=2)
        assert unpacked(workshop, manifest, None if keys else {}) == content
        deltas = [chunk for chunk in packed.chunks if chunk.base]
        assert len(deltas) >= 3
        assert {chunk.base for chunk in deltas} <= {whole.chunk_id(index) for index in range(whole.chunk_count)}
        assert sum(chunk.length for chunk in deltas) < 0.5 * sum(chunk.raw_length for chunk in deltas)
        # who receives it learns from the manifest where the bases are
        named = {chunk.id: chunk for chunk in packed.chunks}
        assert all(named[chunk.base].length and not named[chunk.base].base for chunk in deltas)
        assert {workshop.catalogue.locate(SHARE, chunk.id) for chunk in deltas}.isdisjoint({None})


def test_what_did_not_change_is_reused_and_what_has_no_like_is_packed_whole(workshop: Workshop, tmp_path: Path) -> None:
    before = weights()
    whole = manifest_of_packed(workshop.pack(write_files(tmp_path / "a", {"m.safetensors": safetensors(before)})))
    after = later(before, 1) | {"layer.0.weight": before["layer.0.weight"], "new.weight": weights(7)["layer.0.weight"]}
    after["layer.2.weight"] = after["layer.2.weight"].reshape(-1)  # of another shape
    files = {"m.safetensors": safetensors(after)}
    packed = workshop.pack(write_files(tmp_path / "b", files), version=2, base=whole)
    manifest = manifest_of_packed(packed, version=2)
    assert unpacked(workshop, manifest) == files
    frames = {tensor.name: manifest.bases[at] for tensor in packed.tensors for at in [_chunk_at(manifest, tensor)]}
    weighty = {name for name, base in frames.items() if base and name.endswith("weight")}
    assert weighty == {"layer.1.weight"}


def _chunk_at(manifest: Manifest, tensor: TensorEntry) -> int:
    places = {(file, offset): chunk for file, offset, chunk in manifest.places()}
    return places[tensor.file, tensor.offset]


def test_differences_that_save_nothing_are_not_made(workshop: Workshop, tmp_path: Path) -> None:
    whole = manifest_of_packed(workshop.pack(write_files(tmp_path / "a", {"m.safetensors": safetensors(weights(1))})))
    files = {"m.safetensors": safetensors(weights(2))}
    packed = workshop.pack(write_files(tmp_path / "b", files), version=2, base=whole)
    assert not any(chunk.base for chunk in packed.chunks if chunk.raw_length > SMALL)
    assert unpacked(workshop, manifest_of_packed(packed, version=2)) == files


def test_a_base_that_is_damaged_is_none(workshop: Workshop, tmp_path: Path) -> None:
    (first, _), (second, files) = steps(tmp_path, 2)
    packed = workshop.pack(first)
    for chunk in packed.chunks:
        if chunk.raw_length > SMALL:
            with workshop.layout.object(packed.objects[chunk.object].root).open("r+b") as file:
                file.seek(chunk.offset)
                file.write(bytes(chunk.length))
    again = workshop.pack(second, version=2, base=manifest_of_packed(packed))
    assert not any(chunk.base for chunk in again.chunks if chunk.raw_length > SMALL)
    assert unpacked(workshop, manifest_of_packed(again, version=2)) == files
