"""What is inside a checkpoint file: tensors and their byte ranges, found without running anything.

``inspect`` recognises safetensors, ``torch.save`` archives and GGUF by content and returns where each
tensor's bytes lie. It never unpickles, never trusts a length, and treats whatever it cannot follow as one
opaque run of bytes, which the rest of the program shares just as exactly. Cutting those ranges into chunks
is ``checkpoint.chunking``; judging whether a file is safe to load is not done here.
"""

from __future__ import annotations

from p2pckpt.checkpoint.formats.detect import inspect
from p2pckpt.checkpoint.formats.layout import FileLayout, TensorInfo
from p2pckpt.checkpoint.formats.source import ByteSource, BytesSource

__all__ = ["ByteSource", "BytesSource", "FileLayout", "TensorInfo", "inspect"]
