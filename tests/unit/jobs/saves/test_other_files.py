"""Files beside the state of a run: what is not known is let through, what is known has to be whole."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from p2pckpt.errors import ChangedWhileReading, P2pckptError
from p2pckpt.jobs.saves import Facts, Role, Writer, check, check_places, facts, look, take
from tests.support.training import safetensors
from tests.unit.checkpoint.builders import gguf_bytes, safetensors_bytes, zip_bytes
from tests.unit.jobs.saves.damage import problems

ENTRIES = {"a.bin": b"1234", "b.txt": b"text"}


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("metrics.json", b'{"loss": 1}\n{"loss": 2}\n'),
        ("model.safetensors.metadata", b"etag\n0.5\n"),
        (".metadata", b'{"of": "another program"}'),
        ("tokenizer.bin", b"\1\2\3"),
        ("model.bin", b"another program's"),
        ("spiece.model", b"\x0a\x0b"),
        ("README.md", b""),
        ("values.npz", zip_bytes(ENTRIES)),
        ("values.zip", zip_bytes(ENTRIES, 8)),
        ("model.gguf", gguf_bytes()),
    ],
)
def test_what_is_nobodys_state_or_whole_passes(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(safetensors_bytes())
    (tmp_path / name).write_bytes(data)
    assert problems(tmp_path) == ""


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("metrics.json", b'{"loss": 1}\n{"loss": ', "it is no JSON"),
        ("config.json", b'{\n  "a": 1', "it is no JSON"),
        ("config.json", b"", "it is empty"),
        ("config.json", b"[" * 100_000, "it is no JSON: RecursionError"),
        ("model.pt", bytes(4096), "it is neither an archive nor a pickle"),
        ("training_args.bin", bytes(4096), "it is neither an archive nor a pickle"),
        ("model.safetensors", b"version https://git-lfs.github.com/spec/v1", "it does not begin as safetensors does"),
        ("model.safetensors", safetensors_bytes() + b"\0", "1 bytes follow the last tensor"),
        ("model.gguf", bytes(100), "it does not begin as GGUF does"),
        ("values.npz", zip_bytes(ENTRIES, 8)[:40], "there is no directory"),
        ("values.npz", zip_bytes(ENTRIES).replace(b"1234", b"1235"), "'a.bin' is damaged"),
        ("model.safetensors.index.json", b'{"metadata": {}}', "it has no weight_map"),
        ("model.safetensors.index.json", b'{"weight_map": {"a": "../x"}}', "the shard '../x' is missing"),
    ],
)
def test_what_is_not_whole_is_reported(tmp_path: Path, name: str, data: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(data)
    assert said in problems(tmp_path)


def test_a_compressed_member_that_is_damaged_is_reported(tmp_path: Path) -> None:
    data = bytearray(zip_bytes({"a": b"0123456789" * 50}, 8))
    data[35] ^= 0xFF
    (tmp_path / "values.npz").write_bytes(bytes(data))
    assert "'a'" in problems(tmp_path)


def test_a_check_can_be_stopped(tmp_path: Path) -> None:
    class Stopped(Exception):
        pass

    calls = 0

    def stop() -> None:
        nonlocal calls
        calls += 1
        if calls > 3:
            raise Stopped

    (tmp_path / "model.safetensors").write_bytes(safetensors_bytes())
    with pytest.raises(Stopped):
        check(tmp_path, checkpoint=stop)


def test_a_file_that_is_written_to_meanwhile_is_no_problem_of_the_save(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(safetensors_bytes())
    calls = iter([None] * 2)

    def write() -> None:
        if next(calls, file) is file:  # once it is being read
            file.write_bytes(safetensors_bytes())

    with pytest.raises(ChangedWhileReading):
        check(tmp_path, checkpoint=write)


def test_a_directory_of_lightning_has_its_facts_beside_the_shards(tmp_path: Path) -> None:
    import torch
    import torch.distributed.checkpoint as dcp

    path = tmp_path / "epoch=1.ckpt"
    state = {"state_dict": {"w": torch.ones(3)}, "optimizer_0": {"m": torch.ones(3)}}
    with pytest.warns(UserWarning, match="single process"):
        dcp.save(state, checkpoint_id=path)
    assert (look(path).writer, look(path).marked) == (Writer.LIGHTNING, False)
    torch.save({"global_step": 12, "epoch": 1, "loops": {}, "lr_schedulers": []}, path / "meta.pt")
    save = look(path)
    assert (save.writer, save.marked, save.is_file) == (Writer.LIGHTNING, True, False)
    snapshot = take(save, tmp_path / "place")
    found = check(snapshot)
    assert found.problems == ()
    assert {role for role, _ in found.shape.parts} >= {Role.WEIGHTS, Role.OPTIMIZER, Role.SCHEDULER, Role.PROGRESS}
    assert facts(snapshot, save) == Facts(12, 1.0)


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ({"global_step": 5, "log_history": [{"step": 5, "loss": float("nan"), "a": float("inf")}]}, Facts(5)),
        (
            {"global_step": 5, "log_history": [{"step": 4, "loss": 2}, {"step": 5, "loss": 1}]},
            Facts(5, None, {"loss": 1}),
        ),
        ({"global_step": -1, "epoch": "two", "log_history": "none"}, Facts(7)),
        ({"global_step": 1 << 90, "epoch": 1 << 2000}, Facts(7)),
        ({"step": True, "log_history": [3, {"loss": True, "x" * 500: 1, "\x1b[0m": 1}]}, Facts(7)),
        ([1], Facts(7)),
    ],
)
def test_a_state_that_makes_no_sense_has_no_facts(tmp_path: Path, state: object, expected: Facts) -> None:
    save = tmp_path / "checkpoint-7"
    save.mkdir()
    (save / "trainer_state.json").write_text(json.dumps(state))
    assert facts(save, look(save)) == expected


def test_a_save_whose_files_lie_in_several_places_is_checked_as_one(tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    places = {"model.safetensors": tmp_path / "one" / "w", "trainer_state.json": tmp_path / "other" / "t"}
    places["model.safetensors"].write_bytes(safetensors_bytes())
    (tmp_path / "one" / "foreign.safetensors").write_bytes(b"no part of it")
    without = {"model.safetensors": places["model.safetensors"]}
    places["trainer_state.json"].write_text('{"global_step": 1}')
    assert check_places("checkpoint-1", places).problems == ()
    (problem,) = check_places("checkpoint-1", without).problems
    assert "trainer_state.json" in problem
    assert check_places("weights", without).problems == ()
    places["gone.pt"] = tmp_path / "gone"
    with pytest.raises(P2pckptError, match="can't be read"):
        check_places("weights", places)


def test_whether_what_is_not_finite_is_the_only_fault_is_said(tmp_path: Path) -> None:
    many = {f"t{n}": np.full(3, np.nan, np.float32) for n in range(9)}
    place = {"model.safetensors": tmp_path / "w", "config.json": tmp_path / "c"}
    place["model.safetensors"].write_bytes(safetensors(many, "F32"))
    place["config.json"].write_text("{}")
    assert check_places("weights", place).nonfinite
    assert not check_places("weights", place, ("*",)).nonfinite
    place["config.json"].write_text("{")
    assert not check_places("weights", place).nonfinite
