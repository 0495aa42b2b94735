"""What a save says about itself: step, epoch and metrics, read without running anything in it."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from p2pckpt.checkpoint.formats.dcp import METADATA, DcpItem, read_metadata
from p2pckpt.checkpoint.formats.layout import Malformed
from p2pckpt.checkpoint.formats.pickle_walk import MAX_BYTES, Call, PickleUnreadable
from p2pckpt.checkpoint.formats.source import ByteSource, Slice
from p2pckpt.checkpoint.formats.torch_legacy import PickleFile, read_pickle_file
from p2pckpt.checkpoint.formats.torch_names import tensors_in
from p2pckpt.checkpoint.formats.torch_zip import Archive, looks_like, read_archive
from p2pckpt.errors import P2pckptError
from p2pckpt.jobs.safety import open_source
from p2pckpt.jobs.saves import names
from p2pckpt.jobs.saves.archives import top_of
from p2pckpt.jobs.saves.finding import LIGHTNING_META
from p2pckpt.jobs.saves.formats import MAX_JSON
from p2pckpt.jobs.saves.save import Save, Writer

_STATE_FILES: Final = ("trainer_state.json", "training_state.json", "train_state.json", "state.json")
_STEPS: Final = ("global_step", "step", "iteration", "iter", "num_steps")
_EPOCHS: Final = ("epoch", "current_epoch")
_NO_METRIC: Final = frozenset([*_STEPS, *_EPOCHS, "total_flos"])
_ABOUT_SPEED: Final = ("_runtime", "_per_second", "_time")
_METRIC: Final = ("loss", "acc", "accuracy", "score", "metric", "perplexity", "ppl", "f1", "bleu", "reward")
"""How names of numbers at the top of a saved dict end if they are metrics."""
_MAX_METRICS: Final = 64
_MAX_NAME: Final = 128
_SCALARS: Final = {"F32": "<f", "F64": "<d", "F16": "<e"}


@dataclass(frozen=True, slots=True)
class Facts:
    """As its writer states it; nothing of it is verified."""

    step: int | None = None
    """Optimizer steps done."""
    epoch: float | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    """The last known value of each, finite ones alone: ``loss``, ``eval_loss``, ``val_loss``…; of evaluations, only
    what was measured at this very step, so that saves can be compared by it."""


def facts(directory: Path, save: Save) -> Facts:
    """The facts of ``save``, read from its snapshot in ``directory``. What can't be read is left out.

    What files say goes before what the name says. Pickles are followed, not executed.
    """
    named = Facts(save.step, names.epoch_in(save.name), names.metrics_in(save.name))
    try:
        found = _stated(directory, save)
    except (P2pckptError, Malformed, PickleUnreadable, OSError, EOFError):
        return named
    step = found.step if found.step is not None else named.step
    epoch = found.epoch if found.epoch is not None else named.epoch
    return Facts(step, epoch, dict([*(named.metrics | found.metrics).items()][:_MAX_METRICS]))


def _stated(directory: Path, save: Save) -> Facts:
    if save.is_file:
        with open_source(directory / save.name) as source:
            return _of_torch(source, save.name)
    if (directory / LIGHTNING_META).is_file():
        with open_source(directory / LIGHTNING_META) as source:
            return _of_torch(source, save.name)
    if save.writer is Writer.DCP or (directory / METADATA).is_file():
        return _of_dcp(directory)
    for name in _STATE_FILES:
        if (directory / name).is_file():
            return _of_json(directory / name)
    return Facts()


# -- JSON


def _of_json(path: Path) -> Facts:
    try:
        if path.stat().st_size > MAX_JSON:
            return Facts()
        state = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return Facts()
    if not isinstance(state, dict):
        return Facts()
    step, epoch = _step(state), _epoch(state)
    log = state.get("log_history")
    logged: dict[str, float] = {}
    for entry in log if isinstance(log, list) else ():
        if isinstance(entry, dict):
            logged |= {
                key: value
                for key, value in _numbers(entry)
                if not key.startswith("eval_") or entry.get("step") in (None, step)
            }
    return Facts(step, epoch, logged or dict(_plain_metrics(state)))


# -- torch


def _of_torch(source: ByteSource, name: str) -> Facts:
    is_zip = looks_like(source.read(0, min(4, source.size)))
    saved: Archive | PickleFile | None = read_archive(source) if is_zip else read_pickle_file(source)
    if saved is None:
        return Facts()
    top = top_of(saved.value)
    metrics = dict(_plain_metrics(top)) | dict(_monitored(source, saved, top.get("callbacks"), name))
    return Facts(_step(top), _epoch(top), metrics)


def _monitored(
    source: ByteSource, saved: Archive | PickleFile, callbacks: object, name: str
) -> Iterator[tuple[str, float]]:
    """What Lightning's ``ModelCheckpoint`` watches, if this is a save that it made for it, or its ``last.ckpt``.

    Other callbacks' states are in the file as well, with the score of another step.
    """
    for item in top_of(callbacks).values():
        state = top_of(item)
        monitor, scores = state.get("monitor"), top_of(state.get("best_k_models"))
        mine: list[object] = [score for path, score in scores.items() if _base(path) == name]
        if not mine and _base(state.get("last_model_path")) == name:
            mine = [state.get("current_score")]
        if not mine or not isinstance(monitor, str) or not _is_name(monitor):
            continue
        value = _scalar(source, saved, mine[0]) if isinstance(mine[0], Call) else _number(mine[0])
        if value is not None:
            yield monitor, value


def _base(path: object) -> str:
    return path.rpartition("/")[2] if isinstance(path, str) else ""


def _scalar(source: ByteSource, saved: Archive | PickleFile, item: Call) -> float | None:
    """The number in a tensor of one element."""
    for tensor in tensors_in(item):
        place, code = saved.ranges.get(tensor.storage.key), _SCALARS.get(tensor.dtype, "")
        size = struct.calcsize(code)
        if place is None or not code or (tensor.offset + 1) * size > place[1]:
            return None
        return _number(struct.unpack(code, source.read(place[0] + tensor.offset * size, size))[0])
    return None


# -- torch.distributed.checkpoint


def _of_dcp(directory: Path) -> Facts:
    with open_source(directory / METADATA) as source:
        if source.size > MAX_BYTES:
            return Facts()
        metadata = read_metadata(source.read(0, source.size))
    wanted = {item.name.rpartition(".")[2]: item for item in metadata.items if item.name in metadata.objects}
    top: dict[str, object] = {
        key: value
        for key in (*_STEPS, *_EPOCHS)
        if (item := wanted.get(key)) is not None and (value := _object(directory, item)) is not None
    }
    return Facts(_step(top), _epoch(top))


def _object(directory: Path, item: DcpItem) -> object:
    """What was saved under a name that is no tensor's."""
    if not item.plain or "/" in item.file or item.file.startswith("..") or item.length > 1 << 20:
        return None
    with open_source(directory / item.file) as source:
        if item.offset + item.length > source.size:
            return None
        archive = read_archive(Slice(source, item.offset, item.length))
        return archive.value if archive is not None else None


# -- values


def _step(state: Mapping[str, object]) -> int | None:
    values = (state.get(key) for key in _STEPS)
    return next((value for value in values if type(value) is int and 0 <= value < 1 << 53), None)


def _epoch(state: Mapping[str, object]) -> float | None:
    return next((value for key in _EPOCHS if (value := _number(state.get(key))) is not None), None)


def _plain_metrics(state: Mapping[str, object]) -> Iterator[tuple[str, float]]:
    inner = state.get("metrics")
    yield from _numbers(inner if isinstance(inner, dict) else top_of(inner))
    for key, value in _numbers(state):
        if key.lower().rpartition("_")[2] in _METRIC:
            yield key, value


def _numbers(state: Mapping[str, object]) -> Iterator[tuple[str, float]]:
    for key, value in state.items():
        number = _number(value)
        if number is not None and _is_name(key) and key not in _NO_METRIC and not key.endswith(_ABOUT_SPEED):
            yield key, number


def _number(value: object) -> float | None:
    if type(value) not in (int, float) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None


def _is_name(key: object) -> bool:
    return isinstance(key, str) and 0 < len(key) <= _MAX_NAME and key.isprintable()
