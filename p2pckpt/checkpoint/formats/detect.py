"""Which format a file has, decided by its first bytes, and the fall back to an opaque run of bytes."""

from __future__ import annotations

from p2pckpt.checkpoint.formats import gguf, safetensors, torch_zip
from p2pckpt.checkpoint.formats.layout import FileLayout, Malformed
from p2pckpt.checkpoint.formats.source import ByteSource

_READERS = (
    (torch_zip.looks_like, torch_zip.read_layout),
    (gguf.looks_like, gguf.read_layout),
    (safetensors.looks_like, safetensors.read_layout),
)


def inspect(source: ByteSource) -> FileLayout:
    """What tensors a file holds and where, judged by content alone; the name plays no part.

    Content never makes this raise: a header that contradicts itself or the file yields an ``opaque`` layout
    and one sentence in ``warnings``. Errors of ``source.read`` pass through. Reads headers and, of a
    ``torch.save`` archive, the pickle; never the tensors' bytes.
    """
    start = source.read(0, min(16, source.size))
    for looks_like, read_layout in _READERS:
        if looks_like(start):
            try:
                return read_layout(source)
            except Malformed as exc:
                return FileLayout("opaque", warnings=(f"{exc}; shared as plain bytes.",))
    return FileLayout("opaque")
