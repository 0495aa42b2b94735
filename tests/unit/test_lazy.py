"""Lazy tensors of manifests that a publisher made up; of real versions: tests/integration/daemon."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, cast

import numpy as np
import pytest

from p2pckpt.control.client import ControlClient
from p2pckpt.control.read_messages import Contents, FileInfo, TensorInfo
from p2pckpt.errors import BadUsage, NotFound, VerificationFailed
from p2pckpt.lazy import AsyncLazyTensors

FILE = FileInfo("a.safetensors", 100, "00", "safetensors", False)


class Daemon:
    async def read(self, name: str, path: str, start: int, end: int, **options: Any) -> AsyncIterator[bytes]:
        yield bytes(range(start, end))


async def daemon() -> ControlClient:
    return cast(ControlClient, Daemon())


def lazy(*tensors: TensorInfo, framework: str = "np") -> AsyncLazyTensors:
    contents = Contents("ab" * 32, "x", 1, "", "", 0, "", "", (), None, {}, (FILE,), tensors, "")
    return AsyncLazyTensors(daemon, contents, framework, "cpu", (), 1)


async def test_what_makes_sense_is_read() -> None:
    tensors = lazy(TensorInfo("w", "I16", (2, 2), 0, 10, 8), TensorInfo("none", "F32", (0, 7), 0, 100, 0))
    assert np.array_equal(await tensors.get_tensor("w"), np.frombuffer(bytes(range(10, 18)), "<i2").reshape(2, 2))
    assert (await tensors.get_tensor("none")).shape == (0, 7)


@pytest.mark.parametrize("framework", ["np", "pt"])
@pytest.mark.parametrize(
    ("dtype", "shape", "offset", "length"),
    [
        ("F32", (10,), 0, 20),
        ("I64", (10,), 0, 10),
        ("F32", (0, 1 << 70), 0, 0),
        ("F32", (0, 1 << 62), 0, 0),
        ("F32", (1 << 70,), 0, 100),
        ("F32", (-1, -5), 0, 20),
        ("U8", (1,) * 65, 0, 1),
        ("F32", (5,), 90, 20),
        ("F32", (5,), -4, 20),
        ("F32", (), 0, 8),
    ],
)
async def test_a_manifest_that_contradicts_itself_is_refused(
    framework: str, dtype: str, shape: tuple[int, ...], offset: int, length: int
) -> None:
    tensors = lazy(TensorInfo("w", dtype, shape, 0, offset, length), framework=framework)
    with pytest.raises(VerificationFailed, match="contradicts itself"):
        await tensors.get_tensor("w")


async def test_a_view_of_a_storage_is_not_taken_for_the_storage() -> None:
    tensors = lazy(TensorInfo("head.weight@0", "F32", (20,), 0, 0, 80))
    with pytest.raises(BadUsage, match="a view of a storage") as caught:
        await tensors.get_tensor("head.weight")
    assert "'head.weight@0'" in caught.value.next_step
    assert (await tensors.get_tensor("head.weight@0")).shape == (20,)
    with pytest.raises(NotFound):
        await tensors.get_tensor("head")
