"""The file system behind ``p2pckpt://``, over a daemon that is made up; with a real one: tests/integration/daemon."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from p2pckpt.bridges import fsspec_files
from p2pckpt.bridges.fsspec_files import P2pckptFileSystem
from p2pckpt.control.read_messages import Contents, FileInfo
from p2pckpt.errors import NoSeeds, NotAllowed, NotFound, P2pckptError

ID = "ab" * 32
DATA = b"0123456789"


class World:
    """What the daemon would know."""

    def __init__(self) -> None:
        self.stable = 1
        self.asked: list[str] = []
        self.broken: dict[str, P2pckptError] = {}

    async def names(self) -> frozenset[str]:
        return frozenset({"x/y"})

    async def contents(self, version: str) -> Contents:
        self.asked.append(version)
        _, _, selector = version.partition("@")
        number = int(selector) if selector.isdecimal() else self.stable
        files = tuple(FileInfo(path, len(DATA), "00", "opaque", False) for path in ("a.bin", "b.bin", "c.bin"))
        return Contents(ID, "x/y", number, "", "", 0, "", "", (), None, {}, files, (), "")

    async def range(self, version: str, path: str, start: int, end: int, ahead: int = 0) -> bytes:
        if path in self.broken:
            raise self.broken[path]
        return DATA[start:end] if version == f"{ID}@1" else b"other bytes"


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World()
    for name, answer in (("_ask_names", made.names), ("_contents", made.contents), ("_range", made.range)):
        monkeypatch.setattr(P2pckptFileSystem, name, staticmethod(answer))
    return made


@pytest.fixture
def fs(world: World) -> Any:
    return P2pckptFileSystem(skip_instance_cache=True)


def test_an_open_file_is_pickled_as_the_version_that_it_is(world: World, fs: Any) -> None:
    file = fs.open("x/y@stable/a.bin")
    assert file.read(3) == b"012"
    sent = pickle.dumps(file)
    world.stable = 2
    assert pickle.loads(sent).read() == b"3456789"
    assert pickle.loads(pickle.dumps(pickle.loads(sent))).read() == b"3456789"


def test_ranges_that_cannot_be_read_are_errors_in_their_places_unless_they_are_to_be_raised(
    world: World, fs: Any
) -> None:
    world.broken = {"b.bin": NotAllowed("no"), "c.bin": NotFound("gone")}
    paths = [f"x/y/{name}.bin" for name in "abcd"]
    found = fs.cat_ranges(paths, 0, 4, max_gap=10)
    assert found[0] == b"0123"
    assert [type(each) for each in found[1:]] == [PermissionError, FileNotFoundError, FileNotFoundError]
    assert [str(each).split(":")[0] for each in found[1:]] == paths[1:]
    (alone,) = fs.cat_ranges(paths[1:2], 0, 4)
    assert isinstance(alone, PermissionError)
    with pytest.raises(PermissionError, match=r"b\.bin"):
        fs.cat_ranges(paths, 0, 4, on_error="raise")
    with pytest.raises(PermissionError):
        fs.cat_file(paths[1])
    world.broken = {"a.bin": NoSeeds("nobody")}
    with pytest.raises(NoSeeds):
        fs.cat_file(paths[0])


def test_what_was_looked_at_longest_ago_is_forgotten(world: World, fs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fsspec_files, "_REMEMBERED", 3)
    for number in (1, 2, 3, 1, 4, 1, 2):
        assert fs.exists(f"x/y@{number}/a.bin")
    assert world.asked == [f"x/y@{number}" for number in (1, 2, 3, 4, 2)]
