"""The newest checkpoint of a run that verifies, put where its trainer resumes from."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from p2pckpt import background
from p2pckpt.api import OnProgress, ended
from p2pckpt.config import Config, load
from p2pckpt.control.client import connect
from p2pckpt.control.run_messages import RestoreRequest, Tried
from p2pckpt.errors import NotFound

_SHORTEST_ID: Final = 8
"""Digits of a share's id that are taken for it where a name is asked for."""
_log = logging.getLogger("p2pckpt.training")


@dataclass(frozen=True, slots=True)
class Restored:
    """A checkpoint that is whole and verified."""

    version: int
    step: int | None
    path: Path
    """What the trainer resumes from: a directory, or the file in it that is the whole save."""
    tried: tuple[Tried, ...]
    """Newer versions that were passed over, and why."""


def restore(
    name: str,
    *,
    to: str | Path = "",
    patience: float = 60.0,
    password: str = "",
    seed: bool = True,
    allow_nonfinite: Sequence[str] = (),
    on_progress: OnProgress | None = None,
    config: Config | None = None,
) -> Restored:
    """Put the newest version of ``name`` that verifies into ``to``; versions that don't are passed over.

    ``name`` is NAME[@VERSION] or a link. It comes from this machine or from the swarm; ``patience`` are the seconds
    without a peer or a byte after which a version counts as not to be had. ``to`` defaults to where the run saves,
    else to a directory below the working directory; what an earlier save left there makes way. ``allow_nonfinite`` are
    patterns of tensors in which infinities and NaN are no fault. One process calls this before the ranks of a training
    start.

    Raises ``NotFound`` when there is no such run or no version of it, ``BadUsage`` for a directory that holds something
    else, ``VerificationFailed`` and others of ``p2pckpt.errors`` when none can be restored.
    """
    return background.run(
        restore_async(
            name,
            to=to,
            patience=patience,
            password=password,
            seed=seed,
            allow_nonfinite=allow_nonfinite,
            on_progress=on_progress,
            config=config,
        )
    )


def last_checkpoint(
    name: str,
    *,
    to: str | Path = "",
    patience: float = 60.0,
    allow_nonfinite: Sequence[str] = (),
    config: Config | None = None,
) -> str | None:
    """The path of ``restore``, or None for a run that has nothing published yet: a training's first start.

    That is what ``Trainer.train(resume_from_checkpoint=…)`` and ``Trainer.fit(ckpt_path=…)`` take. A name that is not
    known on this machine counts as a first start, too, and a warning is logged. Raises like ``restore`` when there are
    versions and none can be restored, for a link, and for a version that is asked for by NAME@VERSION: nothing starts
    from zero by mistake.
    """
    return background.run(
        last_checkpoint_async(name, to=to, patience=patience, allow_nonfinite=allow_nonfinite, config=config)
    )


async def last_checkpoint_async(
    name: str,
    *,
    to: str | Path = "",
    patience: float = 60.0,
    allow_nonfinite: Sequence[str] = (),
    config: Config | None = None,
) -> str | None:
    """See ``last_checkpoint``."""
    try:
        found = await restore_async(name, to=to, patience=patience, allow_nonfinite=allow_nonfinite, config=config)
    except NotFound:
        if not await _is_first_start(name, config):
            raise
        return None
    return str(found.path)


async def restore_async(
    name: str,
    *,
    to: str | Path = "",
    patience: float = 60.0,
    password: str = "",
    seed: bool = True,
    allow_nonfinite: Sequence[str] = (),
    on_progress: OnProgress | None = None,
    config: Config | None = None,
) -> Restored:
    """See ``restore``. Cancelling stops waiting; the daemon goes on."""
    client = await connect(config or load())
    try:
        request = RestoreRequest(
            source=name,
            to=str(Path(to).absolute()) if to else "",
            base=str(Path.cwd()),
            patience=patience,
            password=password,
            seed=seed,
            allow_nonfinite=tuple(allow_nonfinite),
        )
        job = await ended(client, await client.restore(request), on_progress)
    finally:
        await client.close()
    result = job.restored
    assert result is not None, "a restore that ended well has a result"
    return Restored(result.version, result.step, Path(result.path), result.tried)


async def _is_first_start(name: str, config: Config | None) -> bool:
    """Whether ``name`` alone was asked for, and there is nothing of it because nothing was published yet."""
    if "@" in name or ":" in name:
        return False
    client = await connect(config or load())
    try:
        shares = await client.shares()
    finally:
        await client.close()
    is_id = len(name) >= _SHORTEST_ID
    named = [row for row in shares if row.name == name or (is_id and row.share_id.startswith(name.lower()))]
    if not named:
        _log.warning("no run %s is known on this machine: training starts from zero", name)
    return not any(row.versions for row in named)
