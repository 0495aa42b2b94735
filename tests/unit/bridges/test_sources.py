"""What is given to other tools is what was signed: every byte is compared, and none twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from p2pckpt.bridges.sources import look, still_there
from p2pckpt.errors import Cancelled
from tests.support.homes import flip_bit, write_files
from tests.unit.bridges.versions import Counter, contents, found


def test_a_whole_directory_is_found_and_not_read_again(tmp_path: Path) -> None:
    version = contents(write_files(tmp_path / "m", {"a": b"x" * 3000, "b/c": b"y" * 10}))
    count = Counter()
    first = look(version, tmp_path / "m", {}, 2, count)
    assert (first.problem, count.total) == ("", 3010)
    assert set(first.files) == {"a", "b/c"}
    flip_bit(tmp_path / "m" / "a", 7)  # with the times put back: what nobody but a test does
    assert look(version, tmp_path / "m", first.identities, 2, count).problem == ""
    assert look(version, tmp_path / "m", {}, 2, count).problem == f"{tmp_path}/m/a is not the version's"


@pytest.mark.parametrize("damage", ["missing", "longer", "changed", "a directory", "a broken link"])
def test_a_directory_that_is_not_the_version_s_is_refused(tmp_path: Path, damage: str) -> None:
    version = contents(write_files(tmp_path / "m", {"a": b"x" * 3000, "b": b"y"}))
    path = tmp_path / "m" / "a"
    if damage == "longer":
        path.write_bytes(b"x" * 3001)
    elif damage == "changed":
        path.write_bytes(b"x" * 2999 + b"z")
    else:
        path.unlink()
        if damage == "a directory":
            path.mkdir()
        elif damage == "a broken link":
            path.symlink_to("nowhere")
    assert "a " in look(version, tmp_path / "m", {}, 2, Counter()).problem


def test_links_to_files_count_as_the_files(tmp_path: Path) -> None:
    version = contents(write_files(tmp_path / "m", {"a": b"x"}))
    (tmp_path / "m" / "a").rename(tmp_path / "elsewhere")
    (tmp_path / "m" / "a").symlink_to("../elsewhere")
    assert found(version, tmp_path / "m").files == {"a": tmp_path / "elsewhere"}


def test_a_change_after_the_look_is_noticed(tmp_path: Path) -> None:
    version = contents(write_files(tmp_path / "m", {"a": b"x", "b": b"y"}))
    result = found(version, tmp_path / "m")
    assert still_there(result)
    (tmp_path / "m" / "b").write_bytes(b"z")
    assert not still_there(result)


def test_a_look_that_nobody_waits_for_ends(tmp_path: Path) -> None:
    version = contents(write_files(tmp_path / "m", {"a": b"x" * 5, "b": b"y"}))

    def stop(count: int) -> None:
        raise Cancelled("interrupted")

    with pytest.raises(Cancelled):
        look(version, tmp_path / "m", {}, 2, stop)
