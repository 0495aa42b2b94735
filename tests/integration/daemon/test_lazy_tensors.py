"""``p2pckpt.open``: tensors of a version nobody has fetched, and how little of it moves for them."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

import p2pckpt
from p2pckpt.errors import BadUsage, NotFound

from ...support.homes import Home, until, write_files
from ...support.reading import pieces_here, pieces_of
from ...support.training import safetensors, weights
from ...unit.checkpoint.builders import gguf_bytes

pytestmark = pytest.mark.asyncio(loop_scope="package")


async def opened(home: Home, name: str, **options: Any) -> p2pckpt.LazyTensors:
    return await asyncio.to_thread(p2pckpt.open, name, config=home.config, **options)


async def test_one_tensor_of_a_remote_version_moves_its_own_chunks_and_some_rows_fewer(
    alice: Home, bob: Home, tmp_path: Path
) -> None:
    tensors = weights(width=1500, layers=4)
    tensors["rows"] = np.random.default_rng(7).standard_normal((40_000, 64), np.float32)
    file = safetensors(tensors, "F32", origin="here")
    job = await alice.share(write_files(tmp_path / "source", {"model.safetensors": file}), name="lazy/one")
    before = await pieces_here(bob)
    lazy = await opened(bob, job.link)
    info = {tensor.name: tensor for tensor in lazy.contents.tensors}
    assert lazy.keys() == lazy.offset_keys() == list(tensors)
    assert await pieces_here(bob) == before, "opening fetches nothing"

    rows = lazy.get_slice("rows")
    assert (rows.get_shape(), rows.get_dtype()) == ([40_000, 64], "F32")
    found = await asyncio.to_thread(rows.__getitem__, (slice(30_000, 30_010), slice(0, 8)))
    assert np.array_equal(found, tensors["rows"][30_000:30_010, :8])
    start = info["rows"].offset + 30_000 * 256
    expected = await pieces_of(bob, "lazy/one", "model.safetensors", start, start + 2560)
    all_rows = (info["rows"].offset, info["rows"].offset + info["rows"].length)
    assert len(expected) < len(await pieces_of(bob, "lazy/one", "model.safetensors", *all_rows))

    async def noted() -> bool:
        return await pieces_here(bob) - before == expected

    await until(noted, "the pieces under those rows are here, and no others")
    tensor = info["layer.2.weight"]
    found = await asyncio.to_thread(lazy.get_tensor, tensor.name)
    assert np.array_equal(found, tensors[tensor.name])
    found[0, 0] = 1  # an array of one's own
    expected |= await pieces_of(bob, "lazy/one", "model.safetensors", tensor.offset, tensor.offset + tensor.length)
    assert len(expected) < len(await pieces_of(bob, "lazy/one", "model.safetensors")) / 2
    await until(noted, "the pieces under that tensor are here, and no others")
    assert await asyncio.to_thread(lazy.metadata) == {"format": "pt", "origin": "here"}


async def test_tensors_are_what_safetensors_own_reader_gives(alice: Home, tmp_path: Path) -> None:
    stored = {
        "half": torch.randn(7, 5).to(torch.bfloat16),
        "eight": torch.randn(4, 4).to(torch.float8_e4m3fn),
        "scalar": torch.tensor(3.5),
        "none": torch.empty(0, 3),
        "mask": torch.tensor([True, False]),
        "numbers": torch.arange(24).reshape(2, 3, 4),
    }
    directory = tmp_path / "source"
    directory.mkdir()
    save_file(stored, directory / "model.safetensors")
    await alice.share(directory, name="lazy/same")
    lazy = await opened(alice, "lazy/same", framework="pt")
    with lazy as tensors, safe_open(directory / "model.safetensors", "pt") as theirs:
        assert set(tensors.keys()) == set(theirs.keys())
        assert tensors.metadata() == theirs.metadata()
        for name in theirs.keys():  # noqa: SIM118 - it is no mapping
            ours, other = tensors.get_tensor(name), theirs.get_tensor(name)
            assert ours.dtype == other.dtype
            assert torch.equal(
                ours.view(torch.uint8) if ours.dim() else ours, other.view(torch.uint8) if ours.dim() else other
            )
        ours, other = tensors.get_slice("numbers"), theirs.get_slice("numbers")
        assert (ours.get_shape(), ours.get_dtype()) == (other.get_shape(), other.get_dtype())
        for index in (
            0,
            -1,
            slice(1, 2),
            (slice(None), 1),
            (1, slice(0, 2)),
            (..., 2),
            (slice(None), slice(None), slice(1, 3)),
        ):
            assert torch.equal(ours[index], other[index])
    plain = await opened(alice, "lazy/same")
    bits = plain.get_tensor("half")
    assert (bits.dtype.itemsize, bits.tobytes()) == (2, stored["half"].view(torch.int16).numpy().tobytes())
    assert plain.get_tensor("eight").dtype.itemsize == 1
    assert plain.get_tensor("numbers").tolist() == stored["numbers"].tolist()


async def test_every_format_is_read_and_names_that_several_files_have_are_told_apart(
    alice: Home, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    (source / "unet").mkdir(parents=True)
    (source / "vae").mkdir()
    values = {"conv.weight": torch.arange(12.0).reshape(3, 4), "bias": torch.ones(3)}
    save_file(values, source / "unet" / "model.safetensors")
    torch.save({"conv.weight": values["conv.weight"] * 2, "unet.only": torch.ones(2)}, source / "unet" / "model.bin")
    save_file({"conv.weight": values["conv.weight"] * 3}, source / "vae" / "model.safetensors")
    write_files(source, {"tiny.gguf": gguf_bytes()})
    await alice.share(source, name="lazy/formats")
    lazy = await opened(alice, "lazy/formats")
    assert set(lazy.keys()) == {
        "token_embd.weight", "output_norm.weight", "output.weight", "bias", "unet.only",
        "unet/model.safetensors:conv.weight", "vae/model.safetensors:conv.weight",
    }  # fmt: skip
    expected = np.arange(12.0).reshape(3, 4)
    assert np.array_equal(lazy.get_tensor("unet/model.safetensors:conv.weight"), expected)
    assert np.array_equal(lazy.get_tensor("unet/model.bin:conv.weight"), expected * 2)
    assert np.array_equal(lazy.get_slice("vae/model.safetensors:conv.weight")[1], expected[1] * 3)
    (half,) = [tensor for tensor in lazy.contents.tensors if tensor.name == "output.weight"]
    raw = gguf_bytes()[half.offset : half.offset + half.length]
    assert np.array_equal(lazy.get_tensor("output.weight"), np.frombuffer(raw, "<f2").reshape(half.shape))
    with pytest.raises(BadUsage, match="stored as Q8_0"):
        lazy.get_tensor("token_embd.weight")
    with pytest.raises(NotFound, match=r"no tensor 'conv.weight'"):
        lazy.get_tensor("conv.weight")
    chosen = await opened(alice, "lazy/formats", only=("vae/model.safetensors",))
    assert chosen.keys() == ["conv.weight"]
    with pytest.raises(NotFound, match="has no file"):
        await opened(alice, "lazy/formats", only=("vae",))
    with pytest.raises(NotFound):
        await opened(alice, "lazy/nothing")
    with pytest.raises(BadUsage, match="framework"):
        await opened(alice, "lazy/formats", framework="jax")


async def test_code_with_a_loop_of_its_own_awaits_them(alice: Home, tmp_path: Path) -> None:
    tensors = weights(width=64, layers=2)
    await alice.share(write_files(tmp_path / "s", {"a.safetensors": safetensors(tensors, "F32")}), name="lazy/async")
    async with await p2pckpt.open_async("lazy/async", config=alice.config) as lazy:
        names = lazy.keys()
        found = await asyncio.gather(*(lazy.get_tensor(name) for name in names))
        assert all(np.array_equal(a, tensors[name]) for a, name in zip(found, names, strict=True))
        assert np.array_equal(await lazy.get_slice("layer.0.weight")[3:5], tensors["layer.0.weight"][3:5])


_FORK = """
import os
import p2pckpt
tensors = p2pckpt.open("lazy/forked")
total = float(tensors.get_tensor("layer.0.weight").sum())
pid = os.fork()
if pid == 0:
    os._exit(0 if float(tensors.get_tensor("layer.0.weight").sum()) == total else 1)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


async def test_a_fork_reads_on_with_a_connection_of_its_own(alice: Home, tmp_path: Path) -> None:
    file = safetensors(weights(width=64, layers=1), "F32")
    await alice.share(write_files(tmp_path / "s", {"a.safetensors": file}), name="lazy/forked")
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", _FORK], env=alice.env, capture_output=True, text=True, timeout=60
    )
    assert (done.stdout.strip(), done.stderr) == ("0", "")
