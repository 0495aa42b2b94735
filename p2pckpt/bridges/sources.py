"""Whether a directory holds a version's files, byte for byte: what other tools are given has to be what was signed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from p2pckpt.bridges.placements import Placement, identity
from p2pckpt.control.read_messages import Contents, FileInfo

_BLOCK: Final = 1 << 20
Identity = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Found:
    """What a look at a directory found."""

    files: dict[str, Path] = field(default_factory=dict)
    """Path in the version → the file, no symbolic link."""
    identities: dict[str, Identity] = field(default_factory=dict)
    """File → what it was when it was found to be right."""
    problem: str = ""
    """The first file that is missing or differs, in words; empty when all are right."""


def look(
    contents: Contents,
    directory: Path,
    known: Mapping[str, Identity],
    threads: int,
    on_bytes: Callable[[int], None],
) -> Found:
    """Compare ``directory`` with ``contents``, by SHA-256 but for files that are as ``known`` says they were.

    ``known`` are identities of earlier looks at the same version. ``on_bytes`` is told, from several threads, how many
    bytes were read; what it raises ends the look. Blocks: reads everything once.
    """
    found = Found()
    sizes: dict[str, int] = {}
    for file in contents.files:
        try:
            path = (directory / file.path).resolve(strict=True)
            sizes[file.path] = path.stat().st_size if path.is_file() else -1
        except OSError:
            return Found(problem=f"{file.path} is not in {directory}")
        if sizes[file.path] != file.size:
            return Found(problem=f"{directory / file.path} is not the version's")
        found.files[file.path] = path
    with ThreadPoolExecutor(max_workers=max(1, threads), thread_name_prefix="hashing") as pool:
        work = [pool.submit(_check, found.files[file.path], file, known, on_bytes) for file in contents.files]
        for file, future in zip(contents.files, work, strict=True):
            try:
                now = future.result()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
            if now is None:
                pool.shutdown(cancel_futures=True)
                return Found(problem=f"{directory / file.path} is not the version's")
            found.identities[str(found.files[file.path])] = now
    return found


def still_there(found: Found) -> bool:
    """Whether no file was written to or replaced since it was looked at."""
    try:
        return all(identity(Path(path).lstat()) == was for path, was in found.identities.items())
    except OSError:
        return False


def known_of(placements: list[Placement]) -> dict[str, Identity]:
    """Identities that earlier placements of a version remember."""
    return {path: was for placement in placements for path, was in placement.sources.items()}


def _check(
    path: Path, file: FileInfo, known: Mapping[str, Identity], on_bytes: Callable[[int], None]
) -> Identity | None:
    """The file's identity if it is right, else None."""
    try:
        with path.open("rb") as source:
            before = identity(os.fstat(source.fileno()))
            if known.get(str(path)) == before:
                on_bytes(file.size)
                return before
            digest = hashlib.sha256()
            while block := source.read(_BLOCK):
                digest.update(block)
                on_bytes(len(block))
            unchanged = identity(os.fstat(source.fileno())) == before
    except OSError:
        return None
    return before if unchanged and digest.hexdigest() == file.sha256 else None
