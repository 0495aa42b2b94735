"""Which relative paths a checkpoint may contain. Applied when publishing and again before anything is
written.

The principle: a path must mean the same file, and only that file, on every system that people restore on.
So what leaves its directory, what a system takes for a device, stream or drive, what it silently renames (a
trailing dot or space), and what displays as another name are refused; a name that some system merely cannot
create is not. The colon falls under streams and drives (``file:stream``, ``C:``).

Only strings are judged here; opening files without following links is the writer's part.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from typing import Final

from p2pckpt.checkpoint.terminal_text import clean, is_bidi_control, is_zero_width
from p2pckpt.errors import VerificationFailed

MAX_PATH = 4096
"""Bytes of UTF-8 in a whole path (Linux' ``PATH_MAX``)."""
MAX_PART = 255
"""Bytes of UTF-8 in one part (``NAME_MAX`` of common file systems)."""
MAX_PARTS = 128
"""Parts of a path: what walks, makes and removes directories may recurse into them."""

REPLACED: Final = ".p2pckpt-replaced"
"""Directory in a checkout where files that had to make way are kept; it never travels."""

_DEVICES = frozenset(
    ["con", "prn", "aux", "nul", "conin$", "conout$"]
    + [f"{port}{number}" for port in ("com", "lpt") for number in "0123456789¹²³"]
)
"""Windows device names; they mean the device in every directory and with any extension."""


class UnsafePath(VerificationFailed):
    """A path that could be written elsewhere, hide, or turn into another one."""


def check_path(path: str) -> str:
    """``path`` itself, if it is a safe relative POSIX path of a file or directory; else ``UnsafePath``."""
    problem = _problem(path)
    if problem:
        raise UnsafePath(f"The path {_shown(path)} {problem}.", next_step="Rename it and publish again.")
    return path


def check_paths(paths: Iterable[str]) -> None:
    """Checks every path, and that no two of them meet on any file system; ``UnsafePath`` otherwise.

    A path that ends in ``/`` is a directory, any other a file. Two names meet when they are equal up to
    case, Unicode normalisation and zero-width characters; a file and a directory may not share a name, and
    nothing may be listed twice.
    """
    listed: set[str] = set()
    seen: dict[str, tuple[str, bool]] = {}
    for entry in paths:
        path = check_path(entry.removesuffix("/"))
        if path in listed:
            raise UnsafePath(f"The path {_shown(path)} is listed twice.")
        listed.add(path)
        at = path.find("/")
        while at >= 0:
            _meet(path[:at], True, seen)
            at = path.find("/", at + 1)
        _meet(path, entry.endswith("/"), seen)


def _problem(path: str) -> str:
    """Why a path is refused, as the rest of a sentence; empty where it is not."""
    try:
        size = len(path.encode("utf-8"))
    except UnicodeEncodeError:
        return "is no valid Unicode"
    if size > MAX_PATH:
        return f"is longer than {MAX_PATH} bytes"
    if not path or path.startswith("/"):
        return "is not relative"
    parts = path.split("/")
    if len(parts) > MAX_PARTS:
        return f"has more than {MAX_PARTS} parts"
    for part in parts:
        problem = _part_problem(part)
        if problem:
            return problem
    return ""


def _part_problem(part: str) -> str:
    if part in ("", ".", ".."):
        return "has an empty, '.' or '..' part"
    if "\\" in part or ":" in part:
        return "contains a backslash or a colon, which mean a directory, drive or stream on Windows"
    if part[-1] in ". ":
        return "has a part that ends in a dot or a space, which Windows drops"
    if len(part.encode("utf-8")) > MAX_PART:
        return f"has a part longer than {MAX_PART} bytes"
    if part.split(".")[0].rstrip(" ").lower() in _DEVICES:
        return "has a part that Windows takes for a device"
    for character in part:
        if unicodedata.category(character) in ("Cc", "Zl", "Zp") or is_bidi_control(character):
            return "contains a control character"
    return ""


def _meet(path: str, is_directory: bool, seen: dict[str, tuple[str, bool]]) -> None:
    earlier, was_directory = seen.setdefault(_folded(path), (path, is_directory))
    if earlier != path:
        raise UnsafePath(f"The paths {_shown(earlier)} and {_shown(path)} can be one file on some systems.")
    if was_directory != is_directory:
        raise UnsafePath(f"The path {_shown(path)} is both a file and a directory.")


def _shown(path: str) -> str:
    return clean(ascii(path), 120)


def _folded(path: str) -> str:
    visible = "".join(character for character in path if not is_zero_width(character))
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", visible).casefold())
