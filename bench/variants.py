"""Checkpoints and what becomes of them: the versions whose new bytes the dedup rows count. Seeded, of any size.

Everything is written from lists of ``Spec``: a tensor that keeps its spec keeps its bytes, wherever it goes.
"""

from __future__ import annotations

import json
import random
import shutil
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from bench.generate import WRITERS, Spec, Weights, _shards, model_specs

_SEED = 11
_RETRAINED, _MERGED, _TUNED = (1 << 20, 2), (1 << 20, 3), (1 << 20, 4)
"""Ends of the seeds of tensors that training changed, each training's own: versions must not have each other's."""
_HEADS_PER_KEY = 4
"""Query heads that share a key and a value head, as in current decoders."""
_TUNED_LAYERS = 0.2
"""The part of the layers, the last ones, that a frozen fine-tune trains."""

Write = Callable[[Path], None]


@dataclass(frozen=True)
class Version:
    """One way to change a checkpoint."""

    name: str
    write: Write
    raw: int
    """Bytes of its tensors."""
    changed: int = 0
    """Bytes of tensors that have other numbers than before: nobody gets around them."""
    target: float | None = None
    """New bytes, of raw."""


@dataclass(frozen=True)
class Family:
    """A first version and its changes, in the order in which they are published."""

    name: str
    first: Write
    raw: int
    versions: list[Version]


def families(size: int) -> list[Family]:
    """First versions of about ``size`` bytes: published weights in bf16, a training's state, and weights in fp32."""
    return [_moved(size), _training_state(size), _tuned(size)]


def _moved(size: int) -> Family:
    """bf16; the same numbers elsewhere."""
    specs = model_specs(size, "BF16", _SEED)
    raw = _length(specs)
    middle = len(specs) // 2
    retrained = [_changed(spec, _RETRAINED) if n == middle else spec for n, spec in enumerate(specs)]
    reordered = random.Random(_SEED).sample(specs, len(specs))
    versions = [
        Version("a header edited", lambda to: _edited(to, specs), raw, target=0.0001),
        Version("3 shards instead of 2", lambda to: _sharded(to, specs, 3), raw, target=0.0015),
        Version("torch.save instead of safetensors", lambda to: _torch(to, specs), raw, target=0.0018),
        Version("tensors reordered", lambda to: _sharded(to, reordered, 2), raw, target=0.0015),
        Version("one tensor changed", lambda to: _sharded(to, retrained, 2), raw, specs[middle].length),
    ]
    return Family("bf16", lambda to: _sharded(to, specs, 2), raw, versions)


def _training_state(size: int) -> Family:
    """fp32 weights with AdamW's two moments in one ``torch.save`` file, then the weights alone as safetensors."""
    weights = model_specs(size // 3, "F32", _SEED)
    state = list(weights)
    for number, moment in enumerate(("exp_avg", "exp_avg_sq"), start=2):
        state += [replace(spec, name=f"{moment}.{spec.name}", seed=(number, *spec.seed)) for spec in weights]
    raw = _length(weights)
    dropped = Version("optimizer dropped", lambda to: _sharded(to, weights, 1), raw, target=0.0018)
    return Family("fp32 with moments", lambda to: _torch(to, state), _length(state), [dropped])


def _tuned(size: int) -> Family:
    """fp32; some tensors trained: by LoRA on query and value projections, or the last layers alone."""
    specs = [_narrow(spec) for spec in model_specs(size * 6 // 5, "F32", _SEED)]
    layers = 1 + max(_layer(spec) for spec in specs)
    adapted = ("q_proj.weight", "v_proj.weight")
    merged = [_changed(spec, _MERGED) if spec.name.endswith(adapted) else spec for spec in specs]
    first_tuned = round(layers * (1 - _TUNED_LAYERS))
    tuned = [_changed(spec, _TUNED) if _layer(spec) >= first_tuned else spec for spec in specs]
    raw = _length(specs)
    versions = [
        Version("LoRA merged", lambda to: _sharded(to, merged, 2), raw, _difference(specs, merged), 0.115),
        Version("frozen fine-tune", lambda to: _sharded(to, tuned, 2), raw, _difference(specs, tuned), 0.174),
    ]
    return Family("fp32", lambda to: _sharded(to, specs, 2), raw, versions)


def _narrow(spec: Spec) -> Spec:
    """Keys and values as grouped attention has them."""
    if not spec.name.endswith(("k_proj.weight", "v_proj.weight")):
        return spec
    return replace(spec, shape=(spec.shape[0] // _HEADS_PER_KEY, *spec.shape[1:]))


def _layer(spec: Spec) -> int:
    """-1 outside of layers."""
    return int(spec.name.split(".")[2]) if spec.name.startswith("model.layers.") else -1


def _changed(spec: Spec, training: tuple[int, ...]) -> Spec:
    return replace(spec, seed=(*spec.seed, *training))


def _difference(specs: list[Spec], changed: list[Spec]) -> int:
    return _length([spec for spec, other in zip(specs, changed, strict=True) if spec != other])


def _length(specs: list[Spec]) -> int:
    return sum(spec.length for spec in specs)


def _sharded(directory: Path, specs: list[Spec], shards: int) -> None:
    directory.mkdir()
    for number, part in enumerate(_shards(specs, shards), start=1):
        with (directory / f"model-{number:05d}-of-{shards:05d}.safetensors").open("wb") as file:
            WRITERS["safetensors"](file, part, Weights())


def _torch(directory: Path, specs: list[Spec]) -> None:
    directory.mkdir()
    with (directory / "model.pt").open("wb") as file:
        WRITERS["torch_zip"](file, specs, Weights())


def _edited(directory: Path, specs: list[Spec]) -> None:
    """The first shard with other metadata in its header; all tensors where they were, relative to its end."""
    _sharded(directory, specs, 2)
    first = sorted(directory.iterdir())[0]
    moved = first.with_suffix(".old")
    first.rename(moved)
    with moved.open("rb") as old, first.open("wb") as new:
        (length,) = struct.unpack("<Q", old.read(8))
        header = json.loads(old.read(length))
        header["__metadata__"]["note"] = "trained a little longer"
        raw = json.dumps(header, separators=(",", ":")).encode()
        raw += b" " * (-len(raw) % 8)
        new.write(struct.pack("<Q", len(raw)) + raw)
        shutil.copyfileobj(old, new, 4 << 20)
    moved.unlink()
