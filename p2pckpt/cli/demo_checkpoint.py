"""A checkpoint for the demo: a small model trained on the spot, and a fine-tune of any safetensors checkpoint.

Plain numpy, so that the demo needs nothing that the product does not need.
"""

from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

_WIDTH: Final = 1536
_CLASSES: Final = 64
_STEPS: Final = 12
_OPTIMIZER: Final = "optimizer.safetensors"
Array = npt.NDArray[Any]


def train(directory: Path, seed: int = 0) -> None:
    """Fit a three-layer network to a random teacher with Adam; save weights and optimizer state (about 60 MB)."""
    rng = np.random.default_rng(seed)
    sizes = [(784, _WIDTH), (_WIDTH, _WIDTH), (_WIDTH, _CLASSES)]
    weights = [(rng.standard_normal(size) / np.sqrt(size[0])).astype(np.float32) for size in sizes]
    first = [np.zeros_like(w) for w in weights]
    second = [np.zeros_like(w) for w in weights]
    teacher = rng.standard_normal((784, _CLASSES)).astype(np.float32)
    for step in range(1, _STEPS + 1):
        inputs = rng.standard_normal((256, 784)).astype(np.float32)
        gradients = _gradients(weights, inputs, (inputs @ teacher).argmax(1))
        for weight, gradient, m, v in zip(weights, gradients, first, second, strict=True):
            m += 0.1 * (gradient - m)
            v += 0.001 * (gradient * gradient - v)
            weight -= 1e-3 * (m / (1 - 0.9**step)) / (np.sqrt(v / (1 - 0.999**step)) + 1e-8)
    directory.mkdir(parents=True)
    names = ["encoder.weight", "hidden.weight", "head.weight"]
    _write(directory / "model.safetensors", dict(zip(names, weights, strict=True)))
    moments = {f"{n}.exp_avg": a for n, a in zip(names, first, strict=True)}
    moments |= {f"{n}.exp_avg_sq": a for n, a in zip(names, second, strict=True)}
    _write(directory / _OPTIMIZER, moments)
    (directory / "trainer_state.json").write_text(json.dumps({"step": _STEPS}) + "\n")
    (directory / "README.md").write_text("---\nlicense: apache-2.0\ntags: [demo]\n---\n# A small network\n")


def fine_tune(source: Path, target: Path, seed: int = 1) -> str:
    """Copy ``source`` and train its last floating-point tensors a little; returns the name of the file changed.

    Touches about an eighth of the largest weights file, from its end, as training the last layers does.
    """
    shutil.copytree(source, target)
    weights = [file for file in target.rglob("*.safetensors") if file.name != _OPTIMIZER]
    path = max(weights, key=lambda file: file.stat().st_size)
    rng = np.random.default_rng(seed)
    with path.open("r+b") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        header.pop("__metadata__", None)
        entries = sorted(header.values(), key=lambda entry: -int(entry["data_offsets"][0]))
        budget = path.stat().st_size // 8
        for entry in entries:
            start, end = entry["data_offsets"]
            if entry["dtype"] != "F32" or end - start > budget:
                continue
            budget -= end - start
            file.seek(8 + length + start)
            values = np.frombuffer(file.read(end - start), np.float32)
            moved = values + rng.standard_normal(values.shape).astype(np.float32) * np.float32(1e-3)
            file.seek(8 + length + start)
            file.write(moved.tobytes())
    return path.name


def _gradients(weights: list[Array], inputs: Array, labels: Array) -> list[Array]:
    """Of the cross-entropy of a network with ReLU between its layers."""
    activations = [inputs]
    for weight in weights[:-1]:
        activations.append(np.maximum(activations[-1] @ weight, 0))
    logits = activations[-1] @ weights[-1]
    error = np.exp(logits - logits.max(1, keepdims=True))
    error /= error.sum(1, keepdims=True)
    error[np.arange(len(labels)), labels] -= 1
    error /= len(labels)
    gradients: list[Array] = []
    for weight, activation in zip(reversed(weights), reversed(activations), strict=True):
        gradients.append(activation.T @ error)
        error = (error @ weight.T) * (activation > 0)
    return gradients[::-1]


def _write(path: Path, tensors: dict[str, Array]) -> None:
    """The safetensors format: length of a JSON header, the header, the bytes."""
    header: dict[str, Any] = {}
    offset = 0
    for name, tensor in tensors.items():
        end = offset + tensor.nbytes
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [offset, end]}
        offset = end
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(encoded)) + encoded)
        for tensor in tensors.values():
            file.write(tensor.tobytes())
