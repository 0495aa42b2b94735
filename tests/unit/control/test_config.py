from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest

from p2pckpt.config import PROJECT_FILE, SETTINGS, Config, load
from p2pckpt.errors import BadUsage

SUN_PATH = 104
"""Bytes of a socket's path on the narrowest of the systems."""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def write_user_file(home: Path, text: str) -> Path:
    path = home / "config" / "config.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def loaded(home: Path, directory: Path | None = None, **options: object) -> Config:
    options = {"environ": {}, "directory": directory or home.parent} | options
    return load(home=home, **options)  # type: ignore[arg-type]


# -- origins


def test_without_anything_every_setting_has_its_default(home: Path) -> None:
    found = loaded(home)
    assert {key: origin.value for key, origin in found.origins.items()} == {s.key: s.default for s in SETTINGS}
    assert {origin.origin for origin in found.origins.values()} == {"default"}


def test_flags_win_over_environment_over_project_over_user_over_default(home: Path, tmp_path: Path) -> None:
    project = tmp_path / "project" / "deep" / "inside"
    project.mkdir(parents=True)
    user_file = write_user_file(home, "workers = 1\nport = 1\nname = 'user'\nupload_limit = 1\n")
    project_file = tmp_path / "project" / PROJECT_FILE
    project_file.write_text("workers = 2\nport = 2\nname = 'project'\n")
    environ = {"P2PCKPT_WORKERS": "3", "P2PCKPT_PORT": "3", "UNRELATED": "x"}
    found = loaded(home, project, environ=environ, flags={"workers": 4})
    origins = {key: (origin.value, origin.origin) for key, origin in found.origins.items()}
    assert origins["workers"] == (4, "flag")
    assert origins["port"] == (3, "environment P2PCKPT_PORT")
    assert origins["name"] == ("project", str(project_file))
    assert origins["upload_limit"] == (1, str(user_file))
    assert origins["download_limit"] == (0, "default")


def test_the_nearest_project_file_counts(home: Path, tmp_path: Path) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    (tmp_path / PROJECT_FILE).write_text("workers = 1")
    (tmp_path / "a" / PROJECT_FILE).write_text("workers = 2")
    assert loaded(home, inner).workers == 2
    assert loaded(home, tmp_path).workers == 1


def test_the_home_of_the_environment_counts_unless_one_is_given(tmp_path: Path) -> None:
    environ = {"P2PCKPT_HOME": str(tmp_path / "there")}
    assert load(environ=environ, directory=tmp_path).config_dir == tmp_path / "there" / "config"
    given = load(home=tmp_path / "here", environ=environ, directory=tmp_path)
    assert given.config_dir == tmp_path / "here" / "config"
    assert load(environ=given.environment(), directory=tmp_path).data_dir == given.data_dir


def test_values_have_the_type_of_their_setting(home: Path) -> None:
    environ = {"P2PCKPT_PORT_MAPPING": "no", "P2PCKPT_PORT": "6881", "P2PCKPT_NAME": "7"}
    found = loaded(home, environ=environ)
    assert (found.flag("port_mapping"), found.number("port"), found.text("name")) == (False, 6881, "7")


@pytest.mark.parametrize("text", ["1", "true", "True", "YES", "on", "0", "false", "No", "OFF"])
def test_yes_and_no_have_several_names(home: Path, text: str) -> None:
    found = loaded(home, environ={"P2PCKPT_SEED_AFTER_GET": text})
    assert found.flag("seed_after_get") == (text.lower() in ("1", "true", "yes", "on"))


def test_a_config_does_not_change(home: Path) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        loaded(home).home = None  # type: ignore[misc]


# -- bad values


BAD = {
    "port = 'abc'": "port",
    "port = -1": "port",
    "port = 1.5": "port",
    "port = true": "port",
    "port = [1]": "port",
    "port = 65536": "port",
    f"tls_port = '{'9' * 30}'": "tls_port",
    "workers = 1025": "workers",
    "workers = ''": "workers",
    "name = 7": "name",
    "name = ['a']": "name",
    "[name]\nx = 1": "name",
    "port_mapping = 'perhaps'": "port_mapping",
    "port_mapping = 2": "port_mapping",
    "log_level = 'loud'": "log_level",
    "colour = 'red'": "colour",
    "Port = 1": "Port",
}


@pytest.mark.parametrize("text", BAD, ids=ascii)
def test_a_bad_value_is_named_with_its_key_and_its_file(home: Path, tmp_path: Path, text: str) -> None:
    path = write_user_file(home, text)
    with pytest.raises(BadUsage) as refused:
        loaded(home)
    assert str(path) in refused.value.fact
    assert BAD[text] in refused.value.fact
    path.unlink()
    (tmp_path / PROJECT_FILE).write_text(text)
    with pytest.raises(BadUsage) as refused:
        loaded(home)
    assert str(tmp_path / PROJECT_FILE) in refused.value.fact


def test_a_bad_value_elsewhere_is_named_with_where(home: Path) -> None:
    with pytest.raises(BadUsage, match=r"environment P2PCKPT_PORT: port = 'x'"):
        loaded(home, environ={"P2PCKPT_PORT": "x"})
    with pytest.raises(BadUsage, match=r"flag: log_level is one of debug, info"):
        loaded(home, flags={"log_level": "loud"})
    with pytest.raises(BadUsage, match=r"flag: there is no setting 'nothing'"):
        loaded(home, flags={"nothing": 1})


@pytest.mark.parametrize("content", [b"port = ", b"\xff\xfe", b"port = 1\nport = 2\n", b"[[["], ids=ascii)
def test_a_file_that_cannot_be_read_is_named(home: Path, content: bytes) -> None:
    path = write_user_file(home, "")
    path.write_bytes(content)
    with pytest.raises(BadUsage, match="cannot be read") as refused:
        loaded(home)
    assert str(path) in refused.value.fact
    assert str(path) in refused.value.next_step


def test_a_directory_in_place_of_the_file_is_named(home: Path) -> None:
    (home / "config" / "config.toml").mkdir(parents=True)
    with pytest.raises(BadUsage, match="cannot be read"):
        loaded(home)


# -- places


def test_a_home_holds_everything(home: Path) -> None:
    found = loaded(home)
    places = [found.config_dir, found.data_dir, found.state_dir, found.runtime_dir, found.user_file, found.store_dir]
    places += [found.keys_dir, found.tracker_dir, found.daemon_log, found.socket_path]
    assert all(home in place.parents for place in places)
    assert loaded(home, flags={"store": "/mnt/store"}).store_dir == Path("/mnt/store")


@pytest.mark.parametrize("depth", [3, 60])
def test_the_socket_of_a_deep_home_has_a_path_that_sockets_can_have(
    tmp_path: Path, depth: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    homes = [tmp_path.joinpath(*["deep"] * depth, name) for name in ("one", "two")]
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    sockets = [loaded(home, tmp_path).socket_path for home in homes]
    assert len(set(sockets)) == 2
    assert all(len(os.fsencode(socket)) < SUN_PATH for socket in sockets)
    assert sockets == [loaded(home, tmp_path).socket_path for home in homes]
    assert (homes[0] in sockets[0].parents) == (len(os.fsencode(homes[0] / "run" / "daemon.sock")) <= 100)


def test_a_user_s_deep_home_directory_has_a_socket_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("XDG_STATE_HOME", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path.joinpath(*["deep"] * 40)))
    socket = load(environ={}, directory=tmp_path).socket_path
    assert len(os.fsencode(socket)) < SUN_PATH


def test_a_runtime_directory_that_is_deep_itself_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = tmp_path.joinpath(*["runtime"] * 12)
    runtime.mkdir(parents=True)
    runtime.chmod(0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    socket = loaded(tmp_path.joinpath(*["deep"] * 40), tmp_path).socket_path
    assert len(os.fsencode(socket)) < SUN_PATH
    assert runtime not in socket.parents


def test_without_a_home_places_are_those_of_the_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CONFIG", "DATA", "STATE"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / name.lower()))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    found = load(environ={}, directory=tmp_path)
    assert (found.config_dir, found.data_dir) == (tmp_path / "config" / "p2pckpt", tmp_path / "data" / "p2pckpt")
    assert (found.state_dir, found.runtime_dir) == (tmp_path / "state" / "p2pckpt", tmp_path / "p2pckpt")
    assert (found.home, found.environment()) == (None, {})


def test_workers_are_one_per_core_unless_told_otherwise(home: Path) -> None:
    assert loaded(home).workers == (os.cpu_count() or 1)
    assert loaded(home, flags={"workers": 7}).workers == 7


def test_every_setting_can_be_set_by_the_environment(home: Path) -> None:
    names = [setting.environment for setting in SETTINGS]
    assert len(set(names)) == len(names)
    values = {s.environment: s.choices[-1] if s.choices else "1" for s in SETTINGS}
    values["P2PCKPT_TURTLE_HOURS"] = "22:00-06:00"
    found = loaded(home, environ=values)
    assert {origin.origin for origin in found.origins.values()} == {f"environment {name}" for name in names}
