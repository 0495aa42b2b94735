"""Which part of a run's state a file, or an entry of one, is by its name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from p2pckpt.jobs.saves.names import holds_weights
from p2pckpt.jobs.saves.shape import Role

_FILES: Final = (
    (Role.PROGRESS, re.compile(r"train(er|ing)_state\.json")),
    (Role.CONFIG, re.compile(r"(config|adapter_config|model_index)\.json")),
    (Role.RNG, re.compile(r"rng_state.*\.(pth|pt)|random_states_\d+\.pkl")),
    (Role.SCALER, re.compile(r"(grad_?)?scaler(_\d+)?\.(pt|pth|bin)")),
    (Role.DATALOADER, re.compile(r"(dl_state_dict|sampler|data_?loader.*)(_\d+)?\.(pt|pth|bin|json)")),
    (Role.SCHEDULER, re.compile(r"(lr_?)?sched(uler)?.*\.(pt|pth|bin)")),
    (Role.OPTIMIZER, re.compile(r"(rank\d+-of-\d+-)?optim(izer)?.*\.(pt|pth|bin|safetensors)|.*_optim_states\.pt")),
)
"""By transformers 5.24, accelerate 1.x and DeepSpeed, and what scripts call theirs."""
_DIRECTORIES: Final = (
    (Role.OPTIMIZER, re.compile(r"optim(izer)?(_\d+)?")),
    (Role.WEIGHTS, re.compile(r"pytorch_model_fsdp(_\d+)?")),
)
_NO_WEIGHTS: Final = frozenset(["training_args.bin", "meta.pt"])
_ENTRIES: Final = (
    (Role.OPTIMIZER, re.compile(r"optim(izers?)?(_states?)?(_dict)?s?|opt(_state)?|optimizer_.*")),
    (Role.SCHEDULER, re.compile(r"(lr_?)?sched(uler)?s?(_states?)?(_dict)?s?")),
    (Role.SCALER, re.compile(r"(grad_?)?scaler(_states?)?(_dict)?|mixed_?precision.*|amp|native_amp_.*")),
    (Role.RNG, re.compile(r".*(rng|random)_?states?.*|rng|random")),
    (Role.DATALOADER, re.compile(r"data_?loaders?(_states?)?(_dict)?|sampler.*|.*datamodule.*")),
    (Role.WEIGHTS, re.compile(r"(model|state|net|network|module|ema|weights|params|generator|unet)(_.*)?")),
    (
        Role.PROGRESS,
        re.compile(r"(global_)?steps?|epochs?|iter(ation)?s?|loops|callbacks|train_progress|progress|trainer"),
    ),
)


def role_of_file(path: str) -> Role | None:
    """The role of a file by its path in the save; None for those that are none's state."""
    *directories, name = path.lower().split("/")
    for directory in directories:
        for role, pattern in _DIRECTORIES:
            if pattern.fullmatch(directory):
                return role
    for role, pattern in _FILES:
        if pattern.fullmatch(name):
            return role
    return Role.WEIGHTS if holds_weights(name) and name not in _NO_WEIGHTS else None


def roles_of_entries(keys: list[str]) -> Iterator[Role]:
    """Roles of the keys at the top of a saved dict; each role once."""
    found = set()
    for key in keys:
        for role, pattern in _ENTRIES:
            if pattern.fullmatch(key.lower()):
                found.add(role)
                break
    yield from sorted(found)
