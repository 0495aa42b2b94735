from __future__ import annotations

import contextlib
import os
import socket
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from p2pckpt.errors import BadUsage, Cancelled, NotAllowed, NotFound
from p2pckpt.jobs.scanning import scan
from tests.support.homes import write_files

NOBODY = 65534


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return write_files(tmp_path / "model", {"model.bin": b"12345", "run/log.txt": b"log", "a.txt": b""})


# -- what travels


def test_files_are_listed_by_path_with_size_and_executable_bit(directory: Path) -> None:
    (directory / "run/log.txt").chmod(0o755)
    found = scan(directory)
    rows = [(file.path, file.size, file.executable) for file in found.files]
    assert rows == [("a.txt", 0, False), ("model.bin", 5, False), ("run/log.txt", 3, True)]
    assert (found.size, found.directories, found.warnings) == (8, (), ())
    assert all(file.location == directory / file.path for file in found.files)


def test_the_order_is_that_of_whole_paths(tmp_path: Path) -> None:
    names = ["b", "a/z", "a-b", "a/b/c", "C", "a.b"]
    found = scan(write_files(tmp_path / "model", {f"{name}.txt": b"" for name in names}))
    assert [file.path for file in found.files] == sorted(f"{name}.txt" for name in names)


def test_empty_directories_travel_and_others_come_with_their_files(directory: Path) -> None:
    (directory / "empty/inner").mkdir(parents=True)
    (directory / "another").mkdir()
    assert scan(directory).directories == ("another", "empty/inner")


def test_links_to_files_travel_as_files_and_are_said_once(directory: Path, tmp_path: Path) -> None:
    (tmp_path / "blob").write_bytes(b"somewhere else")
    (directory / "link1").symlink_to(tmp_path / "blob")
    (directory / "link2").symlink_to("model.bin")
    found = scan(directory)
    assert {file.path: file.size for file in found.files if file.path.startswith("link")} == {"link1": 14, "link2": 5}
    assert found.warnings == ("2 links to files were followed and travel as files",)


def test_the_directory_itself_may_be_a_link(directory: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(directory)
    assert [file.path for file in scan(tmp_path / "link").files] == ["a.txt", "model.bin", "run/log.txt"]


def test_what_p2pckpt_made_itself_is_left_out_and_named(directory: Path) -> None:
    write_files(directory, {".p2pckpt-replaced/20260101-000000/model.bin": b"old", ".x.p2pckpt-partial/files/y": b"z"})
    found = scan(directory)
    assert len(found.files) == 3
    assert found.warnings == (
        ".p2pckpt-replaced was left out: p2pckpt made it",
        ".x.p2pckpt-partial was left out: p2pckpt made it",
    )


@pytest.mark.parametrize(
    "change",
    [
        lambda path: path.write_bytes(b"54321!"),
        lambda path: os.utime(path, ns=(5, 5)),
        lambda path: (path.with_name("x").write_bytes(b"12345"), path.with_name("x").replace(path)),
        lambda path: path.unlink(),
    ],
    ids=["written", "touched", "replaced", "deleted"],
)
def test_a_file_that_was_touched_since_is_noticed(directory: Path, change: Callable[[Path], object]) -> None:
    files = {file.path: file for file in scan(directory).files}
    assert all(file.is_unchanged() for file in files.values())
    change(directory / "model.bin")
    assert {path for path, file in files.items() if not file.is_unchanged()} == {"model.bin"}


# -- what does not


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


def _link_to_directory(path: Path) -> None:
    path.symlink_to(path.parent / "run")


def _loop(path: Path) -> None:
    path.symlink_to(path.name)


REFUSED: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "a socket": ("sock", _socket, "sock is a socket"),
    "a pipe": ("pipe", os.mkfifo, "pipe is a pipe"),
    "a link to a device": ("null", lambda path: path.symlink_to("/dev/null"), "null is a device"),
    "a link to a directory": ("sub", _link_to_directory, "sub is a link to a directory"),
    "a link to its own directory": ("up", lambda path: path.symlink_to("."), "up is a link to a directory"),
    "a broken link": ("gone", lambda path: path.symlink_to("nowhere"), "gone is a broken link"),
    "a link to itself": ("loop", _loop, "loop is a broken link"),
    "a device name": ("nul.txt", Path.touch, "nul.txt"),
    "a trailing dot": ("model.", Path.touch, r"model\."),
    "a trailing space": ("model ", Path.touch, "space"),
    "a backslash": ("a\\b", Path.touch, "backslash"),
    "a colon": ("a:b", Path.touch, "colon"),
    "a control character": ("a\nb", Path.touch, "control character"),
    "a name that is no text": ("a\udcff", Path.touch, "no valid Unicode"),
    "a name that differs in case": ("MODEL.bin", Path.touch, "one file on some systems"),
    "a directory with a bad name": ("aux", lambda path: write_files(path, {"inside": b""}), "aux"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_travel_is_refused_by_name(directory: Path, what: str) -> None:
    name, make, reason = REFUSED[what]
    make(directory / name)
    with pytest.raises(BadUsage, match="can't be shared") as refused:
        scan(directory)
    assert refused.match(reason)
    assert refused.value.fact.isprintable()
    assert refused.value.kept == "nothing was published"


def test_everything_that_cannot_travel_is_named_at_once(directory: Path) -> None:
    for name, make, _ in (REFUSED["a socket"], REFUSED["a broken link"], REFUSED["a colon"]):
        make(directory / name)
    with pytest.raises(BadUsage) as refused:
        scan(directory)
    assert all(part in refused.value.fact for part in ("sock", "gone", "colon"))


def test_of_very_many_the_first_are_named(directory: Path) -> None:
    for number in range(50):
        (directory / f"gone{number:02}").symlink_to("nowhere")
    with pytest.raises(BadUsage) as refused:
        scan(directory)
    assert refused.value.fact.count("broken link") == 10
    assert refused.value.fact.endswith("…")


def test_a_directory_that_is_none_or_empty_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no directory"):
        scan(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadUsage, match="is empty"):
        scan(tmp_path / "empty")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(BadUsage, match="is a file"):
        scan(tmp_path / "file")


def test_directories_nested_without_end_are_refused_and_not_fallen_into(tmp_path: Path) -> None:
    bottom = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    for _ in range(2100):
        os.mkdir("d", dir_fd=bottom)
        deeper = os.open("d", os.O_RDONLY | os.O_DIRECTORY, dir_fd=bottom)
        os.close(bottom)
        bottom = deeper
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=bottom))
    os.close(bottom)
    try:
        with pytest.raises((BadUsage, NotAllowed)):
            scan(tmp_path / "d")
    finally:
        subprocess.run(["rm", "-rf", str(tmp_path / "d")], check=True)  # Python would run out of stack, too


@contextlib.contextmanager
def ordinary_user() -> Iterator[Path]:
    """A directory that anybody may enter; inside, this process has no rights that others lack."""
    with tempfile.TemporaryDirectory(prefix="p2pckpt-test-") as name:
        Path(name).chmod(0o777)
        is_root = os.geteuid() == 0
        if is_root:
            os.setresuid(NOBODY, NOBODY, 0)
        try:
            yield Path(name)
        finally:
            if is_root:
                os.setresuid(0, 0, 0)


def test_a_file_that_cannot_be_read_is_named() -> None:
    with ordinary_user() as home:
        directory = write_files(home / "model", {"model.bin": b"12345", "secret.bin": b"x"})
        (directory / "secret.bin").chmod(0)
        with pytest.raises(NotAllowed, match=r"secret\.bin can't be read") as refused:
            scan(directory)
        assert refused.value.next_step.startswith("chmod u+r")


def test_a_directory_that_cannot_be_read_is_named() -> None:
    with ordinary_user() as home:
        directory = write_files(home / "model", {"model.bin": b"12345", "secret/inside": b"x"})
        (directory / "secret").chmod(0)
        with pytest.raises(NotAllowed, match="secret can't be read"):
            scan(directory)
        (directory / "secret").chmod(stat.S_IRWXU)


def test_a_scan_that_nobody_waits_for_ends_at_the_next_file(directory: Path) -> None:
    looked: list[None] = []

    def check() -> None:
        looked.append(None)
        if len(looked) == 2:
            raise Cancelled("nobody waits for it any more")

    with pytest.raises(Cancelled):
        scan(directory, check)
    assert len(looked) == 2
    assert scan(directory).size == 8
