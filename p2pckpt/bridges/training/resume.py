"""The newest checkpoint of a run that verifies, put where its trainer resumes from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from p2pckpt import background
from p2pckpt.api import OnProgress, ended
from p2pckpt.config import Config, load
from p2pckpt.control.client import connect
from p2pckpt.control.run_messages import RestoreRequest, Tried
from p2pckpt.errors import NotFound


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
    on_progress: OnProgress | None = None,
    config: Config | None = None,
) -> Restored:
    """Put the newest version of ``name`` that verifies into ``to``; versions that don't are passed over.

    ``name`` is NAME[@VERSION] or a link. It comes from this machine or from the swarm; ``patience`` are the seconds
    without a peer or a byte after which a version counts as not to be had. ``to`` defaults to where the run saves,
    else to a directory below the working directory. One process calls this before the ranks of a training start.

    Raises ``NotFound`` when there is no such run or no version of it, ``VerificationFailed``, ``NoSeeds`` and others of
    ``p2pckpt.errors`` when none can be restored.
    """
    return background.run(
        restore_async(
            name, to=to, patience=patience, password=password, seed=seed, on_progress=on_progress, config=config
        )
    )


def last_checkpoint(
    name: str, *, to: str | Path = "", patience: float = 60.0, config: Config | None = None
) -> str | None:
    """The path of ``restore``, or None for a run that has nothing published yet: a training's first start.

    That is what ``Trainer.train(resume_from_checkpoint=…)`` and ``Trainer.fit(ckpt_path=…)`` take. Raises like
    ``restore`` when there are versions and none can be restored: nothing starts from zero by mistake.
    """
    try:
        return str(restore(name, to=to, patience=patience, config=config).path)
    except NotFound:
        return None


async def restore_async(
    name: str,
    *,
    to: str | Path = "",
    patience: float = 60.0,
    password: str = "",
    seed: bool = True,
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
        )
        job = await ended(client, await client.restore(request), on_progress)
    finally:
        await client.close()
    result = job.restored
    assert result is not None, "a restore that ended well has a result"
    return Restored(result.version, result.step, Path(result.path), result.tried)
