"""Looking into versions without a checkout: files, tensors and ranges of bytes, fetched as they are asked for.

``GET /v1/contents/{name}`` → Contents. ``GET /v1/bytes?name=&path=&start=&end=&patience=`` → the bytes themselves
(``end`` is exclusive), verified chunk by chunk; an error before the first one is a ``Failure``, and later the
connection breaks off.
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
