"""A callback for transformers' ``Trainer`` and what is built on it: each checkpoint is published as it is saved.

from p2pckpt.bridges.training.transformers import P2pckptCallback

Trainer(..., callbacks=[P2pckptCallback("my/run")])
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Unpack

from p2pckpt.bridges.training.run import RunOptions
from p2pckpt.bridges.training.sender import SaveSender

if TYPE_CHECKING:
    __all__ = ["P2pckptCallback"]

_QUIET: Final = 1.0
"""Seconds without a change after which another rank's file counts as written."""
_OF_THE_MACHINE: Final = ("_runtime", "_per_second", "epoch", "step")
"""How the names of logged figures end that are no metrics."""


class _Saves:
    """The events of a ``TrainerCallback`` that matter here.

    ``on_save`` comes when the checkpoint is written and older ones were deleted for ``save_total_limit``; this one goes
    when the next has been saved, by when it was handed over.
    """

    def __init__(self, name: str, *, strict: bool = False, **options: Unpack[RunOptions]) -> None:
        """Publish to the run ``name``; the keywords are those of ``Run`` and ``SaveSender``."""
        self._sender = SaveSender(name, strict=strict, **options)

    def on_save(self, args: Any, state: Any, control: Any, **_: object) -> None:
        """``TrainingArguments``, ``TrainerState`` and ``TrainerControl``, as the trainer passes them."""
        if not state.is_world_process_zero:
            return
        output, step = Path(args.output_dir), state.global_step
        with self._sender.guard(output / f"checkpoint-{step}"):
            directory = _directory(output, f"checkpoint-{step}")
            written = _others_have_written(args, directory)
            self._sender.send(directory, step=step, metrics=_metrics(state), written=written)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: object) -> None:
        """Wait, for a minute at most, until the last checkpoint was taken."""
        if state.is_world_process_zero:
            self._sender.close()


if TYPE_CHECKING:

    class P2pckptCallback(_Saves): ...


def __getattr__(name: str) -> Any:
    if name != "P2pckptCallback":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from transformers import TrainerCallback

    made = type(name, (_Saves, TrainerCallback), {"__module__": __name__, "__doc__": __doc__})
    globals()[name] = made
    return made


def _directory(output: Path, name: str) -> Path:
    """Trials of a hyperparameter search each save below a directory of their own."""
    if (output / name).exists():
        return output / name
    trials = sorted(output.glob(f"run-*/{name}"), key=lambda path: path.stat().st_mtime)
    return trials[-1] if trials else output / name


def _metrics(state: Any) -> dict[str, Any]:
    """The newest loss, and whatever else was logged or evaluated at the very step of the save."""
    metrics: dict[str, Any] = {}
    for entry in state.log_history:
        now = entry.get("step") == state.global_step
        metrics |= {name: value for name, value in entry.items() if now or name == "loss"}
    return {name: value for name, value in metrics.items() if not name.endswith(_OF_THE_MACHINE)}


def _others_have_written(args: Any, directory: Path) -> Callable[[], bool] | None:
    """Every rank saves its random state by itself, and none waits for the others."""
    here = int(os.environ.get("LOCAL_WORLD_SIZE", args.world_size))
    if here < 2 or args.save_only_model:
        return None
    files = [directory / f"rng_state_{rank}.pth" for rank in range(here)]

    def written() -> bool:
        try:
            return all(time.time() - file.stat().st_mtime > _QUIET for file in files)
        except FileNotFoundError:
            return False

    return written
