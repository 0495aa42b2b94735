"""``python -m bench.xet store|restore STORE DIRECTORY``: the hub's xet client with a directory as its server.

The whole of what it does to a file before sending it: content-defined chunks, hashes, looking up what the store has,
grouping and compressing the rest. SHA-256, which the hub asks for beside it, is left out.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import hf_xet  # type: ignore[import-untyped]


def main() -> None:
    work, store, directory = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    {"store": _store, "restore": _restore}[work](store, directory)


def _store(store: Path, directory: Path) -> None:
    """Put all files of ``directory`` into ``store`` and remember their addresses beside it."""
    session = hf_xet.XetSession()
    paths = sorted(path for path in directory.rglob("*") if path.is_file())
    with session.new_upload_commit(endpoint=f"local://{store}") as commit:
        uploads = [commit.start_upload_file(str(path), sha256=hf_xet.SKIP_SHA256) for path in paths]
    found = [upload.result().xet_info for upload in uploads]
    names = [str(path.relative_to(directory)) for path in paths]
    addresses = [(name, info.hash, info.file_size) for name, info in zip(names, found, strict=True)]
    _addresses(store).write_text(json.dumps(addresses))


def _restore(store: Path, directory: Path) -> None:
    """The files stored last, into ``directory``."""
    session = hf_xet.XetSession()
    with session.new_file_download_group(endpoint=f"local://{store}") as group:
        for name, address, length in json.loads(_addresses(store).read_text()):
            group.start_download_file(hf_xet.XetFileInfo(address, length), str(directory / name))


def _addresses(store: Path) -> Path:
    return store.with_name(f"{store.name}.addresses")


if __name__ == "__main__":
    main()
