"""Where tensors lie in a GGUF file (versions 2 and 3, little-endian), after the specification in ggml's
docs/gguf.md.

Of the metadata short scalars are kept; lists, such as vocabularies, are stepped over.
"""

from __future__ import annotations

from math import prod
from struct import Struct

from p2pckpt.checkpoint.formats.cursor import Cursor
from p2pckpt.checkpoint.formats.dtypes import GGML_TYPES
from p2pckpt.checkpoint.formats.layout import (
    MAX_METADATA,
    MAX_NAME,
    MAX_TENSORS,
    FileLayout,
    Malformed,
    TensorInfo,
    arranged,
    short,
)
from p2pckpt.checkpoint.formats.source import ByteSource

MAGIC = b"GGUF"
MAX_HEADER = 256 << 20
"""Bytes before the data; the largest vocabularies take about 20 MB."""
MAX_ITEMS = 4_000_000
"""Strings and nested arrays that are stepped over one by one."""
MAX_PAIRS = 65_536
MAX_NESTING = 4
MAX_DIMENSIONS = 8
"""ggml itself has four; its specification leaves room."""
_DEFAULT_ALIGNMENT = 32
_MAX_ALIGNMENT = 1 << 20
_FIXED = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
"""Metadata value types of fixed size → bytes."""
_SCALARS = {kind: Struct("<" + code) for kind, code in zip(_FIXED, "BbHhIif?Qqd", strict=True)}
_UINT32, _STRING, _ARRAY = 4, 8, 9


def looks_like(start: bytes) -> bool:
    """Whether a file's first bytes are GGUF's magic number."""
    return start[:4] == MAGIC


def read_layout(source: ByteSource) -> FileLayout:
    """The layout of a GGUF file; ``Malformed`` where the header is not true of the file.

    Shapes are turned around: GGUF lists the fastest dimension first.
    """
    return _Reader(source).layout()


class _Reader:
    def __init__(self, source: ByteSource) -> None:
        self._source = source
        self._cursor = Cursor(source, start=4, limit=MAX_HEADER)
        self._items = 0
        self._alignment = _DEFAULT_ALIGNMENT
        self._metadata: dict[str, str] = {}

    def layout(self) -> FileLayout:
        cursor = self._cursor
        version = cursor.u32()
        if version not in (2, 3):
            raise Malformed(f"gguf: version {version} is not one that is known here")
        tensor_count, pair_count = cursor.u64(), cursor.u64()
        if tensor_count > MAX_TENSORS or pair_count > MAX_PAIRS:
            raise Malformed("gguf: the header claims too many entries")
        for _ in range(pair_count):
            self._pair()
        infos = [self._tensor() for _ in range(tensor_count)]
        start = -(-cursor.offset // self._alignment) * self._alignment
        names = {name for name, *_ in infos}
        if len(names) != len(infos):
            raise Malformed("gguf: two tensors have the same name")
        tensors = [self._placed(info, start) for info in infos]
        return FileLayout("gguf", arranged("gguf", tensors, self._source.size), metadata=self._metadata)

    def _pair(self) -> None:
        key = self._string()
        kind = self._cursor.u32()
        if key == b"general.alignment":
            if kind != _UINT32:
                raise Malformed("gguf: the alignment is no 32-bit number")
            self._alignment = self._cursor.u32()
            if not 0 < self._alignment <= _MAX_ALIGNMENT or self._alignment % 8:
                raise Malformed(f"gguf: {self._alignment} is no usable alignment")
        elif kind in _SCALARS:
            self._keep(key, _SCALARS[kind].unpack(self._cursor.take(_FIXED[kind]))[0])
        elif kind == _STRING:
            self._keep_text(key)
        else:
            self._skip_value(kind, 1, MAX_NESTING)

    def _keep_text(self, key: bytes) -> None:
        length = self._cursor.u64()
        if length <= MAX_METADATA:
            self._keep(key, self._cursor.take(length).decode("utf-8", "replace"))
        else:
            self._cursor.skip(length)

    def _keep(self, key: bytes, value: object) -> None:
        if len(self._metadata) < MAX_METADATA and len(key) <= MAX_METADATA:
            self._metadata[key.decode("utf-8", "replace")] = str(value)

    def _skip_value(self, kind: int, count: int, nesting: int) -> None:
        """Steps over ``count`` metadata values of one type."""
        cursor = self._cursor
        if kind in _FIXED:
            cursor.skip(_FIXED[kind] * count)
            return
        self._items += count
        if kind not in (_STRING, _ARRAY) or self._items > MAX_ITEMS or nesting == 0:
            raise Malformed("gguf: the metadata cannot be followed")
        for _ in range(count):
            if kind == _STRING:
                cursor.skip(cursor.u64())
            else:
                inner = cursor.u32()
                self._skip_value(inner, cursor.u64(), nesting - 1)

    def _string(self) -> bytes:
        length = self._cursor.u64()
        if length > MAX_NAME:
            raise Malformed("gguf: a name is too long")
        return self._cursor.take(length)

    def _tensor(self) -> tuple[str, tuple[int, ...], int, int]:
        raw = self._string()
        try:
            name = raw.decode("utf-8")
        except UnicodeDecodeError as exc:
            raise Malformed("gguf: a tensor's name is no UTF-8") from exc
        dimensions = self._cursor.u32()
        if dimensions > MAX_DIMENSIONS:
            raise Malformed(f"gguf: tensor {short(name)} claims {dimensions} dimensions")
        shape = tuple(self._cursor.u64() for _ in range(dimensions))
        return name, shape, self._cursor.u32(), self._cursor.u64()

    def _placed(self, info: tuple[str, tuple[int, ...], int, int], start: int) -> TensorInfo:
        name, shape, kind, offset = info
        if kind not in GGML_TYPES:
            raise Malformed(f"gguf: tensor {short(name)} has the unknown type {kind}")
        dtype, elements, size = GGML_TYPES[kind]
        if offset % self._alignment or (elements > 1 and (not shape or shape[0] % elements)):
            raise Malformed(f"gguf: tensor {short(name)} is not aligned")
        length = prod(shape) // elements * size
        return TensorInfo(name, dtype, shape[::-1], start + offset, length)
