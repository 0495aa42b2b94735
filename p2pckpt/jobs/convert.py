"""Converting checkpoints to safetensors: torch loads them, as weights only, in a process that may do little else.

torch and safetensors are the optional extra ``convert``. The process gets limits on memory, time and file size, an
empty environment, and no network where the system lets an ordinary user take it away; what it wrote counts only if it
is a safetensors file to our own reader. There is no other way of loading to fall back on.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from p2pckpt import atomic
from p2pckpt.checkpoint.formats import inspect
from p2pckpt.errors import BadUsage, NotAllowed, NotFound, P2pckptError, VerificationFailed, disk_error
from p2pckpt.jobs.safety import open_source
from p2pckpt.store.checkout import require_space

SUFFIXES: Final = frozenset([".ckpt", ".pt", ".pth", ".bin"])
WORKER: Final = Path(__file__).with_name("convert_worker.py")
_MEMORY: Final = 12 << 30
"""Address space besides the file's own size: torch alone maps several GiB of libraries."""
_SECONDS: Final = 120
_BYTES_A_SECOND: Final = 20 << 20
"""Slowest disk that a conversion is given time for."""
_MAX_RESULT: Final = 4 << 20
_INDEX: Final = ".index.json"
_MAX_INDEX: Final = 64 << 20


@dataclass(frozen=True, slots=True)
class Converted:
    """One file that was made."""

    source: Path
    target: Path
    tensors: int
    dropped: tuple[str, ...]
    """Names of what is no tensor and was left out, some of them."""
    dropped_count: int
    shared: tuple[str, ...]
    """Names of tensors that shared their bytes with another one and now have their own, some of them."""
    shared_count: int


class _Result(msgspec.Struct):
    """What the worker says; judged as text from a stranger."""

    error: str = ""
    missing: str = ""
    tensors: int = 0
    dropped: tuple[str, ...] = ()
    dropped_count: int = 0
    shared: tuple[str, ...] = ()
    shared_count: int = 0


def checkpoints_in(path: Path) -> list[Path]:
    """The files to convert: ``path`` itself, or everything below it that is named like a PyTorch checkpoint."""
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise NotFound(f"there is no file or directory {path}")
    found = sorted(p for p in path.rglob("*") if p.suffix in SUFFIXES and p.is_file() and not p.is_symlink())
    if not found:
        raise NotFound(f"{path} holds no {', '.join(sorted(SUFFIXES))} file")
    return found


def target_of(source: Path, root: Path, to: Path | None) -> Path:
    """Where ``source`` is converted to: beside it, or at the same place below ``to``."""
    name = source.stem.replace("pytorch_model", "model", 1) + ".safetensors"
    if to is None:
        return source.with_name(name)
    below = source.parent.relative_to(root) if root.is_dir() else Path()
    return to / below / name


def convert_file(source: Path, target: Path) -> Converted:
    """Convert one file.

    Raises ``NotFound`` for a missing extra, ``NoSpace``, ``BadUsage`` for a target that exists, and a plain
    ``P2pckptError`` for what torch does not load as weights alone or safetensors can't hold.
    """
    if target.exists():
        raise BadUsage(f"{target} exists already", kept="it was not touched", next_step="choose another: --to DIR")
    with open_source(source) as file:
        size = file.size
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        require_space(target.parent, size, "the converted file")
        with tempfile.TemporaryDirectory(prefix=".", suffix=atomic.PARTIAL, dir=target.parent) as work:
            made = Path(work) / "made.safetensors"
            result = _run(source.absolute(), made.absolute(), Path(work).absolute(), size)
            _check(result, made, source)
            made.chmod(0o644)
            with made.open("rb") as written:
                os.fsync(written.fileno())
            made.rename(target)
            atomic.sync_directory(target.parent)
    except OSError as exc:
        raise disk_error(exc, target) from exc
    return Converted(
        source, target, result.tensors, result.dropped, result.dropped_count, result.shared, result.shared_count
    )


def copy_rest(root: Path, to: Path, converted: list[Converted]) -> list[Path]:
    """Copy what needs no conversion, so that ``to`` is a checkpoint of its own; returns what was left out.

    A shard index is rewritten to name the new files. Files that look like checkpoints and were not converted stay out.
    """
    done = {item.source: item.target.name for item in converted}
    left_out = []
    for path in _files(root):
        if to == path or to in path.parents or path in done:
            continue
        if path.suffix in SUFFIXES:
            left_out.append(path)
            continue
        target = to / path.relative_to(root)
        if path.name.endswith(".bin" + _INDEX):
            target = target.with_name(path.name.replace("pytorch_model", "model", 1).replace(".bin", ".safetensors", 1))
        if target.exists():
            continue
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.name.endswith(".safetensors" + _INDEX):
                atomic.write(target, _renamed(path, {source.name: name for source, name in done.items()}), mode=0o644)
            else:
                shutil.copyfile(path, target)
        except OSError as exc:
            raise disk_error(exc, target) from exc
    return left_out


def command(source: Path, target: Path, result: Path, size: int) -> list[str]:
    """The worker's command line, without the network where that is allowed."""
    memory, seconds = 4 * size + _MEMORY, _SECONDS + size // _BYTES_A_SECOND
    limits = [str(memory), str(seconds), str(2 * size + (64 << 20))]
    return [*without_network(), sys.executable, "-I", str(WORKER), str(source), str(target), str(result), *limits]


def _run(source: Path, target: Path, work: Path, size: int) -> _Result:
    result = work / "result.json"
    environment = {"HOME": str(work), "TMPDIR": str(work), "LANG": "C.UTF-8", "OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(
            command(source, target, result, size),
            env=environment,
            cwd=work,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=2 * (_SECONDS + size // _BYTES_A_SECOND),
            check=False,
        )
    except subprocess.TimeoutExpired as exc:
        raise P2pckptError(f"{source.name} took too long to convert", kept="nothing was written") from exc
    try:
        with result.open("rb") as file:
            return msgspec.json.decode(file.read(_MAX_RESULT), type=_Result)
    except (FileNotFoundError, msgspec.MsgspecError, UnicodeDecodeError) as exc:
        raise P2pckptError(
            f"{source.name} could not be converted: the process that loads it ended with {done.returncode}",
            kept="nothing was written",
            next_step="it may need more memory, time or space than a file of its size should",
        ) from exc


def _check(result: _Result, made: Path, source: Path) -> None:
    if result.missing:
        raise NotFound(
            f"convert needs {result.missing}, which is not installed beside p2pckpt",
            kept="nothing was written",
            next_step="pip install 'p2pckpt[convert]'",
        )
    if result.error:
        raise P2pckptError(
            f"{source.name} can't be converted: {result.error}",
            kept="nothing was written",
            next_step="where it was made, save its state_dict alone: torch.save(model.state_dict(), …)",
        )
    with open_source(made) as file:
        layout = inspect(file)
    if layout.kind != "safetensors" or len(layout.tensors) + len(layout.views) != result.tensors:
        raise VerificationFailed(f"what was made of {source.name} is not what it should be", kept="nothing was written")


def without_network() -> list[str]:
    """A prefix that gives the process a network of its own with nothing in it; empty where that is not allowed."""
    unshare = shutil.which("unshare")
    if unshare is None:
        return []
    prefix = [unshare, "--user", "--map-current-user", "--net", "--"]
    tried = subprocess.run([*prefix, "true"], capture_output=True, check=False)
    return prefix if tried.returncode == 0 else []


def _files(root: Path) -> Iterator[Path]:
    return (path for path in sorted(root.rglob("*")) if path.is_file() and not path.is_symlink())


def _renamed(index: Path, names: dict[str, str]) -> bytes:
    """A shard index with the new files' names; as it is where it is none."""
    if index.stat().st_size > _MAX_INDEX:
        raise NotAllowed(f"{index} is too large for an index of shards")
    raw = index.read_bytes()
    try:
        content = msgspec.json.decode(raw)
        content["weight_map"] = {key: names.get(value, value) for key, value in content["weight_map"].items()}
    except (msgspec.MsgspecError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as exc:
        raise P2pckptError(f"{index} is no index of shards") from exc
    return msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n"
