"""Looking into versions without a checkout: files, tensors and ranges of bytes, fetched as they are asked for.

``GET /v1/contents/{name}`` → Contents. ``GET /v1/bytes?`` with the fields of ``ReadRequest`` → the bytes themselves,
verified chunk by chunk; an error before the first one is a ``Failure``, and later the connection breaks off.
"""

from __future__ import annotations

import msgspec


class FileInfo(msgspec.Struct, frozen=True):
    path: str
    size: int
    sha256: str
    """Hex."""
    kind: str
    executable: bool


class TensorInfo(msgspec.Struct, frozen=True):
    name: str
    dtype: str
    """As safetensors writes it: BF16, F32, …"""
    shape: tuple[int, ...]
    file: int
    """Index into ``files``; ``offset`` and ``length`` are bytes in it."""
    offset: int
    length: int


class Contents(msgspec.Struct, frozen=True):
    """One version, as its signed manifest says."""

    share_id: str
    share: str
    version: int
    version_name: str
    manifest: str
    """SHA-256 of the signed manifest, hex."""
    published_at: int
    publisher: str
    licence: str
    base_model: tuple[str, ...]
    step: int | None
    metrics: dict[str, float]
    files: tuple[FileInfo, ...]
    tensors: tuple[TensorInfo, ...]
    path: str
    """Where a checkout or the published directory is on this machine, unverified; empty without one."""


class ReadRequest(msgspec.Struct, frozen=True):
    """A range of a file of a version."""

    name: str
    """NAME[@VERSION|@TAG], with a share's id as NAME if need be, or a link."""
    path: str
    start: int = 0
    end: int | None = None
    """Exclusive; None for the file's end."""
    patience: float = 60.0
    """Seconds without a single byte after which it is given up; 0 for never."""
    ahead: int = 0
    """Bytes after ``end`` that are to be fetched, and not waited for, because they will be asked for next."""
    allow_unsafe_pickle: bool = False
    """Hand over files, too, whose pickles are dangerous or can't be followed: for who never unpickles them."""
