"""Whether anything is missing from a save: shards, ranks, tensors of an index, parts of the run's state."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Final

from p2pckpt.checkpoint.formats.dcp import is_metadata
from p2pckpt.checkpoint.formats.layout import short
from p2pckpt.jobs.saves.finding import TRAINER_STATE
from p2pckpt.jobs.saves.formats import Looked
from p2pckpt.jobs.saves.names import is_of_a_rank
from p2pckpt.jobs.saves.report import Report
from p2pckpt.jobs.saves.save import Writer
from p2pckpt.jobs.saves.shape import Role, Shape

_OF_MANY: Final = re.compile(r"(.*?)(\d{1,6})-of-(\d{1,6})(.*)")
_RANKS: Final = re.compile(r"(.*(?:rng_state|random_states|dl_state_dict)_)(\d{1,6})(\.\w+)")
_MAX_SHARDS: Final = 100_000
_MAX_NAMED: Final = 5
_SKEW: Final = 5_000_000_000
"""Nanoseconds by which the clocks of several hosts may differ."""
_NAMES: Final = {
    Role.WEIGHTS: "weights",
    Role.OPTIMIZER: "state of the optimizer",
    Role.SCHEDULER: "state of the learning rate's scheduler",
    Role.SCALER: "state of the gradient scaler",
    Role.RNG: "state of the random number generators",
    Role.DATALOADER: "state of the data loader",
    Role.CONFIG: "configuration of the model",
    Role.PROGRESS: "state of the trainer",
}


def check_series(paths: Iterable[str], report: Report) -> None:
    """Files that are counted, ``model-00001-of-00004.safetensors`` or ``rng_state_3.pth``, are all there."""
    series: dict[tuple[str, str, int], set[int]] = defaultdict(set)
    ranks: dict[tuple[str, str], set[int]] = defaultdict(set)
    for path in paths:
        if match := _OF_MANY.fullmatch(path):
            series[match[1], match[4], int(match[3])].add(int(match[2]))
        elif match := _RANKS.fullmatch(path):
            ranks[match[1], match[3]].add(int(match[2]))
    for (start, end, count), numbers in series.items():
        first = 0 if 0 in numbers else 1
        if count <= _MAX_SHARDS and (missing := set(range(first, first + count)) - numbers):
            report.problem(
                f"{start}*-of-{count}{end}", f"{len(missing):,} of {count:,} files are missing: {_some(missing)}"
            )
    for (start, end), numbers in ranks.items():
        if max(numbers) < _MAX_SHARDS and (missing := set(range(max(numbers))) - numbers):
            report.problem(f"{start}*{end}", f"ranks are missing: {_some(missing)}")


def check_order(writer: Writer, times: Mapping[str, int], report: Report) -> None:
    """What the writer writes last is not older than the rest: a save half written over a whole one is two in one.

    ``times`` are those of the files' last changes, in nanoseconds.
    """
    marks = [path for path in times if (path == TRAINER_STATE if writer is Writer.TRANSFORMERS else is_metadata(path))]
    if writer not in (Writer.TRANSFORMERS, Writer.DCP) or not marks:
        return
    last = max(times[path] for path in marks)
    late = [path for path, time in times.items() if time > last + _SKEW and not is_of_a_rank(path)]
    for path in late[:_MAX_NAMED]:
        report.problem(path, f"it is newer than {marks[0]}, which is written last, so it belongs to another save")


def check_weight_maps(looked: Mapping[str, Looked], report: Report) -> None:
    """Every shard that an index names is there, and has every tensor that the index says it has."""
    for path, found in looked.items():
        if not path.endswith(".json") or ".index." not in path or not isinstance(found.json, dict):
            continue
        weight_map = found.json.get("weight_map")
        if not isinstance(weight_map, dict):
            report.problem(path, "it has no weight_map")
            continue
        shards: dict[str, list[str]] = defaultdict(list)
        for tensor, shard in weight_map.items():
            shards[str(shard)].append(tensor)
        parent = path[: path.rfind("/") + 1]
        for shard, tensors in sorted(shards.items()):
            _shard(parent, shard, tensors, looked, report)


def _shard(parent: str, shard: str, tensors: list[str], looked: Mapping[str, Looked], report: Report) -> None:
    there = looked.get(parent + shard)
    if there is None:
        report.problem(parent, f"the shard {short(shard)} is missing")
        return
    if not there.names:
        return  # unreadable, which was said, or by names that are not known
    for tensor in tensors:
        if tensor not in there.names:
            report.tensor(parent + shard, tensor, "is named by the index, and is not in it")


def check_parts(
    writer: Writer, looked: Mapping[str, Looked], shape: Shape, before: Shape | None, report: Report
) -> None:
    """The parts that the writer always writes are there, and those that the save before had."""
    if writer is Writer.TRANSFORMERS:
        _transformers(looked, shape, before, report)
    if writer is Writer.FILES and "optimizer.bin" in looked and not shape.count(Role.RNG):
        report.problem("", f"there is no {_NAMES[Role.RNG]}, which accelerate writes last")
    if before is None:
        return
    for role, count in before.parts:
        if not shape.count(role):
            report.problem("", f"there is no {_NAMES[role]}; the save before had it")
        elif role is Role.RNG and shape.count(role) < count:
            report.warn(
                "", f"random number generators of {shape.count(role)} ranks; the save before had those of {count}"
            )


def _transformers(looked: Mapping[str, Looked], shape: Shape, before: Shape | None, report: Report) -> None:
    """The rules of ``Trainer._save_checkpoint`` (5.24): all of the state, or weights alone with ``save_only_model``."""
    state = looked.get(TRAINER_STATE)
    if state is None:
        report.problem(TRAINER_STATE, "it is missing; the trainer writes it last, so the save was not finished")
    elif isinstance(state.json, dict) and type(state.json.get("global_step")) is not int:
        report.problem(TRAINER_STATE, "it has no global_step")
    if not shape.count(Role.WEIGHTS):
        report.problem("", "there are no weights")
    if before is not None:
        return
    deep = any("/" in path for path in looked)  # DeepSpeed and FSDP keep some of it in directories of their own
    expected = (Role.OPTIMIZER, Role.RNG) if deep else (Role.OPTIMIZER, Role.SCHEDULER, Role.RNG)
    if any(shape.count(role) for role in expected):
        for role in expected:
            if not shape.count(role):
                report.problem("", f"there is no {_NAMES[role]}, which the trainer writes with the rest")


def _some(numbers: set[int]) -> str:
    shown = ", ".join(str(number) for number in sorted(numbers)[:_MAX_NAMED])
    return shown + (", …" if len(numbers) > _MAX_NAMED else "")
