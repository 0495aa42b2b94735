"""Small trainings by real trainers, in processes of their own, that say in a log what they do.

A training is deterministic: the same seeds, one thread, and every random number in the saves, so that what goes on from
a save computes the numbers of the training that was not interrupted. Saves take a while, because files are written in
pieces, in place, so that a kill lands in the middle of one.
"""

from __future__ import annotations

import asyncio
import dataclasses
import io
import json
import multiprocessing
import multiprocessing.process
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from .homes import DEADLINE

KINDS: Final = ("transformers", "lightning")
_FRAMEWORKS: Final = ["torch", "transformers", "accelerate", "lightning.pytorch", "tests.support.trainings"]
_WIDTH, _BATCH = 192, 8
_PIECES: Final = 8


@dataclasses.dataclass(frozen=True)
class Training:
    """What is trained, where, and until when."""

    kind: str
    out: Path
    """The directory that it saves in."""
    log: Path
    """A line of JSON for each thing that happened: ``loss`` with ``step``, ``saving``, ``saved``, ``end``."""
    steps: int = 24
    save_every: int = 4
    keep: int | None = 2
    """Saves that the trainer itself keeps."""
    resume: str = ""
    hook: str = ""
    """The run that a callback hands saves over to; empty for none."""
    home: Path | None = None
    """Of the daemon that the callback talks to."""
    step_takes: float = 0.0
    save_takes: float = 0.0
    """Seconds, at least."""
    writes_later: bool = False
    """Lightning alone: saves are written in a thread."""
    nan_at: int = 0
    """Step after which a weight is NaN."""
    permits: Path | None = None
    """Goes on after the save of a step once this directory has a file of that number; None: at once."""

    def start(self) -> multiprocessing.process.BaseProcess:
        """Begin it in a process of its own, which a server forks that has the frameworks imported."""
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(_FRAMEWORKS)
        process = context.Process(target=_main, args=(self,), name=f"training {self.out.name}")
        process.start()
        return process

    def events(self) -> list[dict[str, Any]]:
        """What the log says so far; a last line that was cut off by a kill is left out."""
        if not self.log.exists():
            return []
        return [json.loads(line) for line in self.log.read_text().splitlines(keepends=True) if line.endswith("\n")]

    def losses(self) -> dict[int, float]:
        return {event["step"]: event["loss"] for event in self.events() if "loss" in event}

    def is_saving(self) -> bool:
        """Whether it writes a save now, or did when it was killed."""
        marks = [event["what"] for event in self.events() if "what" in event]
        return bool(marks) and marks[-1] == "saving"


async def finish(training: Training) -> None:
    """Train to the end, which must come."""
    process = training.start()
    await asyncio.to_thread(process.join, 2 * DEADLINE)
    output = training.log.with_suffix(".out")
    assert process.exitcode == 0, output.read_text()[-3000:] if output.exists() else process


def _main(training: Training) -> None:
    training.out.parent.mkdir(parents=True, exist_ok=True)
    sink = os.open(training.log.with_suffix(".out"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(sink, 1)
    os.dup2(sink, 2)
    run(training)


def run(training: Training) -> None:
    """The training itself, in this process."""
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(7)
    log = _Log(training)
    {"transformers": _transformers, "lightning": _lightning}[training.kind](training, log)
    log.write(what="end")


class _Log:
    """Written to the file at once; a kill takes nothing back."""

    def __init__(self, training: Training) -> None:
        self._training = training
        training.log.parent.mkdir(parents=True, exist_ok=True)
        self._file = training.log.open("a")

    def write(self, **event: object) -> None:
        self._file.write(json.dumps(event) + "\n")
        self._file.flush()

    def save(self, data: bytes, path: Path) -> None:
        """As slow as the training asks for, in place."""
        with path.open("wb", buffering=0) as file:
            for piece in range(_PIECES):
                begin, end = (len(data) * part // _PIECES for part in (piece, piece + 1))
                file.write(data[begin:end])
                time.sleep(self._training.save_takes / _PIECES)


def _model() -> Any:
    """Dropout draws random numbers in every step."""
    from torch import nn

    return nn.Sequential(
        nn.Linear(16, _WIDTH), nn.Dropout(0.2), nn.Tanh(), nn.Linear(_WIDTH, _WIDTH), nn.Linear(_WIDTH, 1)
    )


def _loss(model: Any, rows: Any) -> Any:
    return ((model(rows)[:, 0] - rows.sum(dim=1).sin()) ** 2).mean()


def _rows(count: int, seed: int) -> Any:
    import torch

    return torch.randn(count, 16, generator=torch.Generator().manual_seed(seed))


def _after_a_step(training: Training, model: Any, step: int) -> None:
    import torch

    time.sleep(training.step_takes)
    saved = step - 1
    while training.permits is not None and saved and saved % training.save_every == 0:
        if (training.permits / str(saved)).exists():
            break
        time.sleep(0.01)
    if step == training.nan_at:
        with torch.no_grad():
            next(iter(model.parameters()))[0, 0] = float("nan")


# -- transformers


def _transformers(training: Training, log: _Log) -> None:
    import torch
    from transformers import Trainer, TrainerCallback, TrainingArguments

    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = _model()

        def forward(self, rows: Any) -> dict[str, Any]:
            return {"loss": _loss(self.layers, rows)}

    class Told(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            _after_a_step(training, model, state.global_step)

        def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **_: Any) -> None:
            if "loss" in logs:
                log.write(step=state.global_step, loss=logs["loss"])

    class Slow(Trainer):
        def _save_checkpoint(self, model: Any, trial: Any) -> None:
            log.write(what="saving", save=self.state.global_step)
            super()._save_checkpoint(model, trial)
            log.write(what="saved", save=self.state.global_step)

    whole = torch.save

    def in_pieces(what: Any, where: Any, *rest: Any, **options: Any) -> None:
        if isinstance(where, str | os.PathLike):
            memory = io.BytesIO()
            whole(what, memory, *rest, **options)
            log.save(memory.getvalue(), Path(where))
        else:
            whole(what, where, *rest, **options)

    torch.save = in_pieces  # type: ignore[assignment]
    callbacks: list[Any] = [Told()]
    if training.hook:
        from p2pckpt.bridges.training.transformers import P2pckptCallback

        callbacks.append(P2pckptCallback(training.hook, **_options(training)))
    arguments = TrainingArguments(
        str(training.out),
        max_steps=training.steps,
        save_steps=training.save_every,
        save_total_limit=training.keep,
        logging_steps=1,
        logging_nan_inf_filter=False,
        per_device_train_batch_size=_BATCH,
        learning_rate=1e-2,
        lr_scheduler_type="constant",  # the others depend on where the training ends
        seed=7,
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
    )
    model = Model()
    data = [{"rows": row} for row in _rows(10 * _BATCH, seed=3)]
    trainer = Slow(model, arguments, train_dataset=data, callbacks=callbacks)
    trainer.train(resume_from_checkpoint=training.resume or None)


# -- Lightning


class _Batches:
    """Where it stands is part of Lightning's checkpoints, because it can say and be told so.

    Its length is known, so that Lightning does not read one ahead.
    """

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._next = 0

    def __len__(self) -> int:
        return self._steps

    def __iter__(self) -> Iterator[Any]:
        while self._next < self._steps:
            self._next += 1
            yield _rows(_BATCH, seed=self._next)

    def state_dict(self) -> dict[str, int]:
        return {"next": self._next}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self._next = state["next"]


def _lightning(training: Training, log: _Log) -> None:
    import lightning.pytorch as pl
    import torch
    from lightning.pytorch.callbacks import ModelCheckpoint
    from lightning.pytorch.plugins.io import AsyncCheckpointIO, TorchCheckpointIO

    class Model(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layers = _model()
            self.random: Any = None

        def training_step(self, rows: Any, number: int) -> Any:
            if self.random is not None:
                torch.set_rng_state(self.random)
                self.random = None
            loss = _loss(self.layers, rows)
            self.log("loss", loss)
            log.write(step=self.global_step + 1, loss=loss.item())
            return loss

        def on_train_batch_end(self, *_: Any) -> None:
            _after_a_step(training, self.layers, self.global_step)

        def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
            checkpoint["random"] = torch.get_rng_state()

        def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
            self.random = checkpoint["random"]

        def configure_optimizers(self) -> Any:
            return torch.optim.AdamW(self.parameters(), lr=1e-2)

    class InPieces(TorchCheckpointIO):
        def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
            step = checkpoint["global_step"]
            log.write(what="saving", save=step)
            memory = io.BytesIO()
            torch.save(checkpoint, memory)
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            log.save(memory.getvalue(), Path(path))
            log.write(what="saved", save=step)

    saving = ModelCheckpoint(
        training.out, every_n_train_steps=training.save_every, save_top_k=-1 if training.keep is None else 1
    )
    callbacks: list[Any] = [saving]
    if training.hook:
        from p2pckpt.bridges.training.lightning import P2pckptCallback

        callbacks.append(P2pckptCallback(training.hook, **_options(training)))
    trainer = pl.Trainer(
        max_steps=training.steps,
        max_epochs=1,
        callbacks=callbacks,
        plugins=[AsyncCheckpointIO(InPieces()) if training.writes_later else InPieces()],
        logger=False,
        accelerator="cpu",
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Model(), _Batches(training.steps), ckpt_path=training.resume or None, weights_only=False)


def _options(training: Training) -> dict[str, Any]:
    if training.home is None:
        return {"start_daemon": False}
    from p2pckpt.config import load

    return {"config": load(home=training.home, environ={}, directory=Path("/")), "start_daemon": False}


if __name__ == "__main__":
    fields = json.loads(sys.argv[1])
    run(Training(**{**fields, "out": Path(fields["out"]), "log": Path(fields["log"])}))
