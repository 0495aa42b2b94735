"""The Python API: the same jobs as the CLI, through the same daemon.

``share`` and ``get`` block; ``share_async`` and ``get_async`` are for code with a loop of its own. All of them raise
the exceptions of ``p2pckpt.errors``. A callback gets the job whenever it changed, at most ten times a second, in a
thread of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from p2pckpt import background
from p2pckpt.config import Config, load
from p2pckpt.control.client import ControlClient, connect, error_of
from p2pckpt.control.messages import FetchRequest, Job, JobChanged, Snapshot
from p2pckpt.control.publish_messages import PublishRequest
from p2pckpt.errors import DaemonUnavailable
from p2pckpt.tracker_protocol import Visibility

OnProgress = Callable[[Job], None]


@dataclass(frozen=True, slots=True)
class Shared:
    """A published version, seeded by the daemon from now on."""

    share: str
    """The share's name."""
    version: int
    link: str
    """What to send to others; carries a secret unless the share is public. Empty when only an owner can make one."""
    size: int
    """Raw bytes of the files."""
    stored: int
    """Bytes that this version added to the swarm."""
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Received:
    """A complete, verified checkout."""

    share: str
    version: int
    path: Path
    """Directory with the files."""
    size: int
    """Raw bytes of the files."""
    fetched: int
    """Bytes that came over the network."""
    warnings: tuple[str, ...]


def share(
    directory: str | Path,
    *,
    name: str = "",
    version_name: str = "",
    to: Visibility | str = Visibility.LINK,
    tags: Sequence[str] = (),
    delta: bool = False,
    step: int | None = None,
    metrics: dict[str, float] | None = None,
    allow_no_licence: bool = False,
    allow_unsafe_pickle: bool = False,
    on_progress: OnProgress | None = None,
    config: Config | None = None,
) -> Shared:
    """Publish ``directory`` as a new version of the share ``name`` (default: the directory's name) and seed it.

    ``to`` is ``members``, ``link`` or ``public`` and counts for a new share only. With ``delta`` tensors are stored as
    differences to those of the newest whole version where that is smaller. ``step`` and ``metrics`` are kept
    in the signed manifest. With ``allow_unsafe_pickle`` pickles are published that import unknown names; dangerous ones
    never are. Raises ``BadUsage`` for what can't travel, ``UnsafeContent``, ``NoSpace``, ``TrackerUnreachable`` and
    others of ``p2pckpt.errors``; nothing is published then.
    """
    return background.run(
        share_async(
            directory,
            name=name,
            version_name=version_name,
            to=to,
            tags=tags,
            delta=delta,
            step=step,
            metrics=metrics,
            allow_no_licence=allow_no_licence,
            allow_unsafe_pickle=allow_unsafe_pickle,
            on_progress=on_progress,
            config=config,
        )
    )


def get(
    source: str,
    *,
    to: str | Path = "",
    only: Sequence[str] = (),
    seed: bool = True,
    password: str = "",
    allow_unsafe_pickle: bool = False,
    accept_licence: str = "",
    on_progress: OnProgress | None = None,
    config: Config | None = None,
) -> Received:
    """Fetch a link, or ``NAME[@VERSION]`` of a share joined before, into a directory, verified chunk by chunk.

    ``to`` defaults to a directory named after share and version in the working directory; ``only`` takes globs or
    ``weights``; ``accept_licence`` is the licence you accept where an owner asks for that. Goes on where an earlier
    call, killed or not, ended. Waits while nobody seeds. What holds dangerous pickles is handed over only with
    ``allow_unsafe_pickle``. Raises ``NotAllowed``, ``VerificationFailed``, ``UnsafeContent``, ``UntrustedKey``,
    ``NoSpace`` and others of ``p2pckpt.errors``.
    """
    return background.run(
        get_async(
            source,
            to=to,
            only=only,
            seed=seed,
            password=password,
            allow_unsafe_pickle=allow_unsafe_pickle,
            accept_licence=accept_licence,
            on_progress=on_progress,
            config=config,
        )
    )


async def share_async(
    directory: str | Path,
    *,
    name: str = "",
    version_name: str = "",
    to: Visibility | str = Visibility.LINK,
    tags: Sequence[str] = (),
    delta: bool = False,
    step: int | None = None,
    metrics: dict[str, float] | None = None,
    allow_no_licence: bool = False,
    allow_unsafe_pickle: bool = False,
    on_progress: OnProgress | None = None,
    config: Config | None = None,
) -> Shared:
    """See ``share``. Cancelling stops waiting; the daemon goes on."""
    client = await connect(config or load())
    try:
        request = PublishRequest(
            path=str(Path(directory).absolute()),
            name=name,
            version_name=version_name,
            to=Visibility(to),
            tags=tuple(tags),
            delta=delta,
            step=step,
            metrics=metrics or {},
            allow_no_licence=allow_no_licence,
            allow_unsafe_pickle=allow_unsafe_pickle,
        )
        job = await ended(client, await client.publish(request), on_progress)
    finally:
        await client.close()
    return Shared(job.share, job.version, job.link, job.size, job.wire_done, job.warnings)


async def get_async(
    source: str,
    *,
    to: str | Path = "",
    only: Sequence[str] = (),
    seed: bool = True,
    password: str = "",
    allow_unsafe_pickle: bool = False,
    accept_licence: str = "",
    on_progress: OnProgress | None = None,
    config: Config | None = None,
) -> Received:
    """See ``get``. Cancelling stops waiting; the daemon goes on."""
    client = await connect(config or load())
    try:
        request = FetchRequest(
            source=source,
            to=str(Path(to).absolute()) if to else "",
            base=str(Path.cwd()),
            only=tuple(only),
            seed=seed,
            password=password,
            allow_unsafe_pickle=allow_unsafe_pickle,
            accept_licence=accept_licence,
        )
        job = await ended(client, await client.fetch(request), on_progress)
    finally:
        await client.close()
    return Received(job.share, job.version, Path(job.path), job.size, job.wire_done, job.warnings)


async def ended(client: ControlClient, job: Job, on_progress: OnProgress | None) -> Job:
    """The job when it ended; raises what it failed with. ``on_progress`` is called as for ``share``."""
    async for event in client.events():
        jobs = event.jobs if isinstance(event, Snapshot) else (event.job,) if isinstance(event, JobChanged) else ()
        for changed in jobs:
            if changed.id != job.id:
                continue
            if on_progress is not None:
                on_progress(changed)
            if changed.failure is not None:
                raise error_of(changed.failure)
            if changed.state.ended:
                return changed
    raise DaemonUnavailable("the daemon went away", next_step="p2pckpt daemon start")
