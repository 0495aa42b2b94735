"""Small checkpoint files in memory, right and wrong ones, for the tests of formats, chunking and
fuzzing."""

from __future__ import annotations

import hashlib
import io
import json
import struct
import zipfile
from collections.abc import Mapping

from bench.generate import Spec, Weights, write_gguf, write_safetensors, write_torch_zip
from p2pckpt.checkpoint.formats import BytesSource, FileLayout, inspect

SMALL = [
    Spec("embed.weight", "F32", (96, 64), (7, 0)),
    Spec("layer.0.norm", "F32", (64,), (7, 1)),
    Spec("layer.0.weight", "F32", (64, 64), (7, 2)),
]
QUANTISED = [
    Spec("token_embd.weight", "Q8_0", (8, 64), (7, 3)),
    Spec("output_norm.weight", "F32", (33,), (7, 4)),
    Spec("output.weight", "F16", (3, 5), (7, 5)),
]


def safetensors_bytes(specs: list[Spec] | None = None) -> bytes:
    file = io.BytesIO()
    write_safetensors(file, SMALL if specs is None else specs, Weights())
    return file.getvalue()


def torch_bytes(specs: list[Spec] | None = None) -> bytes:
    file = io.BytesIO()
    write_torch_zip(file, SMALL if specs is None else specs, Weights())
    return file.getvalue()


def gguf_bytes(specs: list[Spec] | None = None) -> bytes:
    file = io.BytesIO()
    write_gguf(file, QUANTISED if specs is None else specs, Weights())
    return file.getvalue()


def with_header(header: object, data: bytes = b"", *, length: int | None = None) -> bytes:
    """A safetensors file around any header, given as bytes or as something for JSON."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw) if length is None else length) + raw + data


def zip_bytes(members: Mapping[str, bytes], compression: int = zipfile.ZIP_STORED, comment: bytes = b"") -> bytes:
    """An ordinary zip archive, written by the standard library."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        archive.comment = comment
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data, compression)
    return file.getvalue()


def layout_of(data: bytes) -> FileLayout:
    return inspect(BytesSource(data))


def noise(length: int, seed: int = 0) -> bytes:
    return hashlib.shake_256(bytes([seed % 251])).digest(length)
