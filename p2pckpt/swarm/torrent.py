"""BEP 52 torrents of versions: built from roots and piece layers that packing left, read back under their infohash.

Layout of every torrent: ``manifest-ROOT``, then ``objects/ROOT`` in order of the roots. Both sort that way in a file
tree, so file 0 is always the manifest; and since files are named by their content, a stock client may put all
torrents of a share, which have one name, into one directory. Trackers, web seeds and paths in a .torrent from
elsewhere are ignored: only ``info``, which the signed infohash covers, and the piece layers, which its roots cover,
are read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import libtorrent as lt

from p2pckpt.checkpoint.merkle import root_of_layer
from p2pckpt.checkpoint.plan import PIECE_LENGTH
from p2pckpt.errors import VerificationFailed

MANIFEST_PREFIX: Final = b"manifest-"
OBJECTS_NAME: Final = b"objects"
_MAX_FILES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class TorrentFile:
    """One file of a torrent."""

    root: bytes
    length: int
    piece_layer: bytes
    """Hashes of its pieces, 32 bytes each; empty for a file of one piece."""


@dataclass(frozen=True, slots=True)
class Torrent:
    """A torrent of ours: file 0 is the manifest, the rest are objects in order of their roots."""

    info_hash: bytes
    name: str
    private: bool
    manifest: TorrentFile
    objects: tuple[TorrentFile, ...]
    data: bytes
    """The .torrent file."""

    @property
    def files(self) -> tuple[TorrentFile, ...]:
        return (self.manifest, *self.objects)

    @property
    def size(self) -> int:
        return sum(file.length for file in self.files)


def build(name: str, manifest: TorrentFile, objects: Sequence[TorrentFile], *, private: bool) -> Torrent:
    """A torrent of ``manifest`` and ``objects``; ``name`` is the share's, the same for all its torrents."""
    ordered = tuple(sorted(objects, key=lambda file: file.root))
    tree: dict[bytes, Any] = {MANIFEST_PREFIX + manifest.root.hex().encode(): _leaf(manifest)}
    if ordered:
        tree[OBJECTS_NAME] = {file.root.hex().encode(): _leaf(file) for file in ordered}
    else:
        # a torrent of one file would lose its name (libtorrent makes it a single-file torrent): keep the directory
        tree[OBJECTS_NAME] = {b"none": {b"": {b"length": 0}}}
    info: Any = {
        b"file tree": tree,
        b"meta version": 2,
        b"name": name.encode(),
        b"piece length": PIECE_LENGTH,
    }
    if private:
        info[b"private"] = 1
    layers = {file.root: file.piece_layer for file in (manifest, *ordered) if file.piece_layer}
    whole: Any = {b"info": info, b"piece layers": layers}
    info_hash = hashlib.sha256(lt.bencode(info)).digest()
    return Torrent(info_hash, name, private, manifest, ordered, lt.bencode(whole))


def parse(data: bytes, info_hash: bytes) -> Torrent:
    """A .torrent file whose infohash was signed. Raises ``VerificationFailed`` for any other."""
    try:
        decoded: Any = lt.bdecode(data)
        info, layers = decoded[b"info"], decoded.get(b"piece layers", {})
        if hashlib.sha256(lt.bencode(info)).digest() != info_hash:
            raise VerificationFailed("the torrent is not the one that was signed")
        tree = info[b"file tree"]
        (manifest_name,) = (name for name in tree if name.startswith(MANIFEST_PREFIX))
        manifest = _file(tree[manifest_name], layers)
        entries = {name: leaf for name, leaf in tree[OBJECTS_NAME].items() if name != b"none"}
        if len(entries) > _MAX_FILES or info[b"piece length"] != PIECE_LENGTH:
            raise VerificationFailed("the torrent is not laid out as p2pckpt does it")
        objects = tuple(_file(entries[name], layers) for name in sorted(entries))
        if any(file.root.hex().encode() != name for file, name in zip(objects, sorted(entries), strict=True)):
            raise VerificationFailed("an object of the torrent is not named by its root")
        name, private = info[b"name"].decode(), bool(info.get(b"private", 0))
    except (RuntimeError, KeyError, TypeError, AttributeError, ValueError) as exc:
        raise VerificationFailed("the torrent can't be read") from exc
    torrent = build(name, manifest, objects, private=private)
    if torrent.info_hash != info_hash:
        raise VerificationFailed("the torrent is not laid out as p2pckpt does it")
    return torrent


def _leaf(file: TorrentFile) -> dict[bytes, Any]:
    return {b"": {b"length": file.length, b"pieces root": file.root}}


def _file(entry: Any, layers: Any) -> TorrentFile:
    leaf = entry[b""]
    root, length = leaf[b"pieces root"], leaf[b"length"]
    if len(root) != 32 or not 0 < length < 1 << 50:
        raise VerificationFailed("a file of the torrent is malformed")
    layer = layers.get(root, b"")
    if len(layer) != (32 * -(-length // PIECE_LENGTH) if length > PIECE_LENGTH else 0):
        raise VerificationFailed("the torrent lacks the hashes of its pieces")
    if layer and root_of_layer(layer, PIECE_LENGTH) != root:
        raise VerificationFailed("the torrent has other hashes of pieces than its roots say")
    return TorrentFile(root, length, layer)
