"""``p2pckpt://`` through the real fsspec."""

from __future__ import annotations

import asyncio
import json
import pickle
import tomllib
from pathlib import Path
from typing import Any

import fsspec
import pytest
import safetensors.numpy
from fsspec.core import url_to_fs

from ...support.homes import Home, seeded_bytes, tree, write_files
from ...support.reading import pieces_here, pieces_of
from ...support.training import safetensors as safetensors_of
from ...support.training import weights

pytestmark = pytest.mark.asyncio(loop_scope="package")
MIB = 1 << 20
ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def registered() -> None:
    """As the entry point does once the package is installed."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    ((protocol, where),) = project["entry-points"]["fsspec.specs"].items()
    fsspec.register_implementation(protocol, where.replace(":", "."), clobber=True)


def files() -> dict[str, bytes]:
    return {
        "config.json": json.dumps({"layers": 3}).encode(),
        "model.safetensors": safetensors_of(weights(width=64), "F32"),
        "sub/data.bin": seeded_bytes(9 * MIB, 31),
        "sub/deep/x.txt": b"deep",
    }


async def test_a_version_is_a_directory_for_whoever_speaks_fsspec(alice: Home, bob: Home, tmp_path: Path) -> None:
    contents = files()
    job = await alice.share(write_files(tmp_path / "source", contents), name="files/model", tags=("stable",))
    await bob.client.contents(job.link)
    await asyncio.to_thread(_look_around, bob, contents, tmp_path)


def _look_around(bob: Home, contents: dict[str, bytes], tmp_path: Path) -> None:
    options: dict[str, Any] = {"home": str(bob.path), "patience": 30.0}
    with fsspec.open("p2pckpt://files/model@stable/config.json", **options) as file:
        assert json.load(file) == {"layers": 3}
    fs, path = url_to_fs("p2pckpt://files/model", **options)
    assert "files/model" in fs.ls("", detail=False)
    assert fs.ls(path, detail=False) == [f"{path}/{name}" for name in ("config.json", "model.safetensors", "sub")]
    assert fs.info(f"{path}/sub")["type"] == "directory"
    assert fs.info(f"{path}/sub/data.bin")["size"] == 9 * MIB
    assert len(fs.ukey(f"{path}/config.json")) == 64
    assert set(fs.find(path)) == {f"{path}/{name}" for name in contents}
    assert fs.glob(f"{path}/**/*.txt") == [f"{path}/sub/deep/x.txt"]
    assert fs.exists(f"{path}/config.json")
    assert not fs.exists(f"{path}/nothing")
    assert not fs.exists("no/such/share")
    assert fs.modified(path).year >= 2024

    data = contents["sub/data.bin"]
    ranges = fs.cat_ranges([f"{path}/sub/data.bin"] * 3, [0, 4 * MIB, -5], [10, 4 * MIB + 9, None])
    assert ranges == [data[:10], data[4 * MIB : 4 * MIB + 9], data[-5:]]
    assert fs.cat_file(f"{path}@1/sub/data.bin", 3, 8) == data[3:8]
    mixed = fs.cat_ranges([f"{path}/config.json", f"{path}/nothing"], 0, 4)
    assert mixed[0] == contents["config.json"][:4]
    assert isinstance(mixed[1], FileNotFoundError)
    with pytest.raises(FileNotFoundError):
        fs.cat_file(f"{path}/nothing")
    with fs.open(f"{path}/sub/data.bin", block_size=MIB) as file:
        file.seek(7 * MIB)
        assert file.read(100) == data[7 * MIB : 7 * MIB + 100]
        file.seek(0)
        assert file.read() == data
    with fs.open(f"{path}/model.safetensors") as file:
        assert set(safetensors.numpy.load(file.read())) == set(weights(width=64))
    fs.get(path, str(tmp_path / "copy"), recursive=True)
    assert tree(tmp_path / "copy") == tree(tmp_path / "source")

    again = pickle.loads(pickle.dumps(fs))
    assert again == fs
    assert again.cat_file(f"{path}/sub/deep/x.txt") == b"deep"
    with pytest.raises(NotImplementedError):
        fs.open(f"{path}/new.txt", "wb")
    with pytest.raises(FileNotFoundError):
        fs.ls(f"{path}/nothing")


async def test_a_range_read_through_it_fetches_little_more(alice: Home, carol: Home, tmp_path: Path) -> None:
    contents = files()
    job = await alice.share(write_files(tmp_path / "source", contents), name="files/little")
    await carol.client.contents(job.link)
    before = await pieces_here(carol)

    def read() -> bytes:
        fs, path = url_to_fs("p2pckpt://files/little/sub/data.bin", home=str(carol.path))
        found: bytes = fs.cat_file(path, 4 * MIB, 4 * MIB + 10)
        return found

    assert await asyncio.to_thread(read) == contents["sub/data.bin"][4 * MIB : 4 * MIB + 10]
    moved = await pieces_here(carol) - before
    # where it begins and where it ends was looked at for pickles
    assert len(moved) <= 6 < len(await pieces_of(carol, "files/little", "sub/data.bin"))
