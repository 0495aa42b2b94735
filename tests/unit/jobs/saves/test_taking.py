from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path

import pytest

from p2pckpt import cloning
from p2pckpt.errors import BadUsage, ChangedWhileReading, NotAllowed
from p2pckpt.jobs.saves import Save, look, take, taking


@pytest.fixture
def save(tmp_path: Path) -> Save:
    path = tmp_path / "run" / "checkpoint-1"
    (path / "unet").mkdir(parents=True)
    (path / "model.safetensors").write_bytes(b"weights")
    (path / "unet" / "a.bin").write_bytes(b"unet")
    (path / ".metadata").write_bytes(b"last")
    (path / ".hidden").write_bytes(b"not ours")
    (path / "optimizer.pt.tmp").write_bytes(b"not finished")
    (path / "linked.json").symlink_to(tmp_path / "outside.json")
    (tmp_path / "outside.json").write_bytes(b"{}")
    return look(path)


def contents(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


TAKEN = {"model.safetensors": b"weights", "unet/a.bin": b"unet", ".metadata": b"last", "linked.json": b"{}"}


def test_a_snapshot_survives_that_the_trainer_deletes_the_save(save: Save, tmp_path: Path) -> None:
    place = tmp_path / "run" / ".p2pckpt" / save.name
    assert take(save, place) == place
    shutil.rmtree(save.path)
    assert contents(place) == TAKEN
    assert not (place / "linked.json").is_symlink()


def test_a_snapshot_takes_no_second_copy_on_the_disk(save: Save, tmp_path: Path) -> None:
    place = take(save, tmp_path / "place")
    linked = (place / "model.safetensors").stat()
    original = (save.path / "model.safetensors").stat()
    if linked.st_ino != original.st_ino:  # a reflink: another inode with the same blocks and times
        assert linked.st_mtime_ns == original.st_mtime_ns
    else:
        assert linked.st_nlink == 2


def test_a_reflink_keeps_times_and_mode_and_is_nobody_elses_file(
    save: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on btrfs or XFS: ``ioctl`` is replaced by a copy."""

    def clone(target: int, request: int, source: int) -> int:
        assert request == 0x40049409  # FICLONE of linux/fs.h
        return os.sendfile(target, source, 0, os.fstat(source).st_size)

    monkeypatch.setattr(fcntl, "ioctl", clone)
    (save.path / "model.safetensors").chmod(0o640)
    place = take(save, tmp_path / "place")
    with (save.path / "model.safetensors").open("r+b") as file:
        file.write(b"WEIGHTS")
    assert contents(place) == TAKEN
    mine, theirs = ((path / "unet" / "a.bin").stat() for path in (place, save.path))
    assert (mine.st_mtime_ns, mine.st_nlink) == (theirs.st_mtime_ns, 1)
    assert (place / "model.safetensors").stat().st_mode & 0o777 == 0o640


def test_a_file_becomes_the_only_one_of_a_directory(tmp_path: Path) -> None:
    file = tmp_path / "epoch=1-step=2.ckpt"
    file.write_bytes(b"state")
    place = take(look(file), tmp_path / "place")
    file.unlink()
    assert contents(place) == {"epoch=1-step=2.ckpt": b"state"}
    assert look(place).size == 5


def test_taking_again_replaces_what_was_there(save: Save, tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    (place / "old").write_bytes(b"")
    partial = tmp_path / "place.p2pckpt-partial"  # of a daemon that was killed half way
    partial.mkdir()
    (partial / "half").write_bytes(b"")
    assert contents(take(save, place)) == TAKEN
    assert contents(take(look(save.path), place)) == TAKEN
    assert not partial.exists()


def test_a_save_that_was_written_to_since_is_not_taken(save: Save, tmp_path: Path) -> None:
    (save.path / "model.safetensors").write_bytes(b"another")
    with pytest.raises(ChangedWhileReading, match="not as it was"):
        take(save, tmp_path / "place")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["outside.json", "run"]


def test_a_save_that_is_written_to_meanwhile_is_not_taken(
    save: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = taking._link

    def writing(source: Path, target: Path) -> None:
        link(source, target)
        with (save.path / "unet" / "a.bin").open("ab") as file:
            file.write(b"more")

    monkeypatch.setattr(taking, "_link", writing)
    with pytest.raises(ChangedWhileReading):
        take(save, tmp_path / "place")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["outside.json", "run"]


def test_a_save_that_is_deleted_meanwhile_is_not_taken(
    save: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = taking._link

    def deleting(source: Path, target: Path) -> None:
        shutil.rmtree(save.path, ignore_errors=True)
        link(source, target)

    monkeypatch.setattr(taking, "_link", deleting)
    with pytest.raises(ChangedWhileReading):
        take(save, tmp_path / "place")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["outside.json", "run"]
    with pytest.raises(ChangedWhileReading):
        take(save, tmp_path / "place")


def test_a_writer_that_opens_a_linked_file_again_is_noticed(save: Save, tmp_path: Path) -> None:
    place = take(save, tmp_path / "place")
    before = look(place)
    with (save.path / "model.safetensors").open("r+b") as file:
        file.write(b"WEIGHTS")
    linked = (place / "model.safetensors").stat().st_ino == (save.path / "model.safetensors").stat().st_ino
    assert (look(place).print != before.print) is linked


def test_where_no_link_can_be_made_it_is_said(save: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(cloning, "clone", lambda *_: False)
    with pytest.raises(NotAllowed, match="can't be linked") as caught:
        take(save, tmp_path / "place")
    assert "one file system" in caught.value.next_step
    assert not (tmp_path / "place").exists()


def test_a_link_to_a_directory_is_refused_as_when_it_is_published(save: Save, tmp_path: Path) -> None:
    (save.path / "unet2").symlink_to(save.path / "unet")
    with pytest.raises(BadUsage, match="link to a directory"):
        take(look(save.path), tmp_path / "place")
    assert not (tmp_path / "place").exists()
