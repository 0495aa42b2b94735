"""``python -m bench.file_zipnn pack|unpack SOURCE TARGET``: ZipNN on a whole file of bf16, in two threads.

As its own script does it, with what makes bf16 smallest; tensors and header go through it in one piece.
"""

from __future__ import annotations

import sys
from pathlib import Path

from zipnn import ZipNN  # type: ignore[import-untyped]


def main() -> None:
    work, source, target = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    coder = ZipNN(bytearray_dtype="bfloat16", threads=2, compression_chunk=128 << 10)
    data = bytearray(source.read_bytes())
    target.write_bytes(coder.compress(data) if work == "pack" else coder.decompress(data))


if __name__ == "__main__":
    main()
