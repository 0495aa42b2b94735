from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any

import libtorrent
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pckpt.checkpoint.merkle import LEAF, FileTree, root_of
from tests.unit.checkpoint.builders import noise

PIECE = 64 << 10
SIZES = [1, LEAF - 1, LEAF, LEAF + 1, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, 5 * PIECE + 3, 8 * PIECE, 8 * PIECE - 1]


def tree_of(data: bytes, piece_length: int, step: int) -> tuple[bytes, bytes]:
    tree = FileTree(piece_length)
    for start in range(0, len(data), step):
        tree.update(memoryview(data)[start : start + step])
    assert tree.length == len(data)
    return tree.finish()


@pytest.mark.parametrize("piece_length", [LEAF, PIECE, 4 * PIECE])
@pytest.mark.parametrize("size", SIZES)
def test_roots_and_piece_layers_are_those_of_libtorrent(size: int, piece_length: int, tmp_path: Path) -> None:
    data = noise(size, size)
    (tmp_path / "share").mkdir()
    (tmp_path / "share" / "file").write_bytes(data)
    entry = libtorrent.create_file_entry("share/file", size)
    creator = libtorrent.create_torrent([entry], piece_length, libtorrent.create_torrent.v2_only)
    libtorrent.set_piece_hashes(creator, str(tmp_path))
    torrent: Any = creator.generate()
    expected = torrent[b"info"][b"file tree"][b"file"][b""][b"pieces root"]
    root, layer = tree_of(data, piece_length, 50_000)
    assert torrent[b"info"][b"piece length"] == piece_length
    assert root == expected == root_of(data)
    assert torrent[b"piece layers"].get(root, b"") == layer


@settings(max_examples=60, deadline=None)
@given(size=st.integers(1, 300_000), step=st.integers(1, 100_000))
def test_it_does_not_matter_how_the_bytes_arrive(size: int, step: int) -> None:
    data = noise(size)
    assert tree_of(data, PIECE, max(step, size // 200)) == tree_of(data, PIECE, size)


def test_the_root_does_not_depend_on_the_piece_length() -> None:
    data = noise(5 * PIECE + 3)
    assert {tree_of(data, LEAF << shift, 1 << 20)[0] for shift in range(8)} == {root_of(data)}


def test_one_leaf_is_its_own_root() -> None:
    assert root_of(b"x") == sha256(b"x").digest()


def test_an_empty_file_has_no_root() -> None:
    with pytest.raises(ValueError, match="empty"):
        root_of(b"")


@pytest.mark.parametrize("piece_length", [0, -1, LEAF // 2, LEAF + 1, 3 * LEAF])
def test_other_piece_lengths_are_refused(piece_length: int) -> None:
    with pytest.raises(ValueError, match="power of two"):
        FileTree(piece_length)
