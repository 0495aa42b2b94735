"""A writer for ``torch.distributed.checkpoint``: a save is published once all ranks have written their part of it.

    from p2pckpt.bridges.training.dcp import P2pckptWriter

    dcp.save(state, storage_writer=P2pckptWriter("checkpoints/step-100", name="my/run", step=100))

``async_save`` takes it, too. All ranks write to one directory that the coordinator's machine sees.
"""

from __future__ import annotations

import dataclasses
import os
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from p2pckpt.bridges.training.run import RunOptions
from p2pckpt.bridges.training.sender import SaveSender
from p2pckpt.errors import BadUsage

if TYPE_CHECKING:
    __all__ = ["P2pckptWriter"]

_INSTEAD: Final = (
    "save to a directory that all of them share and pass shared=True, or gather the state on one rank and save it there"
)
_senders: dict[tuple[str, str], SaveSender] = {}
"""By run and options: a writer is often made anew for each save, and the saves of a run take turns."""


@dataclasses.dataclass(frozen=True)
class _Rank:
    """What each rank's plan tells the coordinator, beside what to write."""

    host: str


class _Finishing:
    """The steps of a ``FileSystemWriter`` that matter here."""

    path: Path
    use_collectives: bool

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        name: str,
        step: int | None = None,
        metrics: Mapping[str, Any] | None = None,
        shared: bool = False,
        strict: bool = False,
        **options: Any,
    ) -> None:
        """Write to ``path`` and publish that to the run ``name``, with ``step`` and ``metrics``.

        A writer that is used again for another directory finds the step in its name. ``shared`` says that
        ranks on several hosts write to a directory of them all. Other keywords are those of ``Run`` and
        the writer's own. Raises ``BadUsage`` for ranks on several hosts without ``shared``: now where the launcher says
        so in ``LOCAL_WORLD_SIZE``, else with the first save, before anything is written.
        """
        run: dict[str, Any] = {key: options.pop(key) for key in RunOptions.__annotations__ if key in options}
        super().__init__(path, **options)  # type: ignore[call-arg]
        self._p2pckpt_run = name, strict, run
        self._p2pckpt_first = self.path, step, dict(metrics or {})
        self._p2pckpt_shared = shared
        local, world = (os.environ.get(key) for key in ("LOCAL_WORLD_SIZE", "WORLD_SIZE"))
        if local and world and int(local) < int(world):
            self._only_if_shared(f"{world} ranks, {local} of them on this host")

    def prepare_local_plan(self, plan: Any) -> Any:
        if not self.use_collectives and int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise BadUsage("ranks that save each for themselves (use_collectives=False) make no whole checkpoint")
        plan = super().prepare_local_plan(plan)  # type: ignore[misc]
        if plan.storage_data is None:
            plan = dataclasses.replace(plan, storage_data=_Rank(socket.gethostname()))
        return plan

    def prepare_global_plan(self, plans: Sequence[Any]) -> Any:
        hosts = {plan.storage_data.host for plan in plans if isinstance(plan.storage_data, _Rank)}
        if len(hosts) > 1:
            self._only_if_shared(f"its ranks run on {len(hosts)} hosts")
        plain = [
            dataclasses.replace(plan, storage_data=None) if isinstance(plan.storage_data, _Rank) else plan
            for plan in plans
        ]
        return super().prepare_global_plan(plain)  # type: ignore[misc]

    def finish(self, metadata: Any, results: Sequence[Sequence[Any]]) -> None:
        """On the coordinator, when every rank has written; the last act of a save is to name ``.metadata``."""
        super().finish(metadata, results)  # type: ignore[misc]
        sender = _sender(*self._p2pckpt_run)
        with sender.guard(self.path):
            self._check_that_all_is_here(results)
            path, step, metrics = self._p2pckpt_first
            own = self.path == path
            sender.send(self.path, step=step if own else None, metrics=metrics if own else None)

    def _check_that_all_is_here(self, results: Sequence[Sequence[Any]]) -> None:
        names = {write.storage_data.relative_path for rank in results for write in rank}
        missing = sorted(name for name in names if not (self.path / name).is_file())
        if missing:
            fact = (
                f"{len(missing)} files of {self.path}, such as {missing[0]}, can't be seen from {socket.gethostname()}"
            )
            raise BadUsage(f"{fact}; {_INSTEAD}")

    def _only_if_shared(self, fact: str) -> None:
        if not self._p2pckpt_shared:
            raise BadUsage(
                f"no daemon sees the whole checkpoint: {fact}; {_INSTEAD}", next_step="p2pckpt run watch DIR"
            )


if TYPE_CHECKING:

    class P2pckptWriter(_Finishing): ...


def __getattr__(name: str) -> Any:
    if name != "P2pckptWriter":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from torch.distributed.checkpoint import FileSystemWriter

    made = type(name, (_Finishing, FileSystemWriter), {"__module__": __name__, "__doc__": __doc__})
    globals()[name] = made
    return made


def _sender(name: str, strict: bool, run: dict[str, Any]) -> SaveSender:
    key = name, repr((strict, sorted(run.items())))
    if key not in _senders:
        _senders[key] = SaveSender(name, strict=strict, **run)
    return _senders[key]
