"""Seeded checkpoints of any size that look like trained weights, written without torch or safetensors.

    python bench/generate.py DIR --size 1GiB [--dtype BF16] [--format safetensors] [--shards 2] [--seed 0]

The same arguments give the same bytes. Weights are N(0, 0.02), every tensor with its own scale and order of
the same block of random numbers, so that no two stretches are equal; ``drift`` adds noise of that relative
size, as training steps do. Memory stays at a few blocks. What is made of the files is up to the benchmarks.
"""

from __future__ import annotations

import argparse
import json
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

DTYPES = {"BF16": 2, "F16": 2, "F32": 4, "F64": 8, "I8": 1, "Q8_0": 34 / 32}
"""Types that can be made → bytes of an element."""
FORMATS = {"safetensors": "safetensors", "torch_zip": "pt", "gguf": "gguf"}
"""Formats that can be written → file suffix."""
SCALE = 0.02
_BLOCK = 1 << 18
_POOL = 1 << 20
_ALIGNMENT = 64


@dataclass(frozen=True)
class Spec:
    """One tensor to be written."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    seed: tuple[int, ...]

    @property
    def length(self) -> int:
        """Bytes."""
        return int(prod(self.shape) * DTYPES[self.dtype])


def make_checkpoint(
    directory: Path | str,
    size_bytes: int,
    dtype: str = "BF16",
    tensors: int | None = None,
    seed: int = 0,
    format: str = "safetensors",
    shards: int = 1,
    drift: float = 0.0,
    drift_seed: int = 1,
) -> list[Path]:
    """Writes about ``size_bytes`` of weights into ``directory`` and returns the files with weights, in
    order.

    ``tensors`` asks for so many tensors of equal size instead of a transformer's. With ``drift`` the
    weights are those of the same seed plus noise of that fraction of ``SCALE`` from ``drift_seed``.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    specs = equal_specs(size_bytes, dtype, tensors, seed) if tensors else model_specs(size_bytes, dtype, seed)
    suffix = FORMATS[format]
    paths = []
    for index, part in enumerate(_shards(specs, shards)):
        name = f"model-{index + 1:05d}-of-{shards:05d}" if shards > 1 else "model"
        path = directory / f"{name}.{suffix}"
        weights = Weights(drift, drift_seed)
        with path.open("wb") as file:
            WRITERS[format](file, part, weights)
        paths.append(path)
    (directory / "config.json").write_text(json.dumps({"model_type": "generated", "seed": seed}, indent=2) + "\n")
    return paths


def model_specs(size_bytes: int, dtype: str, seed: int) -> list[Spec]:
    """Tensors as a decoder has them: embedding, layers, norms, until ``size_bytes`` are reached."""
    element = DTYPES[dtype]
    hidden = max(64, min(4096, int((size_bytes / element / 200) ** 0.5) // 64 * 64))
    wide = hidden * 11 // 4 // 32 * 32
    specs: list[Spec] = []
    left = size_bytes

    def add(name: str, *shape: int) -> None:
        nonlocal left
        rows = int(min(shape[0], left // (element * prod(shape[1:]))))
        if len(shape) == 1 and dtype == "Q8_0":
            rows -= rows % 32
        if rows > 0:
            specs.append(Spec(name, dtype, (rows, *shape[1:]), (seed, len(specs))))
            left -= specs[-1].length

    add("model.embed_tokens.weight", hidden * 8, hidden)
    layer = 0
    while left >= element * hidden:
        prefix = f"model.layers.{layer}"
        for part in ("q_proj", "k_proj", "v_proj", "o_proj"):
            add(f"{prefix}.self_attn.{part}.weight", hidden, hidden)
        for part in ("gate_proj", "up_proj"):
            add(f"{prefix}.mlp.{part}.weight", wide, hidden)
        add(f"{prefix}.mlp.down_proj.weight", hidden, wide)
        for part in ("input_layernorm", "post_attention_layernorm"):
            add(f"{prefix}.{part}.weight", hidden)
        layer += 1
    return specs


def equal_specs(size_bytes: int, dtype: str, tensors: int, seed: int) -> list[Spec]:
    """``tensors`` one-dimensional tensors that share ``size_bytes`` evenly."""
    count = int(size_bytes / tensors / DTYPES[dtype]) // 32 * 32
    return [Spec(f"tensor.{index}", dtype, (max(32, count),), (seed, index)) for index in range(tensors)]


class Weights:
    """The bytes of tensors, block by block."""

    def __init__(self, drift: float = 0.0, drift_seed: int = 1) -> None:
        self._drift = drift
        self._normal = np.random.default_rng(2024).standard_normal(_POOL + _BLOCK, np.float32)
        self._noise = self._normal
        if drift:
            self._noise = np.random.default_rng((drift_seed, 77)).standard_normal(_POOL + _BLOCK, np.float32)

    def blocks(self, spec: Spec) -> Iterator[bytes]:
        """A tensor's bytes in order, at most 2 MiB at a time."""
        random = np.random.default_rng(spec.seed)
        left = prod(spec.shape)
        while left:
            count = min(left, _BLOCK)
            # Another place in the pool and another scale: neither chunks nor single numbers repeat.
            start, scale = int(random.integers(_POOL)), SCALE * float(random.uniform(0.8, 1.2))
            values = self._normal[start : start + count] * np.float32(scale)
            start = int(random.integers(_POOL))
            if self._drift:
                values += self._noise[start : start + count] * np.float32(self._drift * SCALE)
            yield _as_bytes(values, spec.dtype)
            left -= count


def _as_bytes(values: NDArray[np.float32], dtype: str) -> bytes:
    return bytes(_converted(values, dtype).data)


def _converted(values: NDArray[np.float32], dtype: str) -> NDArray[Any]:
    if dtype == "BF16":
        bits = values.view(np.uint32)
        bits += 0x7FFF + ((bits >> 16) & 1)
        bits >>= 16
        halves: NDArray[Any] = bits.astype("<u2")
        return halves
    if dtype == "I8":
        small: NDArray[Any] = np.clip(np.rint(values * (30 / SCALE)), -127, 127).astype(np.int8)
        return small
    if dtype == "Q8_0":
        rows = values.reshape(-1, 32)
        scales = (np.maximum(rows.max(axis=1), -rows.min(axis=1)) / 127).astype("<f2")
        blocks = np.empty((len(rows), 34), np.uint8)
        blocks[:, :2] = scales.view(np.uint8).reshape(-1, 2)
        blocks[:, 2:] = np.rint(rows / scales[:, None].astype(np.float32)).astype(np.int8).view(np.uint8)
        return blocks
    return values.astype(np.dtype({"F16": "<f2", "F32": "<f4", "F64": "<f8"}[dtype]))


def _shards(specs: list[Spec], count: int) -> list[list[Spec]]:
    """Runs of tensors of about equal bytes."""
    target = sum(spec.length for spec in specs) / count
    parts: list[list[Spec]] = [[] for _ in range(count)]
    done = 0
    for spec in specs:
        parts[min(count - 1, int(done / target))].append(spec)
        done += spec.length
    return parts


def write_safetensors(file: BinaryIO, specs: list[Spec], weights: Weights) -> None:
    """A safetensors file with its header padded to 8 bytes."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    at = 0
    for spec in specs:
        offsets = [at, at + spec.length]
        header[spec.name] = {"dtype": spec.dtype, "shape": list(spec.shape), "data_offsets": offsets}
        at += spec.length
    raw = json.dumps(header, separators=(",", ":")).encode()
    raw += b" " * (-len(raw) % 8)
    file.write(struct.pack("<Q", len(raw)) + raw)
    for spec in specs:
        for block in weights.blocks(spec):
            file.write(block)


def write_gguf(file: BinaryIO, specs: list[Spec], weights: Weights) -> None:
    """A GGUF file, version 3."""
    types = {"F32": 0, "F16": 1, "Q8_0": 8, "I8": 24, "F64": 28, "BF16": 30}
    head = [b"GGUF", struct.pack("<IQQ", 3, len(specs), 2)]
    head += [_gguf_string("general.architecture"), struct.pack("<I", 8), _gguf_string("generated")]
    head += [_gguf_string("tokenizer.ggml.tokens"), struct.pack("<IIQ", 9, 8, 3)]
    head += [_gguf_string(token) for token in ("<s>", "a", "b")]
    at = 0
    for spec in specs:
        head += [_gguf_string(spec.name), struct.pack("<I", len(spec.shape))]
        head += [struct.pack(f"<{len(spec.shape)}Q", *reversed(spec.shape))]
        head += [struct.pack("<IQ", types[spec.dtype], at)]
        at += spec.length + -spec.length % 32
    raw = b"".join(head)
    file.write(raw + bytes(-len(raw) % 32))
    for spec in specs:
        for block in weights.blocks(spec):
            file.write(block)
        file.write(bytes(-spec.length % 32))


def _gguf_string(text: str) -> bytes:
    raw = text.encode()
    return struct.pack("<Q", len(raw)) + raw


def write_torch_zip(file: BinaryIO, specs: list[Spec], weights: Weights) -> None:
    """What ``torch.save`` writes for a dict of tensors: a stored zip, storages at 64-byte boundaries,
    zip64."""
    archive = _Zip(file)
    archive.add("archive/data.pkl", [pickle_of(specs)])
    archive.add("archive/byteorder", [b"little"])
    for index, spec in enumerate(specs):
        archive.add(f"archive/data/{index}", weights.blocks(spec))
    archive.add("archive/version", [b"3\n"])
    archive.finish()


def pickle_of(specs: list[Spec]) -> bytes:
    """The protocol 2 pickle of an ordered dict of tensors, each on a storage of its own, as torch writes
    it."""
    storages = {"BF16": "BFloat16Storage", "F16": "HalfStorage", "F32": "FloatStorage"}
    storages |= {"F64": "DoubleStorage", "I8": "CharStorage"}
    out = [b"\x80\x02", _named("collections", "OrderedDict"), b")R("]
    for index, spec in enumerate(specs):
        count, strides = prod(spec.shape), [prod(spec.shape[axis + 1 :]) for axis in range(len(spec.shape))]
        out += [_text(spec.name), _named("torch._utils", "_rebuild_tensor_v2"), b"((", _text("storage")]
        out += [_named("torch", storages[spec.dtype]), _text(str(index)), _text("cpu"), _number(count), b"tQ"]
        out += [_number(0), b"(", *map(_number, spec.shape), b"t(", *map(_number, strides), b"t"]
        out += [b"\x89", _named("collections", "OrderedDict"), b")RtR"]
    return b"".join([*out, b"u."])


def _named(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def _text(text: str) -> bytes:
    raw = text.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def _number(value: int) -> bytes:
    if value < 1 << 31:
        return b"J" + struct.pack("<i", value)
    raw = value.to_bytes(9, "little")
    return b"\x8a" + bytes([len(raw)]) + raw


class _Zip:
    """Stored members with the sizes in zip64 fields and the CRC in a data descriptor, as torch's writer has
    them."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._directory: list[bytes] = []

    def add(self, name: str, blocks: Iterator[bytes] | list[bytes]) -> None:
        raw_name = name.encode()
        start = self._file.tell()
        padding = -(start + 30 + len(raw_name) + 4) % _ALIGNMENT
        # Bit 3: sizes and CRC follow the data. "FB" is the extra field that torch pads with.
        local = struct.pack("<4s5H3I2H", b"PK\x03\x04", 45, 8, 0, 0, 0, 0, 0, 0, len(raw_name), 4 + padding)
        self._file.write(local + raw_name + struct.pack("<2sH", b"FB", padding) + b"Z" * padding)
        crc = length = 0
        for block in blocks:
            crc = zlib.crc32(block, crc)
            length += len(block)
            self._file.write(block)
        self._file.write(struct.pack("<4sIQQ", b"PK\x07\x08", crc, length, length))
        wide = struct.pack("<2H3Q", 1, 24, length, length, start)
        fixed = struct.pack("<4s6H", b"PK\x01\x02", 45, 45, 8, 0, 0, 0)
        sizes = struct.pack("<3I", crc, 0xFFFFFFFF, 0xFFFFFFFF)
        tail = struct.pack("<5H2I", len(raw_name), len(wide), 0, 0, 0, 0, 0xFFFFFFFF)
        self._directory.append(fixed + sizes + tail + raw_name + wide)

    def finish(self) -> None:
        start, raw, count = self._file.tell(), b"".join(self._directory), len(self._directory)
        self._file.write(raw)
        end = start + len(raw)
        self._file.write(
            struct.pack("<4sQ2H2I4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, len(raw), start)
            + struct.pack("<4sIQI", b"PK\x06\x07", 0, end, 1)
            + struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
        )


WRITERS = {"safetensors": write_safetensors, "torch_zip": write_torch_zip, "gguf": write_gguf}


def _size(text: str) -> int:
    units = {"": 1, "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30, "KB": 10**3, "MB": 10**6, "GB": 10**9}
    number = text.rstrip("KMGIBkmgib")
    return int(float(number) * units[text[len(number) :].upper()])


def main() -> None:
    parser = argparse.ArgumentParser(description="Write a generated checkpoint.")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--size", type=_size, required=True, help="for example 500MB or 1GiB")
    parser.add_argument("--dtype", choices=DTYPES, default="BF16")
    parser.add_argument("--tensors", type=int, help="so many tensors of equal size instead of a transformer's")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--format", choices=FORMATS, default="safetensors")
    parser.add_argument("--shards", type=int, default=1)
    parser.add_argument("--drift", type=float, default=0.0, help="noise relative to the weights' scale")
    parser.add_argument("--drift-seed", type=int, default=1)
    options = vars(parser.parse_args())
    for path in make_checkpoint(options.pop("directory"), options.pop("size"), **options):
        print(path)


if __name__ == "__main__":
    main()
