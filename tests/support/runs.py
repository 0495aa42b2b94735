"""A trainer that is none: it saves as transformers' Trainer does, file by file, and rotates."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from p2pckpt.control.run_messages import RunDetail, SaveRow, SaveState, WatchRequest

from ..unit.checkpoint.builders import torch_bytes
from .homes import Home, until
from .training import Tensors, later, safetensors, weights

ENDED = (SaveState.PUBLISHED, SaveState.REJECTED, SaveState.SUPERSEDED, SaveState.FAILED)


class Trainer:
    """Writes ``checkpoint-10``, ``checkpoint-20``, … into ``directory``."""

    def __init__(self, directory: Path, *, width: int = 128) -> None:
        self.directory = directory
        self.step = 0
        self.tensors: Tensors = weights(width=width)
        self._losses: list[dict[str, float]] = []

    def train(self) -> None:
        """Ten steps."""
        self.step += 10
        self.tensors = later(self.tensors, self.step)
        self._losses.append({"step": self.step, "loss": 100 / self.step})

    def save(self) -> Path:
        """Ten steps, and a whole checkpoint."""
        self.train()
        path = self.begin()
        self.end(path)
        return path

    def begin(self) -> Path:
        """All but what the Trainer writes last."""
        path = self.directory / f"checkpoint-{self.step}"
        path.mkdir(parents=True)
        (path / "model.safetensors").write_bytes(safetensors(self.tensors, "F32"))
        (path / "config.json").write_text(json.dumps({"model_type": "none"}))
        for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
            (path / name).write_bytes(torch_bytes())
        return path

    def end(self, path: Path) -> None:
        state = {"global_step": self.step, "epoch": self.step / 100, "log_history": self._losses}
        (path / "trainer_state.json").write_text(json.dumps(state))

    def rotate(self, keep: int) -> None:
        """Delete all but the newest ``keep``."""
        found = sorted(self.directory.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
        for path in found[:-keep]:
            shutil.rmtree(path)


async def watch(home: Home, directory: Path, name: str, **fields: object) -> None:
    """Have a directory watched."""
    fields = {"quiet": 0.2, **fields}
    await home.client.watch_run(WatchRequest(path=str(directory), name=name, **fields))  # type: ignore[arg-type]


async def ended(home: Home, run: str, *names: str) -> dict[str, SaveRow]:
    """What became of the saves of these names, once it is known of all."""
    found: dict[str, SaveRow] = {}
    problem = ""

    async def known() -> bool:
        nonlocal problem
        detail: RunDetail = await home.client.run_detail(run)
        problem = detail.run.problem
        # of several saves of one name the newest counts
        found.update({save.name: save for save in reversed(detail.saves)})
        return all(name in found and found[name].state in ENDED for name in names)

    try:
        await until(known, f"it is known what became of {', '.join(names)}")
    except AssertionError as exc:
        raise AssertionError(f"{exc}: {list(found.values())}; {problem or 'no problem is told'}") from None
    return found
