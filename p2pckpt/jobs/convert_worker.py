"""Loads one checkpoint with torch and writes its tensors as safetensors: a script that ``jobs.convert`` runs by itself.

    python -I convert_worker.py SOURCE TARGET RESULT MEMORY CPU_SECONDS FILE_SIZE

It imports nothing of p2pckpt. Before it touches the file it takes away from itself what it does not need. RESULT is
one JSON object: ``tensors`` and ``dropped`` and ``shared`` names, or ``error``, or ``missing``.
"""

from __future__ import annotations

import json
import re
import resource
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_WRAPPERS = ("state_dict", "model_state_dict", "model")
"""Keys under which trainers keep the model's own tensors; Lightning's is the first."""
_DEPTH = 8
_SHOWN = 200


class _Refused(Exception):
    """The file holds something that safetensors can't, told in one clause."""


def limit(memory: int, cpu_seconds: int, file_size: int) -> None:
    """Lower this process's own limits for good: bytes of address space, seconds, bytes of a file written."""
    wanted = [
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CPU, cpu_seconds),
        (resource.RLIMIT_FSIZE, file_size),
        (resource.RLIMIT_NOFILE, 256),
        (resource.RLIMIT_CORE, 0),
    ]
    for which, value in wanted:
        hard = resource.getrlimit(which)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(which, (value, value))


def convert(source: str, target: str) -> dict[str, Any]:
    """What RESULT says."""
    try:
        import torch
        from safetensors.torch import save_file
    except ImportError as exc:
        return {"missing": exc.name or "torch"}
    try:
        loaded = _load(torch, source)
        named, dropped = _tensors(torch, loaded)
        shared = _separate(torch, named)
        save_file(named, target, metadata={"format": "pt"})
    except _Refused as exc:
        return {"error": str(exc)}
    except MemoryError:
        return {"error": "it needs more memory than a file of its size may"}
    except Exception as exc:  # torch raises whatever a broken file makes it raise
        return {"error": _reason(exc)}
    return {
        "tensors": len(named),
        "dropped": dropped[:_SHOWN],
        "dropped_count": len(dropped),
        "shared": shared[:_SHOWN],
        "shared_count": len(shared),
    }


def _load(torch: Any, source: str) -> Any:
    """Only ever with ``weights_only``; mapped into memory where the format allows for it."""
    with Path(source).open("rb") as file:
        is_zip = file.read(4) == b"PK\x03\x04"
    return torch.load(source, map_location="cpu", weights_only=True, mmap=is_zip)


def _tensors(torch: Any, loaded: Any) -> tuple[dict[str, Any], list[str]]:
    """Name → tensor, and the names of everything left out."""
    dropped: list[str] = []
    if isinstance(loaded, dict):
        for key in _WRAPPERS:
            inner = loaded.get(key)
            if isinstance(inner, dict) and any(isinstance(value, torch.Tensor) for value in inner.values()):
                dropped = [str(other) for other in loaded if other != key]
                loaded = inner
                break
    elif isinstance(loaded, torch.Tensor):
        loaded = {"tensor": loaded}
    else:
        raise _Refused(f"it holds a {type(loaded).__name__}, not tensors by name")
    named: dict[str, Any] = {}
    for name, value in _flat(torch, loaded, "", 0):
        if not isinstance(value, torch.Tensor):
            dropped.append(name)
        elif name in named:
            raise _Refused(f"two tensors would be named {name!r}")
        else:
            named[name] = value
    if not named:
        raise _Refused("it holds no tensors by name")
    return named, dropped


def _flat(torch: Any, value: Any, name: str, depth: int) -> Iterator[tuple[str, Any]]:
    """The leaves of nested dicts and lists, their names joined by dots."""
    if isinstance(value, dict | list | tuple) and not isinstance(value, torch.Size) and value:
        if depth > _DEPTH:
            raise _Refused(f"{name!r} is nested too deeply")
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            if not isinstance(key, str | int):
                raise _Refused(f"a key below {name!r} is a {type(key).__name__}, no name")
            yield from _flat(torch, inner, f"{name}.{key}" if name else str(key), depth + 1)
    else:
        yield name, value


def _separate(torch: Any, named: dict[str, Any]) -> list[str]:
    """Give every tensor bytes of its own, as safetensors wants it; the names of those that shared theirs."""
    storages: set[int] = set()
    shared: list[str] = []
    for name, tensor in named.items():
        if tensor.layout is not torch.strided or tensor.is_quantized or tensor.is_meta:
            raise _Refused(f"{name!r} is sparse, quantised or empty of data, which safetensors does not hold")
        tensor = tensor.detach()
        storage = tensor.untyped_storage()
        known = storage.data_ptr() in storages and tensor.numel() > 0
        storages.add(storage.data_ptr())
        whole = tensor.is_contiguous() and storage.nbytes() == tensor.numel() * tensor.element_size()
        if known:
            shared.append(name)
        named[name] = tensor if whole and not known else tensor.clone(memory_format=torch.contiguous_format)
    return shared


def _reason(exc: Exception) -> str:
    """One clause without torch's advice, part of which is to load it unsafely."""
    text = str(exc)
    if wanted := re.search(r"GLOBAL ([\w.]+)", text):
        return f"torch loads no weights that need {wanted.group(1)[:120]}"
    if "weights" in text.lower():
        return "torch can't load it as weights alone"
    first = text.strip().splitlines()[0] if text.strip() else ""
    return f"torch can't load it ({type(exc).__name__}: {first[:200]})"


def main(argv: list[str]) -> None:
    """See the module."""
    source, target, result, memory, cpu_seconds, file_size = argv
    limit(int(memory), int(cpu_seconds), int(file_size))
    Path(result).write_text(json.dumps(convert(source, target)), "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
