"""Pins between front ends and the daemon: versions that are to stay on this machine."""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from p2pckpt.errors import NotAllowed


class PinRequest(msgspec.Struct, frozen=True):
    """``POST /v1/pins`` → PinRow: keep a version here, or with ``remove`` no longer."""

    name: str
    """NAME[@VERSION|@TAG]; also the number of one that was retired."""
    remove: bool = False


class PinRow(msgspec.Struct, frozen=True):
    """A version that stays on this machine, or that stayed until now."""

    share_id: str
    share: str
    version: int
    name: str
    """Of the version; empty for none."""
    since: int
    size: int
    """Bytes of this disk that it needs; versions may need the same ones. 0 where ``retired`` is null."""
    retired: bool | None = False
    """It is offered no more; null where what is signed of its share can't be read here."""
    retired_here: bool = False
    """By this machine: once nothing pins it, it can be taken back for a day, and is deleted then."""


def pinned(share: str, versions: Collection[int], next_step: str = "") -> NotAllowed:
    """What whoever wants to delete pinned versions is told; ``next_step`` where taking the pins away is not it."""
    names = [f"{share}@v{version}" for version in sorted(versions)]
    return NotAllowed(
        f"{', '.join(names)} {'is' if len(names) == 1 else 'are'} pinned on this machine",
        kept="all that is here of it" if len(names) == 1 else "all that is here of them",
        next_step=next_step or f"p2pckpt pin --remove {names[0]}",
    )
