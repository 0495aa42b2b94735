"""Converting with the real torch, run by hand where it and safetensors are installed:

    python -m pytest tests/contract/convert_with_torch.py

What tests/unit/jobs/test_convert.py asks of a stand-in is asked here of the whole.
"""

from __future__ import annotations

import collections
from pathlib import Path
from typing import Any

import pytest

from p2pckpt.errors import P2pckptError
from p2pckpt.jobs.convert import convert_file
from tests.support.pickles import call, old_torch_file, torch_file

torch = pytest.importorskip("torch")
safetensors_torch = pytest.importorskip("safetensors.torch")


def converted(tmp_path: Path, value: Any, **options: Any) -> tuple[Any, dict[str, Any]]:
    source, target = tmp_path / "model.pt", tmp_path / "model.safetensors"
    torch.save(value, source, **options)
    made = convert_file(source, target)
    return made, safetensors_torch.load_file(target)


@pytest.mark.parametrize("new", [True, False])
def test_every_tensor_comes_back_bit_by_bit(tmp_path: Path, new: bool) -> None:
    kinds = [torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool, torch.float64]
    value = collections.OrderedDict((str(kind), torch.randn(3, 5).to(kind)) for kind in kinds)
    value["empty"], value["scalar"] = torch.zeros(0, 3), torch.tensor(2.5)
    made, loaded = converted(tmp_path, value, _use_new_zipfile_serialization=new)
    assert made.tensors == len(value)
    for name, tensor in value.items():
        assert loaded[name].dtype == tensor.dtype
        assert torch.equal(loaded[name], tensor)


def test_tied_and_strided_tensors_get_bytes_of_their_own(tmp_path: Path) -> None:
    weight = torch.randn(4, 6)
    made, loaded = converted(tmp_path, {"a": weight, "tied": weight, "turned": weight.T, "part": weight[1:3]})
    assert made.shared == ("tied", "turned", "part")
    assert torch.equal(loaded["tied"], weight)
    assert torch.equal(loaded["turned"], weight.T)
    assert torch.equal(loaded["part"], weight[1:3])


def test_a_lightning_checkpoint_gives_its_models_tensors(tmp_path: Path) -> None:
    model = torch.nn.Linear(3, 4)
    value = {"state_dict": model.state_dict(), "optimizer_states": [{"m": torch.ones(2)}], "epoch": 3}
    made, loaded = converted(tmp_path, value)
    assert set(loaded) == {"weight", "bias"}
    assert made.dropped == ("optimizer_states", "epoch")


@pytest.mark.parametrize("wrap", [torch_file, old_torch_file])
def test_a_pickle_that_would_run_something_is_refused_and_runs_nothing(tmp_path: Path, wrap: Any) -> None:
    mark = tmp_path / "it ran"
    command = f"touch '{mark}'".encode()
    raw = call("os", "system", b"X" + len(command).to_bytes(4, "little") + command)
    (tmp_path / "model.pt").write_bytes(wrap(raw))
    with pytest.raises(P2pckptError, match=r"os\.system|as weights alone"):
        convert_file(tmp_path / "model.pt", tmp_path / "model.safetensors")
    assert not mark.exists()
    assert not (tmp_path / "model.safetensors").exists()


@pytest.mark.parametrize("value", [torch.nn.Linear(2, 2), {"s": torch.eye(3).to_sparse()}, [1], {"epoch": 3}])
def test_what_safetensors_cannot_hold_is_refused(tmp_path: Path, value: Any) -> None:
    with pytest.raises(P2pckptError, match="can't be converted"):
        converted(tmp_path, value)
