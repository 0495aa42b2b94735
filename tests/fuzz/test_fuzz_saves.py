"""Rubbish in a training run is a problem text, never an error, and nothing of it is run."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
import torch
import torch.distributed.checkpoint as dcp

from p2pckpt.jobs.saves import Shape, check, facts, find, look
from tests.fuzz.mutate import mutations
from tests.support import pickles
from tests.unit.checkpoint.builders import gguf_bytes, safetensors_bytes, torch_bytes

# Python's own decoder of old string opcodes warns about what the damage makes of them.
pytestmark = pytest.mark.filterwarnings("ignore:invalid:DeprecationWarning")
STATE = {"state_dict": {"w": torch.arange(40.0)}, "optimizer_states": [{"m": torch.ones(3)}], "global_step": 3}
INDEX = {"metadata": {"total_size": 8}, "weight_map": {"layer.0.weight": "model-00001-of-00002.safetensors"}}
LOG = {"global_step": 3, "epoch": 0.5, "log_history": [{"step": 3, "loss": 1.5}, {"step": 3, "eval_loss": 1}]}


def saved(*, modern: bool) -> bytes:
    file = io.BytesIO()
    torch.save(STATE, file, _use_new_zipfile_serialization=modern)
    return file.getvalue()


CORPORA = {
    "model.safetensors": [safetensors_bytes()],
    "model.gguf": [gguf_bytes()],
    "last.ckpt": [saved(modern=True), torch_bytes(), pickles.torch_file(b"\x80\x02}X\x04\x00\x00\x00stepK\x01s.")],
    "old.pt": [saved(modern=False), pickles.old_torch_file(b"\x80\x02}.")],
    "model.safetensors.index.json": [json.dumps(INDEX).encode()],
    "trainer_state.json": [json.dumps(LOG).encode()],
}


def look_at(save: Path, before: Shape | None) -> tuple[str, ...]:
    seen = look(save)
    facts(save, seen)
    return check(save, before, ["nothing"]).problems


@pytest.mark.parametrize("name", CORPORA)
def test_no_damaged_file_breaks_a_check(tmp_path: Path, name: str) -> None:
    file = tmp_path / "step_1" / name
    file.parent.mkdir()
    file.write_bytes(CORPORA[name][0])
    before = check(file.parent).shape
    bad = 0
    for data in mutations(CORPORA[name], 600, seed=5, head=300):
        file.unlink()
        file.write_bytes(data or b"\0")
        bad += bool(look_at(file.parent, before))
        assert len(find(tmp_path)) == 1
        facts(file.parent, look(file))
    assert bad > 200


@pytest.mark.parametrize("name", [".metadata", "__0_0.distcp"])
def test_no_damaged_distributed_checkpoint_breaks_a_check(tmp_path: Path, name: str) -> None:
    with pytest.warns(UserWarning, match="single process"):
        dcp.save(STATE, checkpoint_id=tmp_path / "step_1")
    file = tmp_path / "step_1" / name
    assert look_at(file.parent, None) == ()
    bad = 0
    for data in mutations([file.read_bytes()], 600, seed=6):
        file.unlink()
        file.write_bytes(data or b"\0")
        bad += bool(look_at(file.parent, None))
    assert bad > 200


@pytest.mark.parametrize("container", pickles.CONTAINERS)
def test_a_pickle_that_would_run_commands_is_followed_and_not_run(tmp_path: Path, container: str) -> None:
    file = tmp_path / "save" / "model.pt"
    file.parent.mkdir()
    for technique in pickles.TECHNIQUES.values():
        file.write_bytes(pickles.CONTAINERS[container](technique.raw))
        look_at(file.parent, None)
        facts(file.parent, look(file))


@pytest.mark.parametrize("data", pickles.UNREADABLE.values(), ids=pickles.UNREADABLE)
def test_an_archive_that_lies_is_no_error(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "save").mkdir()
    names = ("model.pt", "model.npz", ".metadata", "model.safetensors")
    for name in names[: 1 if len(data) > 1 << 20 else None]:  # one is enough of those that take their time
        (tmp_path / "save" / name).write_bytes(data or b"\0")
    look_at(tmp_path / "save", None)
