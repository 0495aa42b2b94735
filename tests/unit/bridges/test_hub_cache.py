"""The layout of the hub client's cache, where it lies, and what is refused; integration tests run the real clients."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from p2pckpt.bridges.hub_cache import cache_directory, check_repo_id, link, unlink
from p2pckpt.bridges.placements import Placements
from p2pckpt.errors import BadUsage, Conflict
from tests.support.homes import write_files
from tests.unit.bridges.versions import contents, found

ENVIRONMENTS: list[dict[str, str]] = [
    {},
    {"HF_HOME": "/x/hf"},
    {"HF_HUB_CACHE": "/x/cache", "HF_HOME": "/y"},
    {"HUGGINGFACE_HUB_CACHE": "/x/old"},
    {"XDG_CACHE_HOME": "/x/xdg"},
    {"HF_HOME": "~/here"},
    {"HF_HUB_CACHE": "$HOME/there"},
]


@pytest.fixture(scope="module")
def theirs() -> list[str]:
    """Where the client itself says its cache is, for each of the environments."""
    program = (
        "import importlib, json, os, sys\nimport huggingface_hub.constants as c\nplain = dict(os.environ)\n"
        "for variables in json.loads(sys.argv[1]):\n"
        "    os.environ.clear(); os.environ.update({**plain, **variables}); print(importlib.reload(c).HF_HUB_CACHE)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, json.dumps(ENVIRONMENTS)],
        env={"HOME": "/home/somebody", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


@pytest.mark.parametrize("number", range(len(ENVIRONMENTS)))
def test_the_cache_is_where_the_client_looks(number: int, theirs: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    assert str(cache_directory(ENVIRONMENTS[number])) == theirs[number]


@pytest.mark.parametrize(
    "name", ["a/b/c", "a--b", "a..b", "-a", "a.git", "a b", "", "a/" + "x" * 97, "x+y", "../a", "a/", ".a/b", "größe/ü"]
)
def test_names_that_the_client_refuses_are_refused_first(name: str) -> None:
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    with pytest.raises(HFValidationError):
        validate_repo_id(name)
    with pytest.raises(BadUsage, match="no repository"):
        check_repo_id(name)


@pytest.mark.parametrize("name", ["sd15", "cars/sd15", "a.b-c_d/e.f", "a/" + "x" * 96])
def test_names_that_the_client_takes_are_taken(name: str) -> None:
    from huggingface_hub.utils import validate_repo_id

    validate_repo_id(name)
    assert check_repo_id(name) == name


def test_a_blob_that_the_client_fetched_is_used_and_stays(tmp_path: Path) -> None:
    version = contents(write_files(tmp_path / "m", {"a": b"x" * 99, "b": b"y"}))
    cache, placements = tmp_path / "cache", Placements(tmp_path / "placed")
    blob = version.files[0].sha256
    repo = write_files(cache / "models--cars--sd15", {f"blobs/{blob}": b"x" * 99})
    link(version, found(version, tmp_path / "m"), cache, "cars/sd15", (), (), placements)
    assert not (repo / "blobs" / blob).samefile(tmp_path / "m" / "a")
    [placement] = placements.all()
    unlink(placement, placements)
    assert [path.name for path in repo.rglob("*") if path.is_file()] == [blob]


def test_a_blob_of_another_size_is_nobody_s_to_replace(tmp_path: Path) -> None:
    version = contents(write_files(tmp_path / "m", {"a": b"x" * 99, "b": b"y"}))
    cache, placements = tmp_path / "cache", Placements(tmp_path / "placed")
    repo = write_files(cache / "models--cars--sd15", {f"blobs/{version.files[0].sha256}": b"torn"})
    with pytest.raises(Conflict):
        link(version, found(version, tmp_path / "m"), cache, "cars/sd15", (), (), placements)
    assert [path.name for path in repo.rglob("*")] == ["blobs", version.files[0].sha256]
    assert not list(placements.all())


def test_a_ref_is_a_name_that_can_be_one(tmp_path: Path) -> None:
    version = contents(write_files(tmp_path / "m", {"a": b"x"}), name="my best run / 3")
    made = link(
        version, found(version, tmp_path / "m"), tmp_path / "c", "x", ("best", "../up"), (), Placements(tmp_path / "p")
    )
    assert made.refs == ("main", "v3", "best")


def test_what_the_client_fetched_of_another_version_of_the_share_is_no_conflict(tmp_path: Path) -> None:
    version = contents(write_files(tmp_path / "m", {"a": b"x"}))
    cache, earlier = tmp_path / "cache", "e" * 64
    repo = write_files(cache / "models--cars--sd15", {"refs/main": b"e" * 40, f"snapshots/{'e' * 40}/a": b"old"})
    right, placements = found(version, tmp_path / "m"), Placements(tmp_path / "p")
    with pytest.raises(Conflict, match="from somewhere else"):
        link(version, right, cache, "cars/sd15", (), ("f" * 64,), placements)
    made = link(version, right, cache, "cars/sd15", (), ("f" * 64, earlier), placements)
    assert (repo / "refs" / "main").read_text() == made.commit
    assert (repo / "snapshots" / ("e" * 40) / "a").read_bytes() == b"old"


def test_a_blob_that_was_written_to_is_mended_if_it_was_ours(tmp_path: Path) -> None:
    version = contents(write_files(tmp_path / "m", {"a": b"right"}))
    cache, placements = tmp_path / "cache", Placements(tmp_path / "placed")
    for each in (contents(tmp_path / "m", version=2), version):
        link(each, found(each, tmp_path / "m"), cache, "cars/sd15", (), (), placements)
    blob = cache / "models--cars--sd15" / "blobs" / version.files[0].sha256
    blob.write_bytes(b"wrong")
    (tmp_path / "m" / "a").unlink()  # as a repair does
    write_files(tmp_path / "m", {"a": b"right"})
    made = link(version, found(version, tmp_path / "m"), cache, "cars/sd15", (), (), placements)
    assert (made.snapshot / "a").read_bytes() == b"right"
    for placement in sorted(placements.all(), key=lambda p: -p.version):
        unlink(placement, placements)
    assert not cache.exists(), "the other version of the same blob knows it, too"


def test_a_wrong_blob_of_the_right_size_is_told(tmp_path: Path) -> None:
    version = contents(write_files(tmp_path / "m", {"a": b"right"}))
    repo = write_files(tmp_path / "cache" / "models--x", {f"blobs/{version.files[0].sha256}": b"wrong"})
    with pytest.raises(Conflict):
        link(version, found(version, tmp_path / "m"), repo.parent, "x", (), (), Placements(tmp_path / "p"))


def test_what_the_client_made_itself_stays_when_a_version_is_taken_away(tmp_path: Path) -> None:
    version = contents(write_files(tmp_path / "m", {"a": b"one", "b": b"two"}))
    cache, placements, right = tmp_path / "cache", Placements(tmp_path / "p"), found(version, tmp_path / "m")
    commit, blob = version.manifest[:40], version.files[0].sha256
    repo = write_files(cache / "models--x", {f"blobs/{blob}": b"one", "refs/main": commit.encode()})
    snapshot = repo / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (snapshot / "a").symlink_to(f"../../blobs/{blob}")
    before = sorted(path.relative_to(repo) for path in repo.rglob("*"))
    link(version, right, cache, "x", (), (), placements)
    link(version, right, cache, "x", (), (), placements)
    [placement] = placements.all()
    unlink(placement, placements)
    assert sorted(path.relative_to(repo) for path in repo.rglob("*")) == before
    assert (snapshot / "a").read_bytes() == b"one"


def test_a_real_file_in_a_snapshot_is_never_taken_out(tmp_path: Path) -> None:
    version = contents(write_files(tmp_path / "m", {"a": b"one"}))
    cache, placements, right = tmp_path / "cache", Placements(tmp_path / "p"), found(version, tmp_path / "m")
    snapshot = write_files(cache / "models--x" / "snapshots" / version.manifest[:40], {"a": b"one"})
    link(version, right, cache, "x", (), (), placements)
    [placement] = placements.all()
    unlink(placement, placements)
    assert (snapshot / "a").read_bytes() == b"one"
    (snapshot / "a").write_bytes(b"edited")
    with pytest.raises(Conflict, match="not what the version has"):
        link(version, right, cache, "x", (), (), placements)
    assert (snapshot / "a").read_bytes() == b"edited"
