"""The result of looking into a file: tensors with their ranges, and the rules every format's result
obeys."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import prod

from p2pckpt.checkpoint.formats.source import ByteSource

MAX_TENSORS = 1_000_000
"""Tensors one file may declare; the largest public models have well under 200,000."""
MAX_DIMENSIONS = 64
"""Dimensions one tensor may have; numpy's own ceiling."""
MAX_METADATA = 256
"""Entries of a header that are kept besides its tensors, and characters of one."""
MAX_NAME = 4096
"""Characters of one tensor's name."""


class Malformed(ValueError):
    """A file begins like a known format and then contradicts itself. The message is one sentence without a
    full stop; it never quotes more of the file than a bounded ``repr``."""


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One named run of bytes that holds numbers of one type."""

    name: str
    dtype: str
    """Canonical type: safetensors' spelling (``BF16``, ``F32``, ``I64``…) or ggml's (``Q8_0``, ``Q4_K``…);
    empty where only the range is known."""
    shape: tuple[int, ...]
    """Row-major extents, slowest dimension first, whatever order the file uses."""
    offset: int
    """First byte, counted from the start of the file."""
    length: int
    """Bytes; zero for a tensor without elements."""

    @property
    def parameters(self) -> int:
        """Number of elements: the product of the shape, 1 for a scalar."""
        return prod(self.shape)


@dataclass(frozen=True, slots=True)
class FileLayout:
    """What ``inspect`` found in one file."""

    kind: str
    """``safetensors``, ``torch_zip``, ``gguf`` or ``opaque``."""
    tensors: tuple[TensorInfo, ...] = ()
    """Sorted by offset, not overlapping, all within the file."""
    warnings: tuple[str, ...] = ()
    """Why a file that looked like a format, or a part of it, was not understood; one sentence each."""
    views: tuple[TensorInfo, ...] = ()
    """Further named tensors that read bytes which ``tensors`` already lists (tied weights, slices). They
    may overlap each other, so nothing is cut by them."""
    metadata: Mapping[str, str] = field(default_factory=dict, compare=False)
    """Short things that the header says besides (GGUF's scalars, safetensors' strings), as its author wrote them."""


def arranged(kind: str, tensors: Iterable[TensorInfo], size: int) -> tuple[TensorInfo, ...]:
    """Tensors of a file of ``size`` bytes in file order, or ``Malformed`` where ranges leave the file or
    meet."""
    ordered = tuple(sorted(tensors, key=lambda tensor: (tensor.offset, tensor.length)))
    end = 0
    for tensor in ordered:
        if tensor.offset < end:
            raise Malformed(f"{kind}: tensor {short(tensor.name)} overlaps the one before it")
        end = tensor.offset + tensor.length
        if tensor.length < 0 or end > size:
            raise Malformed(f"{kind}: tensor {short(tensor.name)} reaches past the end of the file")
    return ordered


def short(value: object) -> str:
    """A bounded, printable form of something from a file, for a ``Malformed`` message."""
    if not isinstance(value, (str, int, float, bool, bytes)):
        return type(value).__name__
    if isinstance(value, int) and value.bit_length() > 128:
        return "a huge number"
    text = ascii(value[:60] if isinstance(value, (str, bytes)) else value)
    return text if len(text) <= 80 else text[:79] + "…"


def read_at(source: ByteSource, offset: int, length: int) -> bytes:
    """``source.read``, with ``Malformed`` where a file's own numbers point outside of it."""
    if offset < 0 or length < 0 or offset + length > source.size:
        raise Malformed(f"a header points at {short(length)} bytes at {short(offset)}, which the file does not have")
    return source.read(offset, length)
