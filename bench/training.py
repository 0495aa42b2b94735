"""Checkpoints of a real, small training run: steps apart, optimizer moments, two fine-tunes and a LoRA merge.

A byte-level transformer of 5.7 million parameters learns the standard library's top-level modules with AdamW (β .9 and
.95, rate 3e-4 after 50 steps of warm-up, then a cosine down to a tenth at step 500), in fp32 as training does; every
file is kept in fp32 and as the bf16 that would be published. Step 300 lies in the middle of the schedule, at half the
highest rate: what steps cost depends on it. Seeds are fixed; the corpus is this interpreter's own, so figures move a
little with the Python version. Two to three minutes on two cores, once: what is there is used again, so whoever changes
this module deletes it.
"""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

WIDTH, LAYERS, HEADS, CONTEXT, BATCH = 256, 7, 4, 64, 8
FIRST = 300
"""The step that everything is compared with."""
DISTANCES = (1, 10, 100)
_RATE, _WARM_UP, _PLANNED = 3e-4, 50, 500
_FINE_STEPS, _FULL_RATE = 100, 2e-5
_HEAD_RATE, _LORA_RATE, _RANK = 1e-4, 1e-4, 8
_OTHER_PACKAGES = ("asyncio", "email", "unittest", "xml")
"""What fine-tunes learn; the first training has not seen it."""

FROZEN, FULL, LORA = "fine-tune-frozen", "fine-tune-full", "fine-tune-lora"
FIRST_MOMENT, SECOND_MOMENT = "exp-avg", "exp-avg-sq"


def step(distance: int) -> str:
    """The name of the checkpoint so many steps after the first."""
    return f"step-{FIRST + distance}"


def checkpoint(directory: Path, name: str, dtype: str) -> Path:
    """The file of a checkpoint as ``F32`` or ``BF16``."""
    return directory / f"{name}-{dtype.lower()}.safetensors"


def moments(directory: Path, distance: int, name: str) -> Path:
    """The file of the first or second moments so many steps after the first; fp32 only."""
    return checkpoint(directory, f"{step(distance)}-{name}", "F32")


def make(directory: Path) -> None:
    """Fill ``directory`` with all checkpoints, unless that was done before."""
    done = directory / "complete"
    if done.exists():
        return
    directory.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(min(2, os.cpu_count() or 1))
    library = Path(os.__file__).parent
    corpus = _bytes_of(sorted(library.glob("*.py")))
    other = _bytes_of(sorted(path for package in _OTHER_PACKAGES for path in library.glob(f"{package}/**/*.py")))
    model = _train(directory, corpus)
    for name, rate, trained in (
        (FROZEN, _HEAD_RATE, (f"blocks.{LAYERS - 1}.", "norm.", "head.")),
        (FULL, _FULL_RATE, ("",)),
    ):
        tuned = copy.deepcopy(model)
        for key, parameter in tuned.named_parameters():
            parameter.requires_grad = key.startswith(trained)
        _fit(tuned, other, rate)
        _save(directory, name, tuned.state_dict())
    tuned = copy.deepcopy(model)
    _fit(tuned, other, _LORA_RATE, adapters=_adapters(tuned))
    _save(directory, LORA, _merged(tuned))
    done.touch()


class _Block(nn.Module):
    """Attention and a feed-forward layer, each behind a norm and beside the residual stream."""

    def __init__(self) -> None:
        super().__init__()
        self.attention_norm, self.mlp_norm = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.query, self.key = nn.Linear(WIDTH, WIDTH, bias=False), nn.Linear(WIDTH, WIDTH, bias=False)
        self.value, self.output = nn.Linear(WIDTH, WIDTH, bias=False), nn.Linear(WIDTH, WIDTH, bias=False)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH, bias=False), nn.Linear(4 * WIDTH, WIDTH, bias=False)

    def forward(self, stream: Tensor) -> Tensor:
        batch, length, _ = stream.shape
        normed = self.attention_norm(stream)
        query, key, value = (
            layer(normed).view(batch, length, HEADS, -1).transpose(1, 2) for layer in (self.query, self.key, self.value)
        )
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        stream = stream + self.output(mixed.transpose(1, 2).reshape(batch, length, WIDTH))
        widened: Tensor = self.down(functional.gelu(self.up(self.mlp_norm(stream))))
        return stream + widened


class _Model(nn.Module):
    """Bytes in, logits of the next byte out."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.positions = nn.Embedding(256, WIDTH), nn.Embedding(CONTEXT, WIDTH)
        self.blocks = nn.ModuleList(_Block() for _ in range(LAYERS))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 256, bias=False)
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.normal_(parameter, std=0.02)

    def forward(self, text: Tensor) -> Tensor:
        stream = self.embedding(text) + self.positions(torch.arange(text.shape[1]))
        for block in self.blocks:
            stream = block(stream)
        logits: Tensor = self.head(self.norm(stream))
        return logits


class _Adapted(nn.Module):
    """A frozen linear layer plus a product of two thin matrices, which is zero when training begins (LoRA).

    First values and scale are the PEFT library's defaults: uniform in ±1/√width, α equal to the rank.
    """

    def __init__(self, frozen: nn.Linear) -> None:
        super().__init__()
        self.weight = frozen.weight
        self.thin = nn.Parameter((2 * torch.rand(_RANK, frozen.in_features) - 1) / frozen.in_features**0.5)
        self.tall = nn.Parameter(torch.zeros(frozen.out_features, _RANK))

    def merged(self) -> Tensor:
        """The weight with the adapter in it."""
        return self.weight + self.tall @ self.thin

    def forward(self, stream: Tensor) -> Tensor:
        return functional.linear(stream, self.merged())


def _train(directory: Path, corpus: Tensor) -> _Model:
    """The first training, saved at every mark; returns the last step's model."""
    torch.manual_seed(0)
    model = _Model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=_RATE, betas=(0.9, 0.95), weight_decay=0.1)
    marks = {FIRST + distance: distance for distance in (0, *DISTANCES)}
    for number in range(1, max(marks) + 1):
        for group in optimizer.param_groups:
            group["lr"] = _rate(number)
        _step(model, optimizer, corpus)
        if number in marks:
            _save(directory, step(marks[number]), model.state_dict())
            for moment, key in ((FIRST_MOMENT, "exp_avg"), (SECOND_MOMENT, "exp_avg_sq")):
                state = {each: optimizer.state[parameter][key] for each, parameter in model.named_parameters()}
                save_file(state, moments(directory, marks[number], moment))
    return model


def _rate(number: int) -> float:
    """Learning rate of a step: linear warm-up, then half a cosine."""
    if number <= _WARM_UP:
        return _RATE * number / _WARM_UP
    progress = (number - _WARM_UP) / (_PLANNED - _WARM_UP)
    return _RATE * (0.1 + 0.45 * (1 + math.cos(math.pi * progress)))


def _fit(model: nn.Module, corpus: Tensor, rate: float, adapters: Iterable[nn.Parameter] | None = None) -> None:
    """A fine-tune: what may be trained of ``model``, or its adapters alone."""
    torch.manual_seed(1)
    chosen = adapters if adapters is not None else [each for each in model.parameters() if each.requires_grad]
    optimizer = torch.optim.AdamW(chosen, lr=rate, weight_decay=0.0)
    for _ in range(_FINE_STEPS):
        _step(model, optimizer, corpus)


def _step(model: nn.Module, optimizer: torch.optim.Optimizer, corpus: Tensor) -> None:
    starts = torch.randint(0, len(corpus) - CONTEXT - 1, (BATCH, 1))
    text = corpus[starts + torch.arange(CONTEXT + 1)]
    loss = functional.cross_entropy(model(text[:, :-1]).flatten(0, 1), text[:, 1:].flatten())
    optimizer.zero_grad()
    torch.autograd.backward(loss)
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()


def _adapters(model: _Model) -> list[nn.Parameter]:
    """Put adapters around query and value projections, PEFT's choice too, and freeze the rest."""
    torch.manual_seed(2)
    for parameter in model.parameters():
        parameter.requires_grad = False
    adapted = []
    for block in model.blocks:
        for name in ("query", "value"):
            adapted.append(_Adapted(getattr(block, name)))
            setattr(block, name, adapted[-1])
    return [parameter for layer in adapted for parameter in (layer.thin, layer.tall)]


def _merged(model: _Model) -> dict[str, Tensor]:
    """The state of a model without adapters that computes the same."""
    state = {key: value for key, value in model.state_dict().items() if not key.endswith((".thin", ".tall"))}
    for name, layer in model.named_modules():
        if isinstance(layer, _Adapted):
            state[f"{name}.weight"] = layer.merged().detach()
    return state


def _save(directory: Path, name: str, state: dict[str, Tensor]) -> None:
    """In fp32 and, cast to nearest even, in bf16."""
    save_file({key: value.contiguous() for key, value in state.items()}, checkpoint(directory, name, "F32"))
    halves = {key: value.to(torch.bfloat16).contiguous() for key, value in state.items()}
    save_file(halves, checkpoint(directory, name, "BF16"))


def _bytes_of(paths: list[Path]) -> Tensor:
    return torch.frombuffer(bytearray(b"".join(path.read_bytes() for path in paths)), dtype=torch.uint8).long()
