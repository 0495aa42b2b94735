from __future__ import annotations

import errno
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import Any

import libtorrent as lt
import pytest

from p2pckpt.checkpoint.plan import PIECE_LENGTH
from p2pckpt.errors import P2pckptError, VerificationFailed
from p2pckpt.store import objects
from p2pckpt.store.layout import StoreLayout
from p2pckpt.store.objects import ObjectReader, ObjectWriter, WrittenObject
from tests.contract.nodes import noise


@pytest.fixture
def layout(tmp_path: Path) -> StoreLayout:
    made = StoreLayout(tmp_path / "store")
    made.create()
    return made


def write(layout: StoreLayout, *frames: bytes) -> WrittenObject:
    writer = ObjectWriter(layout, "new")
    for frame in frames:
        writer.append(frame)
    written = writer.finish()
    written.commit()
    return written


# -- writing


def test_frames_lie_one_after_the_other(layout: StoreLayout) -> None:
    writer = ObjectWriter(layout, "new")
    frames: list[bytes | memoryview] = [noise("a", 100), memoryview(noise("b", 70_000)), b"c"]
    assert [writer.append(frame) for frame in frames] == [0, 100, 70_100]
    assert writer.length == 70_101
    written = writer.finish()
    assert not written.path.exists()
    written.commit()
    assert written.path == layout.object(written.root)
    assert written.path.read_bytes() == b"".join(bytes(frame) for frame in frames)
    assert list(layout.packing.iterdir()) == []


@pytest.mark.parametrize("length", [1, PIECE_LENGTH, PIECE_LENGTH + 1, 3 * PIECE_LENGTH, 5 * PIECE_LENGTH - 17])
def test_root_and_layer_are_those_that_libtorrent_computes(layout: StoreLayout, tmp_path: Path, length: int) -> None:
    data, random = noise(f"object {length}", length), Random(length)
    writer, at = ObjectWriter(layout, "new"), 0
    while at < length:
        size = random.randrange(1, 600_000)
        writer.append(data[at : at + size])
        at += size
    written = writer.finish()

    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "object").write_bytes(data)
    (tmp_path / "t" / "other").write_bytes(b"a second file keeps the first one's name")
    entries = [lt.create_file_entry("t/object", length), lt.create_file_entry("t/other", 40)]
    made = lt.create_torrent(entries, PIECE_LENGTH, lt.create_torrent.v2_only)
    lt.set_piece_hashes(made, str(tmp_path))
    torrent: Any = made.generate()
    root = torrent[b"info"][b"file tree"][b"object"][b""][b"pieces root"]
    assert written.root == root
    assert written.piece_layer == torrent.get(b"piece layers", {}).get(root, b"")
    assert written.length == length


def test_writing_the_same_object_again_is_as_good(layout: StoreLayout) -> None:
    first, second = write(layout, b"same"), write(layout, b"sa", b"me")
    assert first.path == second.path
    assert first.path.read_bytes() == b"same"


def test_nothing_is_written_before_an_object_is_finished_and_its_memory_serves_the_next(layout: StoreLayout) -> None:
    writer = ObjectWriter(layout, "first")
    writer.append(noise("x", 300_000))
    assert list(layout.packing.iterdir()) == []
    first = writer.finish()
    memory = writer.release()
    first.commit()
    writer = ObjectWriter(layout, "second", memory)
    assert writer.append(b"short") == 0
    assert writer.finish().length == 5
    assert writer.release() is memory
    assert first.path.read_bytes() == noise("x", 300_000)


@pytest.mark.parametrize("length", [1, 4095, 4096, 4097, 5 * PIECE_LENGTH - 17])
@pytest.mark.parametrize("refused", ["nothing", "open", "write", "short"])
def test_what_is_written_is_the_same_whether_the_file_system_can_go_around_its_cache_or_not(
    layout: StoreLayout, monkeypatch: pytest.MonkeyPatch, length: int, refused: str
) -> None:
    real_open, real_write, direct = os.open, os.write, getattr(os, "O_DIRECT", 0)
    opened: list[int] = []

    def refusing_open(path: object, flags: int, *mode: int, **options: object) -> int:
        if direct and flags & direct:
            opened.append(flags)
            if refused == "open":
                raise OSError(errno.EINVAL, "no such thing here")
        return real_open(path, flags, *mode, **options)  # type: ignore[arg-type]

    def refusing_write(descriptor: int, data: memoryview) -> int:
        if refused == "write":
            raise OSError(errno.EINVAL, "blocks of another size")
        return (
            real_write(descriptor, data[: len(data) // 2 + 1]) if refused == "short" else real_write(descriptor, data)
        )

    monkeypatch.setattr(os, "open", refusing_open)
    monkeypatch.setattr(os, "write", refusing_write)
    data = noise(f"around {length}", length)
    assert write(layout, data).path.read_bytes() == data
    assert bool(opened) == bool(direct)


def test_an_object_without_frames_cannot_be_finished(layout: StoreLayout) -> None:
    with pytest.raises(ValueError, match="empty"):
        ObjectWriter(layout, "new").finish()


def test_nobody_else_may_look_into_the_store(layout: StoreLayout) -> None:
    written = write(layout, b"frame")
    directories = [path for path in layout.root.rglob("*") if path.is_dir()]
    assert written.path.parent in directories
    assert {path.stat().st_mode & 0o777 for path in (layout.root, *directories)} == {0o700}


# -- reading


def test_a_frame_is_read_from_where_it_lies(layout: StoreLayout) -> None:
    written = write(layout, b"first", b"second", b"third")
    reader = ObjectReader(layout)
    assert reader.read(written.root, 5, 6) == b"second"
    assert reader.read(written.root, 0, 16) == b"firstsecondthird"
    reader.sync(written.root)
    reader.close()


def test_an_object_that_is_missing_or_cut_off_is_named(layout: StoreLayout) -> None:
    written = write(layout, b"first", b"second")
    reader = ObjectReader(layout)
    with pytest.raises(VerificationFailed, match=f"{b'x'.hex() * 6} is missing"):
        reader.read(b"x" * 32, 0, 1)
    for offset, length in ((5, 7), (11, 1), (1 << 40, 5)):
        with pytest.raises(VerificationFailed, match=f"{written.root.hex()[:12]} is cut off"):
            reader.read(written.root, offset, length)
    with written.path.open("r+b") as file:
        file.truncate(8)
    with pytest.raises(VerificationFailed, match="is cut off"):
        reader.read(written.root, 5, 6)
    reader.close()


def test_a_file_that_cannot_be_read_is_an_error_of_ours(layout: StoreLayout) -> None:
    root = b"d" * 32
    layout.object(root).mkdir(parents=True)
    with pytest.raises(P2pckptError, match=root.hex()[:12]):
        ObjectReader(layout).read(root, 0, 1)


def test_a_file_that_is_about_to_be_replaced_is_let_go(layout: StoreLayout) -> None:
    written = write(layout, b"old content")
    reader = ObjectReader(layout)
    assert reader.read(written.root, 0, 3) == b"old"
    written.path.unlink()
    written.path.write_bytes(b"new content")
    reader.forget(written.root)
    reader.forget(b"unknown" * 4)
    assert reader.read(written.root, 0, 3) == b"new"
    reader.close()
    assert reader.read(written.root, 0, 3) == b"new"
    reader.close()


def test_threads_read_right_bytes_while_files_are_opened_and_closed(
    layout: StoreLayout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "_OPEN_FILES", 3)
    contents = {write(layout, data).root: data for data in (noise(f"object {n}", 5000) for n in range(12))}
    roots = list(contents)
    reader = ObjectReader(layout)
    barrier = threading.Barrier(8)

    def read(seed: int) -> int:
        random = Random(seed)
        barrier.wait()
        for _ in range(400):
            root = random.choice(roots)
            offset = random.randrange(4000)
            length = random.randrange(1, 1000)
            assert reader.read(root, offset, length) == contents[root][offset : offset + length]
            if random.random() < 0.05:
                reader.forget(root)
        return seed

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(read, range(8))) == list(range(8))
    assert len(reader._open) <= 3
    reader.close()
