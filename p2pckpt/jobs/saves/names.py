"""What the names of files and directories of training runs mean; nothing is opened here."""

from __future__ import annotations

import re
from typing import Final

from p2pckpt.atomic import PARTIAL

_TRANSFORMERS: Final = re.compile(r"checkpoint-(\d{1,18})")
"""``PREFIX_CHECKPOINT_DIR`` and the step, as ``get_last_checkpoint`` wants it (transformers 5.24)."""
_STEPS: Final = re.compile(
    r"(?:^|[^a-z])(?:global[_-]?steps?|steps?|iter(?:ation)?s?|it|checkpoint|ckpt)[=_.-]?(\d{1,18})(?!\d)", re.I
)
_EPOCHS: Final = re.compile(r"(?:^|[^a-z])epochs?[=_.-]?(\d{1,18})(?!\d)", re.I)
_METRICS: Final = re.compile(
    r"([A-Za-z][A-Za-z0-9_/.]{0,99})=(-?\d{1,15}(?:\.\d{1,30})?(?:e[+-]?\d{1,3})?)(?=$|[^\d.]|\.(?!\d))"
)
_VERSIONED: Final = re.compile(r"-v\d+$")
"""What Lightning appends where a name is taken."""
_NUMBER_AT_END: Final = re.compile(r"(?:^|[-_.])(\d{1,18})$")

_WEIGHT_SUFFIXES: Final = frozenset([".safetensors", ".bin", ".pt", ".pth", ".gguf", ".ckpt"])
_SINGLE_SUFFIXES: Final = frozenset([".ckpt", ".pt", ".pth", ".safetensors", ".gguf"])
_FOR_LOGS: Final = frozenset(["runs", "logs"])
"""Where TensorBoard's files go, and as often whole runs with their saves."""
_LOG_DIRECTORIES: Final = frozenset(
    ["wandb", "mlruns", "tensorboard", "__pycache__", "cache", "samples", "outputs_eval"]
)
_LOG_FILES: Final = re.compile(r"events\.out\.|.*\.(log|csv|tfevents)$|metrics\.json$")
_TEMPORARY: Final = re.compile(r"^(\.|tmp[-_.]|~)|(\.(tmp|temp|part|partial|incomplete|lock)|~|_tmp|-tmp)$", re.I)
_PART: Final = re.compile(
    r"(pytorch_)?model(\.[\w-]+)?\.(safetensors|bin)"
    r"|(pytorch_)?model(\.[\w-]+)?-\d+-of-\d+(\.[\w-]+)?\.(safetensors|bin)"
    r"|(pytorch_)?model(\.\w+)?\.(safetensors|bin)\.index(\.\w+)?\.json"
    r"|adapter_model\.(safetensors|bin)|diffusion_pytorch_model.*|training_args\.bin|trainer_state\.json"
    r"|(optimizer|scheduler|scaler|sampler|dl_state_dict)(_\d+)?\.(pt|bin|pth)|optim(izer)?_state.*|random_states_\d+\.pkl"
    r"|rng_state(_\d+)?\.pth|rank\d+-of-\d+-.*|.*_(optim|model)_states\.pt|tokenizer.*|special_tokens_map\.json",
    re.I,
)
"""Files that are one part of a directory that somebody's trainer wrote."""
_TORCH_BIN: Final = re.compile(
    r"((diffusion_)?pytorch_(model|lora_weights)|adapter_model|training_args|optimizer|scheduler|sampler|dl_state_dict)"
    r".*\.bin"
)
_OF_RANK: Final = re.compile(r"rng_state_\d+\.pth")
_RANDOM_STATE: Final = re.compile(r"random_states_\d+\.pkl")
_ACCELERATE: Final = re.compile(
    r"random_states_\d+\.pkl|(optimizer|scheduler|sampler)(_\d+)?\.bin|custom_checkpoint_\d+\.pkl|pytorch_lora_weights.*"
)


def is_temporary(name: str) -> bool:
    """Whether a file or directory is hidden, or of a name that says it is not finished."""
    return bool(_TEMPORARY.search(name)) or name.endswith(PARTIAL)


def is_log(name: str, *, directory: bool) -> bool:
    """Whether it is a place or a file where trainers and loggers write what is no state."""
    return name.lower() in _LOG_DIRECTORIES if directory else bool(_LOG_FILES.match(name))


def is_for_logs(name: str) -> bool:
    """Whether logs usually lie in a directory of that name, so that what looks like a save has to hold weights."""
    return name.lower() in _FOR_LOGS


def is_random_state(name: str) -> bool:
    """Whether a file of that name is what accelerate's ``save_state`` writes last."""
    return bool(_RANDOM_STATE.fullmatch(name))


def is_part(name: str) -> bool:
    """Whether a file of that name is a part of a save, not one of its own."""
    return bool(_PART.fullmatch(name))


def is_single(name: str) -> bool:
    """Whether a file of that name can be a whole save."""
    return _suffix(name) in _SINGLE_SUFFIXES and not is_part(name)


def holds_weights(name: str) -> bool:
    """Whether a file of that name usually holds tensors."""
    return _suffix(name) in _WEIGHT_SUFFIXES


def is_of_transformers(name: str) -> bool:
    """Whether a directory is named as transformers' ``Trainer`` names its saves."""
    return bool(_TRANSFORMERS.fullmatch(name))


def is_of_a_rank(name: str) -> bool:
    """Whether another rank than the first writes a file, which does not wait for it, in a save of transformers."""
    return bool(_OF_RANK.fullmatch(name))


def is_of_accelerate(name: str) -> bool:
    """Whether accelerate's ``save_state``, or a script of diffusers around it, writes a file of that name."""
    return bool(_ACCELERATE.fullmatch(name))


def is_torch_bin(name: str) -> bool:
    """Whether a file of that name is one that ``torch.save`` wrote, as far as ``.bin`` can tell."""
    return bool(_TORCH_BIN.fullmatch(name))


def names_a_step(name: str) -> bool:
    """Whether a directory's name says which step or epoch it is of."""
    return bool(_STEPS.search(name) or _EPOCHS.search(name))


def step_in(name: str) -> int | None:
    """``500`` of ``checkpoint-500``, ``epoch=1-step=500.ckpt``, ``step_500.pt``, ``model-000500.safetensors``."""
    stem = _stem(name)
    if found := _STEPS.findall(stem):
        return int(found[-1])
    if _EPOCHS.search(stem):
        return None
    found = _NUMBER_AT_END.findall(stem)
    return int(found[0]) if found else None


def epoch_in(name: str) -> int | None:
    """``1`` of ``epoch=1-step=500.ckpt``."""
    found = _EPOCHS.findall(_stem(name))
    return int(found[-1]) if found else None


def metrics_in(name: str) -> dict[str, float]:
    """``{"val_loss": 0.31}`` of ``epoch=1-val_loss=0.31.ckpt``."""
    pairs = _METRICS.findall(_stem(name))
    return {key: float(value) for key, value in pairs if key not in ("epoch", "step")}


def _suffix(name: str) -> str:
    dot = name.rfind(".")
    return name[dot:].lower() if dot > 0 else ""


def _stem(name: str) -> str:
    suffix = _suffix(name)
    stem = name[: -len(suffix)] if suffix in _WEIGHT_SUFFIXES else name
    return _VERSIONED.sub("", stem)
