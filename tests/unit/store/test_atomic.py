from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from p2pckpt import atomic
from tests.support.homes import small_disk

KILLED = """
import os, signal, sys
from pathlib import Path
from p2pckpt import atomic
real = getattr(os, sys.argv[2]) if sys.argv[2] != "replace" else None
def die(*arguments, **options):
    os.kill(os.getpid(), signal.SIGKILL)
if real is None:
    Path.replace = die
else:
    setattr(os, sys.argv[2], die)
getattr(atomic, sys.argv[3])(Path(sys.argv[1]), b"new content")
"""


@pytest.mark.parametrize("content", [b"", b"x", b"\0" * 100_000])
def test_a_file_is_written_and_replaced(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file"
    for data in (content, b"another", content):
        atomic.write(path, data)
        assert path.read_bytes() == data
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_modes_are_as_asked_whatever_the_old_file_had(tmp_path: Path) -> None:
    path = tmp_path / "file"
    atomic.write(path, b"secret")
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o666)
    atomic.write(path, b"public", mode=0o644)
    assert path.stat().st_mode & 0o777 == 0o644
    atomic.write_new(tmp_path / "new", b"", mode=0o640)
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_crash_before_the_rename_leaves_the_old_content(tmp_path: Path, step: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old content")
    done = subprocess.run([sys.executable, "-c", KILLED, str(path), step, "write"], check=False)
    assert done.returncode == -9
    assert path.read_bytes() == b"old content"
    atomic.write(path, b"newer content")
    assert path.read_bytes() == b"newer content"


@pytest.mark.parametrize("step", ["fsync", "link"])
def test_a_crash_before_the_link_leaves_no_file(tmp_path: Path, step: str) -> None:
    path = tmp_path / "file"
    done = subprocess.run([sys.executable, "-c", KILLED, str(path), step, "write_new"], check=False)
    assert done.returncode == -9
    assert not path.exists()
    atomic.write_new(path, b"content")
    assert path.read_bytes() == b"content"


def test_content_and_names_are_synced_in_that_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    sync, replace = os.fsync, Path.replace

    def watched_sync(descriptor: int) -> None:
        steps.append("directory" if Path(f"/proc/self/fd/{descriptor}").is_dir() else "file")
        sync(descriptor)

    def watched_replace(path: Path, target: Path) -> Path:
        steps.append("rename")
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", watched_sync)
    monkeypatch.setattr(Path, "replace", watched_replace)
    atomic.write(tmp_path / "file", b"content")
    assert steps == ["file", "rename", "directory"]


def test_a_failure_leaves_the_old_content_and_nothing_beside_it(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 64 << 10) as disk:
        path = disk / "file"
        atomic.write(path, b"old content")
        with pytest.raises(OSError, match="No space"):
            atomic.write(path, bytes(1 << 20))
        with pytest.raises(OSError, match="No space"):
            atomic.write_new(disk / "new", bytes(1 << 20))
        assert path.read_bytes() == b"old content"
        assert [p.name for p in disk.iterdir()] == ["file"]
    taken = tmp_path / "directory"
    (taken / "content").mkdir(parents=True)
    with pytest.raises(OSError):
        atomic.write(taken, b"content")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["directory", "disk"]


def test_of_many_who_write_a_new_file_one_wins(tmp_path: Path) -> None:
    barrier = threading.Barrier(8)

    def write(number: int) -> bool:
        barrier.wait()
        try:
            atomic.write_new(tmp_path / "file", str(number).encode())
        except FileExistsError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(write, range(8)))
    assert won.count(True) == 1
    assert (tmp_path / "file").read_bytes() == str(won.index(True)).encode()
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_link_in_the_place_is_replaced_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(b"untouched")
    (tmp_path / "file").symlink_to("elsewhere")
    with pytest.raises(FileExistsError):
        atomic.write_new(tmp_path / "file", b"content")
    atomic.write(tmp_path / "file", b"content")
    assert not (tmp_path / "file").is_symlink()
    assert (tmp_path / "elsewhere").read_bytes() == b"untouched"
