"""Which of a version's files image programs can use, and where ComfyUI and Automatic1111's web UI look for them."""

from __future__ import annotations

import fnmatch
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from p2pckpt.checkpoint.weight_kinds import WeightKind, kind_of
from p2pckpt.control.read_messages import Contents, FileInfo
from p2pckpt.errors import BadUsage

_SUFFIXES: Final = frozenset([".safetensors", ".sft", ".ckpt", ".pt", ".pth", ".bin", ".gguf"])
_SHARD: Final = re.compile(r"-\d{5}-of-\d{5}\.")


@dataclass(frozen=True, slots=True)
class Tool:
    """A program and its directories, relative to the one that holds its models (ComfyUI) or all of it (A1111)."""

    name: str
    marks: tuple[str, ...]
    """One of these is in a directory that is this program's."""
    folders: Mapping[WeightKind, tuple[str, ...]]
    """The first that exists is taken, else the first is made. Kinds that are not named it can't use by themselves."""


COMFYUI: Final = Tool(
    name="ComfyUI",
    marks=("checkpoints", "diffusion_models", "loras"),
    folders={
        WeightKind.CHECKPOINT: ("checkpoints",),
        WeightKind.DIFFUSION_MODEL: ("diffusion_models", "unet"),
        WeightKind.LORA: ("loras",),
        WeightKind.VAE: ("vae",),
        WeightKind.TEXT_ENCODER: ("text_encoders", "clip"),
        WeightKind.CLIP_VISION: ("clip_vision",),
        WeightKind.CONTROLNET: ("controlnet",),
        WeightKind.EMBEDDING: ("embeddings",),
        WeightKind.UPSCALER: ("upscale_models",),
        WeightKind.HYPERNETWORK: ("hypernetworks",),
    },
)
A1111: Final = Tool(
    name="A1111",
    marks=("models/Stable-diffusion", "webui.py"),
    folders={
        WeightKind.CHECKPOINT: ("models/Stable-diffusion",),
        WeightKind.LORA: ("models/Lora",),
        WeightKind.VAE: ("models/VAE",),
        WeightKind.CONTROLNET: ("models/ControlNet",),
        WeightKind.EMBEDDING: ("embeddings",),
        WeightKind.UPSCALER: ("models/ESRGAN",),
        WeightKind.HYPERNETWORK: ("models/hypernetworks",),
    },
)


@dataclass(frozen=True, slots=True)
class Plan:
    """Which files go where."""

    targets: dict[str, Path]
    """Path in the version → the name it gets."""
    left_out: dict[str, str]
    """Path of a file with weights → why the program gets nothing of it."""


def root_of(tool: Tool, directory: Path) -> Path:
    """Where ``tool`` is installed, or keeps its models; ``BadUsage`` for a directory that looks like neither."""
    for root in (directory / "models", directory) if tool is COMFYUI else (directory,):
        if any((root / mark).exists() for mark in tool.marks):
            return root
    raise BadUsage(
        f"{directory} is no directory of {tool.name}: it has none of {', '.join(tool.marks)}",
        next_step="name the directory it is installed in, or where its models are",
    )


def plan(tool: Tool, root: Path, contents: Contents, told: Sequence[tuple[str, WeightKind]] = ()) -> Plan:
    """Where the weights of a version go below ``root``; ``told`` are globs on paths with the kind of what they match.

    Raises ``BadUsage`` when that is nowhere.
    """
    names: dict[int, list[str]] = defaultdict(list)
    for tensor in contents.tensors:
        names[tensor.file].append(tensor.name)
    found = Plan({}, {})
    candidates = [(number, file) for number, file in enumerate(contents.files) if _may_be_weights(file)]
    for number, file in candidates:
        kind = next((kind for glob, kind in told if fnmatch.fnmatch(file.path, glob)), None)
        kind = kind_of(names[number]) if kind is None else kind
        if kind is None:
            found.left_out[file.path] = "what it is can't be told by its tensors"
        elif _SHARD.search(file.path):
            found.left_out[file.path] = f"it is one part of several, and {tool.name} loads whole files"
        elif kind not in tool.folders:
            found.left_out[file.path] = f"{tool.name} does not load a {kind} by itself"
        else:
            folder = _folder(root, tool.folders[kind])
            target = folder / _name(contents, file.path, alone=len(candidates) == 1)
            if target in found.targets.values():  # a/b.x and a-b.x
                target = target.with_stem(f"{target.stem}-{file.sha256[:8]}")
            found.targets[file.path] = target
    if not found.targets:
        reasons = "; ".join(f"{path}: {why}" for path, why in list(found.left_out.items())[:3])
        raise BadUsage(
            f"{contents.share}@v{contents.version} has nothing for {tool.name}: {reasons or 'no weights'}",
            next_step=f"if you know better: --as KIND, one of {', '.join(tool.folders)}" if found.left_out else "",
        )
    return found


def _may_be_weights(file: FileInfo) -> bool:
    return PurePosixPath(file.path).suffix.lower() in _SUFFIXES


def _folder(root: Path, names: Sequence[str]) -> Path:
    return next((root / name for name in names if (root / name).is_dir()), root / names[0])


def _name(contents: Contents, path: str, *, alone: bool) -> str:
    """``cars-sd15-v3.safetensors``, or with the file's own path where the version has several."""
    inside = PurePosixPath(path)
    own = [] if alone else ["-".join(inside.with_suffix("").parts)]
    return "-".join([contents.share.replace("/", "-"), f"v{contents.version}", *own]) + inside.suffix
