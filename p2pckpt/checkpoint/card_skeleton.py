"""A README.md for a checkpoint that has none, of what its headers and configurations say, for its author to complete.

Everything in it was found in the files; where nothing was found, nothing is claimed. Reading the files is done
elsewhere. What comes from them is cleaned and can't be markup of its own.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from p2pckpt.checkpoint.card import with_fields
from p2pckpt.checkpoint.formats.layout import FileLayout, TensorInfo
from p2pckpt.checkpoint.terminal_text import clean

CONFIGS: Final = (
    "config.json",
    "model_index.json",
    "adapter_config.json",
    "modules.json",
    "generation_config.json",
    "open_clip_config.json",
)
"""Files at the top whose content counts."""
MAX_CONFIG: Final = 1 << 20
"""Bytes of one that are read."""
_FILES: Final = 40
_GROUPS: Final = 20
_LIBRARIES: Final = (
    # the first whose file is there and has that field, if any
    ("diffusers", "model_index.json", "_diffusers_version"),
    ("sentence-transformers", "modules.json", ""),
    ("peft", "adapter_config.json", "peft_type"),
    ("open_clip", "open_clip_config.json", ""),
    ("transformers", "config.json", "transformers_version"),
    ("transformers", "config.json", "architectures"),
)
_STATE: Final = re.compile(r"(?:^|/)(?:optimizer|scheduler|scaler|rng_state|training_args)[^/]*$")
"""Files of a training run whose tensors are no weights."""
_ESCAPES: Final = str.maketrans({"<": "&lt;", ">": "&gt;", "&": "&amp;", **{mark: "\\" + mark for mark in "\\`*[]|~"}})
"""What would be markup in a line of Markdown."""
_REPO: Final = re.compile(r"[\w][\w.-]{0,95}/[\w][\w.-]{0,95}")
_FILE_TYPE_NAMES: Final = """
F32 F16 Q4_0 Q4_1 Q4_1_SOME_F16 - - Q8_0 Q5_0 Q5_1 Q2_K Q3_K_S Q3_K_M Q3_K_L Q4_K_S Q4_K_M Q5_K_S Q5_K_M Q6_K IQ2_XXS
IQ2_XS Q2_K_S IQ3_XS IQ3_XXS IQ1_S IQ4_NL IQ3_S IQ3_M IQ2_S IQ2_M IQ4_XS IQ1_M BF16
"""
_FILE_TYPES: Final = tuple(_FILE_TYPE_NAMES.split())
"""What GGUF's ``general.file_type`` counts (ggml's docs/gguf.md and llama.cpp's ``llama_ftype``)."""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file of the checkpoint, looked into."""

    path: str
    size: int
    layout: FileLayout


@dataclass(slots=True)
class Facts:
    """What is told about a checkpoint."""

    title: str
    library: str = ""
    architecture: str = ""
    quantisation: str = ""
    base_model: tuple[str, ...] = ()
    licence: str = ""
    tags: tuple[str, ...] = ()
    parameters: int = 0
    dtypes: Counter[str] = field(default_factory=Counter)
    """Number type → parameters."""
    groups: list[tuple[str, int, int, int]] = field(default_factory=list)
    """(tensors' names with ``*`` for numbers, how many times it is there, tensors, parameters), in the files' order."""
    further: list[tuple[str, str]] = field(default_factory=list)


def skeleton(
    name: str,
    files: Sequence[SourceFile],
    configs: Mapping[str, bytes],
    *,
    licence: str = "",
    base_model: Sequence[str] = (),
    tags: Sequence[str] = (),
) -> bytes:
    """The README.md; ``configs`` are the contents of those of ``CONFIGS`` that there are.

    What is given as ``licence``, ``base_model`` and ``tags`` goes before what was found.
    """
    found = facts(name, files, {path: _json(data) for path, data in configs.items()})
    fields: dict[str, str | Sequence[str]] = {
        "license": licence or found.licence,
        "base_model": tuple(base_model) or found.base_model,
        "library_name": found.library,
        "tags": tuple(tags) or found.tags,
    }
    return with_fields("\n".join(_body(found, files)).encode(), fields)


def facts(name: str, files: Sequence[SourceFile], configs: Mapping[str, Mapping[str, object]]) -> Facts:
    """What ``files`` and ``configs`` say."""
    config, adapter = configs.get("config.json", {}), configs.get("adapter_config.json", {})
    said = {key: value for file in reversed(files) for key, value in file.layout.metadata.items()}
    found = Facts(title=_text(said.get("general.name") or said.get("modelspec.title")) or _text(name) or "Checkpoint")
    for library, path, key in _LIBRARIES:
        if not found.library and path in configs and (not key or key in configs[path]):
            found.library = library
    found.architecture = _architecture(config, configs.get("model_index.json", {}), said)
    found.quantisation = _quantisation(config, said)
    found.licence = clean((said.get("general.license") or said.get("modelspec.license", "")).strip(), 120)
    bases = (adapter.get("base_model_name_or_path"), config.get("_name_or_path"), _gguf_base(said))
    found.base_model = tuple(dict.fromkeys(b for b in bases if isinstance(b, str) and _REPO.fullmatch(b)))[:1]
    found.tags = tuple(sorted({file.layout.kind for file in files} & {"safetensors", "gguf"}))
    for key, label in (
        ("max_position_embeddings", "Context"),
        ("vocab_size", "Vocabulary"),
        ("peft_type", "Adapter"),
        ("r", "Rank"),
    ):
        value = config.get(key, adapter.get(key))
        if isinstance(value, int | str) and not isinstance(value, bool):
            found.further.append((label, f"{value:,}" if isinstance(value, int) else _text(value)))
    context = said.get(f"{said.get('general.architecture')}.context_length", "")
    if context.isdecimal() and len(context) < 12:
        found.further.append(("Context", f"{int(context):,}"))
    _count(found, files)
    return found


def amount(count: int) -> str:
    """A number of parameters as people say it: ``22.7 M``."""
    for factor, unit in ((10**12, "T"), (10**9, "B"), (10**6, "M"), (10**3, "k")):
        if count >= factor:
            return f"{count / factor:.3g} {unit}"
    return str(count)


def _count(found: Facts, files: Iterable[SourceFile]) -> None:
    """Parameters, types and groups of the weights, the same tensor counted once though a directory has it in several
    forms (formats, precisions)."""
    seen: set[tuple[str, str]] = set()
    groups: dict[str, tuple[set[str], int, int]] = {}
    for directory, tensor in _weights(files):
        if (directory, tensor.name) in seen:
            continue
        seen.add((directory, tensor.name))
        found.parameters += tensor.parameters
        found.dtypes[tensor.dtype or "unknown"] += tensor.parameters
        group, instance = _group(directory, tensor.name)
        instances, tensors, parameters = groups.get(group, (set(), 0, 0))
        instances.add(instance)
        groups[group] = (instances, tensors + 1, parameters + tensor.parameters)
    found.groups = [(name, len(many), tensors, count) for name, (many, tensors, count) in groups.items()]


def _weights(files: Iterable[SourceFile]) -> Iterator[tuple[str, TensorInfo]]:
    for file in files:
        if not _STATE.search(file.path):
            directory = file.path.rpartition("/")[0]
            yield from ((directory, tensor) for tensor in file.layout.tensors)


def _group(directory: str, name: str) -> tuple[str, str]:
    """``encoder.layer.*`` and ``3`` for ``encoder.layer.3.output.weight``; the first two parts of others."""
    parts = name.split(".")
    number = next((at for at, part in enumerate(parts[:-1]) if part.isdecimal()), -1)
    if number >= 0:
        kept, instance = [*parts[:number], "*"], parts[number]
    else:
        kept, instance = parts[: max(1, min(2, len(parts) - 1))], ""
    return f"{directory}: {'.'.join(kept)}" if directory else ".".join(kept), instance


def _architecture(config: Mapping[str, object], pipeline: Mapping[str, object], said: Mapping[str, str]) -> str:
    names = config.get("architectures")
    classes = [*(names if isinstance(names, list) else []), pipeline.get("_class_name"), config.get("_class_name")]
    families = [config.get("model_type"), said.get("general.architecture"), said.get("modelspec.architecture")]
    first = next((_text(name) for name in classes if _text(name)), "")
    family = next((_text(name) for name in families if _text(name)), "")
    return f"{first} ({family})" if first and family else first or family


def _quantisation(config: Mapping[str, object], said: Mapping[str, str]) -> str:
    number = said.get("general.file_type", "")
    if number.isdecimal() and len(number) < 4 and int(number) < len(_FILE_TYPES):
        return _FILE_TYPES[int(number)]
    settings = config.get("quantization_config")
    if not isinstance(settings, dict):
        return ""
    bits = settings.get("bits")
    return _text(settings.get("quant_method")) + (f", {bits} bit" if isinstance(bits, int) else "")


def _gguf_base(said: Mapping[str, str]) -> str:
    return said.get("general.base_model.0.repo_url", "").removeprefix("https://huggingface.co/")


def _body(found: Facts, files: Sequence[SourceFile]) -> Iterator[str]:
    yield from (f"# {found.title}", "", "<!-- What it is, in two sentences. -->", "")
    size = f"{_bytes(sum(file.size for file in files))} in {len(files):,} files"
    types = ", ".join(f"{dtype} ({amount(count)})" for dtype, count in found.dtypes.most_common(8))
    rows = [
        ("Architecture", found.architecture),
        ("Parameters", f"{amount(found.parameters)} ({found.parameters:,})" if found.parameters else ""),
        ("Number types", types),
        ("Quantisation", found.quantisation),
        *found.further,
        ("Made from", ", ".join(found.base_model)),
        ("Size", size),
    ]
    yield from ("| | |", "|---|---|", *(f"| {label} | {value} |" for label, value in rows if value), "")
    yield from ("## Use", "", "<!-- How it is loaded, and what it is good and not good for. -->", "")
    yield from ("## Training", "", "<!-- Data, method, results; where it came from. -->", "")
    yield from ("## Files", "", "| File | Size | Format | Tensors | Parameters |", "|---|--:|---|--:|--:|")
    for file in sorted(files, key=lambda file: -len(file.layout.tensors))[:_FILES]:
        tensors = file.layout.tensors
        counts = (f"{len(tensors):,}", amount(sum(t.parameters for t in tensors))) if tensors else ("", "")
        kind = "" if file.layout.kind == "opaque" else file.layout.kind
        yield f"| {_code(file.path)} | {_bytes(file.size)} | {kind} | {counts[0]} | {counts[1]} |"
    if len(files) > _FILES:
        yield f"| and {len(files) - _FILES:,} more | | | | |"
    if found.groups:
        yield from ("", "## Tensors", "", "| Group | Times | Tensors | Parameters |", "|---|--:|--:|--:|")
        shown = sorted(found.groups, key=lambda group: -group[3])[:_GROUPS]
        for name, times, many, parameters in (group for group in found.groups if group in shown):
            yield f"| {_code(name)} | {times if times > 1 else ''} | {many:,} | {amount(parameters)} |"
        if len(found.groups) > _GROUPS:
            yield f"| and {len(found.groups) - _GROUPS:,} smaller ones | | | |"
    yield ""


def _json(data: bytes) -> Mapping[str, object]:
    """A JSON object; for a list, one without fields, and for what is neither as well."""
    try:
        value = json.loads(data) if len(data) <= MAX_CONFIG else None
    except (ValueError, RecursionError):
        return {}
    return {key: item for key, item in value.items() if isinstance(key, str)} if isinstance(value, dict) else {}


def _text(value: object) -> str:
    """Somebody else's text as one line that is nothing but text in Markdown."""
    return clean(value.strip(), 120).translate(_ESCAPES) if isinstance(value, str) else ""


def _code(text: str) -> str:
    """Somebody else's text as code in a cell of a table."""
    return f"`{clean(text, 120).replace('`', '?').replace('|', '?')}`"


def _bytes(count: int) -> str:
    for factor, unit in ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count} B"
