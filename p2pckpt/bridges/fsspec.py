"""``p2pckpt://NAME[@VERSION]/path`` for fsspec: versions as read-only directories whose files are fetched as they are
read. The file system itself is ``fsspec_files``, which needs fsspec; this door and its addresses do not."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from p2pckpt.bridges.fsspec_files import P2pckptFileSystem

__all__ = ["PROTOCOL", "P2pckptFileSystem", "split_path"]

PROTOCOL: Final = "p2pckpt"

_PINNED: Final = re.compile(r"([^@]+)@([^/@]+)(?:/(.*))?", re.DOTALL)
_ID: Final = re.compile(r"[0-9a-f]{8,64}")


def split_path(path: str, names: Collection[str]) -> tuple[str, str] | None:
    """Version (NAME[@VERSION]) and path in it, of an address without its protocol; None when no share is meant.

    A name may have slashes. ``@VERSION`` ends it; without that the longest of ``names`` counts that the address begins
    with, or else digits of a share's id.
    """
    path = path.strip("/")
    pinned = _PINNED.fullmatch(path)
    if pinned is not None and (pinned[1] in names or _ID.fullmatch(pinned[1])):
        return f"{pinned[1]}@{pinned[2]}", (pinned[3] or "").strip("/")
    parts = path.split("/")
    for count in range(len(parts), 0, -1):
        if (name := "/".join(parts[:count])) in names:
            return name, "/".join(parts[count:])
    return (parts[0], "/".join(parts[1:])) if _ID.fullmatch(parts[0]) else None


def __getattr__(name: str) -> Any:
    if name == "P2pckptFileSystem":
        from p2pckpt.bridges.fsspec_files import P2pckptFileSystem

        return P2pckptFileSystem
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
