from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from p2pckpt.errors import BadUsage, NotAllowed, NotFound
from p2pckpt.jobs.saves import Writer, find, is_finished, is_one_save, look
from p2pckpt.jobs.saves.names import epoch_in, metrics_in, step_in
from tests.unit.checkpoint.builders import zip_bytes

ZIP = zip_bytes({"archive/data.pkl": b"\x80\x02}q\0."})


def written(path: Path, data: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def names(run: Path) -> list[str]:
    return sorted(str(save.path.relative_to(run)) for save in find(run))


def test_saves_are_found_wherever_trainers_put_them(tmp_path: Path) -> None:
    for path in (
        "checkpoint-500/model.safetensors",
        "checkpoints/checkpoint_3/model.safetensors",
        "lightning_logs/version_0/checkpoints/epoch=1-step=20.ckpt",
        "dist/step_7/.metadata",
        "ours/step-40/anything.xyz",
        "weights/latest.pt",
        "weights/model_000500.pth",
        "sharded.ckpt/meta.pt",
        "final/model.safetensors.index.json",
    ):
        written(tmp_path / path)
    assert names(tmp_path) == [
        "checkpoint-500",
        "checkpoints/checkpoint_3",
        "dist/step_7",
        "final",
        "lightning_logs/version_0/checkpoints/epoch=1-step=20.ckpt",
        "ours/step-40",
        "sharded.ckpt",
        "weights/latest.pt",
        "weights/model_000500.pth",
    ]


def test_what_is_no_save_is_not_found(tmp_path: Path) -> None:
    for path in (
        ".p2pckpt/checkpoint-500/model.safetensors",
        "runs/step-1/events.out.tfevents.1",
        "logs/step-1/hparams.yaml",
        "lightning_logs/version_0/metrics.csv",
        "lightning_logs/version_0/hparams.yaml",
        "tmp-checkpoint-500/model.safetensors",
        "checkpoint-600.tmp/model.safetensors",
        "step_4.pt.part",
        ".step_5.pt",
        "step_6.pt.p2pckpt-partial",
        "wandb/run-1/files/model.pt",
        "config.json",
        "model.safetensors",
        "training_args.bin",
        "optimizer.pt",
        "train.py",
    ):
        written(tmp_path / path)
    (tmp_path / "checkpoint-700").mkdir()
    written(tmp_path / "checkpoint-800" / "model.safetensors")
    (tmp_path / "latest").symlink_to("checkpoint-800")
    (tmp_path / "last.ckpt").symlink_to("epoch=1.ckpt")
    assert names(tmp_path) == ["checkpoint-800"]


def test_saves_come_by_step_where_each_has_one_else_by_time(tmp_path: Path) -> None:
    for number, step in enumerate([1000, 900, 10000]):
        os.utime(written(tmp_path / "a" / f"checkpoint-{step}" / "x"), (number, number))
    assert [save.step for save in find(tmp_path / "a")] == [900, 1000, 10000]
    for number, name in enumerate(["step=9.ckpt", "last.ckpt", "step=8.ckpt"]):
        os.utime(written(tmp_path / "b" / name), (number, number))
    assert [save.name for save in find(tmp_path / "b")] == ["step=9.ckpt", "last.ckpt", "step=8.ckpt"]


def test_a_run_or_a_save_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="there is no directory"):
        find(tmp_path / "run")
    with pytest.raises(NotFound, match="there is no save"):
        look(tmp_path / "save")
    with pytest.raises(BadUsage, match="there is no file"):
        look(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BadUsage, match="neither a directory nor a file"):
        look(tmp_path / "pipe")


def test_a_save_is_seen_to_change(tmp_path: Path) -> None:
    save = tmp_path / "checkpoint-1"
    file = written(save / "deep" / "model.bin", b"1234")
    first = look(save)
    assert look(save) == first
    os.utime(file, ns=(0, 5))
    assert look(save).print != first.print
    before = look(save)
    file.rename(tmp_path / "old")
    written(file, b"1234")
    os.utime(file, ns=(0, 5))
    assert look(save).print != before.print  # another inode
    assert look(save).size == first.size == 4


def test_transformers_mark_has_to_be_whole_and_the_newest_file(tmp_path: Path) -> None:
    save = tmp_path / "checkpoint-1"
    state = written(save / "trainer_state.json", b'{"global_step": 1')
    other = written(save / "optimizer.pt")
    rank = written(save / "rng_state_1.pth")
    os.utime(other, ns=(10, 10))
    os.utime(state, ns=(20, 20))
    os.utime(rank, ns=(30, 30))
    assert not look(save).marked
    state.write_bytes(b'{"global_step": 1}')
    os.utime(state, ns=(20, 20))
    assert look(save).marked
    os.utime(other, ns=(25, 25))
    assert not look(save).marked  # a trainer that started again writes the save once more
    assert look(save).writer is Writer.TRANSFORMERS


def test_metadata_of_an_earlier_distributed_save_is_no_mark(tmp_path: Path) -> None:
    save = tmp_path / "step_1"
    metadata, shard = written(save / ".metadata"), written(save / "__0_0.distcp")
    os.utime(metadata, ns=(20, 20))
    os.utime(shard, ns=(10, 10))
    assert look(save).marked
    os.utime(shard, ns=(30, 30))
    assert not look(save).marked


def test_every_rank_without_collectives_has_to_have_its_own_mark(tmp_path: Path) -> None:
    save = tmp_path / "step_1"
    for rank in (0, 1, 10):
        os.utime(written(save / f"__{rank}_0.distcp"), ns=(rank + 5, rank + 5))
    for rank in (0, 1):
        os.utime(written(save / f"__{rank}.metadata"), ns=(rank + 6, rank + 6))
    assert not look(save).marked
    os.utime(written(save / "__10.metadata"), ns=(20, 20))
    assert look(save).marked


def test_a_file_of_torch_is_marked_once_its_directory_is_written(tmp_path: Path) -> None:
    file = written(tmp_path / "epoch=1.ckpt", ZIP[:-1])
    assert (look(file).marked, look(file).writer) == (False, Writer.LIGHTNING)
    file.write_bytes(ZIP)
    assert look(file).marked


def test_a_save_is_finished_once_it_rested(tmp_path: Path) -> None:
    marked, plain = look(written(tmp_path / "step=1.ckpt", ZIP)), look(written(tmp_path / "step=1.pt"))
    for quiet, rest, of_marked, of_plain in [
        (3.0, 0.1, False, False),
        (3.0, 1.0, True, False),
        (3.0, 3.5, True, True),
        (0.0, 0.0, True, True),
    ]:
        assert is_finished(marked, quiet, marked.changed_at + rest) is of_marked
        assert is_finished(plain, quiet, plain.changed_at + rest) is of_plain


def test_a_clock_that_is_far_ahead_does_not_keep_a_save_back_for_ever(tmp_path: Path) -> None:
    file = written(tmp_path / "step_1.pt")
    os.utime(file, (1 << 33, 1 << 33))
    assert is_finished(look(file), 3.0, 1_800_000_000.0)


@pytest.mark.parametrize(
    ("name", "step", "epoch", "metrics"),
    [
        ("checkpoint-500", 500, None, {}),
        ("epoch=1-step=20.ckpt", 20, 1, {}),
        ("epoch=1-step=20-val_loss=0.31-v2.ckpt", 20, 1, {"val_loss": 0.31}),
        ("epoch=02-val_acc=1.5e-3.ckpt", None, 2, {"val_acc": 0.0015}),
        ("sd-epoch3.safetensors", None, 3, {}),
        ("model_000500.pth", 500, None, {}),
        ("global_step1200", 1200, None, {}),
        ("iter_0000100", 100, None, {}),
        ("last.ckpt", None, None, {}),
        ("llama-7b", None, None, {}),
        ("footsteps9x.pt", None, None, {}),
        ("step=1-loss=nan.ckpt", 1, None, {}),
    ],
)
def test_names_say_what_they_say(name: str, step: int | None, epoch: int | None, metrics: dict[str, float]) -> None:
    assert (step_in(name), epoch_in(name), metrics_in(name)) == (step, epoch, metrics)


def test_one_save_is_told_from_a_place_where_several_lie(tmp_path: Path) -> None:
    for path in (
        "checkpoint-5/global_step5/mp_rank_00_model_states.pt",
        "back/model.safetensors",
        "back/more.safetensors",
        "file/epoch=1.ckpt",
        "file/model.sig",
        "run/model.safetensors",
        "run/checkpoint-5/model.safetensors",
        "epoch-1/checkpoint-5/model.safetensors",
        "files/epoch=1.ckpt",
        "files/epoch=2.ckpt",
        "notes/notes.txt",
    ):
        written(tmp_path / path)
    found = sorted(path.name for path in tmp_path.iterdir() if is_one_save(path))
    assert found == ["back", "checkpoint-5", "file"]
    assert not is_one_save(tmp_path / "nothing")


def test_what_made_way_for_a_checkout_is_no_part_of_a_save(tmp_path: Path) -> None:
    save = tmp_path / "checkpoint-1"
    written(save / "model.bin")
    before = look(save)
    written(save / ".p2pckpt-replaced" / "1" / "model.bin")
    assert (look(save).print, look(save).size) == (before.print, before.size)


def test_saves_are_found_in_directories_that_are_called_as_logs_are(tmp_path: Path) -> None:
    for path in (
        "experiments/runs/a/checkpoint-5/model.safetensors",
        "logs/version_0/events.out.tfevents.1",
        "logs/version_0/checkpoints/epoch=1.ckpt",
        "runs/step-1/events.out.tfevents.1",
        "runs/step-2/deep/__0_0.distcp",
    ):
        written(tmp_path / path)
    assert names(tmp_path) == [
        "experiments/runs/a/checkpoint-5",
        "logs/version_0/checkpoints/epoch=1.ckpt",
        "runs/step-2",
    ]


@pytest.mark.parametrize(
    "files",
    [
        ("model.safetensors", "optimizer.bin", "random_states_0.pkl"),
        ("pytorch_model_fsdp_0/__0_0.distcp", "optimizer_0/__0_0.distcp", "random_states_0.pkl"),
        (".metadata", "__0_0.distcp"),
    ],
)
def test_a_directory_that_is_saved_to_over_and_over_again_is_the_save(tmp_path: Path, files: tuple[str, ...]) -> None:
    for path in files:
        written(tmp_path / "run" / path)
    assert [save.path for save in find(tmp_path / "run")] == [tmp_path / "run"]
    written(tmp_path / "run" / "checkpoint-5" / "model.safetensors")
    assert tmp_path / "run" not in [save.path for save in find(tmp_path / "run")]


def test_weights_that_a_trainer_begins_with_or_leaves_are_no_save_of_its_run(tmp_path: Path) -> None:
    for path in ("model.safetensors", "config.json", "training_args.bin", "trainer_state.json"):
        written(tmp_path / path)
    assert find(tmp_path) == []


def test_what_the_disk_does_not_give_is_left_out_or_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "run"
    written(run / "checkpoint-1" / "model.bin")
    written(run / "checkpoint-2" / "model.bin")
    written(run / os.fsdecode(b"step_1\xff.pt"))
    assert names(run) == ["checkpoint-1", "checkpoint-2"]
    stat, scandir = Path.stat, os.scandir
    refused: dict[str, int] = {"checkpoint-1": errno.EACCES}

    def failing(path: Path, **options: bool) -> os.stat_result:
        if path.name in refused:
            raise OSError(refused[path.name], os.strerror(refused[path.name]))
        return stat(path, **options)

    def scanned(path: str | Path) -> Iterator[os.DirEntry[str]]:
        failing(Path(path))
        return scandir(path)

    monkeypatch.setattr(Path, "stat", failing)
    monkeypatch.setattr(os, "scandir", scanned)
    assert names(run) == ["checkpoint-2"]
    with pytest.raises(NotFound):
        look(run / "checkpoint-1")
    refused["run"] = errno.ESTALE
    with pytest.raises(NotFound, match=re.escape(os.strerror(errno.ESTALE))):
        find(run)
    refused["run"] = errno.EACCES
    with pytest.raises(NotAllowed, match="can't be read"):
        find(run)


def test_the_mark_of_a_save_that_is_known_is_not_read_again(tmp_path: Path) -> None:
    for step in (1, 2):
        written(tmp_path / f"step={step}.ckpt", ZIP)
    first = find(tmp_path)[0]
    found = find(tmp_path, lambda path, printed: (path, printed) == (first.path, first.print))
    assert [(save.step, save.marked) for save in found] == [(1, False), (2, True)]
