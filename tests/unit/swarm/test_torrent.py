from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import libtorrent as lt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pckpt.checkpoint.plan import PIECE_LENGTH
from p2pckpt.errors import VerificationFailed
from p2pckpt.swarm.torrent import Torrent, build, parse
from tests.contract.nodes import Sample, noise, torrent_file
from tests.fuzz.mutate import mutations

TORRENT = Sample("torrent").torrent
NAME = "p2pckpt-0123456789abcdef"


def test_file_0_is_the_manifest_and_objects_follow_by_their_roots() -> None:
    roots = [file.root for file in TORRENT.objects]
    assert roots == sorted(roots)
    assert len(roots) == 3
    assert TORRENT.files == (TORRENT.manifest, *TORRENT.objects)
    assert TORRENT.size == sum(file.length for file in TORRENT.files)


def test_the_order_in_which_objects_are_given_does_not_matter() -> None:
    again = build(TORRENT.name, TORRENT.manifest, TORRENT.objects[::-1], private=TORRENT.private)
    assert again == TORRENT


@pytest.mark.parametrize("private", [True, False])
@pytest.mark.parametrize("lengths", [(), (1,), (PIECE_LENGTH, PIECE_LENGTH + 1), (5, 3 * PIECE_LENGTH, 70_000)])
def test_a_torrent_is_read_back_as_it_was_built(lengths: tuple[int, ...], private: bool) -> None:
    files = [torrent_file(noise(f"file {number}", length)) for number, length in enumerate(lengths)]
    torrent = build(NAME, torrent_file(b"manifest"), files, private=private)
    assert parse(torrent.data, torrent.info_hash) == torrent
    assert torrent.private == private


@pytest.mark.parametrize("lengths", [(), (1,), (5, 3 * PIECE_LENGTH, 70_000)])
def test_libtorrent_sees_the_same_torrent(lengths: tuple[int, ...]) -> None:
    files = [torrent_file(noise(f"file {number}", length)) for number, length in enumerate(lengths)]
    torrent = build(NAME, torrent_file(b"manifest"), files, private=True)
    info: Any = lt.load_torrent_buffer(torrent.data).ti
    assert info.is_valid()
    assert bytes(info.info_hashes().v2.to_bytes()) == torrent.info_hash
    assert not info.info_hashes().has_v1()
    assert (info.name(), info.priv(), info.piece_length()) == (NAME, True, PIECE_LENGTH)


def test_its_name_and_privacy_are_part_of_the_infohash() -> None:
    manifest = torrent_file(b"manifest")
    hashes = {
        build(name, manifest, [], private=private).info_hash for name in (NAME, "other") for private in (True, False)
    }
    assert len(hashes) == 4


def test_another_infohash_is_refused() -> None:
    with pytest.raises(VerificationFailed, match="not the one that was signed"):
        parse(TORRENT.data, bytes(32))


def test_trackers_web_seeds_and_comments_are_ignored() -> None:
    decoded: Any = lt.bdecode(TORRENT.data)
    decoded |= {b"announce": b"http://evil.example/", b"url-list": [b"http://evil.example/"], b"comment": b"hello"}
    parsed = parse(lt.bencode(decoded), TORRENT.info_hash)
    assert parsed == TORRENT
    assert b"evil" not in parsed.data


# -- torrents that are signed but not laid out as ours


def _rename(name: bytes, to: bytes) -> Callable[[dict[bytes, Any]], None]:
    def change(info: dict[bytes, Any]) -> None:
        info[b"file tree"][to] = info[b"file tree"].pop(name)

    return change


def _set(key: bytes, value: Any) -> Callable[[dict[bytes, Any]], None]:
    def change(info: dict[bytes, Any]) -> None:
        info[key] = value

    return change


def _object(field: bytes, value: Any) -> Callable[[dict[bytes, Any]], None]:
    def change(info: dict[bytes, Any]) -> None:
        objects = info[b"file tree"][b"objects"]
        objects[sorted(objects)[0]][b""][field] = value

    return change


def _climb(info: dict[bytes, Any]) -> None:
    objects = info[b"file tree"][b"objects"]
    objects[b".."] = objects.pop(sorted(objects)[0])


def _manifest(name: bytes) -> Callable[[dict[bytes, Any]], None]:
    def change(info: dict[bytes, Any]) -> None:
        tree = info[b"file tree"]
        tree[name] = tree.pop(next(each for each in tree if each.startswith(b"manifest")))

    return change


def _two_manifests(info: dict[bytes, Any]) -> None:
    info[b"file tree"][b"manifest-2"] = {b"": {b"length": 5, b"pieces root": bytes(32)}}


def _one_more(info: dict[bytes, Any]) -> None:
    info[b"file tree"][b"README"] = {b"": {b"length": 5, b"pieces root": bytes(32)}}


LAYOUTS: dict[str, Callable[[dict[bytes, Any]], None]] = {
    "no manifest": _manifest(b"other"),
    "a manifest with another name": _manifest(b"manifest-" + b"0" * 64),
    "two manifests": _two_manifests,
    "no objects": _rename(b"objects", b"other"),
    "a file beside them": _one_more,
    "an object with another name": _climb,
    "other pieces": _set(b"piece length", 16 << 10),
    "pieces of no length": _set(b"piece length", 0),
    "no tree": _set(b"file tree", b"tree"),
    "a name that is no text": _set(b"name", b"\xff\xfe"),
    "a name that is a number": _set(b"name", 7),
    "another mark of privacy": _set(b"private", 2),
    "a source": _set(b"source", b"another tracker"),
    "an older version": _set(b"meta version", 1),
    "a root cut off": _object(b"pieces root", b"short"),
    "a root that is a number": _object(b"pieces root", 5),
    "a negative length": _object(b"length", -1),
    "no length": _object(b"length", 0),
    "a length that is text": _object(b"length", b"5"),
    "a length beyond its layer": _object(b"length", 1 << 40),
    "an endless length": _object(b"length", 1 << 60),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_torrent_of_another_layout_is_refused_although_it_is_signed(layout: str) -> None:
    decoded: Any = lt.bdecode(TORRENT.data)
    LAYOUTS[layout](decoded[b"info"])
    data = lt.bencode(decoded)
    info_hash = hashlib.sha256(lt.bencode(decoded[b"info"])).digest()
    assert info_hash != TORRENT.info_hash
    with pytest.raises(VerificationFailed):
        parse(data, info_hash)


def _layers(change: Callable[[dict[bytes, Any]], None]) -> bytes:
    decoded: Any = lt.bdecode(TORRENT.data)
    change(decoded[b"piece layers"])
    return bytes(lt.bencode(decoded))


def _first(layers: dict[bytes, Any]) -> bytes:
    return sorted(layers)[0]


LAYERS: dict[str, Callable[[dict[bytes, Any]], None]] = {
    "missing": lambda layers: layers.clear(),
    "cut off": lambda layers: layers.update({_first(layers): layers[_first(layers)][:-32]}),
    "half a hash": lambda layers: layers.update({_first(layers): layers[_first(layers)][:-1]}),
    "a hash too many": lambda layers: layers.update({_first(layers): layers[_first(layers)] + bytes(32)}),
    "one wrong hash": lambda layers: layers.update({_first(layers): bytes(32) + layers[_first(layers)][32:]}),
    "hashes in another order": lambda layers: layers.update({_first(layers): layers[_first(layers)][::-1]}),
    "a number": lambda layers: layers.update({_first(layers): 5}),
}


@pytest.mark.parametrize("layers", LAYERS)
def test_piece_hashes_that_do_not_add_up_to_the_root_are_refused(layers: str) -> None:
    """The infohash covers the roots only: the hashes below come from whoever served the file."""
    with pytest.raises(VerificationFailed):
        parse(_layers(LAYERS[layers]), TORRENT.info_hash)


# -- bytes that are no torrent


@given(st.binary(max_size=200))
def test_bytes_that_are_no_torrent_are_refused(data: bytes) -> None:
    with pytest.raises(VerificationFailed):
        parse(data, TORRENT.info_hash)


@pytest.mark.parametrize(
    "data", [b"", b"i5e", b"le", b"de", b"d4:infoi5ee", b"d4:infodee", b"l" * 5000, b"d4:infod9:file treeleee"]
)
def test_bencoding_of_something_else_is_refused(data: bytes) -> None:
    for info_hash in (TORRENT.info_hash, hashlib.sha256(b"de").digest(), hashlib.sha256(b"i5e").digest()):
        with pytest.raises(VerificationFailed):
            parse(data, info_hash)


def test_damage_is_refused_or_leaves_the_torrent_as_it_was() -> None:
    outcomes = {"read": 0, "refused": 0}
    for data in mutations([TORRENT.data], 3000, seed=5):
        try:
            parsed: Torrent = parse(data, TORRENT.info_hash)
        except VerificationFailed:
            outcomes["refused"] += 1
            continue
        assert parsed == TORRENT
        outcomes["read"] += 1
    assert outcomes["refused"] > 2000
