"""A finished save given to the daemon by one call: what a training script of any kind uses."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Unpack

from p2pckpt import background
from p2pckpt import config as configuration
from p2pckpt.bridges.training.run import Run, RunOptions, is_rank_zero
from p2pckpt.control.client import ControlClient, connect
from p2pckpt.control.run_messages import SaveRow, SaveState
from p2pckpt.errors import P2pckptError, VerificationFailed

_POLL: Final = 0.2
"""Seconds between two looks at a save that is waited for."""


@dataclass(frozen=True, slots=True)
class Saved:
    """A save that the daemon has taken: the trainer may delete it or write over it."""

    run: str
    """The share's name."""
    path: Path
    step: int | None
    state: SaveState
    """How far it has come; what was waited for is published or superseded."""
    version: int
    """0 until it is published."""


def save_checkpoint(
    path: str | Path,
    *,
    name: str,
    step: int | None = None,
    metrics: Mapping[str, Any] | None = None,
    wait: bool = False,
    **options: Unpack[RunOptions],
) -> Saved | None:
    """Publish the finished save at ``path``, a directory or a file, as the next version of the run ``name``.

    Returns as soon as the daemon holds a snapshot; the save is checked and published after that, or before it
    with ``wait``. ``metrics`` that are no finite numbers are left out. The other keywords are those of ``Run``.
    On ranks other than 0 nothing happens, and None is returned. A class for training loops that
    must neither wait nor fail is ``SaveSender``.

    Raises ``NotFound`` where there is no save, ``DaemonUnavailable`` and others of ``p2pckpt.errors``; with ``wait``
    also ``VerificationFailed`` for a save that is torn, incomplete or not finite.
    """
    return background.run(save_checkpoint_async(path, name=name, step=step, metrics=metrics, wait=wait, **options))


async def save_checkpoint_async(
    path: str | Path,
    *,
    name: str,
    step: int | None = None,
    metrics: Mapping[str, Any] | None = None,
    wait: bool = False,
    **options: Unpack[RunOptions],
) -> Saved | None:
    """See ``save_checkpoint``. Cancelling stops waiting; the daemon goes on with what it has."""
    run = Run(name=name, **options)
    if not is_rank_zero():
        return None
    return await hand_over(run, Path(path).absolute(), step, metrics or {}, wait=wait)


async def hand_over(run: Run, path: Path, step: int | None, metrics: Mapping[str, Any], *, wait: bool = False) -> Saved:
    """What ``save_checkpoint`` does on rank 0."""
    path = path.resolve()  # a link is another name of the save; not in a thread, which a process that ends can't start
    client = await connect(run.config or configuration.load(), start=run.start_daemon)
    try:
        row = await client.save(run.request(path, step, metrics))
        if wait:
            row = await _published(client, run.name, row)
    finally:
        await client.close()
    return Saved(run.name, path, row.step, row.state, row.version)


async def _published(client: ControlClient, name: str, row: SaveRow) -> SaveRow:
    """``row`` once nothing more happens to it. Raises what it was rejected or failed for."""
    while True:
        match row.state:
            case SaveState.PUBLISHED | SaveState.SUPERSEDED:
                return row
            case SaveState.REJECTED:
                raise VerificationFailed(f"{row.path} is no checkpoint to go back to: {row.why}", kept="earlier saves")
            case SaveState.FAILED:
                raise P2pckptError(
                    f"{row.path} was not published yet: {row.why}", kept="the save, which is tried again"
                )
        await asyncio.sleep(_POLL)
        saves = (await client.run_detail(name)).saves
        row = next((each for each in saves if (each.path, each.noticed_at) == (row.path, row.noticed_at)), row)
