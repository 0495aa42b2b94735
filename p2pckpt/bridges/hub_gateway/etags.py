"""What a hub's clients know files, commits and parts of files by: pure functions of what a manifest says.

Every file is told as one in Git LFS: its identity is then its SHA-256, which the manifest signs, and not a SHA-1 over
its content, for which the file would have to be fetched before anybody could be told about it.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Final

from p2pckpt.control.read_messages import FileInfo

COMMIT_LENGTH: Final = 40
_RANGE: Final = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


def commit_of(manifest: str) -> str:
    """The commit that stands for a version: the first 40 hex digits of its manifest's SHA-256."""
    return manifest[:COMMIT_LENGTH]


def is_commit(revision: str) -> bool:
    """Whether ``revision`` is written as a whole commit; names of versions and tags may look alike, and lose."""
    return re.fullmatch("[0-9a-f]{40}", revision) is not None


def etag(file: FileInfo) -> str:
    """As in the header ``ETag``, quotes included."""
    return f'"{file.sha256}"'


def pointer(file: FileInfo) -> bytes:
    """What Git would keep in place of the file (git-lfs specification, version 1)."""
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{file.sha256}\nsize {file.size}\n".encode()


def blob_id(content: bytes) -> str:
    """Git's name of a blob."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def is_named(header: str | None, tag: str) -> bool:
    """Whether a header such as ``If-None-Match`` names ``tag``, or anything."""
    names = [name.strip().removeprefix("W/") for name in (header or "").split(",")]
    return tag in names or "*" in names


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes of a file; ``end`` is exclusive."""

    start: int
    end: int


def span_of(header: str | None, size: int) -> Span | None:
    """The part of a file of ``size`` bytes that a header ``Range`` asks for; None for all of it.

    What can't be read, and several ranges at once, count as not asked for (RFC 9110, 14.2). Raises ``ValueError`` for
    a range that has no byte of the file.
    """
    found = _RANGE.fullmatch((header or "").replace(" ", ""))
    if found is None or found[0] == "bytes=-":
        return None
    first, last = found[1], found[2]
    if not first:
        start, end = max(0, size - int(last)), size
    else:
        start, end = int(first), min(size, int(last) + 1) if last else size
        if last and int(last) < start:
            return None
    if start >= end:
        raise ValueError(header)
    return Span(start, end)
