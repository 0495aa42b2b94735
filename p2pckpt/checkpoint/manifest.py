"""The manifest: everything one version is, as one canonical byte string (docs/format.md, "Manifest").

MessagePack by msgspec, rows as arrays, the chunk and object tables as packed little-endian columns so that a
quarter of a million chunks stay near 12 MB; the whole compressed by zstd. This module knows the bytes, not how
they are sealed (``trust.sealing``) or signed (``trust.versions``).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt
import zstandard

from p2pckpt.checkpoint.paths import check_paths
from p2pckpt.errors import VerificationFailed

FORMAT: Final = 1
MAX_PACKED: Final = 256 << 20
"""Bytes of a manifest before compression."""
MAX_CHUNK: Final = 32 << 20
"""Raw bytes of one chunk."""
MAX_OBJECTS: Final = 1 << 20
_ID: Final = 32

U32 = npt.NDArray[np.uint32]
U64 = npt.NDArray[np.uint64]


class BadManifest(VerificationFailed):
    """The manifest contradicts itself or is not a manifest."""


class FileEntry(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One file: its chunks are ``sequence[first:first + count]`` of the manifest."""

    path: str
    size: int
    executable: bool
    sha256: bytes
    kind: str
    """``safetensors``, ``torch_zip``, ``gguf`` or ``opaque``."""
    first: int
    count: int


class TensorEntry(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One tensor; ``offset`` and ``length`` in bytes of file number ``file``."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: int
    offset: int
    length: int

    @property
    def parameters(self) -> int:
        count = 1
        for extent in self.shape:
            count *= extent
        return count


class TorrentEntry(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A torrent that carries objects this version needs. The version's own has an empty infohash."""

    info_hash: bytes
    """v2 infohash, 32 bytes; empty for the torrent this manifest is the first file of, which can't name itself."""
    version: int


class ChunkTable(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Columns over the distinct chunks, one entry each; lengths in bytes."""

    ids: bytes
    """BLAKE3-256 of the raw bytes, 32 bytes a chunk."""
    raw_lengths: bytes
    """u32."""
    objects: bytes
    """u32 index into the object table."""
    offsets: bytes
    """u64 offset of the frame in its object."""
    lengths: bytes
    """u32 stored length of the frame."""
    bases: bytes
    """u32: 1 + index of the chunk this frame is a delta to; 0 for a frame that stands alone."""


class ObjectTable(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Columns over the objects this version needs."""

    roots: bytes
    """BEP 52 root, 32 bytes an object."""
    lengths: bytes
    """u64."""
    torrents: bytes
    """u32 index into ``torrents``: the one that carries the object now."""
    sealed_versions: bytes
    """u32: the version in whose name the frame key was derived; 0 for plain objects."""
    sealed_epochs: bytes
    """u32: the epoch of the content key; 0 for plain objects."""


class ModelSignature(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The publisher's signature over the files for OpenSSF model signing; ``trust.oms`` makes and checks it."""

    key: bytes
    """P-256 public key, a compressed point of 33 bytes."""
    key_signature: bytes
    """Ed25519 over it by the publisher, 64 bytes."""
    signature: bytes
    """ECDSA with SHA-256, DER, 8 to 72 bytes."""


class Body(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The manifest's fields as they are encoded (a map in declaration order; a field with a default only if set)."""

    format: int
    share_id: bytes
    version: int
    name: str
    created_at: int
    publisher: bytes
    encoder: str
    parent: int
    """The version this one was published on top of; 0 for none."""
    files: tuple[FileEntry, ...]
    directories: tuple[str, ...]
    """Empty directories."""
    sequence: bytes
    """u32 indices into the chunk table; each file owns a run of them."""
    tensors: tuple[TensorEntry, ...]
    chunks: ChunkTable
    objects: ObjectTable
    torrents: tuple[TorrentEntry, ...]
    metrics: dict[str, float]
    step: int | None
    tags: tuple[str, ...]
    card: bytes
    """SHA-256 of README.md; empty without one."""
    licence: str
    base_model: tuple[str, ...]
    findings: tuple[str, ...]
    """What the safety scan said at publishing."""
    model_signature: ModelSignature | None = None
    """None in manifests older than the field, and where the files include a ``model.sig`` of their own."""


class Manifest:
    """A checked manifest with its columns as arrays. Build one with ``build``, read one with ``unpack``."""

    def __init__(self, body: Body) -> None:
        self.body = body
        chunks, objects = body.chunks, body.objects
        self.ids = chunks.ids
        self.raw_lengths: U32 = _column(chunks.raw_lengths, np.uint32)
        self.chunk_objects: U32 = _column(chunks.objects, np.uint32)
        self.frame_offsets: U64 = _column(chunks.offsets, np.uint64)
        self.frame_lengths: U32 = _column(chunks.lengths, np.uint32)
        self.bases: U32 = _column(chunks.bases, np.uint32)
        self.roots = objects.roots
        self.object_lengths: U64 = _column(objects.lengths, np.uint64)
        self.object_torrents: U32 = _column(objects.torrents, np.uint32)
        self.sealed_versions: U32 = _column(objects.sealed_versions, np.uint32)
        self.sealed_epochs: U32 = _column(objects.sealed_epochs, np.uint32)
        self.sequence: U32 = _column(body.sequence, np.uint32)
        self._check()

    @property
    def chunk_count(self) -> int:
        return len(self.raw_lengths)

    @property
    def object_count(self) -> int:
        return len(self.object_lengths)

    @property
    def size(self) -> int:
        """Raw bytes of all files."""
        return sum(file.size for file in self.body.files)

    @property
    def stored(self) -> int:
        """Bytes of all objects this version needs."""
        return int(self.object_lengths.sum())

    def chunk_id(self, index: int) -> bytes:
        return self.ids[index * _ID : (index + 1) * _ID]

    def root(self, index: int) -> bytes:
        return self.roots[index * _ID : (index + 1) * _ID]

    def chunks_of(self, file: FileEntry) -> U32:
        """Chunk indices of ``file`` in file order."""
        return self.sequence[file.first : file.first + file.count]

    def places(self, files: Sequence[int] | None = None) -> Iterator[tuple[int, int, int]]:
        """(file index, offset, chunk index) of every chunk of ``files`` (default: all), in file order."""
        for number in range(len(self.body.files)) if files is None else files:
            offset = 0
            for chunk in self.chunks_of(self.body.files[number]).tolist():
                yield number, offset, chunk
                offset += int(self.raw_lengths[chunk])

    def _check(self) -> None:
        body = self.body
        if body.format != FORMAT:
            raise BadManifest(f"manifest format {body.format} is newer than this p2pckpt", next_step="upgrade p2pckpt")
        if len(body.share_id) != _ID or len(body.publisher) != _ID or body.version < 1:
            raise BadManifest("the manifest names no share, publisher or version")
        count, objects = self.chunk_count, self.object_count
        columns = (self.chunk_objects, self.frame_offsets, self.frame_lengths, self.bases)
        if len(self.ids) != count * _ID or any(len(column) != count for column in columns):
            raise BadManifest("the manifest's chunk columns differ in length")
        object_columns = (self.object_torrents, self.sealed_versions, self.sealed_epochs)
        if len(self.roots) != objects * _ID or any(len(column) != objects for column in object_columns):
            raise BadManifest("the manifest's object columns differ in length")
        if objects > MAX_OBJECTS:
            raise BadManifest(f"the manifest names {objects} objects, more than {MAX_OBJECTS}")
        if count:
            self._check_chunks(objects)
        if objects and int(self.object_torrents.max()) >= len(body.torrents):
            raise BadManifest("an object is carried by a torrent that the manifest does not name")
        for torrent in body.torrents:
            if len(torrent.info_hash) not in (0, _ID):
                raise BadManifest("a torrent has a malformed infohash")
        if not all(map(math.isfinite, body.metrics.values())):
            raise BadManifest("a metric is no finite number")
        made = body.model_signature
        if made is not None and not (
            len(made.key) == 33 and len(made.key_signature) == 64 and 8 <= len(made.signature) <= 72
        ):
            raise BadManifest("the model signature is malformed")
        self._check_files()

    def _check_chunks(self, objects: int) -> None:
        count = self.chunk_count
        if int(self.raw_lengths.max()) > MAX_CHUNK or int(self.raw_lengths.min()) < 1:
            raise BadManifest("a chunk is empty or larger than 32 MiB")
        if int(self.chunk_objects.max()) >= objects:
            raise BadManifest("a chunk lies in an object that the manifest does not name")
        ends = self.frame_offsets + self.frame_lengths
        if bool((ends < self.frame_offsets).any()) or bool((ends > self.object_lengths[self.chunk_objects]).any()):
            raise BadManifest("a frame reaches beyond the end of its object")
        if int(self.bases.max()) > count:
            raise BadManifest("a delta's base is missing")
        based = self.bases[self.bases > 0]
        if len(based) and bool((self.bases[based - 1] > 0).any()):
            raise BadManifest("a delta's base is itself a delta")

    def _check_files(self) -> None:
        body = self.body
        if len(self.sequence) and int(self.sequence.max()) >= self.chunk_count:
            raise BadManifest("a file names a chunk that the manifest does not have")
        check_paths([*(file.path for file in body.files), *(f"{path}/" for path in body.directories)])
        position = 0
        for file in body.files:
            if file.first != position or file.count < 0 or len(file.sha256) != _ID or file.size < 0:
                raise BadManifest(f"the manifest's entry of {file.path!r} is malformed")
            position += file.count
            if position > len(self.sequence):
                raise BadManifest(f"the chunks of {file.path!r} are not all there")
            if int(self.raw_lengths[self.chunks_of(file)].sum(dtype=np.uint64)) != file.size:
                raise BadManifest(f"the chunks of {file.path!r} do not add up to its size")
        if position != len(self.sequence):
            raise BadManifest("the manifest has chunks that belong to no file")
        for tensor in body.tensors:
            known = 0 <= tensor.file < len(body.files) and tensor.offset >= 0 and tensor.length >= 0
            if not known or tensor.offset + tensor.length > body.files[tensor.file].size:
                raise BadManifest(f"tensor {tensor.name!r} lies outside its file")
            if min(tensor.shape, default=0) < 0:
                raise BadManifest(f"tensor {tensor.name!r} has a negative shape")

    def as_json(self) -> dict[str, Any]:
        """For ``show --manifest``: hashes as hex, columns as lists of rows."""
        body = self.body
        plain = {
            field: getattr(body, field)
            for field in body.__struct_fields__
            if field not in ("files", "sequence", "tensors", "chunks", "objects", "torrents", "model_signature")
        }
        for field in ("share_id", "publisher", "card"):
            plain[field] = plain[field].hex()
        plain["files"] = [
            {
                "path": f.path, "size": f.size, "executable": f.executable, "sha256": f.sha256.hex(),
                "kind": f.kind, "chunks": self.chunks_of(f).tolist(),
            }
            for f in body.files
        ]  # fmt: skip
        plain["tensors"] = [msgspec.structs.asdict(tensor) for tensor in body.tensors]
        plain["chunks"] = [
            {
                "blake3": self.chunk_id(i).hex(), "length": int(self.raw_lengths[i]),
                "object": int(self.chunk_objects[i]), "offset": int(self.frame_offsets[i]),
                "stored": int(self.frame_lengths[i]), "base": int(self.bases[i]) - 1 if self.bases[i] else None,
            }
            for i in range(self.chunk_count)
        ]  # fmt: skip
        plain["objects"] = [
            {
                "root": self.root(i).hex(), "length": int(self.object_lengths[i]),
                "torrent": int(self.object_torrents[i]), "sealed_version": int(self.sealed_versions[i]),
                "sealed_epoch": int(self.sealed_epochs[i]),
            }
            for i in range(self.object_count)
        ]  # fmt: skip
        if body.model_signature is not None:
            signature = msgspec.structs.asdict(body.model_signature)
            plain["model_signature"] = {name: value.hex() for name, value in signature.items()}
        plain["torrents"] = [{"info_hash": t.info_hash.hex(), "version": t.version} for t in body.torrents]
        return plain


def pack(body: Body) -> bytes:
    """The canonical bytes of a manifest: zstd over MessagePack. Raises ``BadManifest`` when it contradicts itself."""
    Manifest(body)
    packed = msgspec.msgpack.encode(body)
    if len(packed) > MAX_PACKED:
        raise BadManifest(f"the manifest has {len(packed)} bytes, more than {MAX_PACKED}")
    return zstandard.ZstdCompressor(level=9).compress(packed)


def unpack(data: bytes) -> Manifest:
    """Parse what ``pack`` made, trusting nothing. Raises ``BadManifest``."""
    try:
        header = zstandard.get_frame_parameters(data)
        if header.content_size in (zstandard.CONTENTSIZE_UNKNOWN, zstandard.CONTENTSIZE_ERROR):
            raise BadManifest("the manifest does not say how large it is")
        if header.content_size > MAX_PACKED:
            raise BadManifest(f"the manifest claims {header.content_size} bytes, more than {MAX_PACKED}")
        # content_size is checked before this call: the library allocates what the frame declares
        packed = zstandard.ZstdDecompressor(max_window_size=1 << 27).decompress(data, allow_extra_data=False)
        body = msgspec.msgpack.decode(packed, type=Body)
    except (zstandard.ZstdError, msgspec.MsgspecError, UnicodeDecodeError) as exc:
        raise BadManifest(f"the manifest can't be read: {exc}") from exc
    return Manifest(body)


def u32(values: Sequence[int]) -> bytes:
    """A packed column of unsigned 32-bit numbers, little-endian."""
    return np.asarray(values, dtype="<u4").tobytes()


def u64(values: Sequence[int]) -> bytes:
    """A packed column of unsigned 64-bit numbers, little-endian."""
    return np.asarray(values, dtype="<u8").tobytes()


def _column(data: bytes, dtype: Any) -> Any:
    width = np.dtype(dtype).itemsize
    if len(data) % width:
        raise BadManifest("a column of the manifest is cut off")
    return np.frombuffer(data, dtype=np.dtype(dtype).newbyteorder("<"))
