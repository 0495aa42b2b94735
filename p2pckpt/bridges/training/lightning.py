"""A callback for Lightning's ``Trainer``: each checkpoint that a ``ModelCheckpoint`` saves is published.

    from p2pckpt.bridges.training.lightning import P2pckptCallback

    Trainer(..., callbacks=[ModelCheckpoint(...), P2pckptCallback("my/run")])

Of a save it is loggers that are told, so while a model is fitted the callback has one of its own among the trainer's.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from p2pckpt.bridges.training.run import RunOptions
from p2pckpt.bridges.training.sender import SaveSender

if TYPE_CHECKING:
    __all__ = ["P2pckptCallback"]


class _Saves:
    """The events of a ``Callback`` that matter here."""

    def __init__(self, name: str, *, strict: bool = False, **options: Unpack[RunOptions]) -> None:
        """Publish to the run ``name``; the keywords are those of ``Run`` and ``SaveSender``."""
        self._sender = SaveSender(name, strict=strict, **options)
        self._step = -1

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        """Late enough that the new logger has no say in where checkpoints are saved."""
        self._leave(trainer)
        self._step = -1
        trainer.loggers = [*trainer.loggers, _ears(lambda checkpoints: self._saved(trainer, checkpoints))]

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Wait, for a minute at most, until the last checkpoint was taken."""
        self._leave(trainer)
        if trainer.is_global_zero:
            self._sender.close()

    def _leave(self, trainer: Any) -> None:
        trainer.loggers = [each for each in trainer.loggers if not isinstance(each, _Ears)]

    def _saved(self, trainer: Any, checkpoints: Any) -> None:
        """A step that is saved twice, as with ``save_last``, is one save. Weights alone are none where another
        ``ModelCheckpoint`` saves what a training goes on from."""
        step = trainer.global_step
        with self._sender.guard(Path(f"the save of step {step}")):
            if checkpoints.save_weights_only and any(map(_saves_everything, trainer.checkpoint_callbacks)):
                return
            path = _newest(checkpoints)
            if step != self._step:
                self._step = step
                self._sender.send(path, step=step, metrics=trainer.callback_metrics, written=_after_writing(trainer))


class _Ears:
    """The part of a ``Logger`` that hears of saves, on rank 0; it logs nothing."""

    name = None
    version = None

    def __init__(self, saved: Callable[[Any], None]) -> None:
        self._saved = saved

    def after_save_checkpoint(self, checkpoint_callback: Any) -> None:
        self._saved(checkpoint_callback)

    def log_metrics(self, metrics: object, step: int | None = None) -> None:
        pass

    def log_hyperparams(self, params: object, *_: object, **__: object) -> None:
        pass


if TYPE_CHECKING:

    class P2pckptCallback(_Saves): ...


def __getattr__(name: str) -> Any:
    if name != "P2pckptCallback":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    made = type(name, (_Saves, _lightning().Callback), {"__module__": __name__, "__doc__": __doc__})
    globals()[name] = made
    return made


def _lightning() -> Any:
    """Lightning by the one of its two names that the training uses."""
    if "pytorch_lightning" in sys.modules and "lightning.pytorch" not in sys.modules:
        import pytorch_lightning

        return pytorch_lightning
    import lightning.pytorch

    return lightning.pytorch


def _ears(saved: Callable[[Any], None]) -> Any:
    return type("P2pckptEars", (_Ears, _lightning().loggers.Logger), {})(saved)


def _saves_everything(callback: Any) -> bool:
    """Whether a callback is a ``ModelCheckpoint`` that saves more than weights, if it saves."""
    saves = getattr(callback, "save_top_k", 1) or getattr(callback, "save_last", None)
    return bool(saves) and getattr(callback, "save_weights_only", None) is False


def _newest(checkpoints: Any) -> str:
    """The path that a ``ModelCheckpoint`` has just saved to."""
    saved: str = checkpoints._last_checkpoint_saved
    return saved


def _after_writing(trainer: Any) -> Callable[[], bool] | None:
    """``AsyncCheckpointIO`` writes a save after it was told of, by an executor that does one thing at a time."""
    plugin = trainer.strategy.checkpoint_io
    while plugin is not None:
        executor = getattr(plugin, "_executor", None)
        if executor is not None:
            written: Callable[[], bool] = executor.submit(lambda: None).done
            return written
        plugin = getattr(plugin, "checkpoint_io", None)
    return None
