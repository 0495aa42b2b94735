from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.distributed.checkpoint as dcp

from p2pckpt.jobs.layouts import Layouts
from p2pckpt.jobs.safety import open_source
from p2pckpt.jobs.scanning import scan
from tests.unit.jobs.workshop import Workshop, manifest_of_packed, unpacked


def save(to: Path, weight: torch.Tensor) -> Path:
    with pytest.warns(UserWarning, match="single process"):
        dcp.save({"model": {"weight": weight}, "step": 1}, checkpoint_id=to)
    return to


def kind(directory: Path, path: str) -> tuple[str, list[str]]:
    with open_source(directory / path) as source:
        layout = Layouts(scan(directory).files).of(path, source)
    return layout.kind, [tensor.name for tensor in layout.tensors]


def test_a_shard_has_the_tensors_that_the_metadata_beside_it_names(tmp_path: Path) -> None:
    directory = save(tmp_path / "run" / "step_1", torch.ones(64)).parent
    assert kind(directory, "step_1/__0_0.distcp") == ("dcp", ["model.weight"])
    (directory / "step_1" / ".metadata").rename(directory / "step_1" / "__0.metadata")
    assert kind(directory, "step_1/__0_0.distcp") == ("dcp", ["model.weight"])
    (directory / "step_1" / "__0.metadata").write_bytes(b"\x80\x04N.")
    assert kind(directory, "step_1/__0_0.distcp") == ("opaque", [])
    (directory / "step_1" / "__0.metadata").unlink()
    assert kind(directory, "step_1/__0_0.distcp") == ("opaque", [])


def test_the_next_distributed_save_is_packed_as_deltas_to_this_one(workshop: Workshop, tmp_path: Path) -> None:
    weight = torch.randn(512, 512, generator=torch.Generator().manual_seed(0)).bfloat16()
    packed = workshop.pack(save(tmp_path / "step_1", weight))
    first = manifest_of_packed(packed)
    assert [(tensor.name, tensor.dtype, tensor.shape) for tensor in packed.tensors] == [
        ("model.weight", "BF16", (512, 512))
    ]
    later = weight.clone()
    later[::50] *= 1.01
    directory = save(tmp_path / "step_2", later)
    delta = workshop.pack(directory, version=2, base=first)
    (changed,) = [chunk for chunk in delta.chunks if chunk.base]
    assert changed.raw_length == 512 * 512 * 2
    assert changed.length < next(chunk.length for chunk in packed.chunks if chunk.id == changed.base) / 10
    whole = unpacked(workshop, manifest_of_packed(delta, version=2))
    assert whole["__0_0.distcp"] == (directory / "__0_0.distcp").read_bytes()
