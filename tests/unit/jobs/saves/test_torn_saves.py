"""Saves of real trainers, torn and damaged in every way that is known: each is reported, by file and tensor."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path

import pytest

from p2pckpt.checkpoint.formats import BytesSource, inspect
from p2pckpt.jobs.saves import Role, Shape, Writer, check
from tests.unit.jobs.saves.conftest import Copy
from tests.unit.jobs.saves.damage import cuts, members, problems, rewrite

NAN = {"F64": "000000000000f87f", "F32": "0000c07f", "F16": "007e", "BF16": "c07f", "F8_E4M3": "7f", "F8_E5M2": "7f"}
INFINITY = {"F64": "000000000000f0ff", "F32": "000080ff", "F16": "00fc", "BF16": "80ff", "F8_E5M2": "fc"}
WHOLE = [
    "transformers/checkpoint-6",
    "accelerate/checkpoint-3",
    "distributed/step_7",
    "distributed/step_8",
    "distributed/step_9",
    "files/step_3.pt",
    "files/old_4.pt",
    "files/model-00005.pt",
    "files/step-6",
    "sharded/model",
    "lightning/version_0/checkpoints/every-step=3.ckpt",
]


@pytest.mark.parametrize("path", WHOLE)
def test_a_file_that_is_cut_anywhere_is_reported(copy: Copy, path: str) -> None:
    save = copy(path)
    tried = 0
    for file in sorted(save.rglob("*")):
        whole = file.read_bytes()
        for length in cuts(len(whole)):
            rewrite(file, whole[:length])
            assert file.name in problems(save), f"{file.name} cut to {length} of {len(whole)}"
            tried += 1
        rewrite(file, whole)
    assert tried >= 10
    assert problems(save) == ""


@pytest.mark.parametrize("path", ["transformers/checkpoint-6", "accelerate/checkpoint-3", "files/model-00005.pt"])
def test_a_flipped_byte_in_an_archive_is_reported(copy: Copy, path: str) -> None:
    save = copy(path)
    dice = random.Random(3)
    for file in [file for file in save.iterdir() if file.read_bytes()[:4] == b"PK\x03\x04"]:
        whole = file.read_bytes()
        for start, length in members(file).values():
            at = start + dice.randrange(length)
            rewrite(file, whole[:at] + bytes([whole[at] ^ 1 << dice.randrange(8)]) + whole[at + 1 :])
            assert file.name in problems(save), f"{file.name} at {at}"
        rewrite(file, whole)


def test_a_flipped_byte_in_a_distributed_shard_is_reported(copy: Copy) -> None:
    save = copy("distributed/step_8")
    whole = (save / "__1_0.distcp").read_bytes()
    at = whole.index(bytes.fromhex("00000842"))  # 34.0, in the second rank's half
    rewrite(save / "__1_0.distcp", whole[:at] + b"\1" + whole[at + 1 :])
    assert "__1_0.distcp: 'model.weight' is damaged" in problems(save)


@pytest.mark.parametrize("planted", [NAN, INFINITY], ids=["nan", "infinity"])
@pytest.mark.parametrize("dtype", NAN)
def test_one_number_that_is_not_finite_is_reported_in_every_type(
    copy: Copy, dtype: str, planted: dict[str, str]
) -> None:
    if dtype not in planted:
        planted = NAN
    save = copy("files/step-6")
    file = save / "model.safetensors"
    data = bytearray(file.read_bytes())
    tensor = next(t for t in inspect(BytesSource(bytes(data))).tensors if t.dtype == dtype)
    bits = bytes.fromhex(planted[dtype])
    data[tensor.offset + 20 * len(bits) : tensor.offset + 21 * len(bits)] = bits
    rewrite(file, bytes(data))
    what = "NaN" if planted is NAN else "infinity"
    assert problems(save) == f"model.safetensors: tensor '{tensor.name}' has {what} at element 20"
    assert problems(save, allow=[tensor.name]) == ""
    assert problems(save, allow=["model.safetensors:float*", "bfloat16"]) == ""


def test_a_number_that_is_not_finite_is_reported_in_every_kind_of_torch_file(runs: Path, tmp_path: Path) -> None:
    import torch
    import torch.distributed.checkpoint as dcp

    state = {"model": {"w": torch.ones(100)}, "optim": {"exp_avg": torch.ones(100)}}
    state["optim"]["exp_avg"][7] = float("nan")
    for number, modern in enumerate([True, False]):
        (tmp_path / str(number)).mkdir()
        torch.save(state, tmp_path / str(number) / "last.pt", _use_new_zipfile_serialization=modern)
        expected = "last.pt: tensor 'optim.exp_avg' has NaN at element 7"
        assert problems(tmp_path / str(number)) == expected
    dcp.save(state, checkpoint_id=tmp_path / "step_1")
    assert problems(tmp_path / "step_1") == "__0_0.distcp: tensor 'optim.exp_avg' has NaN at element 7"
    assert problems(tmp_path / "step_1", allow=["*.exp_avg"]) == ""


def test_what_lies_beside_a_view_in_its_storage_is_nobodys_number(tmp_path: Path) -> None:
    import torch

    storage = torch.full((100,), float("inf"))
    storage[10:20] = 1
    (tmp_path / "save").mkdir()
    torch.save({"view": storage[10:20]}, tmp_path / "save" / "model.pt")
    assert problems(tmp_path / "save") == ""
    torch.save({"view": storage[10:21]}, tmp_path / "save" / "model.pt")
    assert problems(tmp_path / "save") == "model.pt: tensor 'view' has infinity at element 10"


def test_many_bad_tensors_are_some_lines(tmp_path: Path) -> None:
    import torch

    torch.save({f"w{number}": torch.full((3,), float("nan")) for number in range(40)}, tmp_path / "model.pt")
    found = check(tmp_path).problems
    assert len(found) == 6
    assert found[-1] == "model.pt: 35 more tensors: each has NaN"


def test_archives_without_checksums_pass_with_a_warning(tmp_path: Path) -> None:
    import torch
    from torch.serialization import set_crc32_options

    set_crc32_options(False)
    try:
        torch.save({"w": torch.ones(9)}, tmp_path / "model.pt")
    finally:
        set_crc32_options(True)
    found = check(tmp_path)
    assert found.problems == ()
    assert found.warnings == ("model.pt: it was written without checksums, so only its structure was checked",)


@pytest.mark.parametrize(
    ("path", "name", "said"),
    [
        ("transformers/checkpoint-6", "trainer_state.json", "trainer_state.json: it is missing"),
        ("transformers/checkpoint-6", "optimizer.pt", "there is no state of the optimizer"),
        ("transformers/checkpoint-6", "scheduler.pt", "there is no state of the learning rate's scheduler"),
        ("transformers/checkpoint-6", "rng_state.pth", "there is no state of the random number generators"),
        ("transformers/checkpoint-6", "model.safetensors", "there are no weights"),
        ("accelerate/checkpoint-3", "random_states_0.pkl", "there is no state of the random number generators"),
        ("distributed/step_8", ".metadata", ".metadata: it is missing"),
        ("distributed/step_8", "__1_0.distcp", "the shard '__1_0.distcp' with 2 tensors and objects is missing"),
        ("distributed/step_9", "__0_0.distcp", "the shard '__0_0.distcp'"),
        (
            "sharded/model",
            "model-00002-of-00004.safetensors",
            "the shard 'model-00002-of-00004.safetensors' is missing",
        ),
    ],
)
def test_a_file_that_is_missing_is_reported_without_any_save_before(
    copy: Copy, path: str, name: str, said: str
) -> None:
    save = copy(path)
    (save / name).unlink()
    assert said in problems(save)


@pytest.mark.parametrize(
    ("path", "name", "role"),
    [
        ("transformers/checkpoint-6", "config.json", Role.CONFIG),
        ("accelerate/checkpoint-3", "optimizer.bin", Role.OPTIMIZER),
        ("accelerate/checkpoint-3", "scheduler.bin", Role.SCHEDULER),
        ("files/step-6", "optimizer.pt", Role.OPTIMIZER),
        ("files/step-6", "training_state.json", Role.PROGRESS),
    ],
)
def test_a_part_that_the_save_before_had_is_missed(copy: Copy, path: str, name: str, role: Role) -> None:
    save = copy(path)
    before = check(save).shape
    assert before.count(role) == 1
    (save / name).unlink()
    assert problems(save) == ""
    assert "; the save before had it" in problems(save, before)


def test_weights_alone_are_a_save_of_transformers_too(copy: Copy) -> None:
    save = copy("transformers/checkpoint-6")
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
        (save / name).unlink()
    assert problems(save) == ""


def test_a_trainer_that_was_killed_at_its_first_file_left_no_save(copy: Copy) -> None:
    save = copy("transformers/checkpoint-6")
    for file in save.iterdir():
        if file.name not in ("config.json", "model.safetensors"):
            file.unlink()
    assert "trainer_state.json: it is missing" in problems(save)
    moved = save.rename(save.with_name("snapshot"))
    assert check(moved).problems == ()
    assert check(moved, writer=Writer.TRANSFORMERS).problems != ()


def test_a_state_half_written_is_reported(copy: Copy) -> None:
    save = copy("transformers/checkpoint-6")
    state = json.loads((save / "trainer_state.json").read_text())
    del state["global_step"]
    rewrite(save / "trainer_state.json", json.dumps(state).encode())
    assert problems(save) == "trainer_state.json: it has no global_step"


def test_a_tensor_that_the_index_has_and_the_shard_has_not_is_reported(copy: Copy) -> None:
    save = copy("sharded/model")
    index = json.loads((save / "model.safetensors.index.json").read_text())
    index["weight_map"]["bert.extra.weight"] = "model-00001-of-00004.safetensors"
    rewrite(save / "model.safetensors.index.json", json.dumps(index).encode())
    expected = "model-00001-of-00004.safetensors: tensor 'bert.extra.weight' is named by the index, and is not in it"
    assert problems(save) == expected


def test_a_missing_rank_is_reported_and_fewer_ranks_than_before_are_said(copy: Copy) -> None:
    save = copy("transformers/checkpoint-6")
    states = [save / f"rng_state_{rank}.pth" for rank in range(4)]
    for path in states:
        path.write_bytes((save / "rng_state.pth").read_bytes())
    (save / "rng_state.pth").unlink()
    before = check(save).shape
    assert before.count(Role.RNG) == 4
    states[3].unlink()
    found = check(save, before)
    assert found.problems == ()
    assert found.warnings == ("random number generators of 3 ranks; the save before had those of 4",)
    states[1].unlink()
    assert "rng_state_*.pth: ranks are missing: 1" in problems(save, before)


def test_metadata_that_does_not_cover_a_tensor_is_reported(copy: Copy) -> None:
    save = copy("distributed/step_8")
    raw = (save / ".metadata").read_bytes()
    assert raw.count(b"K\x04K\x08\x86") >= 1
    at = raw.rindex(b"K\x04K\x08\x86")
    rewrite(save / ".metadata", raw[:at] + b"K\x03K\x08\x86" + raw[at + 5 :])
    assert "it does not say where all of 'model.weight' is" in problems(save)


def test_a_shard_that_no_metadata_names_is_only_said(copy: Copy) -> None:
    save = copy("distributed/step_7")
    (save / "__1_0.distcp").write_bytes(b"of an earlier save by more ranks")
    found = check(save)
    assert found.problems == ()
    assert found.warnings == ("__1_0.distcp: the metadata names nothing in it",)


@pytest.mark.parametrize(
    ("path", "mark", "late"),
    [
        ("transformers/checkpoint-6", "trainer_state.json", "model.safetensors"),
        ("distributed/step_8", ".metadata", "__1_0.distcp"),
    ],
)
def test_a_save_half_written_over_a_whole_one_is_reported(copy: Copy, path: str, mark: str, late: str) -> None:
    save = copy(path)
    assert check(save, as_written=True).problems == ()
    after = (save / mark).stat().st_mtime + 60
    os.utime(save / late, (after, after))
    assert check(save).problems == ()  # as of a save that was copied
    expected = f"{late}: it is newer than {mark}, which is written last, so it belongs to another save"
    assert check(save, as_written=True).problems == (expected,)


def test_a_directory_without_files_is_a_problem_and_not_an_error(tmp_path: Path) -> None:
    assert check(tmp_path).problems == (f"{tmp_path} is empty",)
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    assert "broken link" in problems(tmp_path)
    assert check(tmp_path, Shape.of([Role.WEIGHTS])).shape == Shape()
